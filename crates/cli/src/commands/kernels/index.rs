//! `mos kernels index`.

use super::PlaceArgs;
use crate::context::{Context, now};
use crate::error::Result;
use crate::ui;

/// Derive kernels.txt and kernels.json anew from the images that are there
///
/// Every upload and clean-up does it too. By hand it is needed after images were put or removed by another program, or when an
/// upload was killed. Uploads may go on meanwhile.
#[derive(Debug, clap::Args)]
pub(crate) struct IndexArgs {
    #[command(flatten)]
    place: PlaceArgs,
}

pub(crate) fn run(context: &Context, args: &IndexArgs) -> Result<()> {
    let place = args.place.find(context)?;
    let now = now()?;
    let done = place.with(|catalog| catalog.reindex(now))?;
    let images = ui::count(done.images as u64, "image");
    context.ui.line(match done.changed {
        true => format!("Wrote the index of {images}."),
        false => format!("The index of {images} is right already."),
    });
    Ok(())
}
