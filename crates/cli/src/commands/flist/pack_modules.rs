//! `mos flist pack-modules`.

use std::path::{Path, PathBuf};

use mos_kernel::{KernelError, Library, SelectError};
use mos_tree::Tree;

use super::ship::{self, ShipArgs};
use crate::context::Context;
use crate::error::{CliError, Result, io};
use crate::pipeline;

/// Pack the modules of a kernel into modules-VERSION.fl, to be mounted over /lib/modules/VERSION of a node
///
/// All modules, decompressed (the flist compresses them again), with every index that modprobe and my_init read made
/// already: a node that mounts it fetches the modules that it loads and no others. The version is that of the modules,
/// never that of the kernel that runs here.
///
/// Examples: mos flist pack-modules --store s3://host/bucket --upload; mos flist pack-modules /lib/modules/6.12.44-x --store
/// /srv/store
///
/// Exit codes: 0 fine, 1 the modules are not those of one kernel, or the disk failed, 4 they or the store cannot be found or
/// reached.
#[derive(Debug, clap::Args)]
pub(crate) struct PackModulesArgs {
    /// lib/modules/VERSION, or a folder that has it below it [default: the kernel package of mos.toml, as mos.lock has it]
    directory: Option<PathBuf>,

    /// The version that it must be, as `uname -r` will say it
    #[arg(long, value_name = "V")]
    kernel_version: Option<String>,

    #[command(flatten)]
    ship: ShipArgs,
}

pub(crate) fn run(context: &Context, args: &PackModulesArgs) -> Result<()> {
    let shipment = args.ship.open(context)?;
    let package = match &args.directory {
        Some(directory) => ship::read(directory)?,
        None => pipeline::kernel_tree(context)?,
    };
    let spool = tempfile::tempdir().map_err(io(Path::new("temporary folder")))?;
    let work = context.ui.work("reading kernel modules");
    let (name, tree) = modules(&package, args.kernel_version.as_deref(), spool.path())?;
    drop(work);
    shipment.send(context, &name, &tree)
}

/// What the flist is called, and what is in it.
fn modules(package: &Tree, version: Option<&str>, spool: &Path) -> Result<(String, Tree)> {
    let library = Library::read(package, version, spool).map_err(kernel_error)?;
    let tree = library.tree().map_err(|error| CliError::problem(error.to_string()))?;
    Ok((ship::name("modules", library.version())?, tree))
}

fn kernel_error(error: SelectError) -> CliError {
    let message = error.to_string();
    match error {
        SelectError::Kernel(KernelError::Empty) => CliError::not_found(message)
            .with_hint("name the folder lib/modules/VERSION, or stand in a config repository"),
        SelectError::Kernel(KernelError::SeveralVersions(_)) => {
            CliError::usage(message).with_hint("say which one with --kernel-version")
        }
        _ => CliError::problem(message),
    }
}
