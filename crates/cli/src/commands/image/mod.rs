//! `mos image`.

pub(crate) mod build;
mod inspect;

use crate::context::Context;
use crate::error::Result;

/// Boot images: one EFI file with kernel, initramfs and command line
#[derive(Debug, clap::Subcommand)]
pub(crate) enum ImageCommand {
    Build(build::BuildArgs),
    Inspect(inspect::InspectArgs),
}

pub(crate) fn run(context: &Context, command: &ImageCommand) -> Result<()> {
    match command {
        ImageCommand::Build(args) => build::run(context, args),
        ImageCommand::Inspect(args) => inspect::run(args),
    }
}
