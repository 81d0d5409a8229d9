//! `mos runtime build`.

use std::path::{Path, PathBuf};

use clap::ValueEnum;
use mos_build::{BuiltFlist, PackMode};
use serde::Serialize;

use crate::context::Context;
use crate::error::Result;
use crate::pipeline::{Pipeline, deliver};
use crate::{output, ui};

/// Build the components of an environment and pack them into flists
///
/// Fetches each source (exact states go into mos.lock), builds it static, stages programs, service and config files flat,
/// and packs an flist. What did not change since the last time is not built again.
#[derive(Debug, clap::Args)]
pub(crate) struct BuildArgs {
    /// The environment, a file in environments/
    #[arg(long)]
    env: String,

    /// Build only this component (can be repeated)
    #[arg(long = "component", value_name = "NAME")]
    components: Vec<String>,

    /// One flist per component, or one for all
    #[arg(long, value_enum, value_name = "MODE", default_value = "individual")]
    pack_mode: Mode,

    /// Where the flists are put
    #[arg(long, value_name = "DIR", default_value = "dist/flists")]
    output_dir: PathBuf,

    /// Print the plan, and build nothing
    #[arg(long)]
    dry_run: bool,

    /// Print as JSON
    #[arg(long)]
    json: bool,
}

/// How components become flists.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Mode {
    /// One flist per component.
    Individual,
    /// One flist with all of them.
    Combined,
}

#[derive(Serialize)]
struct Row<'f> {
    name: &'f str,
    version: &'f str,
    file: PathBuf,
    content_bytes: u64,
    blob_bytes: u64,
    blobs: usize,
    changed: bool,
}

pub(crate) fn run(context: &Context, args: &BuildArgs) -> Result<()> {
    let mut pipeline = Pipeline::open(context, &args.env)?;
    if args.dry_run {
        return print_plan(&pipeline, args.json);
    }
    let mode = match args.pack_mode {
        Mode::Individual => PackMode::Individual,
        Mode::Combined => PackMode::Combined,
    };
    let flists = pipeline.runtime(&args.components, mode)?;
    let delivered = deliver_flists(&flists, &args.output_dir)?;
    let rows: Vec<Row<'_>> = flists
        .iter()
        .zip(delivered)
        .map(|(flist, file)| row(flist, file))
        .collect();
    if args.json {
        output::json(&rows)
    } else {
        output::line(ui::table(
            &["FLIST", "VERSION", "CONTENT", "STORED", "FILE"],
            &cells(&rows),
        ))
    }
}

fn print_plan(pipeline: &Pipeline<'_>, json: bool) -> Result<()> {
    if json {
        output::json(&pipeline.plan)
    } else {
        output::line(pipeline.plan.to_string().trim_end())
    }
}

/// Copies the flists into a folder, as NAME.fl.
pub(crate) fn deliver_flists(flists: &[BuiltFlist], folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for flist in flists {
        let file = folder.join(format!("{}.fl", flist.name));
        deliver(&flist.file, &file)?;
        files.push(file);
    }
    Ok(files)
}

fn row(flist: &BuiltFlist, file: PathBuf) -> Row<'_> {
    Row {
        name: &flist.name,
        version: &flist.version,
        file,
        content_bytes: flist.content_bytes,
        blob_bytes: flist.blobs.iter().map(|(_, length)| length).sum(),
        blobs: flist.blobs.len(),
        changed: !flist.hit,
    }
}

fn cells(rows: &[Row<'_>]) -> Vec<Vec<String>> {
    let cells = |row: &Row<'_>| {
        let (content, stored) = (ui::bytes(row.content_bytes), ui::bytes(row.blob_bytes));
        vec![
            row.name.into(),
            row.version.into(),
            content,
            stored,
            row.file.display().to_string(),
        ]
    };
    rows.iter().map(cells).collect()
}
