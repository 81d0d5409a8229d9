//! What comes back is what went in; the same tree gives the same bytes; a change costs little.
#![allow(clippy::unwrap_used, reason = "helpers of tests stop the test, as tests do")]

mod common;

use std::sync::Arc;

use common::random::some_tree;
use common::{large, noise, packed, parsed, reader, round_trip, sequential, small, text};
use mos_flist::{Depth, EntryKind, Flist, Image as _, ObjectDigest, PackOptions, Stamps, Trust, pack, to_tree};
use mos_store::{Memory, Read as _, Write as _};
use mos_tree::{Kind, Tree};
use proptest::prelude::*;

#[test]
fn trees_come_back() {
    round_trip(&Tree::default());
    round_trip(&small());
    round_trip(&large());
}

#[test]
fn same_tree_gives_same_bytes_with_any_number_of_threads() {
    let mut tree = large();
    tree.insert_file("big", 0o644, text(5, 20 << 20)).unwrap();
    let with = |threads| {
        let store = Memory::new();
        let options = PackOptions {
            threads,
            ..PackOptions::default()
        };
        pack(&tree, &store, &options).unwrap()
    };
    let one = with(1);
    for threads in [1, 2, 7] {
        let other = with(threads);
        assert_eq!(one.digest, other.digest);
        assert_eq!(one.blobs, other.blobs);
    }
}

#[test]
fn golden_digest_of_a_fixed_tree() {
    // A change of this digest means that every flist in the field is packed differently from now on.
    let packed = round_trip(&small());
    assert_eq!(
        packed.digest.to_string(),
        "48653abe5e0c2079a6e35c5fe197913bbe8fe78273f1308e09018d1b0352aa5f"
    );
}

#[test]
fn every_file_has_its_verity_digest() {
    let store = Memory::new();
    let flist = parsed(&packed(&large(), &store));
    let tree = large();
    let mut files = 0;
    for entry in flist.entries() {
        if let (EntryKind::File { object, size }, Kind::File(content)) =
            (entry.kind, &tree.get(&entry.path).unwrap().kind)
        {
            assert_eq!(object.unwrap(), ObjectDigest::of(&content.read().unwrap()));
            assert_eq!(size, content.len());
            files += 1;
        }
    }
    assert_eq!(
        files,
        tree.walk()
            .filter(|entry| matches!(entry.inode.kind, Kind::File(_)))
            .count()
    );
}

#[test]
fn equal_content_is_stored_once() {
    let mut tree = Tree::default();
    for copy in 0..10 {
        tree.insert_file(format!("copy-{copy}"), 0o644, noise(1, 300_000))
            .unwrap();
    }
    let store = Memory::new();
    let packed = packed(&tree, &store);
    assert!(packed.stats.put_bytes < 310_000, "{:?}", packed.stats);
    assert_eq!(packed.stats.content_bytes, 3_000_000);
}

#[test]
fn directories_have_the_links_that_linux_counts() {
    let mut tree = Tree::default();
    tree.insert_file("a/b/file", 0o644, "x").unwrap();
    tree.insert_file("a/c/file", 0o644, "x").unwrap();
    let flist = parsed(&packed(&tree, &Memory::new()));
    let links = ["", "a", "a/b", "a/b/file"].map(|path| flist.find(path).unwrap().links);
    assert_eq!(links, [3, 4, 2, 1]);
}

#[test]
fn hard_links_share_an_inode() {
    let store = Memory::new();
    let flist = parsed(&packed(&small(), &store));
    let (link, tool) = (flist.find("bin/link").unwrap(), flist.find("/bin/tool").unwrap());
    assert_eq!((link.inode, link.links), (tool.inode, 2));
    let back = to_tree(&reader(&flist, &store)).unwrap();
    assert_eq!(back.find("bin/link"), back.find("bin/tool"));
}

