//! What a mount is made of, and how.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use mos_flist::{Flist, Image};

/// What is mounted.
#[derive(Clone)]
pub struct Source {
    /// The tree and its content.
    pub image: Arc<dyn Image>,
    /// The same image as an flist of version 2, which is an EROFS image that the kernel mounts by itself. Without it
    /// only FUSE is possible.
    pub flist: Option<Arc<Flist>>,
    /// What the mount table calls it, for instance the flist's path. Commas and control characters are replaced.
    pub name: String,
}

/// The way in which a mount is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum How {
    /// By the kernel when all content is local and the caller is root; else by FUSE, with passthrough where the kernel
    /// has it.
    #[default]
    Auto,
    /// By a FUSE daemon.
    Fuse,
    /// By the kernel alone: EROFS for the names, overlay for the content. No process stays.
    Kernel,
}

/// Content to fetch before anybody asks for it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Prefetch {
    /// What the image itself names, in the background.
    #[default]
    Own,
    /// Nothing.
    Nothing,
    /// These paths, in this order, in the background. Paths that are not files of the image are passed over.
    Paths(Vec<Vec<u8>>),
    /// Everything, before the mount appears: what makes the kernel's way possible.
    All,
}

/// Told what an operator should know, one line at a time.
pub type Log = Arc<dyn Fn(&str) + Send + Sync>;

/// How to mount.
#[derive(Clone)]
pub struct MountOptions {
    /// Which way to take.
    pub how: How,
    /// Directory for whole files (`objects/`, by fs-verity digest) and the like; made when missing. A file gets its name
    /// there only when it was checked and is on the disk, so a crash leaves nothing that is wrong. Without it there is
    /// neither passthrough nor the kernel's way. What a store keeps ([`mos_store::Cached`]) is not its business.
    pub cache: Option<PathBuf>,
    /// Bytes that whole files may take in the cache. What was used longest ago goes first; files of a running mount
    /// by the kernel stay.
    pub cache_bytes: u64,
    /// Read all that the cache has of this image before it is used, and discard what is damaged.
    pub check: bool,
    /// The store is on a local disk: reads need no thread of their own, because none waits for a network.
    pub local_store: bool,
    /// How long a read waits for the store before it fails with `EIO`.
    pub wait: Duration,
    /// Threads that answer the kernel.
    pub threads: usize,
    /// Let other users than the caller in, as far as the modes of the files allow. Needs root, or `user_allow_other`
    /// in `/etc/fuse.conf`.
    pub allow_other: bool,
    /// A directory that takes what is written to the mount: `upper/` and `work/` are made in it.
    pub writable: Option<PathBuf>,
    /// File that gets the path of each file when it is first read, one a line, in that order.
    pub trace_to: Option<PathBuf>,
    /// What to fetch ahead.
    pub prefetch: Prefetch,
    /// Where messages go.
    pub log: Log,
}

/// Bytes of whole files that are kept by default.
const CACHE_BYTES: u64 = 10 << 30;
/// How long a read waits for a store by default.
const WAIT: Duration = Duration::from_secs(30);
/// Threads that answer the kernel, at most, by default: metadata comes from memory, and more only get in their way.
const THREADS: usize = 4;

impl Default for MountOptions {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            how: How::Auto,
            cache: None,
            cache_bytes: CACHE_BYTES,
            check: false,
            local_store: false,
            wait: WAIT,
            threads: cores.clamp(2, THREADS),
            allow_other: rustix::process::geteuid().is_root(),
            writable: None,
            trace_to: None,
            prefetch: Prefetch::Own,
            log: Arc::new(|line| eprintln!("{line}")),
        }
    }
}

impl fmt::Debug for MountOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MountOptions")
            .field("how", &self.how)
            .field("cache", &self.cache)
            .field("wait", &self.wait)
            .field("threads", &self.threads)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source")
            .field("name", &self.name)
            .field("erofs", &self.flist.is_some())
            .finish_non_exhaustive()
    }
}

impl fmt::Display for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Fuse => "fuse",
            Self::Kernel => "kernel",
        })
    }
}

impl std::str::FromStr for How {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "fuse" => Ok(Self::Fuse),
            "kernel" => Ok(Self::Kernel),
            other => Err(format!("`{other}` is no way to mount: auto, fuse or kernel")),
        }
    }
}
