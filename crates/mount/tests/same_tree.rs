//! Whatever the way, the mount shows the tree that was packed.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::{alone, assert_shows, everything, logged, metadata, packed, source, text};
use mos_mount::{How, MountOptions, Prefetch, Unmounted, Way, mount, unmount};
use mos_tree::{Inode, Kind, Tree};
use proptest::prelude::*;

/// The ways, and what each needs.
fn ways(cache: &std::path::Path) -> [(Way, MountOptions); 4] {
    let base = |how, local_store| MountOptions {
        how,
        local_store,
        ..logged().0
    };
    let kept = |how, prefetch| MountOptions {
        cache: Some(cache.to_owned()),
        prefetch,
        ..base(how, false)
    };
    [
        (Way::Fuse, base(How::Fuse, true)),
        (Way::Fuse, base(How::Auto, false)),
        (Way::Passthrough, kept(How::Fuse, Prefetch::Nothing)),
        (Way::Kernel, kept(How::Auto, Prefetch::All)),
    ]
}

fn check(tree: Tree) {
    let packed = packed(tree);
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("place");
    std::fs::create_dir(&place).unwrap();
    for (way, options) in ways(&directory.path().join("cache")) {
        let source = source(&packed.flist, Arc::new(packed.store.clone()));
        let mounted = mount(source, &place, &options).unwrap();
        assert_eq!(mounted.way(), way, "{}", mounted.why());
        // Twice: the second time from what the kernel kept.
        assert_shows(&packed.tree, &place);
        assert_shows(&packed.tree, &place);
        assert_eq!(mounted.unmount().unwrap(), Unmounted::Clean);
        assert_eq!(std::fs::read_dir(&place).unwrap().count(), 0);
    }
    assert!(unmount(&place).unwrap_err().to_string().contains("nothing of ours"));
}

#[test]
fn everything_there_is() {
    if alone() {
        check(everything());
    }
}

/// A store that counts what it is asked for.
struct Counted(mos_store::Memory, AtomicUsize);

impl mos_store::Read for Counted {
    fn get(&self, name: &str, limit: u64) -> Result<Vec<u8>, mos_store::StoreError> {
        self.0.get(name, limit)
    }

    fn get_range(&self, name: &str, wanted: std::ops::Range<u64>) -> Result<Vec<u8>, mos_store::StoreError> {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.get_range(name, wanted)
    }

    fn length(&self, name: &str) -> Result<Option<u64>, mos_store::StoreError> {
        self.0.length(name)
    }

    fn address(&self) -> String {
        self.0.address()
    }
}

#[test]
fn a_page_brings_the_rest_of_its_frame_into_the_page_cache() {
    if !alone() {
        return;
    }
    let mut tree = Tree::default();
    let bytes = text(3, 3_000_000);
    common::put(&mut tree, b"file", 0o644, Kind::File(bytes.clone().into()));
    let packed = packed(tree);
    let place = tempfile::tempdir().unwrap();
    for local_store in [true, false] {
        let store = Arc::new(Counted(packed.store.clone(), AtomicUsize::new(0)));
        let mut source = source(&packed.flist, store.clone());
        // Of the frames, none but the last.
        source.image = Arc::new(mos_flist::Reader::new(packed.flist.clone(), store.clone()).keeping(0));
        let options = MountOptions {
            how: How::Fuse,
            local_store,
            ..logged().0
        };
        let mounted = mount(source, place.path(), &options).unwrap();
        // Not before a file was closed.
        drop(std::fs::File::open(place.path().join("file")).unwrap());
        let file = std::fs::File::open(place.path().join("file")).unwrap();
        let page = |at: u64| {
            let mut page = [0; 4096];
            file.read_exact_at(&mut page, at).unwrap();
            assert_eq!(page[..], bytes[at as usize..][..4096]);
        };
        let pages = || (1..700_u64).map(|n| n * 7919 % 700 * 4096).filter(|at| *at > 0);
        pages().for_each(page);
        let asked = || store.1.load(Ordering::Relaxed);
        assert!(asked() < 100, "{} frames for 699 pages", asked());
        // The kernel takes it while we read on, sooner or later.
        let all_there = (0..100).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(100));
            let before = asked();
            pages().for_each(page);
            asked() == before
        });
        assert!(all_there, "everything is in the page cache");
        drop(file);
        mounted.unmount().unwrap();
    }
}

#[test]
fn an_empty_tree() {
    if alone() {
        check(Tree::default());
    }
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        4 => (0..200_000_usize, any::<u8>()).prop_map(|(size, seed)| Kind::File(text(seed.into(), size).into())),
        2 => (0..6000_usize, any::<u8>()).prop_map(|(size, seed)| Kind::File(text(seed.into(), size).into())),
        2 => Just(Kind::Directory(Default::default())),
        1 => "[a-z/.]{1,40}".prop_map(|target| Kind::Symlink(target.into_bytes())),
        1 => (0..4096_u32, 0..1_u32 << 20).prop_map(|(major, minor)| Kind::CharacterDevice { major, minor }),
        1 => (0..4096_u32, 0..1_u32 << 20).prop_map(|(major, minor)| Kind::BlockDevice { major, minor }),
        1 => Just(Kind::Fifo),
        1 => Just(Kind::Socket),
    ]
}

/// A name; `/` in it makes directories.
fn path() -> impl Strategy<Value = Vec<u8>> {
    let letter = prop::sample::select(b"ab/-\xff ".to_vec());
    prop::collection::vec(letter, 1..12)
}

fn tree() -> impl Strategy<Value = Tree> {
    let inode = (
        path(),
        kind(),
        0..0o10000_u32,
        0..1000_u32,
        any::<bool>(),
        prop::option::of(path()),
    );
    prop::collection::vec(inode, 1..30).prop_map(|all| {
        let mut tree = Tree::default();
        for (path, kind, mode, seed, attributes, link) in all {
            let mut metadata = metadata(mode, seed);
            let special = !matches!(kind, Kind::File(_) | Kind::Directory(_));
            if attributes && !special {
                metadata
                    .xattrs
                    .insert(b"user.seed".to_vec(), seed.to_le_bytes().to_vec());
            }
            // What a tree does not take, an existing name for instance, is left out.
            let directory = matches!(kind, Kind::Directory(_));
            if let Ok(id) = tree.insert(&path, Inode { metadata, kind })
                && !directory
                && let Some(link) = link
            {
                let _ = tree.link(&link, id);
            }
        }
        tree
    })
}

#[test]
fn random_trees() {
    if !alone() {
        return;
    }
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 24,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    runner
        .run(&tree(), |tree| {
            check(tree);
            Ok(())
        })
        .unwrap();
}
