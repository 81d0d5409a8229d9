//! Trees through the format and back, and from one format to the other.

use std::path::PathBuf;
use std::sync::Arc;

use crate::common::{BLOCK, metadata, noise, packed, reader, sample};
use mos_flist::Image as _;
use mos_rfs::{Reader, Rfs, Route, Spooled, Stores};
use mos_store::{Memory, Options};
use mos_tree::{Inode, Kind, Tree};
use proptest::prelude::*;

#[test]
fn a_tree_comes_back_from_the_bytes_of_the_file() {
    let store = Memory::new();
    let bytes = packed(&sample(), &store).rfs.to_bytes();
    let rfs = Rfs::parse(&bytes).unwrap();
    assert_eq!(rfs.content_length(), (5 * BLOCK + 8) as u64);
    let reader = reader(rfs, &store);
    assert_eq!(mos_flist::to_tree(&reader).unwrap(), sample());
    let links = |path: &str| reader.find(path.as_bytes()).unwrap().links;
    assert_eq!((links(""), links("bin"), links("bin/tool")), (3, 2, 1));
}

#[test]
fn blocks_are_read_from_a_directory_by_the_route_of_the_flist() {
    let directory = tempfile::tempdir().unwrap();
    let routes = [Route::everywhere(format!("dir://{}", directory.path().display()))];
    let targets = mos_rfs::Targets::open(&routes, &Options::default()).unwrap();
    let rfs = mos_rfs::pack(&sample(), &targets, &Default::default()).unwrap().rfs;
    assert_eq!(rfs.routes(), routes);
    let name = rfs.blocks()[0].name();
    assert!(directory.path().join(&name[..2]).join(&name).is_file());
    let stores = Stores::open(rfs.routes(), &Options::default()).unwrap();
    let reader = Reader::new(Arc::new(rfs), stores);
    assert_eq!(mos_flist::to_tree(&reader).unwrap(), sample());
}

#[test]
fn either_format_converts_to_the_other_and_back() {
    let mut tree = sample();
    let id = tree.find("bin/tool").unwrap();
    tree.link("bin/again", id).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let (new, old) = (Arc::new(Memory::new()), Memory::new());

    let flist = mos_flist::pack(&tree, &*new, &Default::default()).unwrap().flist;
    let flist = Arc::new(mos_flist::Flist::parse(flist).unwrap());
    let spooled = Spooled::new(&mos_flist::Reader::new(flist, new.clone()), directory.path()).unwrap();
    assert_eq!(*spooled.tree(), tree);
    let rfs = packed(spooled.tree(), &old);
    assert_eq!(rfs.losses.len(), 1, "the hard link");
    drop(spooled);
    assert_eq!(
        std::fs::read_dir(directory.path()).unwrap().count(),
        0,
        "the spool file is gone"
    );

    let spooled = Spooled::new(&reader(rfs.rfs, &old), directory.path()).unwrap();
    let again = mos_flist::pack(spooled.tree(), &*new, &Default::default())
        .unwrap()
        .flist;
    let flist = Arc::new(mos_flist::Flist::parse(again).unwrap());
    let back = mos_flist::to_tree(&mos_flist::Reader::new(flist, new)).unwrap();
    assert_eq!(back, *spooled.tree());
    assert_eq!(back.get("bin/again"), tree.get("bin/again"));
}

#[test]
fn a_conversion_that_fails_leaves_nothing_behind() {
    let directory = tempfile::tempdir().unwrap();
    let rfs = packed(&sample(), &Memory::new()).rfs;
    let empty = reader(rfs, &Memory::new());
    assert!(
        Spooled::new(&empty, directory.path())
            .unwrap_err()
            .to_string()
            .contains("bin/tool")
    );
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    let nowhere = PathBuf::from("/nonexistent/spool");
    assert!(
        Spooled::new(&empty, &nowhere)
            .unwrap_err()
            .to_string()
            .contains("/nonexistent/spool")
    );
}

/// Mostly small, and what lies around the end of a block.
fn lengths() -> impl Strategy<Value = usize> {
    prop_oneof![8 => 0..5000_usize, 1 => BLOCK - 1..=BLOCK + 1, 1 => Just(2 * BLOCK)]
}

fn kinds() -> impl Strategy<Value = Kind> {
    prop_oneof![
        Just(Kind::Directory(Default::default())),
        (lengths(), any::<u64>()).prop_map(|(length, seed)| Kind::File(noise(length, seed % 3).into())),
        proptest::collection::vec(1..=255_u8, 1..50).prop_map(Kind::Symlink),
        any::<(u32, u32)>().prop_map(|(major, minor)| Kind::CharacterDevice { major, minor }),
        any::<(u32, u32)>().prop_map(|(major, minor)| Kind::BlockDevice { major, minor }),
        Just(Kind::Fifo),
        Just(Kind::Socket),
    ]
}

fn inodes() -> impl Strategy<Value = Inode> {
    let times = prop_oneof![any::<i64>(), 0..2_000_000_000_i64];
    (0..0o10_000_u32, any::<u32>(), any::<u32>(), times, kinds()).prop_map(|(mode, uid, gid, seconds, kind)| Inode {
        metadata: metadata(mode, uid, gid, seconds),
        kind,
    })
}

fn trees() -> impl Strategy<Value = Tree> {
    let paths = proptest::collection::vec(prop_oneof!["[a-d]", "[^/\0]{1,20}"], 1..5);
    proptest::collection::vec((paths, inodes()), 0..20).prop_map(|files| {
        let mut tree = Tree::default();
        for (path, inode) in files {
            // A path through a file, and names like `..`, are not taken; the rest makes the tree.
            let _ = tree.insert(path.join("/"), inode);
        }
        tree
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn any_tree_that_the_format_holds_comes_back(tree in trees()) {
        let store = Memory::new();
        let packed = packed(&tree, &store);
        prop_assert_eq!(packed.losses, []);
        let rfs = Rfs::parse(&packed.rfs.to_bytes()).unwrap();
        let paths: Vec<Vec<u8>> = tree.walk().map(|entry| entry.path).collect();
        prop_assert!(rfs.entries().map(|entry| entry.path).eq(paths));
        let reader = reader(rfs, &store);
        for entry in reader.entries().filter(|entry| entry.size().is_some()) {
            let Some(Kind::File(content)) = tree.get(&entry.path).map(|inode| &inode.kind) else { panic!() };
            let whole = content.read().unwrap();
            let end = whole.len() as u64;
            let range = end / 3..end / 2 + 1;
            let part = &whole[range.start as usize..(range.end as usize).min(whole.len())];
            prop_assert_eq!(&reader.read_at(entry.inode, range).unwrap()[..], part);
        }
        prop_assert_eq!(mos_flist::to_tree(&reader).unwrap(), tree);
    }
}
