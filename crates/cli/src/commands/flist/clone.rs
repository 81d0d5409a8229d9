//! `mos flist clone`.

use std::path::PathBuf;

use mos_flist::{CloneError, Depth, clone};
use serde::Serialize;

use super::open::{open_version_2, shown};
use crate::context::Context;
use crate::error::{CliError, Kind, Result};
use crate::{output, stores, ui};

/// Copy the content of an flist from one store to another
///
/// Only blobs that are missing there travel, each checked on the way; with --check also those that are damaged there. Publish the flist when this is done, not before.
///
/// Example: mos flist clone web.fl --from /srv/store --to s3://KEY:SECRET@host/bucket
///
/// Exit codes: 0 fine, 1 a store refused, 3 the content is not what was packed, 4 something cannot be found or reached, 5 somebody
/// deleted a blob that was there: clone again.
#[derive(Debug, clap::Args)]
pub(crate) struct CloneArgs {
    /// The flist
    #[arg(value_name = "F")]
    file: PathBuf,

    /// The store that has the content
    #[arg(long, value_name = "URL")]
    from: String,

    /// The store that shall have it
    #[arg(long, value_name = "URL")]
    to: String,

    /// Read what is there too, and put what is damaged again
    #[arg(long)]
    check: bool,

    /// Print what was done as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    present_blobs: u64,
    present_bytes: u64,
    copied_blobs: u64,
    copied_bytes: u64,
}

pub(crate) fn run(context: &Context, args: &CloneArgs) -> Result<()> {
    let flist = open_version_2(&args.file)?;
    stores::is_there(&args.from)?;
    let (from, to) = (stores::open_read(&args.from)?, stores::open_write(&args.to)?);
    let total = flist.blobs().iter().map(|blob| blob.length).sum();
    let work = context.ui.transfer(format!("copying to {}", to.address()), Some(total));
    let depth = if args.check { Depth::Full } else { Depth::Metadata };
    let done = clone(&flist, &*from, &*to, depth, &shown(&work)).map_err(clone_error)?;
    drop(work);
    if args.json {
        return output::json(&Report {
            present_blobs: done.present_blobs,
            present_bytes: done.present_bytes,
            copied_blobs: done.copied_blobs,
            copied_bytes: done.copied_bytes,
        });
    }
    let line = |blobs: u64, bytes: u64| format!("{} in {}", ui::bytes(bytes), ui::count(blobs, "blob"));
    output::line(ui::pairs(&[
        ("copied", line(done.copied_blobs, done.copied_bytes)),
        ("present", line(done.present_blobs, done.present_bytes)),
    ]))
}

fn clone_error(error: CloneError) -> CliError {
    let message = error.to_string();
    match error {
        CloneError::Tampered { .. } => CliError::new(Kind::Trust, message),
        CloneError::Lost { .. } => CliError::new(Kind::Conflict, message),
        CloneError::Store(error) => error.into(),
        _ => CliError::problem(message),
    }
}
