//! Trees, mounts of them, and whether the two are equal.
#![allow(clippy::unwrap_used, reason = "helpers of tests stop the test, as tests do")]
#![allow(dead_code, reason = "each test binary uses some of these")]

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

use mos_flist::{Flist, PackOptions, Reader, pack};
use mos_mount::{MountOptions, Source};
use mos_store::{Memory, Read, Write};
use mos_tree::directory::{self, Options};
use mos_tree::{Inode, Kind, Metadata, Timestamp, Tree};

/// Set in the process that runs a test in a mount namespace of its own.
const INSIDE: &str = "MOS_MOUNT_TEST_INSIDE";

/// True in a process that may mount and whose mounts nobody else sees; otherwise runs the test again in one, and
/// reports what it says. Prints SKIPPED where there is no privilege.
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

/// Bytes without any pattern, the same for the same seed.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    };
    (0..length).map(|_| next()).collect()
}

/// Bytes that shrink to about half.
pub fn text(seed: u64, length: usize) -> Vec<u8> {
    let letters = noise(seed, length).into_iter();
    letters
        .map(|byte| b"etaoin shrdlu\ncm"[usize::from(byte & 15)])
        .collect()
}

pub fn metadata(mode: u32, seed: u32) -> Metadata {
    Metadata {
        mode,
        uid: seed,
        gid: 70_000 + seed,
        mtime: Timestamp {
            seconds: 1_700_000_000 + i64::from(seed),
            nanoseconds: 123_456_789,
        },
        xattrs: Default::default(),
    }
}

pub fn put(tree: &mut Tree, path: &[u8], mode: u32, kind: Kind) {
    let metadata = metadata(mode, path.len() as u32);
    tree.insert(path, Inode { metadata, kind }).unwrap();
}

/// An access list: `user::rw-, user:1000:rwx, group::r--, mask::rwx, other::---` (acl(5), `struct posix_acl_xattr`).
pub fn access_list() -> Vec<u8> {
    let entries: [(u16, u16, u32); 5] = [
        (1, 6, u32::MAX),
        (2, 7, 1000),
        (4, 4, u32::MAX),
        (0x10, 7, u32::MAX),
        (0x20, 0, u32::MAX),
    ];
    let mut bytes = 2_u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        bytes.extend_from_slice(&tag.to_le_bytes());
        bytes.extend_from_slice(&permissions.to_le_bytes());
        bytes.extend_from_slice(&id.to_le_bytes());
    }
    bytes
}

/// One of everything.
pub fn everything() -> Tree {
    let mut tree = Tree::default();
    put(&mut tree, b"bin", 0o755, Kind::Directory(Default::default()));
    put(&mut tree, b"bin/tool", 0o4755, Kind::File(text(1, 60_000).into()));
    put(&mut tree, b"bin/t", 0o777, Kind::Symlink(b"tool".to_vec()));
    let tool = tree.find("bin/tool").unwrap();
    tree.link("bin/link", tool).unwrap();
    tree.link("usr/another", tool).unwrap();
    put(&mut tree, b"pipe", 0o600, Kind::Fifo);
    put(&mut tree, b"socket", 0o755, Kind::Socket);
    put(&mut tree, b"null", 0o666, Kind::CharacterDevice { major: 1, minor: 3 });
    let disk = Kind::BlockDevice {
        major: 259,
        minor: 70_000,
    };
    put(&mut tree, b"disk", 0o660, disk);
    put(&mut tree, b"empty", 0o1777, Kind::Directory(Default::default()));
    put(&mut tree, b"not-utf8-\xff\xfe", 0o644, Kind::File("bytes".into()));
    put(&mut tree, b"long-link", 0o777, Kind::Symlink(vec![b'x'; 4000]));
    put(&mut tree, b"zeros", 0o640, Kind::File(vec![0; 3_000_000].into()));
    put(&mut tree, b"noise", 0o640, Kind::File(noise(7, 2_700_000).into()));
    for size in [0, 1, 4095, 4096, 4097, 16_384, 65_536, 262_144] {
        let path = format!("sizes/{size}");
        put(
            &mut tree,
            path.as_bytes(),
            0o640,
            Kind::File(text(size as u64, size).into()),
        );
    }
    for n in 0..700 {
        let path = format!("many/{n:0>3}-{}", "n".repeat(n % 200));
        put(&mut tree, path.as_bytes(), 0o644, Kind::File(vec![b'x'; n % 50].into()));
    }
    attributes(&mut tree, "sizes/16384");
    attributes(&mut tree, "sizes/1");
    attributes(&mut tree, "empty");
    let old = tree.find("sizes/4095").unwrap();
    tree.inode_mut(old).metadata.mtime.seconds = -5;
    tree
}

