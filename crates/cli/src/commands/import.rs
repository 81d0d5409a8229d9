//! `mos import`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use mos_import::{Checkout, CheckoutError, Import, Planned, WriteError};
use mos_toml::Severity;
use serde::Serialize;

use crate::commands::validate::{self, Found};
use crate::context::Context;
use crate::error::{CliError, Kind, Result, io, system};
use crate::{output, ui};

/// Make a config repository of a checkout of mos_builder
///
/// Its packages.list, modules.conf, sources.conf with the build functions, rfs.conf, kernel configuration, and services of
/// zinit and my_init are taken as they are; nothing of the checkout is changed or run. Every line that cannot be taken over
/// is named with its place, all of them at once; then nothing is written, unless --partial leaves them out.
#[derive(Debug, clap::Args)]
pub(crate) struct ImportArgs {
    /// The checkout
    checkout: PathBuf,

    /// The folder to make; must not exist or be empty
    #[arg(required_unless_present = "dry_run")]
    directory: Option<PathBuf>,

    /// The project's name [default: the checkout's folder]
    #[arg(long)]
    name: Option<String>,

    /// Leave out what cannot be taken over, and write the rest
    #[arg(long)]
    partial: bool,

    /// Say what would be written, and write nothing
    #[arg(long)]
    dry_run: bool,

    /// Print the plan as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report<'i> {
    name: &'i str,
    files: &'i BTreeMap<String, Planned>,
    problems: Vec<Found<'i>>,
}

pub(crate) fn run(context: &Context, args: &ImportArgs) -> Result<()> {
    let checkout = Checkout::read(&args.checkout).map_err(checkout_error)?;
    let name = args.name.as_deref().unwrap_or(&checkout.name);
    let mut import = mos_import::plan(&checkout, name);
    if args.partial {
        import.leave_out();
    }
    let positions = import
        .problems
        .iter_mut()
        .filter_map(|problem| problem.position.as_mut());
    for position in positions.filter(|position| checkout.files.contains_key(&position.file)) {
        position.file = args.checkout.join(&position.file).display().to_string();
    }
    tell(&import, args)?;
    let errors = import
        .problems
        .iter()
        .filter(|problem| problem.severity == Severity::Error)
        .count();
    if errors > 0 && !args.partial {
        let lines = ui::count(errors as u64, "line");
        return Err(
            CliError::problem(format!("{lines} cannot be taken over: nothing was written"))
                .with_hint("mend them in the checkout, or leave them out with --partial"),
        );
    }
    match &args.directory {
        Some(directory) if !args.dry_run => write(context, &import, directory),
        _ => Ok(()),
    }
}

/// Prints the plan, and what is to be said about it.
fn tell(import: &Import, args: &ImportArgs) -> Result<()> {
    if args.json {
        return output::json(&Report {
            name: &import.name,
            files: &import.files,
            problems: import.problems.iter().map(validate::found).collect(),
        });
    }
    if args.dry_run {
        let cells = |(path, planned): (&String, &Planned)| {
            vec![path.clone(), planned.from.clone().unwrap_or_else(|| "mos".to_owned())]
        };
        let rows: Vec<Vec<String>> = import.files.iter().map(cells).collect();
        output::line(ui::table(&["FILE", "FROM"], &rows))?;
    }
    import.problems.iter().for_each(output::say);
    Ok(())
}

fn write(context: &Context, import: &Import, directory: &Path) -> Result<()> {
    import.write(directory).map_err(|error| match error {
        WriteError::NotEmpty(_) => CliError::new(Kind::Conflict, error.to_string()).with_hint("choose a new directory"),
        WriteError::Io { path, source } => io(&path)(source),
        other => CliError::problem(other.to_string()),
    })?;
    let shown = directory.display();
    context
        .ui
        .line(format!("Wrote {} files to {shown}.", import.files.len()));
    let project = import
        .files
        .get("mos.toml")
        .map(|file| String::from_utf8_lossy(&file.bytes));
    if project.is_some_and(|text| !text.contains("\nmirror = ")) {
        let hint = "Alpine's packages come from the mirror that you name: `mirror` in [alpine] of mos.toml, or MOS_ALPINE_MIRROR.";
        context.ui.line(hint);
    }
    context
        .ui
        .line(format!("Next: cd {shown} && mos validate && mos run --env dev"));
    Ok(())
}

fn checkout_error(error: CheckoutError) -> CliError {
    let message = error.to_string();
    match error {
        CheckoutError::None(_) => CliError::not_found(message),
        CheckoutError::Io { source, .. } => system(source.kind(), message),
        _ => CliError::problem(message),
    }
}
