//! One tree, mounted in each way that there is: ours by FUSE and by the kernel, the source itself, and the peers.

use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::corpus::Corpus;
use super::peers::{Format, Packed};
use super::run::{present, remove, shell};

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
    /// Without a cache of its own.
    Nydusd5,
    /// With one, empty at first.
    Nydusd6,
    Composefs,
    Rfs,
}

impl Way {
    /// Other programs that serve a packed tree through FUSE, fast enough to read all of it.
    pub(super) const FUSE_PEERS: [Self; 4] = [Self::Erofsfuse, Self::Squashfuse, Self::Nydusd5, Self::Nydusd6];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Fuse => "ours by FUSE",
            Self::Kernel => "ours by the kernel",
            Self::Nydusd5 => "nydusd v5",
            Self::Nydusd6 => "nydusd v6",
            Self::Composefs => "composefs by the kernel",
            peer => peer.peer().map_or("", |(program, _)| program),
        }
    }

    /// The program that mounts, and the format that it reads; none for the source and for ours.
    fn peer(self) -> Option<(&'static str, Format)> {
        match self {
            Self::Source | Self::Fuse | Self::Kernel => None,
            Self::Erofsfuse => Some(("erofsfuse", Format::Erofs)),
            Self::Squashfuse => Some(("squashfuse", Format::Squashfs)),
            Self::Nydusd5 => Some(("nydusd", Format::Nydus5)),
            Self::Nydusd6 => Some(("nydusd", Format::Nydus6)),
            Self::Composefs => Some(("mount.composefs", Format::Composefs)),
            Self::Rfs => Some(("rfs", Format::Rfs)),
        }
    }
}

/// The corpus, packed by us, and in every format that is asked for.
pub(super) struct Stage<'c> {
    pub(super) corpus: &'c Corpus,
    work: tempfile::TempDir,
    programs: PathBuf,
    packed: Packed,
}

impl<'c> Stage<'c> {
    /// Packs with `mos` as it is shipped.
    pub(super) fn make(corpus: &'c Corpus) -> Result<Self, String> {
        let work = tempfile::tempdir_in(&corpus.folder).map_err(|error| error.to_string())?;
        let programs = std::env::current_dir().map_err(|error| error.to_string())?.join("dist");
        let packed = Packed::below(&work.path().join("peers"));
        let stage = Self {
            corpus,
            work,
            programs,
            packed,
        };
        for name in ["mount", "cache", "peers"] {
            fs::create_dir(stage.place(name)).map_err(|error| error.to_string())?;
        }
        let (mos, place) = (stage.mos(), stage.work.path());
        let pack = "$1 flist pack $2 -o $3/fl --store $3/store --cache $3/cache";
        shell(pack, &[&mos, &corpus.old, place], place)?;
        Ok(stage)
    }

    /// The folder of the tree in another format; none when its program is absent or fails.
    pub(super) fn packed(&self, format: Format) -> Option<PathBuf> {
        self.packed.folder(format, &self.corpus.old)
    }

    /// Those of the peers that are here and mount; why another does not is printed.
    pub(super) fn present(&self, peers: &[Way]) -> Vec<Way> {
        peers.iter().copied().filter(|peer| self.mounts(*peer)).collect()
    }

    fn mounts(&self, way: Way) -> bool {
        let Some((program, format)) = way.peer() else {
            return true;
        };
        if !present(program) {
            println!("{}: absent, {program} is not installed", way.name());
            return false;
        }
        let mounted = || match self.packed(format) {
            Some(_) => self.mount(way).map(drop),
            None => Err("nothing to mount".to_owned()),
        };
        mounted()
            .inspect_err(|why| println!("{}: left out: {why}", way.name()))
            .is_ok()
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
        let mut command = match way {
            Way::Source => command("mount", [Path::new("--bind"), &self.corpus.old, &directory]),
            Way::Fuse => self.myfs(&self.store(), &["--how", "fuse"]),
            Way::Kernel => {
                let mut command = self.myfs(&self.store(), &["--how", "kernel", "--prefetch-all", "--cache"]);
                command.arg(self.place("cache"));
                command
            }
            peer => self.peer(peer, &directory)?,
        };
        let serves = match way {
            Way::Source | Way::Kernel | Way::Composefs => Serves::Kernel,
            _ => Serves::Program,
        };
        Mounted::start(&mut command, serves, directory)
    }

    /// Another program that mounts here. One that serves by itself stays in the foreground, so that it can be waited for.
    fn peer(&self, way: Way, directory: &Path) -> Result<Command, String> {
        let (program, format) = way.peer().ok_or("no peer")?;
        let folder = self.packed(format).ok_or("nothing to mount")?;
        let image = folder.join("image");
        let mut wanted = match way {
            Way::Nydusd5 | Way::Nydusd6 => {
                let cache = self.emptied("nydusd-cache")?;
                let settings = nydusd(&folder.join("blobs"), (way == Way::Nydusd6).then_some(&cache));
                let config = folder.join("nydusd.json");
                fs::write(&config, settings).map_err(|error| error.to_string())?;
                let mut command = Command::new(program);
                command.args(["--log-level", "error", "--rlimit-nofile", "0"]);
                command.arg("--config").arg(config).arg("--bootstrap").arg(&image);
                command.arg("--mountpoint");
                command
            }
            Way::Composefs => {
                let mut basedir = OsString::from("basedir=");
                basedir.push(folder.join("objects"));
                command(program, [Path::new("-o"), Path::new(&basedir), &image])
            }
            Way::Rfs => {
                let cache = self.emptied("rfs-cache")?;
                command(
                    program,
                    [Path::new("mount"), Path::new("-m"), &image, Path::new("-c"), &cache],
                )
            }
            _ => command(program, [Path::new("-f"), &image]),
        };
        wanted.arg(directory);
        Ok(wanted)
    }

    /// A folder with nothing in it.
    fn emptied(&self, name: &str) -> Result<PathBuf, String> {
        let folder = self.place(name);
        remove(&folder)?;
        fs::create_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        Ok(folder)
    }

    /// Our program, with this store.
    pub(super) fn myfs(&self, store: &str, options: &[&str]) -> Command {
        let mut command = Command::new(self.programs.join("node/myfs"));
        command.arg("mount").arg(self.place("fl")).arg(self.place("mount"));
        command.args(["--store", store]).args(options);
        command
    }
}

fn command<'p>(program: &str, arguments: impl IntoIterator<Item = &'p Path>) -> Command {
    let mut command = Command::new(program);
    command.args(arguments.into_iter().map(Path::as_os_str));
    command
}

/// The settings of nydusd: blobs in a folder, and what it keeps of them, if anything.
fn nydusd(blobs: &Path, cache: Option<&PathBuf>) -> String {
    let cache = match cache {
        Some(folder) => serde_json::json!({ "type": "blobcache", "config": { "work_dir": folder } }),
        None => serde_json::json!({ "type": "" }),
    };
    serde_json::json!({
        "device": { "backend": { "type": "localfs", "config": { "dir": blobs } }, "cache": cache },
        "mode": "direct",
        "digest_validate": false,
        "iostats_files": false,
    })
    .to_string()
}

impl Drop for Stage<'_> {
    fn drop(&mut self) {
        // What it leaves, the folder's own end removes, slowly.
        let _ = remove(self.work.path());
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
