//! Other ways to store a tree: how each packs it. What is not installed, or fails, is named and left out.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::MEGABYTE;
use super::run::{present, shell, usage};

macro_rules! nydus {
    ($version:literal) => {
        concat!(
            "mkdir $2/blobs && nydus-image create --log-level error --compressor zstd --source-type directory ",
            "--blob-dir $2/blobs --bootstrap $2/image --fs-version ",
            $version,
            " $1"
        )
    };
}

/// Seconds that a program has to pack.
const PATIENCE: u32 = 120;

/// A format and the program that writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Format {
    Tar,
    Squashfs,
    Erofs,
    Composefs,
    /// The older version 5, which nydusd serves without a cache of its own.
    Nydus5,
    Nydus6,
    Casync,
    Restic,
    Ostree,
    Rfs,
}

impl Format {
    pub(super) const ALL: [Self; 10] = [
        Self::Tar,
        Self::Squashfs,
        Self::Erofs,
        Self::Composefs,
        Self::Nydus5,
        Self::Nydus6,
        Self::Casync,
        Self::Restic,
        Self::Ostree,
        Self::Rfs,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Tar => "tar, zstd -3 -T2",
            Self::Squashfs => "squashfs, zstd -3",
            Self::Erofs => "erofs, lz4hc",
            Self::Composefs => "composefs",
            Self::Nydus5 => "nydus v5, zstd",
            Self::Nydus6 => "nydus v6, zstd",
            Self::Casync => "casync, zstd",
            Self::Restic => "restic",
            Self::Ostree => "ostree, archive",
            Self::Rfs => "rfs",
        }
    }

    /// The program that packs.
    fn program(self) -> &'static str {
        match self {
            Self::Tar => "zstd",
            Self::Squashfs => "mksquashfs",
            Self::Erofs => "mkfs.erofs",
            Self::Composefs => "mkcomposefs",
            Self::Nydus5 | Self::Nydus6 => "nydus-image",
            Self::Casync => "casync",
            Self::Restic => "restic",
            Self::Ostree => "ostree",
            Self::Rfs => "rfs",
        }
    }

    /// What packs, as a shell line: the tree is `$1`, the folder to write to `$2`.
    pub(super) fn line(self) -> &'static str {
        match self {
            Self::Tar => "tar -C $1 -cf - . | zstd -q -3 -T2 -o $2/image",
            Self::Squashfs => "mksquashfs $1 $2/image -comp zstd -Xcompression-level 3 -quiet -no-progress",
            Self::Erofs => "mkfs.erofs -zlz4hc $2/image $1",
            Self::Composefs => "mkcomposefs --digest-store=$2/objects $1 $2/image",
            Self::Nydus5 => nydus!("5"),
            Self::Nydus6 => nydus!("6"),
            Self::Casync => "casync make --compression=zstd --store=$2/s.castr $2/$(basename $1).caidx $1",
            Self::Restic => {
                "export RESTIC_PASSWORD=x; restic init -q -r $2/r && restic backup -q --no-cache -r $2/r $1"
            }
            Self::Ostree => "ostree init --repo=$2/r --mode=archive && ostree commit --repo=$2/r -b x $1",
            // Its database in memory: it waits for the disk with every entry, which can take minutes.
            Self::Rfs => {
                "mkdir $2/blobs && m=$(mktemp -u -p /dev/shm) && rfs pack -m $m -s dir://$2/blobs $1 && mv $m $2/image"
            }
        }
    }
}

/// The tree in every format that was asked for so far.
pub(super) struct Packed {
    folder: PathBuf,
    done: RefCell<HashMap<Format, bool>>,
}

impl Packed {
    /// Nothing yet; everything comes below this folder.
    pub(super) fn below(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            done: RefCell::default(),
        }
    }

    /// The folder with this format of the tree, packed when it is asked for first, and what that took is printed.
    /// None, which is printed, too: its program is absent, or fails.
    pub(super) fn folder(&self, format: Format, tree: &Path) -> Option<PathBuf> {
        let folder = self.folder.join(format!("{format:?}"));
        let there = *self.done.borrow_mut().entry(format).or_insert_with(|| {
            let packed = pack(format, tree, &folder);
            println!("{}: {}", format.name(), packed.as_ref().unwrap_or_else(|why| why));
            packed.is_ok()
        });
        there.then_some(folder)
    }
}

/// Says what it took: one run, content that was just read.
fn pack(format: Format, tree: &Path, folder: &Path) -> Result<String, String> {
    if !present(format.program()) {
        return Err(format!("absent, {} is not installed", format.program()));
    }
    fs::create_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let line = format!("timeout {PATIENCE} sh -c '{}' sh $1 $2", format.line());
    let measured = shell(&line, &[tree, folder], folder)?;
    let (bytes, objects) = usage(folder)?;
    let (seconds, memory) = (measured.time.as_secs_f64(), measured.memory as f64 / MEGABYTE);
    let megabytes = bytes as f64 / MEGABYTE;
    Ok(format!(
        "packed in {seconds:.1} s, {memory:.0} MB of memory, {megabytes:.1} MB in {objects} files"
    ))
}
