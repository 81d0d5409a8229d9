//! `mos validate`.

use serde::Serialize;

use crate::context::Context;
use crate::error::{self, CliError, Result};
use crate::output;

/// Check the config repository and say everything that is wrong with it
///
/// Every problem names file, line and column. Production environments are held to their rules: exact versions only, no
/// developer's key, no passwordless sudo. Exits 1 when there is an error.
#[derive(Debug, clap::Args)]
pub(crate) struct ValidateArgs {
    /// Check one environment and what it uses [default: all]
    #[arg(long)]
    env: Option<String>,

    /// Print the problems as JSON
    #[arg(long)]
    json: bool,
}

/// A problem as JSON has it.
#[derive(Serialize)]
pub(crate) struct Found<'p> {
    severity: &'static str,
    file: Option<&'p str>,
    line: Option<usize>,
    column: Option<usize>,
    message: &'p str,
    hint: Option<&'p str>,
}

pub(crate) fn run(context: &Context, args: &ValidateArgs) -> Result<()> {
    let loaded = context.load()?;
    if let (Some(name), Some(repository)) = (&args.env, &loaded.repository)
        && let Err(error @ mos_config::ResolveError::UnknownEnvironment { .. }) =
            mos_config::resolve(repository, name, &repository.lock)
    {
        return Err(CliError::not_found(error.to_string()));
    }
    let problems = loaded.problems(args.env.as_deref());
    if args.json {
        output::json(&problems.iter().map(found).collect::<Vec<_>>())?;
    } else {
        problems.iter().try_for_each(output::line)?;
    }
    let errors = problems
        .iter()
        .filter(|problem| problem.severity == mos_toml::Severity::Error)
        .count();
    if errors > 0 {
        return Err(error::found(errors));
    }
    let environments = loaded.repository.map_or(0, |repository| repository.environments.len());
    match &args.env {
        Some(name) => context.ui.line(format!("Environment {name} is valid.")),
        None => context
            .ui
            .line(format!("The config repository is valid; environments: {environments}.")),
    }
    Ok(())
}

pub(crate) fn found(problem: &mos_toml::Problem) -> Found<'_> {
    let position = problem.position.as_ref();
    Found {
        severity: match problem.severity {
            mos_toml::Severity::Warning => "warning",
            mos_toml::Severity::Error => "error",
        },
        file: position.map(|place| place.file.as_str()),
        line: position.map(|place| place.line),
        column: position.map(|place| place.column),
        message: &problem.message,
        hint: problem.hint.as_deref(),
    }
}
