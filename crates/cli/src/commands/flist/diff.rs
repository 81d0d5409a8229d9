//! `mos flist diff`.

use std::path::PathBuf;
use std::sync::Arc;

use mos_flist::{Change, Difference, Image, Reader, Transfer, diff, transfer};
use mos_store::Memory;
use serde::Serialize;

use super::open::{Format, Opened, read_error};
use crate::context::Context;
use crate::error::{CliError, Kind, Result};
use crate::stores::StoreArgs;
use crate::{output, ui};

/// Show what two flists have different, and what has to travel from the one to the other
///
/// One line for each name: `+` only B has it, `-` only A has it, `~` both have it, and what of it is different. Two flists of
/// version 2 are compared without their content; others are read where digests do not say it.
///
/// Example: mos flist diff old.fl new.fl
///
/// Exit codes: 0 no difference, 1 differences, 3 content is not what was packed, 4 something cannot be found or reached.
#[derive(Debug, clap::Args)]
pub(crate) struct DiffArgs {
    /// The first flist
    #[arg(value_name = "A")]
    first: PathBuf,

    /// The second flist
    #[arg(value_name = "B")]
    second: PathBuf,

    #[command(flatten)]
    store: StoreArgs,

    /// Print as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    changes: Vec<Row>,
    /// What who has A and its content needs for B.
    #[serde(skip_serializing_if = "Option::is_none")]
    transfer: Option<Needed>,
}

#[derive(Serialize)]
struct Row {
    path: String,
    change: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    what: Vec<String>,
}

#[derive(Serialize)]
struct Needed {
    chunks: u64,
    chunk_bytes: u64,
    /// A node fetches these.
    frames: u64,
    frame_bytes: u64,
    /// A store takes these.
    blobs: u64,
    blob_bytes: u64,
    flist_bytes: u64,
}

pub(crate) fn run(context: &Context, args: &DiffArgs) -> Result<()> {
    let (first, second) = (Opened::open(&args.first)?, Opened::open(&args.second)?);
    let needed = match (&first.format, &second.format) {
        (Format::Mos(old), Format::Mos(new)) => Some(transfer(old, new)),
        _ => None,
    };
    let image = |opened: &Opened| match &opened.format {
        // What has all digests is compared without reading any content.
        Format::Mos(flist) if needed.is_some() => {
            Ok(Arc::new(Reader::new(flist.clone(), Arc::new(Memory::new()))) as Arc<dyn Image>)
        }
        _ => opened.image(context, &args.store),
    };
    let (old, new) = (image(&first)?, image(&second)?);
    let work = context.ui.work("comparing");
    let changes = diff(&*old, &*new).map_err(read_error)?;
    drop(work);
    if args.json {
        output::json(&Report {
            changes: changes.iter().map(row).collect(),
            transfer: needed.map(as_report),
        })?;
    } else {
        changes.iter().try_for_each(output::line)?;
    }
    if changes.is_empty() {
        context.ui.line("No difference.");
        return Ok(());
    }
    if let Some(needed) = needed {
        context.ui.line(summary(&needed));
    }
    Err(CliError::said(Kind::Problem))
}

/// What an upgrade costs.
fn summary(needed: &Transfer) -> String {
    let [frames, blobs, flist] = [needed.frame_bytes, needed.blob_bytes, needed.flist_bytes].map(ui::bytes);
    format!("A node that has the first fetches {frames} for the second; a store takes {blobs}; the flist has {flist}.")
}

fn row(change: &Change) -> Row {
    let (name, what) = match &change.what {
        Difference::Added => ("added", Vec::new()),
        Difference::Removed => ("removed", Vec::new()),
        Difference::Changed(aspects) => ("changed", aspects.iter().map(ToString::to_string).collect()),
    };
    Row {
        path: String::from_utf8_lossy(&change.path).into_owned(),
        change: name,
        what,
    }
}

fn as_report(needed: Transfer) -> Needed {
    Needed {
        chunks: needed.chunks,
        chunk_bytes: needed.chunk_bytes,
        frames: needed.frames,
        frame_bytes: needed.frame_bytes,
        blobs: needed.blobs,
        blob_bytes: needed.blob_bytes,
        flist_bytes: needed.flist_bytes,
    }
}
