//! `mos flist pull`.

use std::collections::HashSet;
use std::path::PathBuf;

use mos_flist::Flist;
use mos_oci::{Credentials, Options, Pulled, Reference, Registry, pull};
use serde::Serialize;

use super::oci_error;
use super::open::flist_error;
use super::places::check_output;
use crate::context::Context;
use crate::error::{CliError, Kind, Result, io};
use crate::stores::StoreArgs;
use crate::{output, ui};

/// Pull an flist and its content from an OCI registry
///
/// Every layer is checked against SHA-256 and BLAKE3 before it is kept; blobs that the store has are not fetched again, and the
/// flist is written last. Content can also stay in the registry: `--store oci://…` of other verbs reads it from there.
///
/// Example: mos flist pull oci://ghcr.io/team/web:1.4 -o web.fl --store /srv/store
///
/// Exit codes: 0 fine, 1 the registry refused or the disk failed, 3 something is not what its name says, 4 something cannot be
/// found or reached.
#[derive(Debug, clap::Args)]
pub(crate) struct PullArgs {
    /// oci://REGISTRY/REPOSITORY[:TAG|@sha256:DIGEST]
    #[arg(value_name = "ADDRESS")]
    from: String,

    /// Where the flist is written
    #[arg(long, short, value_name = "F")]
    output: PathBuf,

    #[command(flatten)]
    store: StoreArgs,

    /// Print what was done as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    file: String,
    digest: String,
    manifest: String,
    blobs: usize,
    fetched_layers: u64,
    fetched_bytes: u64,
}

pub(crate) fn run(context: &Context, args: &PullArgs) -> Result<()> {
    check_output(&args.output)?;
    let reference = Reference::parse(&args.from).map_err(oci_error)?;
    let store = args.store.write(context)?;
    let credentials = Credentials::find(&reference.registry).map_err(oci_error)?;
    let registry = Registry::reader(&reference, credentials, Options::default()).map_err(oci_error)?;
    let work = context.ui.transfer(format!("pulling {reference}"), Some(0));
    let pulled = pull(&registry, store.as_ref(), &|progress| {
        work.total(progress.bytes);
        work.reached(progress.bytes_done);
    })
    .map_err(oci_error)?;
    drop(work);
    let flist = Flist::parse(pulled.flist.clone()).map_err(|error| flist_error(&error, &reference.to_string()))?;
    complete(&flist, &pulled, &reference)?;
    mos_sys::durable::write(&args.output, &pulled.flist, 0o644).map_err(io(&args.output))?;
    report(args, &flist, &pulled)
}

/// An flist whose blobs the artefact does not have is of no use to anybody.
fn complete(flist: &Flist, pulled: &Pulled, reference: &Reference) -> Result<()> {
    let there: HashSet<_> = pulled.blobs.iter().copied().collect();
    let missing = flist
        .blobs()
        .iter()
        .find(|blob| !there.contains(&(blob.digest, blob.length)));
    match missing {
        None => Ok(()),
        Some(blob) => {
            let message = format!(
                "{reference}: its flist names blob {}, which is none of its layers",
                blob.digest
            );
            Err(CliError::new(Kind::Trust, message))
        }
    }
}

fn report(args: &PullArgs, flist: &Flist, pulled: &Pulled) -> Result<()> {
    let report = Report {
        file: args.output.display().to_string(),
        digest: flist.digest().to_string(),
        manifest: pulled.manifest.to_string(),
        blobs: pulled.blobs.len(),
        fetched_layers: pulled.fetched_layers,
        fetched_bytes: pulled.fetched_bytes,
    };
    if args.json {
        return output::json(&report);
    }
    output::line(ui::pairs(&[
        (
            "flist",
            format!("{}, {}", report.file, ui::bytes(pulled.flist.len() as u64)),
        ),
        ("digest", format!("blake3:{}", report.digest)),
        ("manifest", report.manifest),
        (
            "fetched",
            format!(
                "{} in {}",
                ui::bytes(report.fetched_bytes),
                ui::count(report.fetched_layers, "layer")
            ),
        ),
    ]))
}
