//! `mos build`.

use std::path::PathBuf;

use mos_build::PackMode;

use super::{image, runtime};
use crate::context::Context;
use crate::error::Result;
use crate::pipeline::Pipeline;

/// Build everything of an environment: its runtime flists and its boot image
///
/// A second build with nothing changed does nothing, and says so. With UPLOAD_KERNEL=true the boot image is uploaded too, as
/// `mos image upload` does.
#[derive(Debug, clap::Args)]
pub(crate) struct BuildArgs {
    /// The environment, a file in environments/
    #[arg(long)]
    env: String,

    /// Where vmlinuz.efi, the initramfs and flists/ are put
    #[arg(long, value_name = "DIR", default_value = "dist")]
    output_dir: PathBuf,
}

pub(crate) fn run(context: &Context, args: &BuildArgs) -> Result<()> {
    let mut pipeline = Pipeline::open(context, &args.env)?;
    let flists = pipeline.runtime(&[], PackMode::Individual)?;
    let image = pipeline.image()?;
    runtime::build::deliver_flists(&flists, &args.output_dir.join("flists"))?;
    let efi = image::build::deliver_image(&pipeline, &image, &args.output_dir)?;
    image::upload::if_wanted(context, &image, &args.env)?;
    let changed = flists.iter().filter(|flist| !flist.hit).count() + usize::from(!image.hit);
    match changed {
        0 => context.ui.line("Nothing changed: nothing was built."),
        count => context.ui.line(format!(
            "Built {count} of {} parts; {} is ready.",
            flists.len() + 1,
            efi.display()
        )),
    }
    Ok(())
}
