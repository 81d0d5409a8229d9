//! Trees for tests.
#![allow(clippy::unwrap_used, reason = "helpers of tests stop the test, as tests do")]
#![allow(dead_code, reason = "each test binary uses some of these")]

pub mod random;

use std::sync::Arc;

use mos_flist::{Flist, PackOptions, Packed, Reader, pack, to_tree};
use mos_store::{Memory, Write};
use mos_tree::{Inode, Kind, Metadata, Timestamp, Tree};

/// Bytes without any pattern, the same for the same seed.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    (0..length)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 24) as u8
        })
        .collect()
}

/// Bytes that shrink to about half.
pub fn text(seed: u64, length: usize) -> Vec<u8> {
    noise(seed, length)
        .into_iter()
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

fn put(tree: &mut Tree, path: &[u8], mode: u32, kind: Kind) {
    let metadata = metadata(mode, path.len() as u32);
    tree.insert(path, Inode { metadata, kind }).unwrap();
}

/// One of everything, small enough to test every byte of its flist.
pub fn small() -> Tree {
    let mut tree = Tree::default();
    put(&mut tree, b"bin", 0o755, Kind::Directory(Default::default()));
    put(&mut tree, b"bin/tool", 0o4755, Kind::File(text(1, 60_000).into()));
    put(&mut tree, b"bin/t", 0o777, Kind::Symlink(b"tool".to_vec()));
    put(&mut tree, b"etc/host", 0o644, Kind::File("inline\n".into()));
    put(&mut tree, b"null", 0o666, Kind::CharacterDevice { major: 1, minor: 3 });
    put(&mut tree, b"pipe", 0o600, Kind::Fifo);
    tree.link("bin/link", tree.find("bin/tool").unwrap()).unwrap();
    let tool = tree.find("bin/tool").unwrap();
    let xattrs = &mut tree.inode_mut(tool).metadata.xattrs;
    xattrs.insert(b"user.origin".to_vec(), b"here".to_vec());
    tree
}

/// One of everything, with the sizes at which something changes.
pub fn large() -> Tree {
    let mut tree = small();
    for size in [
        0, 1, 1023, 1024, 1025, 4095, 4096, 4097, 16_384, 65_536, 262_144, 1_000_000,
    ] {
        let name = format!("sizes/{size}");
        put(
            &mut tree,
            name.as_bytes(),
            0o640,
            Kind::File(text(size as u64, size).into()),
        );
    }
    put(&mut tree, b"sizes/noise", 0o640, Kind::File(noise(7, 700_000).into()));
    put(&mut tree, b"sizes/zeros", 0o640, Kind::File(vec![0; 3_000_000].into()));
    put(&mut tree, b"empty", 0o700, Kind::Directory(Default::default()));
    put(
        &mut tree,
        b"disk",
        0o660,
        Kind::BlockDevice {
            major: 259,
            minor: 70_000,
        },
    );
    put(&mut tree, b"socket", 0o755, Kind::Socket);
    put(&mut tree, b"long-link", 0o777, Kind::Symlink(vec![b'x'; 4095]));
    put(&mut tree, b"old", 0o644, Kind::File("x".into()));
    let old = tree.find("old").unwrap();
    tree.inode_mut(old).metadata.mtime.seconds = -5;
    put(&mut tree, b"not-utf8-\xff\xfe", 0o644, Kind::File("bytes".into()));
    put(&mut tree, b"!before-the-dots", 0o644, Kind::File("".into()));
    for n in 0..700 {
        let name = format!("many/{n:0>3}-{}", "n".repeat(n % 200));
        put(&mut tree, name.as_bytes(), 0o644, Kind::File(vec![b'x'; n % 50].into()));
    }
    put(&mut tree, b"attributes", 0o644, Kind::File(text(3, 2000).into()));
    let id = tree.find("attributes").unwrap();
    let xattrs = &mut tree.inode_mut(id).metadata.xattrs;
    xattrs.insert(b"user.large".to_vec(), noise(9, 3900));
    xattrs.insert(b"trusted.overlay.opaque".to_vec(), b"y".to_vec());
    xattrs.insert(
        b"security.capability".to_vec(),
        vec![1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    );
    tree
}

pub fn packed(tree: &Tree, store: &dyn Write) -> Packed {
    pack(tree, store, &PackOptions::default()).unwrap()
}

pub fn parsed(packed: &Packed) -> Arc<Flist> {
    Arc::new(Flist::parse(packed.flist.clone()).unwrap())
}

pub fn reader<S: mos_store::Read + Clone + 'static>(flist: &Arc<Flist>, store: &S) -> Reader {
    Reader::new(flist.clone(), Arc::new(store.clone()))
}

pub fn sequential<S: mos_store::Read + Clone + 'static>(flist: &Arc<Flist>, store: &S) -> Reader {
    Reader::sequential(flist.clone(), Arc::new(store.clone()))
}

/// Packs a tree, reads it back, and compares.
pub fn round_trip(tree: &Tree) -> Packed {
    let store = Memory::new();
    let packed = packed(tree, &store);
    let flist = parsed(&packed);
    let back = to_tree(&reader(&flist, &store)).unwrap();
    assert!(back == *tree, "the tree that came back is another");
    packed
}
