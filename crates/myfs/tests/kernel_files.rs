//! `myfs kernel-files` on a node below a directory: stores that are away, mounts that are there already, daemons that die.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::fs;
use std::io::Read as _;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use common::{alone, within};
use mos_flist::{PackOptions, pack};
use mos_store::Dir;
use mos_testkit::{Authority, Fault, HttpServer};
use mos_tree::Tree;

const SOON: Duration = Duration::from_secs(8);
/// Longer than what an flist keeps in itself.
const LENGTH: usize = 100_000;

/// A node below a directory, with a store.
struct Node {
    folder: tempfile::TempDir,
    server: HttpServer,
    ready: UnixDatagram,
}

/// A service that runs, killed in the end.
struct Running(Child);

impl Node {
    fn new() -> Self {
        Self::with(|store, _| HttpServer::serve(store))
    }

    /// With a server for a store, and what it leaves in the node's settings.
    fn with(serve: impl FnOnce(&Path, &Path) -> HttpServer) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for directory in [
            "store",
            "node/etc/mos",
            "node/proc",
            "node/run/mos/current/share/flists",
        ] {
            fs::create_dir_all(path(directory)).unwrap();
        }
        let server = serve(&path("store"), &path("node/etc/mos"));
        fs::write(
            path("node/etc/mos/node.toml"),
            format!("channel = \"{}\"\n", server.url()),
        )
        .unwrap();
        let ready = UnixDatagram::bind(path("ready")).unwrap();
        ready.set_read_timeout(Some(SOON)).unwrap();
        let node = Self { folder, server, ready };
        node.pack(&node.flist("modules"), &["modules.dep", "kernel/a.ko", "kernel/b.ko"]);
        node.pack(&node.flist("firmware"), &["a.bin", "b.bin"]);
        node
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn flist(&self, what: &str) -> PathBuf {
        let name = match what {
            "modules" => format!("modules-{}.fl", kernel()),
            other => format!("{other}-1.fl"),
        };
        self.path("node/run/mos/current/share/flists").join(name)
    }

    fn pack(&self, flist: &Path, files: &[&str]) {
        let mut tree = Tree::default();
        for name in files {
            tree.insert_file(name, 0o644, content(name)).unwrap();
        }
        let packed = pack(&tree, &Dir::new(self.path("store")), &PackOptions::default()).unwrap();
        fs::write(flist, packed.flist).unwrap();
    }

    /// Where modules are to be, or firmware.
    fn place(&self, what: &str) -> PathBuf {
        match what {
            "modules" => self.path("node/lib/modules").join(kernel()),
            _ => self.path("node/lib/firmware"),
        }
    }

    fn start(&self) -> Running {
        let log = fs::File::options()
            .append(true)
            .create(true)
            .open(self.path("log"))
            .unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_myfs"));
        command.args(["kernel-files", "--root"]).arg(self.path("node"));
        for variable in ["FLIST_STORE", "MODULES_FLIST", "FIRMWARE_FLIST", "SSL_CERT_FILE"] {
            command.env_remove(variable);
        }
        command.env("NOTIFY_SOCKET", self.path("ready"));
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        Running(command.spawn().unwrap())
    }

