//! `mos keys`.

mod new;
pub(crate) mod secure_boot;
mod show;

pub(crate) use new::make;

use crate::context::Context;
use crate::error::{CliError, Kind, Result};

/// Keys that releases and boot images are signed with
#[derive(Debug, clap::Subcommand)]
pub(crate) enum KeysCommand {
    New(new::NewArgs),
    Show(show::ShowArgs),
}

pub(crate) fn run(context: &Context, command: &KeysCommand) -> Result<()> {
    match command {
        KeysCommand::New(args) => new::run(context, args),
        KeysCommand::Show(args) => show::run(context, args),
    }
}

/// A key that cannot be used is a matter of trust.
fn key_error(error: mos_channel::KeyError) -> CliError {
    CliError::new(Kind::Trust, error.to_string())
}
