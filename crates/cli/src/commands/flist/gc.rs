//! `mos flist gc`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use mos_flist::Flist;
use mos_flist::gc::{BLOBS, Collected, Collection, Verdict, collect, plan, spare_foreign};
use mos_store::{Listed, Write};
use serde::Serialize;

use super::open::{Format, Opened, open_version_2, shown};
use crate::context::Context;
use crate::error::{CliError, Kind, Result};
use crate::{output, stores, ui};

/// Delete the blobs of a store that no kept flist names
///
/// Shows what would go, and deletes it only with --yes or after a yes on a terminal. Flists that lie in the store itself (*.fl,
/// those of a channel and those below manifests/) are kept too. Blobs younger than --grace stay: they may belong to an upload
/// that still runs, or to an flist that is not kept yet. Packing into the store may go on meanwhile. Blocks of the older format
/// always stay.
///
/// Examples: mos flist gc /srv/store --keep web.fl db.fl; mos flist gc s3://KEY:SECRET@host/bucket --keep *.fl --grace 7d --yes
///
/// Exit codes: 0 fine, 1 the store refused, 4 something cannot be found or reached, 5 a kept flist names blobs that the store
/// does not have: nothing is deleted then.
#[derive(Debug, clap::Args)]
pub(crate) struct GcArgs {
    /// The store
    #[arg(value_name = "STORE")]
    store: String,

    /// The flists that shall stay readable
    #[arg(long, value_name = "F", num_args = 1.., required = true)]
    keep: Vec<PathBuf>,

    /// How old a blob must be to go: a number and s, m, h or d
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = parse_duration)]
    grace: Duration,

    /// Delete without asking
    #[arg(long)]
    yes: bool,

    /// Print as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    delete: Vec<Blob>,
    delete_bytes: u64,
    needed: usize,
    young: usize,
    /// Objects that are no blobs, or whose age the store does not say.
    other: usize,
    /// Needed, but most of it is not.
    mostly_dead: Vec<Blob>,
    /// Whether it was done.
    deleted: Option<Deleted>,
}

#[derive(Serialize)]
struct Blob {
    name: String,
    bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    needed_bytes: Option<u64>,
}

#[derive(Serialize)]
struct Deleted {
    blobs: u64,
    bytes: u64,
    changed: u64,
}

pub(crate) fn run(context: &Context, args: &GcArgs) -> Result<()> {
    stores::is_there(&args.store)?;
    let store = stores::open_write(&args.store)?;
    let mut kept = args
        .keep
        .iter()
        .map(|path| open_version_2(path))
        .collect::<Result<Vec<_>>>()?;
    let mut listing = store.list_entries("")?;
    kept.extend(own_flists(&*store, &listing)?);
    listing.retain(|listed| listed.name.starts_with(BLOBS));
    let claims = mos_flist::claims(&*store)?;
    let mut collection = plan(&listing, &kept, &claims, SystemTime::now(), args.grace);
    if let Some(missing) = collection.missing.first() {
        let count = ui::count(collection.missing.len() as u64, "blob");
        let message = format!("{}: {count} of kept flists missing, such as {missing}", store.address());
        return Err(
            CliError::new(Kind::Conflict, message).with_hint("is this the store that these flists were packed into?")
        );
    }
    spare_foreign(&mut collection, &*store)?;
    let mut report = report(&collection);
    if !args.json {
        show(&report)?;
    }
    if !report.delete.is_empty() && agreed(context, args, &report) {
        let work = context
            .ui
            .transfer(format!("deleting from {}", store.address()), Some(report.delete_bytes));
        let done = collect(&collection, &*store, &shown(&work))?;
        drop(work);
        report.deleted = Some(deleted(done));
    }
    if args.json {
        return output::json(&report);
    }
    context.ui.line(outcome(&report));
    Ok(())
}

/// The flists that lie in the store itself: those of a channel, which its releases name, and those that packers put below
/// `manifests/` or whatever folder they were told.
fn own_flists(store: &dyn Write, all: &[Listed]) -> Result<Vec<Arc<Flist>>> {
    let mut kept = Vec::new();
    for name in all
        .iter()
        .map(|listed| &listed.name)
        .filter(|name| name.ends_with(".fl"))
    {
        let place = format!("{}/{name}", store.address());
        match Opened::parse(store.get(name, MAX_FLIST)?, &place)?.format {
            Format::Mos(flist) => kept.push(flist),
            // Its content are blocks, which are no blobs and stay in any case.
            Format::Rfs(_) => {}
        }
    }
    Ok(kept)
}

