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
    let mut before = Lock::default();
    let mut missing = None;
    let mut pipeline = Pipeline::open_unlocked(context, &args.env, |lock| {
        before = lock.clone();
        if let Some(name) = &args.update {
            missing = unknown(lock, name);
            forget(lock, name);
        }
    })?;
    if let Some(error) = missing {
        return Err(error);
    }
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
    if *pipeline.lock() == before {
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

/// The error for a name, not empty, of which the lock knows nothing.
fn unknown(lock: &Lock, name: &str) -> Option<CliError> {
    if name.is_empty() || names(lock).any(|known| known == name) {
        return None;
    }
    let error = CliError::not_found(format!("mos.lock has neither component nor package `{name}`"));
    Some(match mos_toml::nearest(name, names(lock)) {
        Some(near) => error.with_hint(format!("did you mean `{near}`?")),
        None => error,
    })
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
    let in_old = |entry: &Entry| old.iter().find(|other| other.name == entry.name);
    let mut lines: Vec<String> = new
        .iter()
        .filter_map(|entry| match in_old(entry) {
            None => Some(format!("+ {} {}", entry.name, entry.state)),
            Some(before) => before.change_to(entry),
        })
        .collect();
    let gone = old
        .iter()
        .filter(|entry| !new.iter().any(|other| other.name == entry.name));
    lines.extend(gone.map(|entry| format!("- {} {}", entry.name, entry.state)));
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

/// What the lock has of one thing.
struct Entry {
    /// What it is.
    name: String,
    /// For people: its version.
    state: String,
    /// Of its bytes.
    digest: String,
}

impl Entry {
    /// The same version with other bytes is what a lock is there to show.
    fn change_to(&self, new: &Self) -> Option<String> {
        if self.state != new.state {
            return Some(format!("~ {} {} -> {}", new.name, self.state, new.state));
        }
        (self.digest != new.digest).then(|| {
            let (old, now) = (short(&self.digest), short(&new.digest));
            format!("~ {} {}, other bytes: {old} -> {now}", new.name, new.state)
        })
    }
}

/// As much of a digest as tells two apart.
fn short(digest: &str) -> &str {
    digest.get(..12).unwrap_or(digest)
}

fn entries(lock: &Lock) -> Vec<Entry> {
    let components = lock.components().map(|entry| Entry {
        name: format!("component {} ({})", entry.name, entry.reference),
        state: format!("{} {}", entry.version, short(&entry.digest)),
        digest: entry.digest.clone(),
    });
    let packages = lock.packages().map(|entry| Entry {
        name: format!("package {}", entry.name),
        state: entry.version.clone(),
        digest: entry.sha256.clone(),
    });
    let apks = lock.apks().map(|entry| Entry {
        name: format!("package {} (Alpine)", entry.name),
        state: entry.version.clone(),
        digest: entry.sha256.clone(),
    });
    components.chain(packages).chain(apks).collect()
}
