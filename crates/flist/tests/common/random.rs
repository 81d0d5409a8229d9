//! Random trees.

use mos_tree::{Inode, Kind, Metadata, Timestamp, Tree};
use proptest::prelude::*;

use super::{noise, text};

fn some_metadata() -> impl Strategy<Value = Metadata> {
    let xattrs = proptest::collection::btree_map("(user|security|trusted)\\.[a-z.]{1,12}", any::<Vec<u8>>(), 0..3);
    let time = (any::<i64>(), 0..1_000_000_000_u32);
    (0..=0o7777_u32, any::<u32>(), any::<u32>(), time, xattrs).prop_map(|(mode, uid, gid, time, xattrs)| Metadata {
        mode,
        uid,
        gid,
        mtime: Timestamp {
            seconds: time.0,
            nanoseconds: time.1,
        },
        xattrs: xattrs
            .into_iter()
            .map(|(name, value)| (name.into_bytes(), value))
            .collect(),
    })
}

fn some_kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        Just(Kind::Directory(Default::default())),
        (any::<u64>(), 0..6000_usize).prop_map(|(seed, size)| Kind::File(text(seed, size).into())),
        (0..4_u64, 0..400_000_usize).prop_map(|(seed, size)| Kind::File(noise(seed, size).into())),
        proptest::collection::vec(1..=255_u8, 1..4096).prop_map(Kind::Symlink),
        (0..4096_u32, 0..1_048_576_u32).prop_map(|(major, minor)| Kind::BlockDevice { major, minor }),
        (0..4096_u32, 0..1_048_576_u32).prop_map(|(major, minor)| Kind::CharacterDevice { major, minor }),
        Just(Kind::Fifo),
        Just(Kind::Socket),
    ]
}

/// Random paths, some of which lie below others' files and are then left out, and random hard links.
pub fn some_tree() -> impl Strategy<Value = Tree> {
    let path = proptest::collection::vec("[!a-c\\PC]{1,3}", 1..4).prop_map(|names| names.join("/"));
    let inodes = proptest::collection::vec((path, some_metadata(), some_kind(), any::<bool>()), 0..30);
    (some_metadata(), inodes).prop_map(|(root, inodes)| {
        let mut tree = Tree::new(root);
        for (path, metadata, kind, linked) in inodes {
            let directory = matches!(kind, Kind::Directory(_));
            if let Ok(id) = tree.insert(&path, Inode { metadata, kind })
                && linked
                && !directory
            {
                tree.link(format!("links/{}", path.replace('/', "-")), id).ok();
            }
        }
        tree
    })
}