    fn wait_ready(&self) {
        let mut said = [0; 16];
        let length = self.ready.recv(&mut said).unwrap();
        assert_eq!(&said[..length], b"READY=1", "{}", self.log());
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    fn wait_log(&self, text: &str, count: usize) {
        within(SOON, &format!("{text} {count} times"), || {
            self.log().matches(text).count() >= count
        });
    }

    fn mounts(&self) -> usize {
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let node = self.path("node").display().to_string();
        table.lines().filter(|line| line.contains(&node)).count()
    }

    fn check(&self) {
        assert!(fs::read(self.place("modules").join("kernel/b.ko")).unwrap() == content("kernel/b.ko"));
        assert!(fs::read(self.place("firmware").join("b.bin")).unwrap() == content("b.bin"));
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        for what in ["modules", "firmware"] {
            let _ = Command::new("umount").arg("-lq").arg(self.place(what)).output();
        }
    }
}

impl Running {
    fn signal(&mut self, signal: rustix::process::Signal) -> std::process::ExitStatus {
        let pid = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(pid, signal).unwrap();
        self.0.wait().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn kernel() -> String {
    let mut text = String::new();
    fs::File::open("/proc/sys/kernel/osrelease")
        .unwrap()
        .read_to_string(&mut text)
        .unwrap();
    text.trim().to_owned()
}

/// Bytes of a file that no other file has.
fn content(name: &str) -> Vec<u8> {
    let mut state = mos_store::Digest::of(name.as_bytes()).to_string().into_bytes();
    while state.len() < LENGTH {
        let next = mos_store::Digest::of(&state[state.len() - 64..]).to_string();
        state.extend_from_slice(next.as_bytes());
    }
    state
}

#[test]
fn a_channel_of_https_is_read_when_the_image_has_its_authority() {
    if !alone() {
        return;
    }
    let authority = Authority::new();
    let node = Node::with(|store, settings| {
        fs::write(settings.join("ca.pem"), authority.pem()).unwrap();
        HttpServer::serve_tls(store, &authority.vouch("127.0.0.1"))
    });
    assert!(node.server.url().starts_with("https://"));
    let running = node.start();
    node.wait_ready();
    assert_eq!(node.mounts(), 2, "{}", node.log());
    node.check();
    drop(running);
}

#[test]
fn a_channel_of_https_that_nobody_vouches_for_is_not_read() {
    if !alone() {
        return;
    }
    let node = Node::with(|store, settings| {
        fs::write(settings.join("ca.pem"), Authority::new().pem()).unwrap();
        HttpServer::serve_tls(store, &Authority::new().vouch("127.0.0.1"))
    });
    let running = node.start();
    node.wait_log("the server's certificate is not trusted", 1);
    assert_eq!((node.mounts(), node.server.requests().len()), (0, 0), "{}", node.log());
    drop(running);
}

#[test]
fn both_are_mounted_and_taken_away_again() {
    if !alone() {
        return;
    }
    let node = Node::new();
    let mut service = node.start();
    node.wait_ready();
    node.check();
    assert!(node.log().contains("0 of 0 devices"), "{}", node.log());
    assert!(
        service.signal(rustix::process::Signal::TERM).success(),
        "{}",
        node.log()
    );
    assert_eq!(node.mounts(), 0, "{}", node.log());
}

#[test]
fn files_of_the_image_stay_in_sight_while_the_store_is_away() {
    if !alone() {
        return;
    }
    let node = Node::new();
    fs::create_dir_all(node.place("firmware")).unwrap();
    fs::write(node.place("firmware").join("of-the-image"), "x").unwrap();
    node.server.misbehave(Fault::Refuse, 1000);
    let _service = node.start();
    node.wait_ready();
    assert_eq!(node.mounts(), 0);
    assert!(node.place("firmware").join("of-the-image").exists());
    node.wait_log("next try in 5 s", 2);
    node.server.misbehave(Fault::Refuse, 0);
    node.wait_log("is mounted at", 2);
    node.check();
    assert!(!node.place("firmware").join("of-the-image").exists());
}

#[test]
fn what_is_mounted_is_left_alone_until_it_is_gone() {
    if !alone() {
        return;
    }
    let node = Node::new();
    let firmware = node.place("firmware");
    fs::create_dir_all(&firmware).unwrap();
    let mount = Command::new("mount")
        .args(["-t", "tmpfs", "mine"])
        .arg(&firmware)
        .status();
    assert!(mount.unwrap().success());
    let _service = node.start();
    node.wait_ready();
    assert!(node.log().contains("firmware: mounted already"), "{}", node.log());
    assert_eq!(node.mounts(), 2);
    fs::write(firmware.join("still-mine"), "").unwrap();
    assert!(Command::new("umount").arg(&firmware).status().unwrap().success());
    node.wait_log("firmware: no longer mounted", 1);
    node.wait_log("is mounted at", 2);
    node.check();
}

#[test]
fn the_mounts_of_a_dead_service_are_replaced_by_the_next() {
    if !alone() {
        return;
    }
    let node = Node::new();
    let mut first = node.start();
    node.wait_ready();
    node.check();
    first.signal(rustix::process::Signal::KILL);
    // What the kernel has to ask for each time.
    let error = rustix::fs::statfs(node.place("firmware")).unwrap_err();
    assert_eq!(error, rustix::io::Errno::NOTCONN);
    let _second = node.start();
    node.wait_ready();
    node.check();
    assert_eq!(node.mounts(), 2);
    // One that only tells others that it is ready, since both are mounted: it takes nothing away when it ends.
    let mut third = node.start();
    node.wait_ready();
    node.wait_log("mounted already", 2);
    third.signal(rustix::process::Signal::TERM);
    node.check();
}

#[test]
fn a_release_with_other_flists_ends_the_service_so_that_the_next_mounts_them() {
    if !alone() {
        return;
    }
    let node = Node::new();
    let mut first = node.start();
    node.wait_ready();
    node.check();
    let new = node.path("new.fl");
    node.pack(&new, &["b.bin", "new.bin"]);
    fs::rename(&new, node.flist("firmware")).unwrap();
    assert!(first.0.wait().unwrap().success(), "{}", node.log());
    assert!(node.log().contains("other flists"), "{}", node.log());
    assert_eq!(node.mounts(), 0);
    let _second = node.start();
    node.wait_ready();
    node.check();
    assert!(fs::read(node.place("firmware").join("new.bin")).unwrap() == content("new.bin"));
}
