//! One tree, mounted in each way that there is: ours by FUSE and by the kernel, the source itself, FUSE peers.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::corpus::Corpus;
use super::run::{present, shell};

/// How long a program has to mount.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often to look whether it did.
const LOOK: Duration = Duration::from_millis(1);

/// Who serves a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// The directory that was packed, bound to another place.
    Source,
    Fuse,
    Kernel,
    Erofsfuse,
    Squashfuse,
}

impl Way {
    /// Other programs that serve a packed tree through FUSE.
    pub(super) const PEERS: [Self; 2] = [Self::Erofsfuse, Self::Squashfuse];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Fuse => "ours by FUSE",
            Self::Kernel => "ours by the kernel",
            Self::Erofsfuse => "erofsfuse",
            Self::Squashfuse => "squashfuse",
        }
    }

    /// The peers that are installed; the others are named.
    pub(super) fn peers() -> Vec<Self> {
        let mut peers = Self::PEERS.to_vec();
        peers.retain(|peer| {
            let there = present(peer.name());
            if !there {
                println!("absent: {}", peer.name());
            }
            there
        });
        peers
    }
}

/// The corpus, packed in every format.
pub(super) struct Stage<'c> {
    pub(super) corpus: &'c Corpus,
    work: tempfile::TempDir,
    programs: PathBuf,
}

impl<'c> Stage<'c> {
    /// Packs with `mos` as it is shipped, and makes the images and the archive of the peers that are installed.
    pub(super) fn make(corpus: &'c Corpus) -> Result<Self, String> {
        let work = tempfile::tempdir_in(&corpus.folder).map_err(|error| error.to_string())?;
        let programs = std::env::current_dir().map_err(|error| error.to_string())?.join("dist");
        let stage = Self { corpus, work, programs };
        let (old, place) = (corpus.old.as_path(), stage.work.path());
        for name in ["mount", "cache"] {
            fs::create_dir(stage.place(name)).map_err(|error| error.to_string())?;
        }
        let mos = stage.mos();
        let pack = "$1 flist pack $2 -o $3/fl --store $3/store --cache $3/cache";
        shell(pack, &[&mos, old, place], place)?;
        shell("tar -C $1 -cf - . | zstd -q -3 -T2 -o $2/tar.zst", &[old, place], place)?;
        if present("mksquashfs") {
            let line = "mksquashfs $1 $2/squashfs -comp zstd -Xcompression-level 3 -quiet -no-progress";
            shell(line, &[old, place], place)?;
        }
        if present("erofsfuse") && present("mkfs.erofs") {
            shell("mkfs.erofs -zlz4hc $2/erofs $1", &[old, place], place)?;
        }
        Ok(stage)
    }

    /// A name in the stage's folder, which is on the corpus's file system.
    pub(super) fn place(&self, name: &str) -> PathBuf {
        self.work.path().join(name)
    }

    pub(super) fn mos(&self) -> PathBuf {
        self.programs.join("bin/mos")
    }

    /// The URL of the store on this disk.
    pub(super) fn store(&self) -> String {
        format!("dir://{}", self.place("store").display())
    }

    /// Mounts the tree, and comes back when it is there.
    pub(super) fn mount(&self, way: Way) -> Result<Mounted, String> {
        let directory = self.place("mount");
        let image = |name: &str| {
            let mut command = Command::new(way.name());
            // In the foreground, so that its memory can be looked at.
            command.arg("-f").arg(self.place(name)).arg(&directory);
            command
        };
        let mut command = match way {
            Way::Source => {
                let mut command = Command::new("mount");
                command.arg("--bind").arg(&self.corpus.old).arg(&directory);
                command
            }
            Way::Fuse => self.myfs(&self.store(), &["--how", "fuse"]),
            Way::Kernel => {
                let mut command = self.myfs(&self.store(), &["--how", "kernel", "--prefetch-all", "--cache"]);
                command.arg(self.place("cache"));
                command
            }
            Way::Erofsfuse => image("erofs"),
            Way::Squashfuse => image("squashfs"),
        };
        let serves = match way {
            Way::Source | Way::Kernel => Serves::Kernel,
            Way::Fuse | Way::Erofsfuse | Way::Squashfuse => Serves::Program,
        };
        Mounted::start(&mut command, serves, directory)
    }

