//! `mos flist clone`.

use std::path::PathBuf;

use mos_flist::{CloneError, Depth, Flist, clone};
use mos_rfs::{Rfs, Targets};
use mos_store::Options;
use serde::Serialize;

use super::open::{Format, Opened, shown};
use super::places::check_output;
use super::rfs;
use crate::context::Context;
use crate::error::{CliError, Kind, Result};
use crate::stores::StoreArgs;
use crate::{output, stores, ui};

/// Copy the content of an flist from one store to another
///
/// Only blobs that are missing there travel, each checked on the way; with --check also those that are damaged there. Publish
/// the flist when this is done, not before. An flist of the older format names its stores: --output writes one that names the
/// new store, without its password, in their place.
///
/// Examples: mos flist clone web.fl --from /srv/store --to s3://KEY:SECRET@host/bucket; mos flist clone old.fl --to /srv/blocks
/// --output new.fl
///
/// Exit codes: 0 fine, 1 a store refused, 3 the content is not what was packed, 4 something cannot be found or reached, 5 somebody
/// deleted a blob that was there: clone again.
#[derive(Debug, clap::Args)]
pub(crate) struct CloneArgs {
    /// The flist
    #[arg(value_name = "F")]
    file: PathBuf,

    /// The store that has the content [default for the older format: those that the flist names]
    #[arg(long, value_name = "URL")]
    from: Option<String>,

    /// The store that shall have it
    #[arg(long, value_name = "URL")]
    to: String,

    /// Where an flist of the older format is written that names the new store
    #[arg(long, short, value_name = "G")]
    output: Option<PathBuf>,

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

/// Of the older format.
#[derive(Serialize)]
struct BlocksReport {
    blocks: u64,
    copied_blocks: u64,
    copied_bytes: u64,
    /// The stores that the new flist names.
    routes: Vec<String>,
}

pub(crate) fn run(context: &Context, args: &CloneArgs) -> Result<()> {
    match Opened::open(&args.file)?.format {
        Format::Mos(flist) => run_mos(context, args, &flist),
        Format::Rfs(rfs) => run_rfs(context, args, &rfs),
    }
}

fn run_mos(context: &Context, args: &CloneArgs, flist: &Flist) -> Result<()> {
    if args.output.is_some() {
        let message = "--output: an flist of version 2 names no store, and stays as it is";
        return Err(CliError::usage(message));
    }
    let from = args.from.as_ref();
    let from = from.ok_or_else(|| CliError::usage("--from is missing: an flist of version 2 names no store"))?;
    stores::is_there(from)?;
    let (from, to) = (stores::open_read(from)?, stores::open_write(&args.to)?);
    let total = flist.blobs().iter().map(|blob| blob.length).sum();
    let work = context.ui.transfer(format!("copying to {}", to.address()), Some(total));
    let done = clone(flist, &*from, &*to, depth(args), &shown(&work)).map_err(clone_error)?;
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

fn depth(args: &CloneArgs) -> Depth {
    match args.check {
        true => Depth::Full,
        false => Depth::Metadata,
    }
}

fn run_rfs(context: &Context, args: &CloneArgs, rfs: &Rfs) -> Result<()> {
    if let Some(output) = &args.output {
        check_output(output)?;
    }
    let from = StoreArgs::of(args.from.iter().cloned().collect());
    if let Some(given) = &args.from {
        stores::is_there(given)?;
    }
    let from = rfs::stores_of(&from.options()?, rfs)?;
    let to = rfs::parse(&StoreArgs::of(vec![args.to.clone()]).options()?)?;
    let to = Targets::open(&to, &Options::default()).map_err(rfs::route_error)?;
    let work = context
        .ui
        .work(format!("copying the blocks of {}", args.file.display()));
    let done = mos_rfs::clone(rfs, &from, &to, depth(args), &|_| ()).map_err(blocks_error)?;
    drop(work);
    let routes = match &args.output {
        Some(output) => {
            let mut renamed = rfs.clone();
            *renamed.routes_mut() = to.routes(true);
            renamed.save(output).map_err(rfs::file_error)?;
            renamed.routes().iter().map(ToString::to_string).collect()
        }
        None => Vec::new(),
    };
    let report = BlocksReport {
        blocks: done.blocks,
        copied_blocks: done.copied_blocks,
        copied_bytes: done.copied_bytes,
        routes,
    };
    match args.json {
        true => output::json(&report),
        false => output::line(text(&report)),
    }
}

fn text(report: &BlocksReport) -> String {
    let present = ui::count(report.blocks - report.copied_blocks, "block");
    let copied = ui::count(report.copied_blocks, "block");
    let mut pairs = vec![
        ("copied", format!("{} in {copied}", ui::bytes(report.copied_bytes))),
        ("present", present),
    ];
    pairs.extend(report.routes.iter().map(|route| ("route", route.clone())));
    ui::pairs(&pairs)
}

fn blocks_error(error: mos_rfs::CloneError) -> CliError {
    let message = error.to_string();
    match error {
        mos_rfs::CloneError::Tampered { .. } => CliError::new(Kind::Trust, message),
        mos_rfs::CloneError::Route(error) => rfs::route_error(error),
        mos_rfs::CloneError::Store(error) => error.into(),
        _ => CliError::problem(message),
    }
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
