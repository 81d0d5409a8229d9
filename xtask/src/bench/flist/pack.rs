//! Packing: time, size, objects, metadata, what an upgrade adds, packing again, memory.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use mos_flist::{Flist, PackOptions, Stamps, Trust, pack};
use mos_store::Dir;
use mos_tree::directory::{self, Options};

use super::super::{Row, alternate};
use super::corpus::Corpus;
use super::mounted::Stage;
use super::peers::Format;
use super::run::{Measured, evict, program, remove, shell, usage};
use super::{MEGABYTE, row};

/// The tree that the goals for metadata are set for.
const ENTRIES: f64 = 21_600.0;

/// What `xtask flist-pack DIRECTORY STORE FLIST [BASE]` does: packs a directory, on top of a base and its stamps.
pub(crate) fn pack_once(arguments: &[PathBuf]) -> Result<String, String> {
    // As `mos` does when it starts.
    mos_sys::memory::give_back();
    let [tree, store, flist, base @ ..] = arguments else {
        return Err("usage: cargo xtask flist-pack DIRECTORY STORE FLIST [BASE]".to_owned());
    };
    let options = Options {
        owners: true,
        xattrs: true,
    };
    let tree = directory::read(tree, options).map_err(|error| error.to_string())?;
    let options = match base.first() {
        Some(base) => on_top_of(base)?,
        None => PackOptions::default(),
    };
    let packed = pack(&tree, &Dir::new(store), &options).map_err(|error| error.to_string())?;
    write(flist, &packed.flist)?;
    write(&stamps_of(flist), &packed.stamps.encode())?;
    Ok(format!("{:?}", packed.stats))
}

fn on_top_of(base: &Path) -> Result<PackOptions, String> {
    let read = |path: &Path| fs::read(path).map_err(|error| format!("{}: {error}", path.display()));
    let flist = Flist::parse(read(base)?).map_err(|error| error.to_string())?;
    let stamps = Stamps::parse(&read(&stamps_of(base))?).map_err(|error| error.to_string())?;
    Ok(PackOptions {
        bases: vec![Arc::new(flist)],
        trust: Trust::Stamps(Arc::new(stamps)),
        ..PackOptions::default()
    })
}

fn stamps_of(flist: &Path) -> PathBuf {
    flist.with_extension("stamps")
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), String> {
    fs::write(path, bytes).map_err(|error| format!("{}: {error}", path.display()))
}

/// Where the two sides write to, on the corpus's file system.
struct Bench<'c> {
    corpus: &'c Corpus,
    work: tempfile::TempDir,
}

impl Bench<'_> {
    fn place(&self, name: &str) -> PathBuf {
        self.work.path().join(name)
    }

    /// A place that is empty again.
    fn fresh(&self, name: &str) -> Result<PathBuf, String> {
        let place = self.place(name);
        remove(&place)?;
        fs::create_dir(&place).map_err(|error| error.to_string())?;
        Ok(place)
    }

    fn ours(&self, tree: &Path, flist: &str, base: Option<&str>) -> Result<Measured, String> {
        let place = self.place("ours");
        let own = std::env::current_exe().map_err(|error| error.to_string())?;
        let mut command = Command::new(own);
        command
            .arg("flist-pack")
            .arg(tree)
            .args([place.join("store"), place.join(flist)]);
        command.args(base.map(|base| place.join(base)));
        program(&command, &place)
    }

    fn tar_cold(&self) -> Result<Measured, String> {
        evict(&self.corpus.old)?;
        let place = self.fresh("tar")?;
        shell(Format::Tar.line(), &[&self.corpus.old, &place], &place)
    }

    fn ours_cold(&self) -> Result<Measured, String> {
        evict(&self.corpus.old)?;
        self.fresh("ours")?;
        self.ours(&self.corpus.old, "old.fl", None)
    }

    fn bytes(&self, place: &str) -> Result<f64, String> {
        Ok(usage(&self.place(place))?.0 as f64 / MEGABYTE)
    }
}

pub(super) fn rows(stage: &Stage<'_>) -> Result<Vec<Row>, String> {
    let corpus = stage.corpus;
    let work = tempfile::tempdir_in(&corpus.folder).map_err(|error| error.to_string())?;
    let bench = Bench { corpus, work };
    let mut rows = first(&bench)?;
    rows.push(again(&bench)?);
    if let Some(casync) = stage.packed(Format::Casync) {
        match upgrade(&bench, &casync) {
            Ok(row) => rows.push(row),
            Err(why) => println!("casync, the second version: {why}"),
        }
    }
    // The others are printed for their figures.
    for format in Format::ALL {
        stage.packed(format);
    }
    Ok(rows)
}

/// The first packing of a tree: against tar and zstd, and against fixed goals.
fn first(bench: &Bench<'_>) -> Result<Vec<Row>, String> {
    let mut memory = 0;
    let mut cold = || {
        let measured = bench.ours_cold()?;
        memory = memory.max(measured.memory);
        Ok(measured.time)
    };
    let (peer, ours) = alternate(|| Ok(bench.tar_cold()?.time), &mut cold)?;
    let (content, entries) = bench.corpus.size()?;
    let (metadata, _) = usage(&bench.place("ours/old.fl"))?;
    let (store, objects) = usage(&bench.place("ours/store"))?;
    let size = (store + metadata) as f64 / MEGABYTE;
    Ok(vec![
        row("pack, cold / tar and zstd -3 -T2", (peer, ours), "ms", 1.1),
        row(
            "flist and blobs / tar and zstd -3",
            (bench.bytes("tar")?, size),
            "MB",
            315.0 / 306.0,
        ),
        row(
            "objects per GB / 60",
            (60.0, objects as f64 * 1e9 / content as f64),
            "",
            1.0,
        ),
        row(
            "flist per 21,600 entries / 2,500 kB",
            (2500.0, metadata as f64 / 1000.0 * ENTRIES / entries as f64),
            "kB",
            1.0,
        ),
        row("peak memory / 64 MB", (64.0, memory as f64 / MEGABYTE), "MB", 1.0),
    ])
}

/// Packing the same tree again.
fn again(bench: &Bench<'_>) -> Result<Row, String> {
    let ours = || Ok(bench.ours(&bench.corpus.old, "again.fl", Some("old.fl"))?.time);
    let (goal, ours) = alternate(|| Ok(std::time::Duration::from_millis(300)), ours)?;
    Ok(row("pack again, nothing changed / 300 ms", (goal, ours), "ms", 1.0))
}

/// What the second version adds to the stores that hold the first.
fn upgrade(bench: &Bench<'_>, casync: &Path) -> Result<Row, String> {
    let megabytes = |place: &Path| Ok::<_, String>(usage(place)?.0 as f64 / MEGABYTE);
    let before = (megabytes(casync)?, bench.bytes("ours/store")?);
    shell(Format::Casync.line(), &[&bench.corpus.new, casync], casync)?;
    bench.ours(&bench.corpus.new, "new.fl", Some("old.fl"))?;
    let after = (
        megabytes(casync)?,
        bench.bytes("ours/store")? + bench.bytes("ours/new.fl")?,
    );
    let added = (after.0 - before.0, after.1 - before.1);
    Ok(row("bytes added by an upgrade / casync", added, "MB", 0.92))
}
