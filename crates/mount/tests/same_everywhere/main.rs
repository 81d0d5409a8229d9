//! A tree on a disk is the same tree after packing, however it is looked at: unpacked, mounted by FUSE with and without
//! passthrough, mounted by the kernel, and through the format of rfs and back, less what that says it lost.
//!
//! Both ends are read by system calls alone (`snapshot`), so nothing of ours vouches for itself.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

#[path = "../common/mod.rs"]
mod common;
mod old_format;
mod plan;
mod snapshot;

use std::path::Path;
use std::sync::Arc;

use common::{alone, logged, packed_to, source};
use mos_flist::{Image, Reader, UnpackOptions, unpack};
use mos_mount::{How, MountOptions, Prefetch, Source, Unmounted, Way, mount};
use mos_rfs::{Layout, Rfs, Route, Spooled, Stores, Targets};
use mos_store::Memory;
use mos_tree::Tree;
use mos_tree::directory::{self, Options};
use proptest::prelude::*;
use snapshot::{Snapshot, assert_same};

const ALL: Options = Options {
    owners: true,
    xattrs: true,
};

/// Temporary files of this process's view go to memory: unpacking syncs, and a disk under load takes its time.
fn without_disk() {
    let flags = rustix::mount::MountFlags::empty();
    rustix::mount::mount("tmpfs", std::env::temp_dir(), "tmpfs", flags, None).unwrap();
}

fn read(root: &Path) -> Tree {
    directory::read(root, ALL).unwrap()
}

/// Mounts, looks, and takes it away.
fn seen(source: Source, options: &MountOptions, way: Way) -> Snapshot {
    let place = tempfile::tempdir().unwrap();
    let mounted = mount(source, place.path(), options).unwrap();
    assert_eq!(mounted.way(), way, "{}", mounted.why());
    let found = snapshot::of(place.path());
    assert_eq!(mounted.unmount().unwrap(), Unmounted::Clean);
    found
}

fn unpacked(image: &dyn Image) -> Snapshot {
    let place = tempfile::tempdir().unwrap();
    unpack(image, place.path(), &UnpackOptions::default(), &|_| {}).unwrap();
    snapshot::of(place.path())
}

fn options(how: How, cache: Option<&Path>) -> MountOptions {
    MountOptions {
        how,
        cache: cache.map(Path::to_owned),
        prefetch: if how == How::Auto {
            Prefetch::All
        } else {
            Prefetch::Nothing
        },
        ..logged().0
    }
}

fn is_whiteout(stat: &snapshot::Stat) -> bool {
    stat.mode & 0o170_000 == 0o020_000 && stat.device == 0
}

fn check(nodes: &[plan::Node]) {
    let directory = tempfile::tempdir().unwrap();
    let (origin, cache) = (directory.path().join("origin"), directory.path().join("cache"));
    std::fs::create_dir(&origin).unwrap();
    plan::grow(&origin, nodes);
    let expected = snapshot::of(&origin);
    let store = Arc::new(Memory::new());
    let flist = packed_to(&read(&origin), &*store);
    let image = || source(&flist, store.clone());
    assert_same(&expected, &unpacked(&*image().image), "unpacked");
    let kernel = match expected.values().any(is_whiteout) {
        true => Way::Passthrough,
        false => Way::Kernel,
    };
    let ways = [
        (Way::Fuse, options(How::Fuse, None)),
        (Way::Passthrough, options(How::Fuse, Some(&cache))),
        (kernel, options(How::Auto, Some(&cache))),
    ];
    for (way, options) in ways {
        assert_same(&expected, &seen(image(), &options, way), &way.to_string());
    }
    check_old_format(&expected, &Reader::new(flist.clone(), store), directory.path());
}

fn check_old_format(expected: &Snapshot, image: &dyn Image, room: &Path) {
    let blocks = Memory::new();
    let route = || Route::everywhere("dir:///srv/blocks");
    let mut targets = Targets::default();
    targets.add(route(), Layout::Folders, Arc::new(blocks.clone()));
    let spooled = Spooled::new(image, room).unwrap();
    let packed = mos_rfs::pack(spooled.tree(), &targets, &Default::default());
    if !old_format::fits(expected) {
        assert!(
            matches!(packed, Err(mos_rfs::PackError::Unfit(_))),
            "names that fall together"
        );
        return;
    }
    let packed = packed.unwrap();
    let expected = old_format::without(expected, &packed.losses);
    let mut stores = Stores::default();
    stores.add(route(), Layout::Folders, Arc::new(blocks));
    let rfs = Arc::new(Rfs::parse(&packed.rfs.to_bytes()).unwrap());
    let old = Source {
        image: Arc::new(mos_rfs::Reader::new(rfs, stores)),
        flist: None,
        name: "old.fl".to_owned(),
    };
    assert_same(
        &expected,
        &seen(old.clone(), &options(How::Fuse, None), Way::Fuse),
        "rfs format by FUSE",
    );
    let spooled = Spooled::new(&*old.image, room).unwrap();
    let store = Arc::new(Memory::new());
    let back = Reader::new(packed_to(spooled.tree(), &*store), store);
    assert_same(&expected, &unpacked(&back), "from the rfs format and unpacked");
}

#[test]
fn random_trees_are_the_same_everywhere() {
    if !alone() {
        return;
    }
    without_disk();
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 8,
        failure_persistence: None,
        max_shrink_iters: 60,
        ..ProptestConfig::default()
    });
    runner
        .run(&plan::trees(), |nodes| {
            check(&nodes);
            Ok(())
        })
        .unwrap();
}

#[test]
fn a_device_that_overlayfs_would_hide_is_not_given_to_it() {
    if !alone() {
        return;
    }
    let nodes = [plan::whiteout(vec![b"dev".to_vec(), b"hidden".to_vec()])];
    check(&nodes);
    let directory = tempfile::tempdir().unwrap();
    let (origin, place) = (directory.path().join("origin"), directory.path().join("place"));
    for path in [&origin, &place] {
        std::fs::create_dir(path).unwrap();
    }
    plan::grow(&origin, &nodes);
    let store = Arc::new(Memory::new());
    let flist = packed_to(&read(&origin), &*store);
    let kernel = options(How::Kernel, Some(directory.path()));
    let writable = MountOptions {
        writable: Some(directory.path().to_owned()),
        ..options(How::Fuse, None)
    };
    for (options, words) in [
        (kernel, "0:0, which overlayfs hides"),
        (writable, "would hide dev/hidden"),
    ] {
        let error = mount(source(&flist, store.clone()), &place, &options)
            .unwrap_err()
            .to_string();
        assert!(error.contains(words), "{error}");
    }
}
