//! `mos clean`.

use crate::context::Context;
use crate::error::{Result, io};
use crate::ui;

/// Remove what was downloaded and built from the cache
///
/// Everything in it can be fetched or built again. Keys, channels and outputs are elsewhere and stay.
#[derive(Debug, clap::Args)]
pub(crate) struct CleanArgs {
    /// Say what would be removed, and remove nothing
    #[arg(long)]
    dry_run: bool,
}

/// The folders that mos makes in its cache; others are somebody else's.
const FOLDERS: [&str; 8] = ["apt", "build", "crates", "git", "logs", "sizes", "steps", "store"];

pub(crate) fn run(context: &Context, args: &CleanArgs) -> Result<()> {
    let cache = context.cache()?;
    let mut total = 0;
    for folder in FOLDERS
        .map(|name| cache.join(name))
        .iter()
        .filter(|folder| folder.is_dir())
    {
        total += size(folder).map_err(io(folder))?;
        if !args.dry_run {
            std::fs::remove_dir_all(folder).map_err(io(folder))?;
        }
    }
    let verb = if args.dry_run { "Would remove" } else { "Removed" };
    context
        .ui
        .line(format!("{verb} {} from {}.", ui::bytes(total), cache.display()));
    Ok(())
}

/// Bytes in all files below a folder.
fn size(folder: &std::path::Path) -> std::io::Result<u64> {
    let mut total = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        total += if metadata.is_dir() {
            size(&entry.path())?
        } else {
            metadata.len()
        };
    }
    Ok(total)
}
