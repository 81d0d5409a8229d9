//! `mos runtime`.

pub(crate) mod build;

use crate::context::Context;
use crate::error::Result;

/// Runtimes: the components of an environment as flists
#[derive(Debug, clap::Subcommand)]
pub(crate) enum RuntimeCommand {
    Build(build::BuildArgs),
}

pub(crate) fn run(context: &Context, command: &RuntimeCommand) -> Result<()> {
    match command {
        RuntimeCommand::Build(args) => build::run(context, args),
    }
}