    /// Our program, with this store.
    pub(super) fn myfs(&self, store: &str, options: &[&str]) -> Command {
        let mut command = Command::new(self.programs.join("node/myfs"));
        command.arg("mount").arg(self.place("fl")).arg(self.place("mount"));
        command.args(["--store", store]).args(options);
        command
    }
}

/// Who answers once a tree is mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Serves {
    /// The program that mounted, which stays.
    Program,
    /// The kernel alone; the program ends when all is done.
    Kernel,
}

/// A mount, until it is dropped.
pub(super) struct Mounted {
    pub(super) directory: PathBuf,
    program: Child,
}

impl Mounted {
    /// Runs a program that mounts here, and comes back when the tree is there.
    pub(super) fn start(command: &mut Command, serves: Serves, directory: PathBuf) -> Result<Self, String> {
        let before = number(&directory)?;
        let told = tempfile::tempfile().map_err(|error| error.to_string())?;
        let err = told.try_clone().map_err(|error| error.to_string())?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(err);
        let program = command.spawn().map_err(|error| format!("{command:?}: {error}"))?;
        let mut mounted = Self { directory, program };
        let begin = Instant::now();
        loop {
            let ended = mounted.program.try_wait().map_err(|error| error.to_string())?;
            let done = match (serves, ended) {
                (_, Some(status)) if !status.success() => return Err(nothing(command, &told)),
                // A program that ends may put several layers there, one after the other.
                (Serves::Kernel, ended) => ended.is_some(),
                (Serves::Program, _) => number(&mounted.directory)? != before,
            };
            match done {
                true => break,
                false if begin.elapsed() > PATIENCE => return Err(nothing(command, &told)),
                false => std::thread::sleep(LOOK),
            }
        }
        Ok(mounted)
    }

    /// Peak resident memory of the program that serves the mount, in bytes (`VmHWM`, proc_pid_status(5)).
    pub(super) fn memory(&self) -> Result<u64, String> {
        let path = format!("/proc/{}/status", self.program.id());
        let status = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes = peak.and_then(|peak| peak.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        Ok(kilobytes.ok_or_else(|| format!("{path} has no VmHWM"))? * 1024)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Fails when nothing was mounted: then the program is stopped.
        let layers = (0..4).take_while(|_| umount(&self.directory)).count();
        if layers == 0 {
            let _ = self.program.kill();
        }
        let _ = self.program.wait();
    }
}

/// Takes the uppermost mount away; false when there is none.
fn umount(directory: &Path) -> bool {
    let mut command = Command::new("umount");
    command.arg("-l").arg(directory).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// What changes when something is mounted: the file system, or the inode that a directory is.
fn number(directory: &Path) -> Result<(u64, u64), String> {
    let metadata = fs::metadata(directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    Ok((metadata.dev(), metadata.ino()))
}

fn nothing(command: &Command, told: &File) -> String {
    format!("{command:?} mounted nothing: {}", said(told))
}

fn said(file: &File) -> String {
    let mut bytes = [0; 2000];
    let read = std::os::unix::fs::FileExt::read_at(file, &mut bytes, 0).unwrap_or(0);
    String::from_utf8_lossy(&bytes[..read]).trim().to_owned()
}

/// Empties the kernel's caches: content, names and inodes (`/proc/sys/vm/drop_caches`, proc_sys_vm(5)).
pub(super) fn drop_caches() -> Result<(), String> {
    rustix::fs::sync();
    fs::write("/proc/sys/vm/drop_caches", "3").map_err(|error| format!("/proc/sys/vm/drop_caches: {error}"))
}
