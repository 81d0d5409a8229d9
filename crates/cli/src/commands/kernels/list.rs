//! `mos kernels list`.

use std::cmp::Reverse;

use mos_catalog::Image;

use super::{PlaceArgs, catalog_error};
use crate::context::Context;
use crate::error::Result;
use crate::{output, stores, ui};

/// List the boot images of a store, newest first
///
/// A bucket or folder is listed itself, so what is shown is there even when its index is old; of a web server, which cannot be
/// listed, kernels.json is read.
///
/// Examples: mos kernels list; mos kernels list --from https://images.example.org/flists/mos_builder --json
#[derive(Debug, clap::Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    place: PlaceArgs,

    /// Print as JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(context: &Context, args: &ListArgs) -> Result<()> {
    let place = args.place.find(context)?;
    let mut images = match place.url.starts_with("http") {
        true => mos_catalog::read_index(&*stores::open_read(&place.url)?, &place.folder).map_err(catalog_error)?,
        false => place.with(|catalog| catalog.images())?,
    };
    images.sort_by_key(|image| Reverse((image.uploaded, image.name.clone())));
    if args.json {
        return output::json(&images);
    }
    let header = ["IMAGE", "SIZE", "UPLOADED", "ENVIRONMENT", "RELEASE"];
    output::line(ui::table(&header, &images.iter().map(cells).collect::<Vec<_>>()))
}

pub(super) fn cells(image: &Image) -> Vec<String> {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    vec![
        image.name.clone(),
        ui::bytes(image.size),
        or_dash(image.uploaded.map(|time| time.to_string())),
        or_dash(image.environment.clone()),
        or_dash(image.release.clone()),
    ]
}
