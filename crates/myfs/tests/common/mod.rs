//! An flist and its store, and what mounts it: what every test of the program starts from.
#![allow(dead_code, unreachable_pub, reason = "each test program uses its own part of this")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use mos_flist::{PackOptions, pack};
use mos_store::Dir;
use mos_tree::Tree;

/// Set in the process that runs a test in a mount namespace of its own.
const INSIDE: &str = "MOS_MOUNT_TEST_INSIDE";

/// True in a process that may mount and whose mounts nobody else sees; otherwise runs the test again in one. Prints
/// SKIPPED where there is no privilege.
pub fn alone() -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    if !rustix::process::geteuid().is_root() || !Path::new("/dev/fuse").exists() {
        eprintln!("SKIPPED: mounting needs root and /dev/fuse");
        return false;
    }
    let name = std::thread::current().name().unwrap().to_owned();
    let ran = Command::new("unshare")
        .args(["--mount", "--propagation", "private"])
        .arg(std::env::current_exe().unwrap())
        .args([&name, "--exact", "--nocapture", "--test-threads=1"])
        .env(INSIDE, "1")
        .status();
    match ran {
        Ok(status) => assert!(status.success(), "{name}: {status}"),
        Err(error) => eprintln!("SKIPPED: unshare: {error}"),
    }
    false
}

/// How many files, and how long each is.
pub const FILES: usize = 40;
pub const LENGTH: usize = 300_000;

pub fn bytes(seed: usize) -> Vec<u8> {
    let mut state = (seed as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    };
    (0..LENGTH + seed).map(|_| next()).collect()
}

/// An flist, its store, and a place for mounts; unmounted in the end.
pub struct Setting {
    pub root: tempfile::TempDir,
}

impl Setting {
    pub fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        for directory in ["store", "place", "cache"] {
            fs::create_dir(root.path().join(directory)).unwrap();
        }
        let setting = Self { root };
        let mut tree = Tree::default();
        for seed in 0..FILES {
            tree.insert_file(name(seed), 0o644, bytes(seed)).unwrap();
        }
        tree.insert_file("small", 0o644, "inline").unwrap();
        let store = Dir::new(setting.path("store"));
        let packed = pack(&tree, &store, &PackOptions::default()).unwrap();
        fs::write(setting.path("x.fl"), packed.flist).unwrap();
        setting
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    pub fn file(&self, seed: usize) -> PathBuf {
        self.path("place").join(name(seed))
    }

    pub fn url(&self) -> String {
        format!("dir://{}", self.path("store").display())
    }

    pub fn run(&self, store: &str, more: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_myfs"));
        command.arg("mount").args([self.path("x.fl"), self.path("place")]);
        command.args(["--store", store, "--daemon"]);
        command
            .arg("--log")
            .arg(self.path("log"))
            .arg("--pidfile")
            .arg(self.path("pid"));
        command.args(more).output().unwrap()
    }

    /// Mounts, as a daemon that answers now.
    pub fn mount(&self, store: &str, more: &[&str]) {
        let output = self.run(store, more);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    pub fn cache(&self) -> String {
        self.path("cache").display().to_string()
    }

    pub fn unmount(&self) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_myfs"));
        command.arg("unmount").arg(self.path("place")).output().unwrap()
    }

    pub fn pid(&self) -> Option<rustix::process::Pid> {
        let text = fs::read_to_string(self.path("pid")).ok()?;
        rustix::process::Pid::from_raw(text.trim().parse().ok()?)
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(self.pid().unwrap(), signal).unwrap();
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    pub fn is_mounted(&self) -> bool {
        let place = self.path("place").display().to_string();
        fs::read_to_string("/proc/self/mountinfo").unwrap().contains(&place)
    }

    /// How many whole files the cache has.
    pub fn objects(&self) -> usize {
        let shelves = fs::read_dir(self.path("cache/objects")).unwrap().flatten();
        let names = shelves.flat_map(|shelf| fs::read_dir(shelf.path()).unwrap().flatten());
        let named = |entry: &fs::DirEntry| !entry.file_name().to_string_lossy().starts_with('.');
        names.filter(named).count()
    }

    pub fn check(&self, seed: usize) {
        assert!(fs::read(self.file(seed)).unwrap() == bytes(seed), "{seed}: other bytes");
    }
}

impl Drop for Setting {
    fn drop(&mut self) {
        let _ = self.unmount();
    }
}

pub fn name(seed: usize) -> String {
    format!("d{}/f{seed}", seed % 3)
}

pub fn within(limit: Duration, what: &str, done: impl Fn() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < limit, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
