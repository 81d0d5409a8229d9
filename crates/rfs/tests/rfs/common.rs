//! Trees and stores that several tests use.

use std::sync::Arc;

use mos_rfs::{Layout, PackOptions, Packed, Reader, Rfs, Route, Stores, Targets, pack};
use mos_store::Memory;
use mos_tree::{Inode, Kind, Metadata, Timestamp, Tree};

pub const BLOCK: usize = mos_rfs::BLOCK_SIZE;

pub fn metadata(mode: u32, uid: u32, gid: u32, seconds: i64) -> Metadata {
    Metadata {
        mode,
        uid,
        gid,
        mtime: Timestamp {
            seconds,
            nanoseconds: 0,
        },
        ..Metadata::default()
    }
}

pub fn put(tree: &mut Tree, path: &str, metadata: Metadata, kind: Kind) {
    tree.insert(path, Inode { metadata, kind }).unwrap();
}

/// Bytes that do not compress and differ by seed.
pub fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let next = std::iter::repeat_with(|| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    });
    next.take(length).collect()
}

/// One of everything.
pub fn sample() -> Tree {
    let mut tree = Tree::new(metadata(0o755, 0, 0, 1_700_000_000));
    put(
        &mut tree,
        "bin",
        metadata(0o2775, 0, 50, 1_700_000_001),
        Kind::Directory(Default::default()),
    );
    put(
        &mut tree,
        "bin/tool",
        metadata(0o4755, 1000, 100, -5),
        Kind::File(noise(2 * BLOCK + 7, 1).into()),
    );
    put(
        &mut tree,
        "empty",
        metadata(0o600, 0, 0, 0),
        Kind::File(Vec::new().into()),
    );
    put(
        &mut tree,
        "exact",
        metadata(0o644, 1, 2, 3),
        Kind::File(noise(BLOCK, 2).into()),
    );
    put(
        &mut tree,
        "lib",
        metadata(0o777, 0, 0, 9),
        Kind::Symlink(b"usr/lib\xff".to_vec()),
    );
    put(
        &mut tree,
        "null",
        metadata(0o666, 0, 5, 1),
        Kind::CharacterDevice { major: 1, minor: 3 },
    );
    put(
        &mut tree,
        "disk",
        metadata(0o660, 0, 6, 1),
        Kind::BlockDevice {
            major: 259,
            minor: 70_000,
        },
    );
    put(&mut tree, "pipe", metadata(0o600, 0, 0, 1), Kind::Fifo);
    put(&mut tree, "sock", metadata(0o600, 0, 0, 1), Kind::Socket);
    put(
        &mut tree,
        "zeros",
        metadata(0o644, 0, 0, 1),
        Kind::File(vec![0; 2 * BLOCK + 1].into()),
    );
    tree
}

pub fn targets(store: &Memory) -> Targets {
    let mut targets = Targets::default();
    targets.add(
        Route::everywhere("dir:///srv/blocks"),
        Layout::Folders,
        Arc::new(store.clone()),
    );
    targets
}

pub fn packed(tree: &Tree, store: &Memory) -> Packed {
    pack(tree, &targets(store), &PackOptions::default()).unwrap()
}

pub fn reader(rfs: Rfs, store: &Memory) -> Reader {
    let mut stores = Stores::default();
    stores.add(
        Route::everywhere("dir:///srv/blocks"),
        Layout::Folders,
        Arc::new(store.clone()),
    );
    Reader::new(Arc::new(rfs), stores)
}
