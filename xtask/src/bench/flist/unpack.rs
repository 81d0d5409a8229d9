//! A packed tree onto the disk again, everything written when the clock stops.

use std::path::Path;
use std::time::Duration;

use super::super::{Row, alternate};
use super::mounted::Stage;
use super::peers::Format;
use super::row;
use super::run::{evict, remove, shell};

/// Shell lines: the packed tree is `$1`, the place to unpack to `$2`.
const UNSQUASHFS: &str = "unsquashfs -q -n -d $2 $1";
const TAR: &str = "mkdir $2 && zstd -q -d -c $1 | tar -C $2 -xf -";

pub(super) fn rows(stage: &Stage<'_>) -> Result<Vec<Row>, String> {
    let peers = [
        ("unpack, synced / unsquashfs", UNSQUASHFS, Format::Squashfs),
        ("unpack, synced / zstd -d and tar -x", TAR, Format::Tar),
    ];
    let mut rows = Vec::new();
    for (name, line, format) in peers {
        if let Some(folder) = stage.packed(format) {
            rows.push(against(stage, name, line, &folder.join("image"))?);
        }
    }
    Ok(rows)
}

fn against(stage: &Stage<'_>, name: &'static str, line: &str, packed: &Path) -> Result<Row, String> {
    let peer = || {
        let target = stage.place("unpacked");
        once(line, &[packed, &target], packed, &target)
    };
    let ours = || {
        let (store, target) = (stage.place("store"), stage.place("unpacked"));
        let (mos, flist, cache) = (stage.mos(), stage.place("fl"), stage.place("cache"));
        let line = "$1 flist unpack $3 $2 --store $4 --cache $5 -q";
        once(line, &[&mos, &target, &flist, &store, &cache], &store, &target)
    };
    Ok(row(name, alternate(peer, ours)?, "ms", 1.0))
}

/// One unpacking of a tree that is not in the page cache, to a place where nothing is.
fn once(line: &str, arguments: &[&Path], packed: &Path, target: &Path) -> Result<Duration, String> {
    remove(target)?;
    evict(packed)?;
    let folder = packed.parent().ok_or("the stage has a folder")?;
    Ok(shell(line, arguments, folder)?.time)
}
