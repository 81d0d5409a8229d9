//! `mos flist pack-firmware`.

use std::path::PathBuf;

use mos_build::BuildError;

use super::ship::{self, ShipArgs};
use crate::context::{Context, now};
use crate::error::{CliError, Result, system};

/// Where firmware is in a config repository, and in a root file system.
const PLACES: [&str; 4] = [
    "firmware",
    "image/files/lib/firmware",
    "image/files/usr/lib/firmware",
    "initramfs/lib/firmware",
];

/// Pack firmware into firmware-TAG.fl, to be mounted over /lib/firmware of a node
///
/// Files belong to root and have no times: the same firmware gives the same flist, bit for bit.
///
/// Examples: mos flist pack-firmware linux-firmware --store s3://host/bucket --upload; mos flist pack-firmware --tag 20261101
///
/// Exit codes: 0 fine, 1 the folder or the disk failed, 4 the folder or the store cannot be found or reached.
#[derive(Debug, clap::Args)]
pub(crate) struct PackFirmwareArgs {
    /// The folder that becomes /lib/firmware [default: firmware of the config repository]
    directory: Option<PathBuf>,

    /// What stands behind the dash of the name [default: the date, YYYYMMDD, in UTC; that of SOURCE_DATE_EPOCH if it is set]
    #[arg(long, value_name = "T", env = "FIRMWARE_TAG", hide_env_values = true)]
    tag: Option<String>,

    #[command(flatten)]
    ship: ShipArgs,
}

pub(crate) fn run(context: &Context, args: &PackFirmwareArgs) -> Result<()> {
    let tag = match args.tag.as_deref().filter(|tag| !tag.is_empty()) {
        Some(tag) => tag.to_owned(),
        None => now()?.strftime("%Y%m%d").to_string(),
    };
    let name = ship::name("firmware", &tag)?;
    let shipment = args.ship.open(context)?;
    let directory = match &args.directory {
        Some(directory) => directory.clone(),
        None => default_directory(context)?,
    };
    let tree = mos_build::firmware_tree(&directory).map_err(tree_error)?;
    if tree.walk().nth(1).is_none() {
        return Err(CliError::not_found(format!("{} is empty", directory.display())));
    }
    shipment.send(context, &name, &tree)
}

fn default_directory(context: &Context) -> Result<PathBuf> {
    let repository = context.config().ok();
    let places = repository
        .iter()
        .flat_map(|folder| PLACES.map(|place| folder.join(place)));
    places.into_iter().find(|place| place.is_dir()).ok_or_else(|| {
        CliError::not_found("there is no firmware: no folder is named, and none of a config repository has it")
            .with_hint("name the folder, such as a checkout of linux-firmware")
    })
}

fn tree_error(error: BuildError) -> CliError {
    let message = error.to_string();
    match error {
        BuildError::Directory(error) => system(error.kind(), message),
        _ => CliError::problem(message),
    }
}
