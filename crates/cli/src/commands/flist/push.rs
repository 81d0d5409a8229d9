//! `mos flist push`.

use std::path::PathBuf;

use mos_oci::{Content, Credentials, Options, Pushed, Reference, Registry, push};
use serde::Serialize;

use super::oci_error;
use super::open::open_version_2;
use crate::context::Context;
use crate::error::Result;
use crate::stores::StoreArgs;
use crate::{output, ui};

/// Push an flist and its content to an OCI registry
///
/// The artefact holds the flist and its blobs as layers, so that a registry is all that a reader needs; layers that are there
/// already are not sent again. Who we are is what `docker login` or `podman login` wrote down. Registries on the loopback
/// interface are spoken to over http, all others over https.
///
/// Example: mos flist push web.fl oci://ghcr.io/team/web:1.4 --store /srv/store
///
/// Exit codes: 0 fine, 1 the registry refused, 3 the store's content is not what was packed, 4 something cannot be found or
/// reached.
#[derive(Debug, clap::Args)]
pub(crate) struct PushArgs {
    /// The flist
    #[arg(value_name = "F")]
    file: PathBuf,

    /// oci://REGISTRY/REPOSITORY[:TAG]
    #[arg(value_name = "ADDRESS")]
    to: String,

    #[command(flatten)]
    store: StoreArgs,

    /// Print what was done as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    address: String,
    manifest: String,
    layers: u64,
    bytes: u64,
    uploaded_layers: u64,
    uploaded_bytes: u64,
}

pub(crate) fn run(context: &Context, args: &PushArgs) -> Result<()> {
    let reference = Reference::parse(&args.to).map_err(oci_error)?;
    let flist = open_version_2(&args.file)?;
    let store = args.store.read(context)?;
    let credentials = Credentials::find(&reference.registry).map_err(oci_error)?;
    let registry = Registry::writer(&reference, credentials, Options::default()).map_err(oci_error)?;
    let blobs: Vec<_> = flist.blobs().iter().map(|blob| (blob.digest, blob.length)).collect();
    let content = Content {
        flist: flist.as_bytes(),
        blobs: &blobs,
    };
    let work = context.ui.transfer(format!("pushing to {reference}"), Some(0));
    let pushed = push(content, store.as_ref(), &registry, &|progress| {
        work.total(progress.bytes);
        work.reached(progress.bytes_done);
    })
    .map_err(oci_error)?;
    drop(work);
    report(args, &reference, &pushed)
}

fn report(args: &PushArgs, reference: &Reference, pushed: &Pushed) -> Result<()> {
    let report = Report {
        address: reference.to_string(),
        manifest: pushed.manifest.to_string(),
        layers: pushed.layers,
        bytes: pushed.bytes,
        uploaded_layers: pushed.sent_layers,
        uploaded_bytes: pushed.sent_bytes,
    };
    if args.json {
        return output::json(&report);
    }
    output::line(ui::pairs(&[
        ("address", report.address),
        ("manifest", report.manifest),
        ("layers", format!("{}, {}", report.layers, ui::bytes(report.bytes))),
        (
            "uploaded",
            format!(
                "{} in {}",
                ui::bytes(report.uploaded_bytes),
                ui::count(report.uploaded_layers, "layer")
            ),
        ),
    ]))
}
