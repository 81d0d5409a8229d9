//! `mos image`.

pub(crate) mod build;
mod diff;
mod explain;
mod inspect;
mod pcr;
mod sign;
mod size;
pub(crate) mod upload;
mod verify;

pub(crate) use sign::trust;

use std::path::Path;

use mos_boot::secure_boot::SecureBootError;

use crate::context::Context;
use crate::error::{CliError, Kind, Result, io};

/// Boot images: one EFI file with kernel, initramfs and command line
#[derive(Debug, clap::Subcommand)]
pub(crate) enum ImageCommand {
    Build(build::BuildArgs),
    Diff(diff::DiffArgs),
    Explain(explain::ExplainArgs),
    Inspect(inspect::InspectArgs),
    Pcr(pcr::PcrArgs),
    Sign(sign::SignArgs),
    Size(size::SizeArgs),
    Upload(upload::UploadArgs),
    Verify(verify::VerifyArgs),
}

pub(crate) fn run(context: &Context, command: &ImageCommand) -> Result<()> {
    match command {
        ImageCommand::Build(args) => build::run(context, args),
        ImageCommand::Diff(args) => diff::run(context, args),
        ImageCommand::Explain(args) => explain::run(args),
        ImageCommand::Inspect(args) => inspect::run(args),
        ImageCommand::Pcr(args) => pcr::run(args),
        ImageCommand::Sign(args) => sign::run(context, args),
        ImageCommand::Size(args) => size::run(context, args),
        ImageCommand::Upload(args) => upload::run(context, args),
        ImageCommand::Verify(args) => verify::run(args),
    }
}

/// Reads an EFI file.
fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path)
        .map_err(io(path))
        .map_err(|error| error.with_hint("`mos image build --env ENV` writes dist/vmlinuz.efi"))
}

/// What is wrong with an EFI file, or with signing it.
fn in_file(path: &Path) -> impl FnOnce(SecureBootError) -> CliError {
    move |error| CliError::new(Kind::Trust, format!("{}: {error}", path.display()))
}
