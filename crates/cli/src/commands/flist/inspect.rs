//! `mos flist inspect`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use mos_flist::{EntryKind, Flist};
use mos_rfs::Rfs;
use serde::Serialize;

use super::open::{Format, Opened};
use crate::error::Result;
use crate::{output, ui};

/// Show what an flist is: format, digest, entries, sizes, blobs, routes
///
/// Reads nothing but the file: no store is needed. What the store should hold is under blobs.
///
/// Example: mos flist inspect web.fl --json
#[derive(Debug, clap::Args)]
pub(crate) struct InspectArgs {
    /// The flist
    #[arg(value_name = "F")]
    file: PathBuf,

    /// Print as JSON, with every blob
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    format: &'static str,
    digest: String,
    bytes: u64,
    entries: Entries,
    content_bytes: u64,
    #[serde(flatten)]
    content: Content,
}

/// How many names there are of each kind.
#[derive(Default, Serialize)]
struct Entries {
    all: u64,
    directories: u64,
    files: u64,
    symlinks: u64,
    other: u64,
}

/// Where the content is, as the format has it.
#[derive(Serialize)]
#[serde(untagged)]
enum Content {
    Mos {
        chunk_sizes: Sizes,
        blob_bytes: u64,
        blobs: Vec<Blob>,
        /// Files to fetch first.
        prefetch: usize,
    },
    Rfs {
        blocks: usize,
        tags: BTreeMap<String, String>,
        /// Without passwords.
        routes: Vec<String>,
    },
}

/// Bytes.
#[derive(Serialize)]
struct Sizes {
    min: u64,
    average: u64,
    max: u64,
}

#[derive(Serialize)]
struct Blob {
    digest: String,
    bytes: u64,
}

pub(crate) fn run(args: &InspectArgs) -> Result<()> {
    let report = report(&Opened::open(&args.file)?);
    if args.json {
        output::json(&report)
    } else {
        output::line(text(&report))
    }
}

fn report(opened: &Opened) -> Report {
    let (format, content) = match &opened.format {
        Format::Mos(flist) => ("MOS flist, version 2", content(flist)),
        Format::Rfs(rfs) => ("rfs flist (SQLite)", older(rfs)),
    };
    Report {
        format,
        digest: opened.digest.to_string(),
        bytes: opened.length,
        entries: count(opened),
        content_bytes: opened.content_length(),
        content,
    }
}

fn count(opened: &Opened) -> Entries {
    let mut entries = Entries::default();
    for entry in opened.entries() {
        entries.all += 1;
        *match entry.kind {
            EntryKind::Directory => &mut entries.directories,
            EntryKind::File { .. } => &mut entries.files,
            EntryKind::Symlink(_) => &mut entries.symlinks,
            _ => &mut entries.other,
        } += 1;
    }
    entries
}

fn content(flist: &Flist) -> Content {
    let sizes = flist.chunk_sizes();
    let blobs = flist.blobs().iter().map(|blob| Blob {
        digest: blob.digest.to_string(),
        bytes: blob.length,
    });
    Content::Mos {
        chunk_sizes: Sizes {
            min: sizes.min.into(),
            average: sizes.average.into(),
            max: sizes.max.into(),
        },
        blob_bytes: flist.blobs().iter().map(|blob| blob.length).sum(),
        blobs: blobs.collect(),
        prefetch: flist.prefetch().len(),
    }
}

fn older(rfs: &Rfs) -> Content {
    Content::Rfs {
        blocks: rfs.blocks().len(),
        tags: rfs.tags().clone(),
        routes: rfs.routes().iter().map(ToString::to_string).collect(),
    }
}

fn text(report: &Report) -> String {
    let entries = &report.entries;
    let count = format!(
        "{}: {} directories, {} files, {} symbolic links, {} others",
        entries.all, entries.directories, entries.files, entries.symlinks, entries.other
    );
    let mut rows = vec![
        ("format", report.format.to_owned()),
        ("digest", format!("blake3:{}", report.digest)),
        ("size", ui::bytes(report.bytes)),
        ("entries", count),
        ("content", ui::bytes(report.content_bytes)),
    ];
    match &report.content {
        Content::Mos {
            chunk_sizes: sizes,
            blob_bytes,
            blobs,
            prefetch,
        } => {
            rows.push((
                "chunk sizes",
                [sizes.min, sizes.average, sizes.max].map(ui::bytes).join(" / "),
            ));
            rows.push(("blobs", format!("{}, {}", blobs.len(), ui::bytes(*blob_bytes))));
            rows.push(("prefetch", ui::count(*prefetch as u64, "file")));
        }
        Content::Rfs { blocks, tags, routes } => {
            rows.push(("blocks", blocks.to_string()));
            rows.extend(tags.iter().map(|(key, value)| ("tag", format!("{key}: {value}"))));
            rows.extend(routes.iter().map(|route| ("route", route.clone())));
        }
    }
    ui::pairs(&rows)
}