/// Largest flist that is read, in bytes.
const MAX_FLIST: u64 = 1 << 30;

fn agreed(context: &Context, args: &GcArgs, report: &Report) -> bool {
    let (count, bytes) = (
        ui::count(report.delete.len() as u64, "blob"),
        ui::bytes(report.delete_bytes),
    );
    args.yes || (!args.json && context.ui.confirm(&format!("Delete {count}, {bytes}?")))
}

fn report(collection: &Collection) -> Report {
    let count = |wanted: fn(&Verdict) -> bool| {
        collection
            .objects
            .iter()
            .filter(|judged| wanted(&judged.verdict))
            .count()
    };
    let dead = collection.dead().map(|object| Blob {
        name: object.name.clone(),
        bytes: object.length,
        needed_bytes: None,
    });
    let mostly_dead = collection.mostly_dead().map(|(object, needed)| Blob {
        name: object.name.clone(),
        bytes: object.length,
        needed_bytes: Some(needed),
    });
    Report {
        delete: dead.collect(),
        delete_bytes: collection.dead().map(|object| object.length).sum(),
        needed: count(|verdict| matches!(verdict, Verdict::Needed { .. })),
        young: count(|verdict| matches!(verdict, Verdict::Young | Verdict::Claimed)),
        other: count(|verdict| matches!(verdict, Verdict::AgeUnknown | Verdict::Foreign)),
        mostly_dead: mostly_dead.collect(),
        deleted: None,
    }
}

fn deleted(done: Collected) -> Deleted {
    Deleted {
        blobs: done.blobs,
        bytes: done.bytes,
        changed: done.changed,
    }
}

fn show(report: &Report) -> Result<()> {
    for blob in &report.delete {
        output::line(format!("delete {}  {}", blob.name, ui::bytes(blob.bytes)))?;
    }
    for blob in &report.mostly_dead {
        let needed = ui::bytes(blob.needed_bytes.unwrap_or_default());
        output::line(format!(
            "mostly unused {}  {needed} of {}",
            blob.name,
            ui::bytes(blob.bytes)
        ))?;
    }
    Ok(())
}

fn outcome(report: &Report) -> String {
    let kept = format!(
        "{} needed, {} young, {} other objects stay",
        report.needed, report.young, report.other
    );
    match &report.deleted {
        Some(done) => {
            let changed = match done.changed {
                0 => String::new(),
                count => format!(", {count} changed meanwhile and stayed"),
            };
            format!(
                "Deleted {}, {}{changed}; {kept}.",
                ui::count(done.blobs, "blob"),
                ui::bytes(done.bytes)
            )
        }
        None if report.delete.is_empty() => format!("Nothing to delete; {kept}."),
        None => {
            let (count, bytes) = (
                ui::count(report.delete.len() as u64, "blob"),
                ui::bytes(report.delete_bytes),
            );
            format!("Nothing was deleted: {count}, {bytes}, would go with --yes; {kept}.")
        }
    }
}

/// `24h`: a number and a unit.
fn parse_duration(text: &str) -> std::result::Result<Duration, String> {
    let wrong = || "expected a number and s, m, h or d, such as 24h".to_owned();
    let unit = text.chars().last().ok_or_else(wrong)?;
    let seconds: u64 = match unit {
        's' => 1,
        'm' => 60,
        'h' => 60 * 60,
        'd' => 24 * 60 * 60,
        _ => return Err(wrong()),
    };
    let count: u64 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    count.checked_mul(seconds).map(Duration::from_secs).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, seconds) in [("0s", 0), ("90s", 90), ("5m", 300), ("24h", 86_400), ("7d", 604_800)] {
            assert_eq!(parse_duration(text), Ok(Duration::from_secs(seconds)));
        }
        for text in ["", "h", "24", "-1h", "1w", "1.5h", "é", "99999999999999999d"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }
}
