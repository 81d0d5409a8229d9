//! Random trees, and such a tree made on a disk by system calls.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags};

use crate::common::{access_list, noise, text};

/// A node to be made.
#[derive(Debug, Clone)]
pub struct Node {
    path: Vec<Vec<u8>>,
    what: What,
    mode: u32,
    owner: (u32, u32),
    mtime: (i64, u32),
    xattrs: Vec<(&'static str, Vec<u8>)>,
    /// A second name.
    link: Option<Vec<Vec<u8>>>,
}

#[derive(Debug, Clone)]
enum What {
    Directory,
    /// Parts: bytes of noise, of text, or of nothing; and a seed.
    File(Vec<(Part, usize, u64)>),
    Symlink(Vec<u8>),
    Special(FileType, u32, u32),
}

#[derive(Debug, Clone, Copy)]
enum Part {
    Noise,
    Text,
    Hole,
}

/// Trees in which each kind of node and each attribute is likely, and paths meet. Some have a character device 0:0,
/// which is what overlayfs takes for a name that was removed.
pub fn trees() -> impl Strategy<Value = Vec<Node>> {
    let removed = prop::option::weighted(0.15, path());
    (prop::collection::vec(node(), 1..40), removed).prop_map(|(mut nodes, removed)| {
        nodes.extend(removed.map(whiteout));
        nodes
    })
}

/// A character device 0:0.
pub fn whiteout(path: Vec<Vec<u8>>) -> Node {
    Node {
        path,
        what: What::Special(FileType::CharacterDevice, 0, 0),
        mode: 0o600,
        owner: (0, 0),
        mtime: (1_700_000_000, 1),
        xattrs: Vec::new(),
        link: None,
    }
}

prop_compose! {
    fn node()(
        path in path(),
        what in what(),
        mode in 0..0o10_000_u32,
        owner in (id(), id()),
        // What ext4 holds.
        mtime in (-2_147_483_648..15_032_385_535_i64, prop_oneof![Just(0), Just(999_999_999), 0..1_000_000_000_u32]),
        xattrs in prop::collection::vec(xattr(), 0..4),
        link in prop::option::weighted(0.3, path()),
    ) -> Node {
        Node { path, what, mode, owner, mtime, xattrs, link }
    }
}

fn id() -> impl Strategy<Value = u32> {
    prop_oneof![Just(0), Just(65_534), Just(65_536), Just(u32::MAX - 1), 0..u32::MAX]
}

fn path() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let few = prop::sample::select(vec![b"a".to_vec(), b"b".to_vec(), b"\xff".to_vec(), "ü".into()]);
    let byte = any::<u8>().prop_filter("no part of a name", |byte| !matches!(byte, 0 | b'/'));
    let any = prop::collection::vec(byte, 1..20).prop_filter("no name", |name| name != b"." && name != b"..");
    let long = (1..=255_usize).prop_map(|length| vec![b'n'; length]);
    prop_oneof![
        9 => prop::collection::vec(prop_oneof![5 => few.clone(), 2 => any, 1 => long], 1..5),
        // Deep.
        1 => prop::collection::vec(few, 30..60),
    ]
}

fn what() -> impl Strategy<Value = What> {
    let part = prop_oneof![Just(Part::Noise), Just(Part::Text), Just(Part::Hole)];
    let tiny = (part.clone(), 0..3000_usize, any::<u64>());
    let chunks = (part, 0..900_000_usize, any::<u64>());
    let device = prop_oneof![Just(FileType::CharacterDevice), Just(FileType::BlockDevice)];
    let plain = prop_oneof![Just(FileType::Fifo), Just(FileType::Socket)];
    prop_oneof![
        2 => Just(What::Directory),
        4 => prop::collection::vec(tiny, 0..3).prop_map(What::File),
        3 => prop::collection::vec(chunks, 1..4).prop_map(What::File),
        2 => prop::collection::vec(1..=255_u8, 1..300).prop_map(What::Symlink),
        1 => (device, 1..4096_u32, 0..1_u32 << 20).prop_map(|(kind, major, minor)| What::Special(kind, major, minor)),
        1 => Just(What::Special(FileType::BlockDevice, 0, 0)),
        1 => plain.prop_map(|kind| What::Special(kind, 0, 0)),
    ]
}

