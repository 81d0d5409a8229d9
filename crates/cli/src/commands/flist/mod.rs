//! `mos flist`.

mod cat;
mod change;
mod clone;
mod convert;
mod daemon;
mod diff;
mod gc;
mod ignore;
mod inspect;
mod ls;
mod mount;
mod open;
mod pack;
mod pack_firmware;
mod pack_modules;
mod places;
mod pull;
mod push;
mod rfs;
mod route;
mod ship;
mod source;
mod stamps;
mod unmount;
mod unpack;
mod verify;

pub(crate) use rfs::{conf, read_conf};

use mos_oci::OciError;

use crate::context::Context;
use crate::error::{CliError, Kind, Result};

/// Flists: a filesystem in one small file, its content in a store; pack, unpack, mount, verify, compare, copy
///
/// A store is a folder, a web server or a bucket: `--store URL`, else MOS_STORE, else `default` under [stores] of mos.toml.
/// An flist never names a store, and holds no credentials.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum FlistCommand {
    Pack(pack::PackArgs),
    PackModules(pack_modules::PackModulesArgs),
    PackFirmware(pack_firmware::PackFirmwareArgs),
    Unpack(unpack::UnpackArgs),
    Mount(mount::MountArgs),
    Unmount(unmount::UnmountArgs),
    Ls(ls::LsArgs),
    Cat(cat::CatArgs),
    Inspect(inspect::InspectArgs),
    Verify(verify::VerifyArgs),
    Diff(diff::DiffArgs),
    Clone(clone::CloneArgs),
    Gc(gc::GcArgs),
    Route(route::RouteArgs),
    Convert(convert::ConvertArgs),
    Push(push::PushArgs),
    Pull(pull::PullArgs),
}

pub(crate) fn run(context: &Context, command: &FlistCommand) -> Result<()> {
    match command {
        FlistCommand::Pack(args) => pack::run(context, args),
        FlistCommand::PackModules(args) => pack_modules::run(context, args),
        FlistCommand::PackFirmware(args) => pack_firmware::run(context, args),
        FlistCommand::Unpack(args) => unpack::run(context, args),
        FlistCommand::Mount(args) => mount::run(context, args),
        FlistCommand::Unmount(args) => unmount::run(context, args),
        FlistCommand::Ls(args) => ls::run(args),
        FlistCommand::Cat(args) => cat::run(context, args),
        FlistCommand::Inspect(args) => inspect::run(args),
        FlistCommand::Verify(args) => verify::run(context, args),
        FlistCommand::Diff(args) => diff::run(context, args),
        FlistCommand::Clone(args) => clone::run(context, args),
        FlistCommand::Gc(args) => gc::run(context, args),
        FlistCommand::Convert(args) => convert::run(context, args),
        FlistCommand::Route(args) => route::run(context, args),
        FlistCommand::Push(args) => push::run(context, args),
        FlistCommand::Pull(args) => pull::run(context, args),
    }
}

/// What went wrong with a registry.
pub(crate) fn oci_error(error: OciError) -> CliError {
    let message = error.to_string();
    match error {
        OciError::Store(error) => error.into(),
        OciError::BadReference { .. } => CliError::usage(message),
        OciError::Unreachable { .. } | OciError::NotFound { .. } => CliError::not_found(message),
        OciError::Tampered { .. } | OciError::DamagedBlob { .. } => CliError::new(Kind::Trust, message),
        OciError::Denied { registry, .. } => {
            CliError::problem(message).with_hint(format!("`docker login {registry}` or `podman login {registry}`"))
        }
        _ => CliError::problem(message),
    }
}