#[test]
fn a_gigabyte_of_zeros_takes_no_room() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("sparse");
    std::fs::File::create(&path).unwrap().set_len(1 << 30).unwrap();
    let mut tree = Tree::default();
    tree.insert_file("sparse", 0o644, mos_tree::Content::file(&path).unwrap())
        .unwrap();
    let store = Memory::new();
    let packed = packed(&tree, &store);
    assert!(
        packed.stats.put_bytes < 2000 && packed.flist.len() < 40_000,
        "{:?}",
        packed.stats
    );
    let flist = parsed(&packed);
    let mut hasher = mos_flist::VerityHasher::new();
    let entry = flist.find("sparse").unwrap();
    reader(&flist, &store).read_file(&entry, &mut hasher).unwrap();
    assert_eq!(Some(hasher.finish()), entry.object());
}

/// Files as in a distribution: many small, some large.
fn distribution(changed: bool) -> Tree {
    let mut tree = Tree::default();
    for n in 0..400_u64 {
        let mut content = text(n, 2000 + (n as usize % 40) * 6000);
        if changed && n == 200 {
            content.insert(1000, b'!');
        }
        tree.insert_file(format!("usr/{:02}/{n:03}", n / 20), 0o644, content)
            .unwrap();
    }
    tree
}

#[test]
fn one_byte_more_adds_few_bytes_with_a_base() {
    let store = Memory::new();
    let old = packed(&distribution(false), &store);
    let options = PackOptions {
        bases: vec![parsed(&old)],
        ..PackOptions::default()
    };
    let new = pack(&distribution(true), &store, &options).unwrap();
    assert_eq!(new.stats.new_chunks, 1, "{:?}", new.stats);
    assert!(new.stats.put_bytes < 200_000, "{:?}", new.stats);
    let flist = parsed(&new);
    assert!(to_tree(&sequential(&flist, &store)).unwrap() == distribution(true));
    assert_eq!(reader(&flist, &store).verify(Depth::Full, &|_| {}).len(), 0);
}

#[test]
fn one_byte_more_changes_few_blobs_without_a_base() {
    let large = |changed: bool| {
        let mut tree = distribution(changed);
        tree.insert_file("usr/zz", 0o644, noise(3, 60 << 20)).unwrap();
        tree
    };
    let store = Memory::new();
    let old = packed(&large(false), &store);
    let new = packed(&large(true), &store);
    assert!(new.stats.put_bytes < old.stats.put_bytes * 2 / 3, "{:?}", new.stats);
}

#[test]
fn a_base_whose_blobs_are_gone_is_not_used() {
    let store = Memory::new();
    let old = packed(&small(), &store);
    for name in store.list("blobs/").unwrap() {
        store.delete(&name).unwrap();
    }
    let options = PackOptions {
        bases: vec![parsed(&old)],
        ..PackOptions::default()
    };
    let new = pack(&small(), &store, &options).unwrap();
    assert_eq!((new.digest, new.stats.put_blobs), (old.digest, 1));
}

/// Packs a directory of the host, perhaps on top of an older flist; its files are old enough to be trusted.
fn packed_directory(
    path: &std::path::Path,
    store: &Memory,
    base: Option<&Arc<Flist>>,
    trust: Trust,
) -> mos_flist::Packed {
    let tree = mos_tree::directory::read(path, mos_tree::directory::Options::default()).unwrap();
    let options = PackOptions {
        bases: base.into_iter().cloned().collect(),
        trust,
        ..PackOptions::default()
    };
    pack(&tree, store, &options).unwrap()
}

