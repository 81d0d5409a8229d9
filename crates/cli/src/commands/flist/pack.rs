//! `mos flist pack`.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use mos_flist::{PackError, PackOptions, pack};
use mos_rfs::{Loss, LossCount, summary};
use mos_store::Digest;
use mos_tree::{Kind, Tree};
use serde::{Serialize, Serializer};

use super::open::{open_version_2, show, store_failed};
use super::{change, places, rfs, source, stamps};
use crate::context::Context;
use crate::error::{CliError, Kind as ErrorKind, Result, io, system};
use crate::stores::StoreArgs;
use crate::{output, ui};

/// Pack a folder, a tar archive or a container image: an flist, and its content as blobs in a store
///
/// The same tree gives the same flist, bit for bit. Blobs go to the store first and the flist is written last, so an flist
/// whose content is missing never exists. With --base only what the older flist does not have travels.
///
/// Examples: mos flist pack rootfs -o web.fl --store /srv/store; mos flist pack rootfs.tar -o web.fl --base old.fl --store
/// s3://host/bucket
///
/// Exit codes: 0 fine, 1 the source or the disk failed, 3 an image is not what its digests say, 4 the source or the store cannot
/// be found or reached, 5 a file changed or vanished while it was packed, or somebody deleted a blob that the store had: pack
/// again.
///
/// A file that vanishes before it is looked at is left out. One that changes while it is read is read once more, and named when
/// it changes then as well.
#[derive(Debug, clap::Args)]
pub(crate) struct PackArgs {
    /// A folder, a tar archive (also .gz, .xz, .zst), or a container image, whose layers become one tree: an OCI image layout
    /// as a folder or an archive (`skopeo copy … oci:FOLDER`, `oci-archive:FILE`), or what `docker save` writes
    source: PathBuf,

    #[command(flatten)]
    image: source::ImageArgs,

    /// Where the flist is written
    #[arg(long, short, value_name = "F")]
    output: PathBuf,

    #[command(flatten)]
    store: StoreArgs,

    /// An older flist: its content is not packed again where the store still has it; may be repeated
    #[arg(long, value_name = "F")]
    base: Vec<PathBuf>,

    /// Read every file, also those that the first --base has and that were not touched since it was packed here
    #[arg(long)]
    paranoid: bool,

    #[command(flatten)]
    change: change::ChangeArgs,

    /// Do not look into folders below a folder where another file system is mounted; they are packed as empty ones [default:
    /// what is mounted is packed too]
    #[arg(long)]
    one_file_system: bool,

    /// zstd level, 1 to 22: higher is smaller and slower
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(i32).range(1..=22))]
    level: i32,

    /// Threads that compress; the result does not depend on it [default: as many as there are processors]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=512))]
    threads: Option<u16>,

    /// The older format knows no attributes, no hard links and whole seconds only
    #[arg(long, value_name = "FORMAT", default_value = "mos", value_enum)]
    format: FormatName,

    /// Keep passwords in the stores that an flist of the older format names
    #[arg(long)]
    no_strip_password: bool,

    /// Print what was done as JSON
    #[arg(long)]
    json: bool,
}

/// What can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum FormatName {
    /// Version 2.
    Mos,
    /// That of rfs and myfs.
    Rfs,
}

/// What was done.
#[derive(Serialize)]
pub(crate) struct Report {
    file: String,
    digest: String,
    flist_bytes: u64,
    files: u64,
    content_bytes: u64,
    /// Chunks, or blocks of the older format.
    chunks: u64,
    new_chunks: u64,
    uploaded_objects: u64,
    uploaded_bytes: u64,
    /// What the format has no place for.
    lost: Vec<LostReport>,
}

/// A kind of thing that is not in the flist.
#[derive(Serialize)]
struct LostReport {
    kind: &'static str,
    count: u64,
    /// The first one, and the line for people.
    #[serde(serialize_with = "first_path")]
    first: LossCount,
}

fn first_path<S: Serializer>(lost: &LossCount, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.collect_str(&lost.first)
}

/// What is packed, and where to.
pub(crate) struct Job<'j> {
    pub(crate) tree: &'j Tree,
    pub(crate) store: &'j StoreArgs,
    pub(crate) output: &'j Path,
    pub(crate) format: FormatName,
    pub(crate) options: PackOptions,
    pub(crate) strip_password: bool,
    /// The folder on disk that the tree was read from, if it is one.
    pub(crate) folder: Option<&'j Path>,
}

pub(crate) fn run(context: &Context, args: &PackArgs) -> Result<()> {
    let room = || {
        let cache = context.cache()?;
        std::fs::create_dir_all(&cache).map_err(io(&cache)).map(|()| cache)
    };
    places::check_output(&args.output)?;
    let written = [args.output.clone(), context.cache()?];
    let folders = args.store.folders(context);
    let own = places::within(&args.source, written.into_iter().chain(folders));
    for path in &own {
        let path = show(path);
        context.ui.line(format!("left out, since this writes to it: {path}"));
    }
    let reader = source::Reader {
        change: &args.change,
        image: &args.image,
        own: &own,
        one_file_system: args.one_file_system,
        room: &room,
    };
    let mut source = reader.read(&args.source)?;
    if let Some(image) = source.image.as_ref().filter(|_| !args.source.is_dir()) {
        context.ui.line(image.describe(&args.source));
    }
    args.change.apply(&mut source.tree)?;
    let tree = &source.tree;
    let job = Job {
        tree,
        store: &args.store,
        output: &args.output,
        format: args.format,
        options: options(context, args)?,
        strip_password: !args.no_strip_password,
        folder: Some(args.source.as_path()).filter(|source| source.is_dir()),
    };
    let text = format!("packing {}", args.source.display());
    let work = context.ui.transfer(text, Some(content_length(tree)));
    let done = job.options.done.clone();
    let report = work.follow(|| done.so_far().bytes, || write(context, job))?;
    drop(work);
    report.print(context, args.json)
}

