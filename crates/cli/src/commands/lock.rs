//! `mos lock`.

use mos_config::{Lock, LockedRequest, Plan};

use crate::context::Context;
use crate::error::{CliError, Result};
use crate::pipeline::Pipeline;
use crate::{output, ui};

/// Find out the exact state of everything an environment uses, and write mos.lock
///
/// Versions, commits and digests of components and packages. What the lock has already stays; --update asks anew, shows what
/// would change, and writes it after a yes. What only other environments use stays as it is; what no environment asks for
/// any more goes when all is asked anew.
#[derive(Debug, clap::Args)]
pub(crate) struct LockArgs {
    /// The environment, a file in environments/
    #[arg(long)]
    env: String,

    /// Ask anew for this component or package [no NAME: for all]
    #[arg(long, value_name = "NAME", num_args = 0..=1, default_missing_value = "")]
    update: Option<String>,

    /// Say what would change, and write nothing
    #[arg(long)]
    dry_run: bool,

    /// Write what --update found without asking
    #[arg(long)]
    yes: bool,
}

pub(crate) fn run(context: &Context, args: &LockArgs) -> Result<()> {
    let before = Lock::read(&context.config()?).map_err(|error| CliError::problem(error.to_string()))?;
    if let Some(name) = args.update.as_deref().filter(|name| !name.is_empty())
        && !names(&before).any(|known| known == name)
    {
        return Err(unknown(&before, name));
    }
    let mut pipeline = Pipeline::open_unlocked(context, &args.env, |lock| {
        if let Some(name) = &args.update {
            forget(lock, name);
        }
    })?;
    pipeline.resolve()?;
    match args.update.as_deref() {
        Some("") => match other_plans(context, &args.env, &before) {
            Ok(others) => pipeline.keep_in_lock_for(before.clone(), &others)?,
            Err(error) => {
                context.ui.line(format!("warning: {error}"));
                context
                    .ui
                    .line("What only other environments use stays in the lock: not all of them can be read.");
                pipeline.keep_in_lock(&before);
            }
        },
        Some(_) => pipeline.keep_in_lock(&before),
        None => {}
    }
    let changes = changes(&before, pipeline.lock());
    changes.iter().try_for_each(output::line)?;
    if changes.is_empty() {
        context.ui.line("The lock is up to date.");
    }
    if args.dry_run {
        return Ok(());
    }
    let count = ui::count(changes.len() as u64, "change");
    let is_preview = args.update.is_some() && !changes.is_empty();
    if is_preview && !args.yes && !context.ui.confirm(&format!("Write {count} into the lock?")) {
        context
            .ui
            .line(format!("Nothing was written: {count} would be with --yes."));
        return Ok(());
    }
    pipeline.write_lock()
}

/// Those of the other environments.
fn other_plans(context: &Context, environment: &str, lock: &Lock) -> Result<Vec<Plan>> {
    let repository = context.load()?.repository;
    let names = repository
        .into_iter()
        .flat_map(|repository| repository.environments.into_keys());
    names
        .filter(|name| name != environment)
        .map(|name| context.plan_with(&name, lock))
        .collect()
}

fn unknown(lock: &Lock, name: &str) -> CliError {
    let error = CliError::not_found(format!("mos.lock has neither component nor package `{name}`"));
    match mos_toml::nearest(name, names(lock)) {
        Some(near) => error.with_hint(format!("did you mean `{near}`?")),
        None => error,
    }
}

/// Everything that --update may name.
fn names(lock: &Lock) -> impl Iterator<Item = &str> {
    let components = lock.components().map(|entry| entry.name.as_str());
    let packages = lock.packages().map(|entry| entry.name.as_str());
    let apks = lock.apks().map(|entry| entry.name.as_str());
    let wanted = lock
        .requests()
        .flat_map(|request| request.wanted.iter().map(String::as_str));
    components.chain(packages).chain(apks).chain(wanted)
}

/// Drops what has this name, or all when it is empty. A package goes with every request that it answers.
fn forget(lock: &mut Lock, name: &str) {
    lock.retain_components(|entry| !name.is_empty() && entry.name != name);
    let apks = lock.apks().filter(|entry| entry.name == name);
    let apks: Vec<String> = apks.map(|entry| entry.full_name()).collect();
    lock.retain_requests(|request| {
        !name.is_empty()
            && !request
                .wanted
                .iter()
                .chain(&request.packages)
                .any(|package| package == name || apks.contains(package))
    });
}

/// What is new, changed and gone, a line each.
fn changes(before: &Lock, after: &Lock) -> Vec<String> {
    let (old, new) = (entries(before), entries(after));
    let mut lines = Vec::new();
    for (name, state) in &new {
        match old.iter().find(|(other, _)| other == name) {
            None => lines.push(format!("+ {name} {state}")),
            Some((_, other)) if other != state => lines.push(format!("~ {name} {other} -> {state}")),
            Some(_) => {}
        }
    }
    let gone = old
        .iter()
        .filter(|(name, _)| !new.iter().any(|(other, _)| other == name));
    lines.extend(gone.map(|(name, state)| format!("- {name} {state}")));
    let questions: Vec<_> = after.requests().map(question).collect();
    let dropped = before
        .requests()
        .filter(|request| !questions.contains(&question(request)));
    lines.extend(dropped.map(|request| format!("- request {}", request.wanted.join(" "))));
    lines
}

/// What was asked, and of whom.
fn question(request: &LockedRequest) -> (&str, &[String]) {
    (&request.from, &request.wanted)
}

/// Every entry: what it is, and its state.
fn entries(lock: &Lock) -> Vec<(String, String)> {
    let components = lock.components().map(|entry| {
        let digest = &entry.digest[..entry.digest.len().min(12)];
        (
            format!("component {} ({})", entry.name, entry.reference),
            format!("{} {digest}", entry.version),
        )
    });
    let packages = lock
        .packages()
        .map(|entry| (format!("package {}", entry.name), entry.version.clone()));
    let apks = lock
        .apks()
        .map(|entry| (format!("package {} (Alpine)", entry.name), entry.version.clone()));
    components.chain(packages).chain(apks).collect()
}
