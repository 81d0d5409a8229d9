//! What every module of the generic kernel needs, with the names of all firmware: from the modules, and from what was kept.

use std::fs;
use std::path::{Path, PathBuf};

use mos_kernel::{Facts, Kernel};
use mos_tree::{Tree, directory};

use super::stage::Stage;
use super::{goal, row};
use crate::bench::{RUNS, Row, median};

pub(super) fn rows(stage: &Stage) -> Result<Vec<Row>, String> {
    let modinfo = "find $ROOT/lib/modules -name \"*.ko.xz\" | xargs /sbin/modinfo -F firmware >$OUT";
    let out = stage.folder().join("names");
    stage.own(&["image-closure", "root", "kept"])?;
    let (mut peers, mut cold, mut kept) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..RUNS {
        peers.push(stage.shell(modinfo, &out)?);
        cold.push(stage.own(&["image-closure", "root"])?);
        kept.push(stage.own(&["image-closure", "root", "kept"])?);
    }
    let (peer, cold, kept) = (median(peers), median(cold), median(kept));
    Ok(vec![
        goal("closure and firmware of 4,230 modules, cold / 1 s", 1000.0, cold, "ms"),
        row("the same / modinfo, firmware names alone", (peer, cold), "ms", 1.0),
        goal("closure and firmware, kept / 50 ms", 50.0, kept, "ms"),
    ])
}

/// `xtask image-closure ROOT [FACTS]`: our side. Reads the facts from the file when it is there, and makes it otherwise.
pub(crate) fn closure_once(arguments: &[PathBuf]) -> Result<String, String> {
    let (Some(root), kept) = (arguments.first(), arguments.get(1)) else {
        return Err("image-closure takes ROOT [FACTS]".to_owned());
    };
    let (package, known) = unpacked(root, kept.map(PathBuf::as_path))?;
    let kernel = Kernel::open(&package).map_err(|error| error.to_string())?;
    let fresh = known.is_none();
    if !known.is_none_or(|facts| kernel.remember(facts)) {
        return Err("the facts are those of another kernel".to_owned());
    }
    let names: Vec<&str> = kernel.module_names().collect();
    let closure = kernel.closure(&names).map_err(|error| error.to_string())?;
    let facts = kernel.facts().map_err(|error| error.to_string())?;
    let infos = names.iter().filter_map(|name| facts.info(name));
    let firmware: std::collections::BTreeSet<&str> = infos
        .flat_map(|info| info.firmware.iter().map(String::as_str))
        .collect();
    if let (Some(path), true) = (kept, fresh) {
        fs::write(path, facts.to_bytes()).map_err(|error| error.to_string())?;
    }
    Ok(format!("{} modules, {} firmware names", closure.len(), firmware.len()))
}

/// A folder with a kernel, and the facts about it that a file has, if it is there: one thread for each.
pub(super) fn unpacked(root: &Path, facts: Option<&Path>) -> Result<(Tree, Option<Facts>), String> {
    let kept = || -> Result<Option<Facts>, String> {
        let bytes = facts.and_then(|path| fs::read(path).ok());
        let known = bytes.map(|bytes| Facts::from_bytes(&bytes).ok_or("the facts are damaged".to_owned()));
        known.transpose()
    };
    std::thread::scope(|scope| {
        let kept = scope.spawn(kept);
        let tree = directory::read(root, directory::Options::default()).map_err(|error| error.to_string())?;
        let facts = kept.join().map_err(|_| "reading the facts failed".to_owned())??;
        Ok((tree, facts))
    })
}
