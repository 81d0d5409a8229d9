//! `mos release publish`.

use mos_build::PackMode;

use super::address;
use crate::context::Context;
use crate::error::Result;
use crate::output;
use crate::pipeline::Pipeline;

/// Publish a release of an environment to its channel
///
/// Builds what is not built yet, then writes blobs, flists, the boot image and last the signed release, so that a reader
/// never sees a release whose parts are missing. With nothing changed, nothing is published. SOURCE_DATE_EPOCH (seconds
/// since 1970) is the release's time when set.
#[derive(Debug, clap::Args)]
pub(crate) struct PublishArgs {
    /// The environment, a file in environments/
    #[arg(long)]
    env: String,

    /// The channel: a URL (dir:///…, s3://…) or a folder [default: stores.default of mos.toml, or dist/channel, with the
    /// environment's name]
    #[arg(long, value_name = "URL")]
    to: Option<String>,

    /// Say what would be written, and write nothing
    #[arg(long)]
    dry_run: bool,
}

pub(crate) fn run(context: &Context, args: &PublishArgs) -> Result<()> {
    let mut pipeline = Pipeline::open(context, &args.env)?;
    let to = address(args.to.as_deref(), &pipeline.plan)?;
    let flists = pipeline.runtime(&[], PackMode::Individual)?;
    let image = pipeline.image()?;
    let plan = pipeline.publish(&to, &image, &flists, args.dry_run)?;
    output::line(plan)
}
