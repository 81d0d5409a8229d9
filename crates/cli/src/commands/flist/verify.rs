//! `mos flist verify`.

use std::path::PathBuf;

use mos_flist::{Depth, Finding, ReadError};
use mos_store::StoreError;
use serde::Serialize;

use super::open::{Opened, shown};
use crate::context::Context;
use crate::error::{CliError, Kind, Result};
use crate::stores::StoreArgs;
use crate::{output, ui};

/// Check an flist, and that a store holds every byte of its content
///
/// Reads everything that the flist names and checks blobs, chunks and whole files against their digests; with --quick only
/// that all blobs are there with the right lengths. Of several stores, each is looked at for every blob that belongs there:
/// one that is damaged or missing in a single store is a finding, although readers take it from another.
///
/// Examples: mos flist verify web.fl --store /srv/store; mos flist verify --quick web.fl --store s3://host/bucket
///
/// Exit codes: 0 all is well, 1 something is missing or cannot be read, 3 something is not what was packed, 4 the flist or
/// the store cannot be found or reached.
#[derive(Debug, clap::Args)]
pub(crate) struct VerifyArgs {
    /// The flist
    #[arg(value_name = "F")]
    file: PathBuf,

    /// Only presence and lengths; no content is fetched
    #[arg(long)]
    quick: bool,

    #[command(flatten)]
    store: StoreArgs,

    /// Print the findings as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    digest: String,
    objects: u64,
    content_bytes: u64,
    findings: Vec<String>,
}

pub(crate) fn run(context: &Context, args: &VerifyArgs) -> Result<()> {
    let flist = Opened::open(&args.file)?;
    let depth = if args.quick { Depth::Metadata } else { Depth::Full };
    let text = format!("verifying {}", args.file.display());
    let work = context.ui.transfer(text, Some(flist.content_length()));
    let findings = flist.verify(context, &args.store, depth, &shown(&work))?;
    drop(work);
    let report = Report {
        digest: flist.digest.to_string(),
        objects: flist.objects().0,
        content_bytes: flist.content_length(),
        findings: findings.iter().map(ToString::to_string).collect(),
    };
    if args.json {
        output::json(&report)?;
    } else {
        report.findings.iter().try_for_each(output::line)?;
    }
    let file = args.file.display();
    if let Some(kind) = worst(&findings) {
        let count = ui::count(findings.len() as u64, "problem");
        let error = CliError::new(kind, format!("{file}: {count}"));
        let missing = findings.iter().filter(|finding| matches!(finding, Finding::Missing(_)));
        let all_missing = missing.count() as u64 == report.objects;
        let hint = all_missing.then(|| "is this the store that the flist was packed into?".to_owned());
        return Err(hint
            .or(mend(&findings, args))
            .into_iter()
            .fold(error, CliError::with_hint));
    }
    let (objects, noun) = flist.objects();
    let (objects, content) = (ui::count(objects, noun), ui::bytes(report.content_bytes));
    let what = if args.quick { "is complete" } else { "is whole" };
    context
        .ui
        .line(format!("{file} {what}: {objects} with {content} of content."));
    Ok(())
}

/// How to mend one of several stores.
fn mend(findings: &[Finding], args: &VerifyArgs) -> Option<String> {
    let of_one = |finding: &Finding| matches!(finding, Finding::Replica { .. });
    findings.iter().any(of_one).then(|| {
        let file = args.file.display();
        format!("`mos flist clone {file} --from GOOD --to BAD --check` mends a store from another one")
    })
}

/// The exit code that says most: tampered with, unreachable, or some other problem.
fn worst(findings: &[Finding]) -> Option<Kind> {
    let kinds: Vec<Kind> = findings.iter().map(kind).collect();
    [Kind::Trust, Kind::NotFound, Kind::Problem]
        .into_iter()
        .find(|kind| kinds.contains(kind))
}

fn kind(finding: &Finding) -> Kind {
    match finding {
        Finding::Damaged(_) | Finding::Object { .. } | Finding::Content(ReadError::Tampered { .. }) => Kind::Trust,
        Finding::Replica { finding, .. } => kind(finding),
        Finding::Store { source, .. } => store_kind(source),
        Finding::Content(ReadError::Store { source, .. }) => store_kind(source),
        _ => Kind::Problem,
    }
}

fn store_kind(error: &StoreError) -> Kind {
    match error {
        StoreError::Unreachable { .. } => Kind::NotFound,
        _ => Kind::Problem,
    }
}
