//! `mos kernels`.

mod clean;
mod index;
mod list;
mod place;

pub(crate) use place::{Place, PlaceArgs, is_wanted};

use mos_catalog::CatalogError;

use crate::context::Context;
use crate::error::{CliError, Kind, Result};

/// Boot images in a bucket or folder, by name: list, index, clean up (`mos image upload` puts them there)
#[derive(Debug, clap::Subcommand)]
pub(crate) enum KernelsCommand {
    List(list::ListArgs),
    Index(index::IndexArgs),
    Clean(clean::CleanArgs),
}

pub(crate) fn run(context: &Context, command: &KernelsCommand) -> Result<()> {
    match command {
        KernelsCommand::List(args) => list::run(context, args),
        KernelsCommand::Index(args) => index::run(context, args),
        KernelsCommand::Clean(args) => clean::run(context, args),
    }
}

pub(crate) fn catalog_error(error: CatalogError) -> CliError {
    match error {
        CatalogError::Store(error) => error.into(),
        CatalogError::BadName { .. } => CliError::usage(error.to_string()).with_hint("--name gives it another one"),
        CatalogError::Differs { .. } => CliError::new(Kind::Conflict, error.to_string()),
        CatalogError::Busy { .. } => CliError::new(Kind::Conflict, error.to_string())
            .with_hint("`mos kernels index` writes the index when it is quieter"),
        other => CliError::problem(other.to_string()),
    }
}
