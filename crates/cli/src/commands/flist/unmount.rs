//! `mos flist unmount`.

use std::path::PathBuf;

use mos_mount::{Unmounted, unmount};

use super::mount::mount_error;
use crate::context::Context;
use crate::error::{CliError, Result};

/// Take away what `mos flist mount` mounted, with all its layers
///
/// Works for a mount whose daemon died too. While somebody still uses the mount it is gone from the folder, and ends with the
/// last user.
///
/// Example: mos flist unmount /mnt
///
/// Exit codes: 0 fine, 1 the system refused, 4 there is no such folder, 5 nothing of ours is mounted there.
#[derive(Debug, clap::Args)]
pub(crate) struct UnmountArgs {
    /// The folder
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

pub(crate) fn run(context: &Context, args: &UnmountArgs) -> Result<()> {
    let place = args.directory.display();
    let absent = |error: &std::io::Error| error.kind() == std::io::ErrorKind::NotFound;
    if args.directory.symlink_metadata().is_err_and(|error| absent(&error)) {
        return Err(CliError::not_found(format!("{place}: there is no such folder")));
    }
    let line = match unmount(&args.directory).map_err(mount_error)? {
        Unmounted::Clean => format!("Unmounted {place}."),
        Unmounted::Lazy => format!("Unmounted {place}; somebody still uses what was there."),
    };
    context.ui.line(line);
    Ok(())
}
