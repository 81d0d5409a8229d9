//! `mos clean`.

use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::context::Context;
use crate::error::{Result, io as at};
use crate::{output, ui};

/// Remove what was built from the cache; with --all, what was downloaded too
///
/// Everything in it can be built or fetched again. Keys, channels and outputs are elsewhere and stay, as does whatever
/// else is in the cache's folder.
#[derive(Debug, clap::Args)]
pub(crate) struct CleanArgs {
    /// Say what would be removed, and remove nothing
    #[arg(long)]
    dry_run: bool,

    /// Remove downloads too: the next build needs the network
    #[arg(long)]
    all: bool,

    /// Print what is removed as JSON
    #[arg(long)]
    json: bool,
}

/// The folders that mos makes in its cache, and what is in them; others are somebody else's.
const BUILT: [(&str, &str); 6] = [
    ("build", "work under way, and cargo's own outputs"),
    ("flist", "what was noted when folders were packed"),
    ("logs", "what compilers said"),
    ("sizes", "sizes of earlier images"),
    ("steps", "outputs of build steps"),
    ("store", "blobs of flists that were built"),
];
/// The same, of those that only the network brings back.
const DOWNLOADED: [(&str, &str); 8] = [
    ("alpine", "Alpine's packages and indexes"),
    ("apt", "Debian's packages and indexes"),
    ("crates", "archives of crates"),
    ("git", "git repositories"),
    ("images", "container images"),
    ("libraries", "Rust's standard libraries for other machines"),
    ("releases", "programs that somebody else built"),
    ("sources", "archives of kernels' source"),
];

#[derive(Serialize)]
struct Folder {
    path: PathBuf,
    what: &'static str,
    bytes: u64,
}

pub(crate) fn run(context: &Context, args: &CleanArgs) -> Result<()> {
    let cache = context.cache()?;
    let downloaded: &[_] = if args.all { &DOWNLOADED } else { &[] };
    let plan = plan(&cache, BUILT.iter().chain(downloaded))?;
    if args.json {
        output::json(&plan)?;
    } else if !plan.is_empty() {
        let cells = |it: &Folder| vec![it.path.display().to_string(), ui::bytes(it.bytes), it.what.to_owned()];
        let rows: Vec<Vec<String>> = plan.iter().map(cells).collect();
        output::line(ui::table(&["FOLDER", "SIZE", "WHAT"], &rows))?;
    }
    if !args.dry_run {
        for folder in &plan {
            remove(&folder.path).map_err(at(&folder.path))?;
        }
    }
    let total = plan.iter().map(|folder| folder.bytes).sum();
    let verb = if args.dry_run { "Would remove" } else { "Removed" };
    context
        .ui
        .line(format!("{verb} {} from {}.", ui::bytes(total), cache.display()));
    Ok(())
}

fn plan<'f>(cache: &Path, folders: impl Iterator<Item = &'f (&'static str, &'static str)>) -> Result<Vec<Folder>> {
    let mut plan = Vec::new();
    for (name, what) in folders {
        let path = cache.join(name);
        if path.is_dir() {
            let bytes = size(&path).map_err(at(&path))?;
            plan.push(Folder { path, what, bytes });
        }
    }
    Ok(plan)
}

/// Bytes in all files below a folder. What a build removes meanwhile counts nothing.
fn size(folder: &Path) -> io::Result<u64> {
    let mut total = 0;
    for entry in gone(std::fs::read_dir(folder))?.into_iter().flatten() {
        let entry = entry?;
        let Some(metadata) = gone(entry.metadata())? else {
            continue;
        };
        total += match metadata.is_dir() {
            true => size(&entry.path())?,
            false => metadata.len(),
        };
    }
    Ok(total)
}

fn remove(folder: &Path) -> io::Result<()> {
    gone(std::fs::remove_dir_all(folder)).map(drop)
}

/// Nothing, where somebody else was quicker.
fn gone<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        other => other.map(Some),
    }
}
