//! `mos lock`.

use mos_config::Lock;

use crate::context::Context;
use crate::error::{CliError, Result};
use crate::output;
use crate::pipeline::Pipeline;

/// Find out the exact state of everything an environment uses, and write mos.lock
///
/// Versions, commits and digests of components and packages. What the lock has already stays; --update asks anew.
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
}

pub(crate) fn run(context: &Context, args: &LockArgs) -> Result<()> {
    let before = Lock::read(&context.config()?).map_err(|error| CliError::problem(error.to_string()))?;
    if let Some(name) = args.update.as_deref().filter(|name| !name.is_empty())
        && !knows(&before, name)
    {
        return Err(CliError::not_found(format!(
            "mos.lock has neither component nor package `{name}`"
        )));
    }
    let mut pipeline = Pipeline::open_unlocked(context, &args.env, |lock| {
        if let Some(name) = &args.update {
            forget(lock, name);
        }
    })?;
    pipeline.resolve()?;
    let changes = changes(&before, pipeline.lock());
    changes.iter().try_for_each(output::line)?;
    if changes.is_empty() {
        context.ui.line("The lock is up to date.");
    }
    if args.dry_run { Ok(()) } else { pipeline.write_lock() }
}

fn knows(lock: &Lock, name: &str) -> bool {
    lock.components().any(|entry| entry.name == name)
        || lock.packages().any(|entry| entry.name == name)
        || lock.apks().any(|entry| entry.name == name)
        || lock
            .requests()
            .any(|request| request.wanted.iter().any(|wanted| wanted == name))
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
    lines
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