/// Bytes in all regular files, hard links counted once.
fn content_length(tree: &Tree) -> u64 {
    let mut seen = HashSet::new();
    let files = tree.walk().filter_map(|entry| match &entry.inode.kind {
        Kind::File(content) if seen.insert(entry.id) => Some(content.len()),
        _ => None,
    });
    files.sum()
}

/// Packs, and writes the flist.
pub(crate) fn write(context: &Context, job: Job<'_>) -> Result<Report> {
    match job.format {
        FormatName::Mos => write_mos(context, &job),
        FormatName::Rfs => write_rfs(context, &job),
    }
}

fn write_mos(context: &Context, job: &Job<'_>) -> Result<Report> {
    let store = job.store.write(context)?;
    let packed = pack(job.tree, store.as_ref(), &job.options).map_err(|error| pack_error(error, job.folder))?;
    mos_sys::durable::write(job.output, &packed.flist, 0o644).map_err(io(job.output))?;
    stamps::keep(context, &packed);
    let stats = packed.stats;
    Ok(Report {
        file: job.output.display().to_string(),
        digest: packed.digest.to_string(),
        flist_bytes: packed.flist.len() as u64,
        files: stats.files,
        content_bytes: stats.content_bytes,
        chunks: stats.chunks,
        new_chunks: stats.new_chunks,
        uploaded_objects: stats.put_blobs,
        uploaded_bytes: stats.put_bytes,
        lost: Vec::new(),
    })
}

fn write_rfs(context: &Context, job: &Job<'_>) -> Result<Report> {
    let packed = rfs::pack_tree(
        context,
        job.store,
        job.tree,
        job.strip_password,
        job.options.done.clone(),
    )?;
    packed.rfs.save(job.output).map_err(rfs::file_error)?;
    let bytes = std::fs::read(job.output).map_err(io(job.output))?;
    let stats = packed.stats;
    let mut report = Report {
        file: job.output.display().to_string(),
        digest: Digest::of(&bytes).to_string(),
        flist_bytes: bytes.len() as u64,
        files: stats.files,
        content_bytes: stats.content_bytes,
        chunks: stats.blocks,
        new_chunks: stats.put_blocks,
        uploaded_objects: stats.put_blocks,
        uploaded_bytes: stats.put_bytes,
        lost: Vec::new(),
    };
    report.lose(&packed.losses);
    Ok(report)
}

fn options(context: &Context, args: &PackArgs) -> Result<PackOptions> {
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
    if let Some(base) = options.bases.first().filter(|_| !args.paranoid) {
        options.trust = stamps::of(context, base.digest());
    }
    Ok(options)
}

fn pack_error(error: PackError, folder: Option<&Path>) -> CliError {
    let message = error.to_string();
    let mounted = |path: &str| folder.and_then(|folder| places::other_file_system(folder, &folder.join(path)));
    match error {
        PackError::Store(error) => store_failed(&error, message),
        PackError::Lost { .. } => CliError::new(ErrorKind::Conflict, message),
        PackError::Read { path, source } if source.kind() == std::io::ErrorKind::NotFound => {
            moving(format!("{path}: vanished while it was packed"), mounted(&path))
        }
        PackError::Read { path, source } if source.kind() == std::io::ErrorKind::UnexpectedEof => {
            moving(message, mounted(&path))
        }
        PackError::Changed { path } => moving(message, mounted(&path)),
        PackError::Read { path, source } => mounted(&path)
            .into_iter()
            .fold(system(source.kind(), message), CliError::with_hint),
        _ => CliError::problem(message),
    }
}

/// Something writes to what is packed.
fn moving(message: String, mounted: Option<String>) -> CliError {
    let hint = || "pack a snapshot, stop what writes to it, or leave it out with --exclude".to_owned();
    CliError::new(ErrorKind::Conflict, message).with_hint(mounted.unwrap_or_else(hint))
}

impl Report {
    /// Adds what is not in the flist.
    pub(crate) fn lose(&mut self, losses: &[Loss]) {
        self.lost.extend(summary(losses).into_iter().map(|first| LostReport {
            kind: first.kind,
            count: first.count,
            first,
        }));
    }

    pub(crate) fn print(&self, context: &Context, json: bool) -> Result<()> {
        if json {
            return output::json(self);
        }
        for lost in &self.lost {
            context.ui.line(format!("warning: {}", lost.first));
        }
        output::line(text(self))
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
        ui::count(report.uploaded_objects, "object")
    );
    ui::pairs(&[
        ("flist", flist),
        ("digest", format!("blake3:{}", report.digest)),
        ("content", content),
        ("chunks", chunks),
        ("uploaded", uploaded),
    ])
}
