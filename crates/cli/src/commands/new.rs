//! `mos new`.

use std::path::{Path, PathBuf};

use clap::ValueEnum;

use crate::context::Context;
use crate::error::{CliError, Kind, Result};

/// Write a new config repository: a complete system with two services, ready for `mos run --env dev`
///
/// With --ci, a workflow that builds, boots and uploads its nodes comes with it; in a config repository that is there
/// already, that is all that is written.
#[derive(Debug, clap::Args)]
pub(crate) struct NewArgs {
    /// The folder to make; must not exist or be empty
    directory: PathBuf,

    /// The project's name [default: the folder's]
    #[arg(long)]
    name: Option<String>,

    /// Write a workflow for this kind of server too (can be repeated)
    #[arg(long, value_enum, value_name = "SERVER")]
    ci: Vec<Server>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Server {
    /// .github/workflows/mos.yml
    Github,
    /// .forgejo/workflows/mos.yml
    Forgejo,
}

pub(crate) fn run(context: &Context, args: &NewArgs) -> Result<()> {
    let directory = std::path::absolute(&args.directory).map_err(crate::error::io(&args.directory))?;
    if !args.ci.is_empty() && directory.join("mos.toml").is_file() {
        if args.name.is_some() {
            return Err(CliError::usage(format!("{} has a name already", directory.display())));
        }
        return write_workflows(context, &directory, &args.ci);
    }
    let folder = || directory.file_name().map(|name| name.to_string_lossy().into_owned());
    let Some(name) = args.name.clone().or_else(folder) else {
        return Err(
            CliError::usage(format!("{} has no name to call the project by", directory.display()))
                .with_hint("give one with --name"),
        );
    };
    let files = mos_config::scaffold(&directory, &name).map_err(error)?;
    context
        .ui
        .line(format!("Wrote {} files to {}.", files.len(), directory.display()));
    write_workflows(context, &directory, &args.ci)?;
    context
        .ui
        .line(format!("Next: cd {} && mos run --env dev", args.directory.display()));
    Ok(())
}

fn write_workflows(context: &Context, directory: &Path, servers: &[Server]) -> Result<()> {
    for server in servers {
        let ci = match server {
            Server::Github => mos_config::Ci::GitHub,
            Server::Forgejo => mos_config::Ci::Forgejo,
        };
        let path = ci.write(directory).map_err(error)?;
        context
            .ui
            .line(format!("Wrote {}: its head says what it needs.", path.display()));
    }
    Ok(())
}

pub(crate) fn error(error: mos_config::ScaffoldError) -> CliError {
    let kind = match error {
        mos_config::ScaffoldError::NotEmpty(_) | mos_config::ScaffoldError::Exists(_) => Kind::Conflict,
        mos_config::ScaffoldError::Name(_) => Kind::Usage,
        _ => Kind::Problem,
    };
    CliError::new(kind, error.to_string())
}
