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
/// that all blobs are there with the right lengths.
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
    let image = flist.whole_image(context, &args.store)?;
    let depth = if args.quick { Depth::Metadata } else { Depth::Full };
    let text = format!("verifying {}", args.file.display());
    let work = context.ui.transfer(text, Some(flist.content_length()));
    let findings = image.verify(depth, &shown(&work));
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
        return Err(match missing.count() as u64 == report.objects {
            true => error.with_hint("is this the store that the flist was packed into?"),
            false => error,
        });
    }
    let (objects, noun) = flist.objects();
    let (objects, content) = (ui::count(objects, noun), ui::bytes(report.content_bytes));
    let what = if args.quick { "is complete" } else { "is whole" };
    context
        .ui
        .line(format!("{file} {what}: {objects} with {content} of content."));
    Ok(())
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