/// Gives an inode attributes of all kinds.
pub fn attributes(tree: &mut Tree, path: &str) {
    let id = tree.find(path).unwrap();
    let metadata = &mut tree.inode_mut(id).metadata;
    // The mask of an access list is the group's part of the mode, and other is other.
    metadata.mode = 0o670;
    let xattrs = &mut metadata.xattrs;
    xattrs.insert(b"user.large".to_vec(), noise(9, 3000));
    xattrs.insert(b"user.empty".to_vec(), Vec::new());
    xattrs.insert(b"trusted.ours".to_vec(), b"y".to_vec());
    xattrs.insert(b"system.posix_acl_access".to_vec(), access_list());
}

/// A tree, packed.
pub struct Packed {
    pub tree: Tree,
    pub flist: Arc<Flist>,
    pub store: Memory,
}

pub fn packed(tree: Tree) -> Packed {
    let store = Memory::new();
    let flist = packed_to(&tree, &store);
    Packed { tree, flist, store }
}

pub fn packed_to(tree: &Tree, store: &dyn Write) -> Arc<Flist> {
    let packed = pack(tree, store, &PackOptions::default()).unwrap();
    Arc::new(Flist::parse(packed.flist).unwrap())
}

pub fn source(flist: &Arc<Flist>, store: Arc<dyn Read>) -> Source {
    Source {
        image: Arc::new(Reader::new(flist.clone(), store)),
        flist: Some(flist.clone()),
        name: "test.fl".to_owned(),
    }
}

/// Options that keep what is logged.
pub fn logged() -> (MountOptions, Arc<Mutex<Vec<String>>>) {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let sink = lines.clone();
    let options = MountOptions {
        log: Arc::new(move |line| sink.lock().unwrap().push(line.to_owned())),
        ..MountOptions::default()
    };
    (options, lines)
}

/// Fails unless a directory shows exactly this tree: every name, kind, stat field, attribute, link and byte.
pub fn assert_shows(tree: &Tree, root: &Path) {
    let options = Options {
        owners: true,
        xattrs: true,
    };
    let found = directory::read(root, options).unwrap();
    let mut names: BTreeMap<Vec<u8>, _> = found.walk().map(|entry| (entry.path.clone(), entry)).collect();
    let (links, found_links) = (tree.link_counts(), found.link_counts());
    let mut inodes = BTreeMap::new();
    for entry in tree.walk() {
        let shown = String::from_utf8_lossy(&entry.path).into_owned();
        let other = names
            .remove(&entry.path)
            .unwrap_or_else(|| panic!("{shown} is missing"));
        assert_metadata(&entry.inode.metadata, &other.inode.metadata, &shown);
        assert_kind(&entry.inode.kind, &other.inode.kind, &shown);
        assert_eq!(found_links.get(&other.id), links.get(&entry.id), "{shown}: names");
        assert_eq!(
            *inodes.entry(entry.id).or_insert(other.id),
            other.id,
            "{shown}: which inode"
        );
        let stat = std::fs::symlink_metadata(root.join(OsStr::from_bytes(&entry.path))).unwrap();
        if let Kind::File(content) = &entry.inode.kind {
            assert_eq!(stat.len(), content.len(), "{shown}");
            assert_eq!(stat.nlink(), u64::from(links[&entry.id]), "{shown}");
        }
    }
    assert!(names.is_empty(), "more than there should be: {:?}", names.keys());
}

fn assert_metadata(wanted: &Metadata, found: &Metadata, path: &str) {
    let plain = |metadata: &Metadata| (metadata.mode, metadata.uid, metadata.gid, metadata.mtime);
    assert_eq!(plain(found), plain(wanted), "{path}");
    let names = |metadata: &Metadata| -> Vec<String> {
        let names = metadata.xattrs.keys();
        names.map(|name| String::from_utf8_lossy(name).into_owned()).collect()
    };
    assert_eq!(names(found), names(wanted), "{path}");
    assert!(found.xattrs == wanted.xattrs, "{path}: other values of attributes");
}

fn assert_kind(wanted: &Kind, found: &Kind, path: &str) {
    match (wanted, found) {
        (Kind::File(wanted), Kind::File(found)) => {
            assert!(wanted.read().unwrap() == found.read().unwrap(), "{path}: other bytes");
        }
        (Kind::Directory(_), Kind::Directory(_)) => {}
        (Kind::Symlink(wanted), Kind::Symlink(found)) => assert!(wanted == found, "{path}: another target"),
        (wanted, found) => assert_eq!(format!("{wanted:?}"), format!("{found:?}"), "{path}"),
    }
}
