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

pub(crate) fn run(context: &Context, args: &CleanArgs) -> Result<()> {
    let cache = context.cache()?;
    if !cache.exists() {
        context.ui.line(format!("{} does not exist: nothing to remove.", cache.display()));
        return Ok(());
    }
    let size = ui::bytes(size(&cache).map_err(io(&cache))?);
    if args.dry_run {
        context.ui.line(format!("Would remove {} ({size}).", cache.display()));
        return Ok(());
    }
    std::fs::remove_dir_all(&cache).map_err(io(&cache))?;
    context.ui.line(format!("Removed {} ({size}).", cache.display()));
    Ok(())
}

/// Bytes in all files below a folder.
fn size(folder: &std::path::Path) -> std::io::Result<u64> {
    let mut total = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        total += if metadata.is_dir() { size(&entry.path())? } else { metadata.len() };
    }
    Ok(total)
}
