//! What a directory looks like to a program: every stat field, attribute, target and byte, read by system calls alone.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// By path from the root, which is empty.
pub type Snapshot = BTreeMap<Vec<u8>, Stat>;

/// Of a name. Not in it: numbers of inodes and devices, which every file system has its own of (`first` stands for
/// them); blocks; times but that of the content; the size of directories.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stat {
    /// All of `st_mode`.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub size: u64,
    pub mtime: (i64, i64),
    /// For a directory 1 means that the file system does not count, which overlayfs uses where it merges.
    pub links: u64,
    pub device: u64,
    /// The first path of this inode.
    pub first: Vec<u8>,
    pub xattrs: BTreeMap<OsString, Vec<u8>>,
    /// A file's bytes, a link's target.
    pub content: Vec<u8>,
}

pub fn of(root: &Path) -> Snapshot {
    let mut snapshot = Snapshot::new();
    let mut inodes = BTreeMap::new();
    // Paths in order, so that the first name of an inode is the same everywhere.
    let mut pending = std::collections::BTreeSet::from([Vec::new()]);
    while let Some(path) = pending.pop_first() {
        let host = root.join(OsStr::from_bytes(&path));
        let found = fs::symlink_metadata(&host).unwrap_or_else(|error| panic!("{}: {error}", host.display()));
        let names = || fs::read_dir(&host).unwrap().map(|entry| entry.unwrap().file_name());
        if found.is_dir() {
            pending.extend(names().map(|name| join(&path, name.as_bytes())));
        }
        let first = match found.is_dir() {
            true => path.clone(),
            false => inodes.entry(found.ino()).or_insert(path.clone()).clone(),
        };
        snapshot.insert(path, stat(&host, &found, first));
    }
    snapshot
}

pub fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    match directory {
        b"" => name.to_vec(),
        _ => [directory, b"/", name].concat(),
    }
}

fn stat(host: &Path, found: &fs::Metadata, first: Vec<u8>) -> Stat {
    let content = match (found.is_file(), found.is_symlink()) {
        (true, _) => fs::read(host).unwrap_or_else(|error| panic!("{}: {error}", host.display())),
        (_, true) => fs::read_link(host).unwrap().into_os_string().into_vec(),
        _ => Vec::new(),
    };
    Stat {
        mode: found.mode(),
        uid: found.uid(),
        gid: found.gid(),
        size: if found.is_dir() { 0 } else { found.size() },
        mtime: (found.mtime(), found.mtime_nsec()),
        links: found.nlink(),
        device: found.rdev(),
        first,
        xattrs: xattrs(host),
        content,
    }
}

/// A name that is listed can be asked for.
fn xattrs(host: &Path) -> BTreeMap<OsString, Vec<u8>> {
    let mut list = vec![0; 65_536];
    let length = rustix::fs::llistxattr(host, &mut list[..]).unwrap();
    let names = list[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    let value = |name: &[u8]| {
        let mut value = vec![0; 65_536];
        let length = rustix::fs::lgetxattr(host, OsStr::from_bytes(name), &mut value[..])
            .unwrap_or_else(|error| panic!("{}: {}: {error}", host.display(), name.escape_ascii()));
        value.truncate(length);
        (OsString::from_vec(name.to_vec()), value)
    };
    names.map(value).collect()
}

/// Fails with the first difference, and says where it was found.
pub fn assert_same(expected: &Snapshot, found: &Snapshot, by: &str) {
    let paths: Vec<_> = expected.keys().chain(found.keys()).collect();
    for path in paths {
        let (wanted, got) = (expected.get(path), found.get(path));
        let merged = |stat: &Stat| stat.mode & 0o170_000 == 0o040_000 && stat.links == 1;
        let same = match (wanted, got) {
            (Some(wanted), Some(got)) if path.is_empty() && merged(got) => {
                Stat {
                    links: wanted.links,
                    ..got.clone()
                } == *wanted
            }
            _ => wanted == got,
        };
        let shown = path.escape_ascii();
        assert!(
            same,
            "{by}: \"{shown}\" is\n{}\ninstead of\n{}",
            show(got),
            show(wanted)
        );
    }
}

fn show(stat: Option<&Stat>) -> String {
    stat.map_or_else(
        || "not there".to_owned(),
        |stat| {
            let content = &stat.content[..stat.content.len().min(32)];
            format!(
                "{:?}",
                Stat {
                    content: content.to_vec(),
                    ..stat.clone()
                }
            )
        },
    )
}
