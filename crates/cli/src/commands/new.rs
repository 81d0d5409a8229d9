//! `mos new`.

use std::path::PathBuf;

use crate::context::Context;
use crate::error::{CliError, Kind, Result};

/// Write a new config repository: a complete system with two services, ready for `mos run --env dev`
#[derive(Debug, clap::Args)]
pub(crate) struct NewArgs {
    /// The folder to make; must not exist or be empty
    directory: PathBuf,

    /// The project's name [default: the folder's]
    #[arg(long)]
    name: Option<String>,
}

pub(crate) fn run(context: &Context, args: &NewArgs) -> Result<()> {
    let directory = std::path::absolute(&args.directory).map_err(crate::error::io(&args.directory))?;
    let folder = || directory.file_name().map(|name| name.to_string_lossy().into_owned());
    let Some(name) = args.name.clone().or_else(folder) else {
        return Err(
            CliError::usage(format!("{} has no name to call the project by", directory.display()))
                .with_hint("give one with --name"),
        );
    };
    let files = mos_config::scaffold(&directory, &name).map_err(|error| {
        let kind = match error {
            mos_config::ScaffoldError::NotEmpty(_) => Kind::Conflict,
            mos_config::ScaffoldError::Name(_) => Kind::Usage,
            _ => Kind::Problem,
        };
        CliError::new(kind, error.to_string())
    })?;
    context
        .ui
        .line(format!("Wrote {} files to {}.", files.len(), directory.display()));
    context
        .ui
        .line(format!("Next: cd {} && mos run --env dev", args.directory.display()));
    Ok(())
}
