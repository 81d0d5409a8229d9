//! `mos flist pack`.

use std::path::{Path, PathBuf};

use mos_flist::{PackError, PackOptions, Packed, pack};
use mos_tree::{Tree, directory, tarball};
use serde::Serialize;

use super::open::{open_version_2, show, store_failed};
use crate::context::Context;
use crate::error::{CliError, Result, io, system};
use crate::stores::StoreArgs;
use crate::{output, ui};

/// Pack a folder or a tar archive: an flist, and its content as blobs in a store
///
/// The same tree gives the same flist, bit for bit. Blobs go to the store first and the flist is written last, so an flist
/// whose content is missing never exists. With --base only what the older flist does not have travels.
///
/// Examples: mos flist pack rootfs -o web.fl --store /srv/store; mos flist pack rootfs.tar -o web.fl --base old.fl --store
/// s3://host/bucket
///
/// Exit codes: 0 fine, 1 the source or the disk failed, 4 the source or the store cannot be found or reached.
#[derive(Debug, clap::Args)]
pub(crate) struct PackArgs {
    /// A folder or an uncompressed tar archive
    source: PathBuf,

    /// Where the flist is written
    #[arg(long, short, value_name = "F")]
    output: PathBuf,

    #[command(flatten)]
    store: StoreArgs,

    /// An older flist: its content is not packed again where the store still has it; may be repeated
    #[arg(long, value_name = "F")]
    base: Vec<PathBuf>,

    /// zstd level, 1 to 22: higher is smaller and slower
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(i32).range(1..=22))]
    level: i32,

    /// Threads that compress; the result does not depend on it [default: as many as there are processors]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=512))]
    threads: Option<u16>,

    /// Print what was done as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    file: String,
    digest: String,
    flist_bytes: u64,
    files: u64,
    content_bytes: u64,
    chunks: u64,
    new_chunks: u64,
    blobs: usize,
    uploaded_blobs: u64,
    uploaded_bytes: u64,
}

pub(crate) fn run(context: &Context, args: &PackArgs) -> Result<()> {
    let tree = read_source(&args.source)?;
    let store = args.store.write(context)?;
    let work = context.ui.work(format!("packing {}", args.source.display()));
    let packed = pack(&tree, store.as_ref(), &options(args)?).map_err(pack_error)?;
    mos_sys::durable::write(&args.output, &packed.flist, 0o644).map_err(io(&args.output))?;
    drop(work);
    let report = report(args, &packed);
    if args.json {
        output::json(&report)
    } else {
        output::line(text(&report))
    }
}

fn options(args: &PackArgs) -> Result<PackOptions> {
    let mut options = PackOptions {
        compression_level: args.level,
        ..PackOptions::default()
    };
    if let Some(threads) = args.threads {
        options.threads = threads.into();
    }
    for base in &args.base {
        options.bases.push(open_version_2(base)?);
    }
    Ok(options)
}

/// Owners and attributes are those of the source; who runs this must be able to read them.
fn read_source(source: &Path) -> Result<Tree> {
    let found = std::fs::metadata(source).map_err(io(source))?;
    if found.is_dir() {
        let options = directory::Options {
            owners: true,
            xattrs: true,
        };
        return directory::read(source, options).map_err(|error| system(error.source.kind(), error.to_string()));
    }
    tarball::read_file(source).map_err(|error| {
        // The message may repeat bytes of the file.
        let error = show(error.to_string().as_bytes());
        CliError::problem(format!("{}: {error}", source.display()))
            .with_hint("a source is a folder or an uncompressed tar archive")
    })
}

fn pack_error(error: PackError) -> CliError {
    let message = error.to_string();
    match error {
        PackError::Store(error) => store_failed(&error, message),
        PackError::Read { source, .. } => system(source.kind(), message),
        _ => CliError::problem(message),
    }
}

fn report(args: &PackArgs, packed: &Packed) -> Report {
    let stats = packed.stats;
    Report {
        file: args.output.display().to_string(),
        digest: packed.digest.to_string(),
        flist_bytes: packed.flist.len() as u64,
        files: stats.files,
        content_bytes: stats.content_bytes,
        chunks: stats.chunks,
        new_chunks: stats.new_chunks,
        blobs: packed.blobs.len(),
        uploaded_blobs: stats.put_blobs,
        uploaded_bytes: stats.put_bytes,
    }
}

fn text(report: &Report) -> String {
    let flist = format!("{}, {}", report.file, ui::bytes(report.flist_bytes));
    let content = format!(
        "{} in {}",
        ui::bytes(report.content_bytes),
        ui::count(report.files, "file")
    );
    let chunks = format!("{}, {} of them new", report.chunks, report.new_chunks);
    let uploaded = format!(
        "{} in {}",
        ui::bytes(report.uploaded_bytes),
        ui::count(report.uploaded_blobs, "blob")
    );
    ui::pairs(&[
        ("flist", flist),
        ("digest", format!("blake3:{}", report.digest)),
        ("content", content),
        ("chunks", chunks),
        ("uploaded", uploaded),
    ])
}