fn xattr() -> impl Strategy<Value = (&'static str, Vec<u8>)> {
    let value = || prop::collection::vec(any::<u8>(), 0..200);
    prop_oneof![
        (
            prop::sample::select(vec![
                "user.a",
                "user.ab",
                "trusted.ours",
                "security.ours",
                "trusted.overlay.opaque"
            ]),
            value()
        ),
        Just(("security.capability", capability())),
        Just(("system.posix_acl_access", access_list())),
        Just(("system.posix_acl_default", access_list())),
    ]
}

/// `cap_net_bind_service=ep`: `struct vfs_cap_data` of Linux `include/uapi/linux/capability.h`, revision 2.
fn capability() -> Vec<u8> {
    [0x0200_0001_u32, 1 << 10, 0, 0, 0]
        .iter()
        .flat_map(|word| word.to_le_bytes())
        .collect()
}

/// Makes the nodes below a directory. What cannot be, as a name below a file or a second node of one name, is left out.
pub fn grow(root: &Path, nodes: &[Node]) {
    let mut made = Vec::new();
    for node in nodes {
        let Ok(path) = make(root, node) else { continue };
        if let Some(link) = &node.link
            && !matches!(node.what, What::Directory)
            && let Ok(link) = place(root, link)
        {
            // A name that is taken stays what it is.
            let _ = fs::hard_link(&path, link);
        }
        made.push((path, node));
    }
    made.iter().for_each(|(path, node)| dress(path, node));
    // Whatever is made in a directory sets its time, so the deepest come first.
    made.sort_by_key(|(path, _)| std::cmp::Reverse(path.components().count()));
    made.iter().for_each(|(path, node)| set_time(path, node.mtime));
}

/// Where a node goes, in directories that are made on the way.
fn place(root: &Path, path: &[Vec<u8>]) -> io::Result<PathBuf> {
    let (name, parents) = path.split_last().unwrap();
    let parent = parents
        .iter()
        .fold(root.to_owned(), |at, name| at.join(OsStr::from_bytes(name)));
    // Not through a link, which leads anywhere.
    let mut at = root.to_owned();
    for name in parents {
        at.push(OsStr::from_bytes(name));
        match fs::symlink_metadata(&at) {
            Ok(found) if found.is_dir() => {}
            Ok(_) => return Err(io::ErrorKind::NotADirectory.into()),
            Err(_) => fs::create_dir(&at)?,
        }
    }
    Ok(parent.join(OsStr::from_bytes(name)))
}

fn make(root: &Path, node: &Node) -> io::Result<PathBuf> {
    let path = place(root, &node.path)?;
    match &node.what {
        What::Directory => fs::create_dir(&path)?,
        What::File(parts) => write(fs::File::create_new(&path)?, parts)?,
        What::Symlink(target) => std::os::unix::fs::symlink(OsStr::from_bytes(target), &path)?,
        What::Special(kind, major, minor) => {
            rustix::fs::mknodat(CWD, &path, *kind, Mode::empty(), rustix::fs::makedev(*major, *minor))?;
        }
    }
    Ok(path)
}

fn write(mut file: fs::File, parts: &[(Part, usize, u64)]) -> io::Result<()> {
    let mut length = 0;
    for (part, size, seed) in parts {
        length += *size as u64;
        match part {
            Part::Noise => file.write_all(&noise(*seed, *size))?,
            Part::Text => file.write_all(&text(*seed, *size))?,
            Part::Hole => {
                file.set_len(length)?;
                io::Seek::seek(&mut file, io::SeekFrom::End(0))?;
            }
        }
    }
    Ok(())
}

/// Owner first, which takes away what a capability and set-user-id give; then mode; then attributes, which may change
/// the mode again.
fn dress(path: &Path, node: &Node) {
    let (uid, gid) = (Uid::from_raw(node.owner.0), Gid::from_raw(node.owner.1));
    rustix::fs::chownat(CWD, path, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW).unwrap();
    if !matches!(node.what, What::Symlink(_)) {
        rustix::fs::chmod(path, Mode::from_raw_mode(node.mode)).unwrap();
    }
    for (name, value) in &node.xattrs {
        // Not every kind of node takes every attribute.
        let _ = rustix::fs::lsetxattr(path, *name, value, XattrFlags::empty());
    }
}

fn set_time(path: &Path, (seconds, nanoseconds): (i64, u32)) {
    let time = Timespec {
        tv_sec: seconds,
        tv_nsec: nanoseconds.into(),
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}