#[test]
fn unchanged_files_are_not_read_and_changed_ones_are() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name);
    let long_ago = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
    let write = |name: &str, content: &[u8]| {
        std::fs::write(file(name), content).unwrap();
        let file = std::fs::File::options().write(true).open(file(name)).unwrap();
        file.set_modified(long_ago).unwrap();
    };
    write("large", &noise(1, 1_000_000));
    write("changes", &text(2, 50_000));
    write("inline", b"a few bytes");
    // The clock of a file system may stand still: younger files get no stamp.
    std::thread::sleep(std::time::Duration::from_millis(3100));
    let store = Memory::new();
    let old = packed_directory(directory.path(), &store, None, Trust::Nothing);
    let base = parsed(&old);
    let stamps = Arc::new(Stamps::parse(&old.stamps.encode()).unwrap());
    for trust in [Trust::Times, Trust::Stamps(stamps.clone())] {
        let again = packed_directory(directory.path(), &store, Some(&base), trust);
        assert_eq!((again.stats.unchanged_files, again.stats.put_blobs), (3, 0));
        assert_eq!(again.digest, old.digest);
    }
    // The same length and the same time: only the time of change of the inode tells.
    write("changes", &text(3, 50_000));
    let deceived = packed_directory(directory.path(), &store, Some(&base), Trust::Times);
    assert_eq!((deceived.stats.unchanged_files, deceived.digest), (3, old.digest));
    let paranoid = packed_directory(directory.path(), &store, Some(&base), Trust::Nothing);
    assert_eq!(paranoid.stats.unchanged_files, 0);
    let new = packed_directory(directory.path(), &store, Some(&base), Trust::Stamps(stamps.clone()));
    assert_eq!((new.stats.unchanged_files, new.digest), (2, paranoid.digest));
    assert_ne!(new.digest, old.digest);
    // Without the blobs nothing is unchanged but what lies in the flist.
    for blob in store.list("blobs/").unwrap() {
        store.delete(&blob).unwrap();
    }
    let rest = packed_directory(directory.path(), &store, Some(&base), Trust::Stamps(stamps));
    assert_eq!(rest.stats.unchanged_files, 1);
}

#[test]
fn ten_gigabytes_of_holes_are_neither_read_nor_stored() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("sparse");
    let file = std::fs::File::create(&path).unwrap();
    file.set_len(10 << 30).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"here", 5 << 30).unwrap();
    let store = Memory::new();
    let packed = packed_directory(directory.path(), &store, None, Trust::Nothing);
    assert_eq!(packed.stats.content_bytes, 10 << 30);
    assert!(
        packed.stats.put_bytes < 3000 && packed.flist.len() < 250_000,
        "{:?}",
        packed.stats
    );
    assert_eq!(parsed(&packed).find("sparse").unwrap().size(), Some(10 << 30));
}

#[test]
fn packing_again_puts_nothing() {
    let store = Memory::new();
    let first = packed(&large(), &store);
    let second = packed(&large(), &store);
    assert_eq!((second.digest, second.stats.put_blobs), (first.digest, 0));
    assert!(first.stats.put_blobs > 0);
    for blob in &first.blobs {
        assert_eq!(store.length(&blob.digest.blob_name()).unwrap(), Some(blob.length));
    }
}

#[test]
fn what_cannot_be_packed_is_named() {
    let mut tree = Tree::default();
    tree.insert_file(vec![b'n'; 256], 0o644, "x").unwrap();
    let error = pack(&tree, &Memory::new(), &PackOptions::default())
        .unwrap_err()
        .to_string();
    assert!(error.contains("nnn: cannot be in an flist: its name"), "{error}");
    let mut tree = small();
    let id = tree.find("etc/host").unwrap();
    tree.inode_mut(id)
        .metadata
        .xattrs
        .insert(b"system.nfs4_acl".to_vec(), vec![]);
    let error = pack(&tree, &Memory::new(), &PackOptions::default())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("etc/host") && error.contains("system.nfs4_acl"),
        "{error}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn random_trees_come_back(tree in some_tree()) {
        let store = Memory::new();
        let one = pack(&tree, &store, &PackOptions { threads: 1, ..PackOptions::default() }).unwrap();
        let two = pack(&tree, &store, &PackOptions { threads: 2, ..PackOptions::default() }).unwrap();
        prop_assert_eq!(one.digest, two.digest);
        let flist = Arc::new(Flist::parse(one.flist).unwrap());
        prop_assert!(to_tree(&reader(&flist, &store)).unwrap() == tree);
        prop_assert_eq!(reader(&flist, &store).verify(Depth::Full, &|_| {}).len(), 0);
    }
}
