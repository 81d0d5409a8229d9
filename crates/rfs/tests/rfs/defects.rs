//! Each weakness of rfs that is known, with what happens here instead.

use std::sync::Arc;

use crate::common::{BLOCK, metadata, noise, packed, put, reader, sample};
use mos_flist::{Depth, Finding, Image as _, ReadError};
use mos_rfs::{Layout, Loss, Lost, PackError, PackOptions, Rfs, Route, Targets, pack, summary};
use mos_store::{Memory, Read as _, Write as _};
use mos_tree::{Kind, Timestamp, Tree};

fn losses(tree: &Tree) -> Vec<Loss> {
    packed(tree, &Memory::new()).losses
}

fn loss(path: &str, what: Lost) -> Loss {
    Loss {
        path: path.into(),
        what,
    }
}

#[test]
fn the_group_is_read_as_it_was_packed() {
    let store = Memory::new();
    let reader = reader(packed(&sample(), &store).rfs, &store);
    let tool = reader.find(b"/bin/tool/").unwrap();
    assert_eq!((tool.metadata.uid, tool.metadata.gid), (1000, 100));
}

#[test]
fn nothing_is_lost_of_what_the_format_holds() {
    assert_eq!(losses(&sample()), []);
}

#[test]
fn attributes_are_reported_as_lost() {
    let mut tree = sample();
    let id = tree.find("bin/tool").unwrap();
    let xattrs = &mut tree.inode_mut(id).metadata.xattrs;
    xattrs.insert(b"security.capability".to_vec(), vec![1]);
    xattrs.insert(b"user.note".to_vec(), vec![2]);
    let names = vec!["security.capability".to_owned(), "user.note".to_owned()];
    assert_eq!(losses(&tree), [loss("bin/tool", Lost::Attributes(names))]);
}

#[test]
fn hard_links_become_copies_and_are_reported() {
    let mut tree = sample();
    let id = tree.find("bin/tool").unwrap();
    tree.link("bin/again", id).unwrap();
    let store = Memory::new();
    let packed = packed(&tree, &store);
    assert_eq!(packed.losses, [loss("bin/tool", Lost::HardLink(b"bin/again".to_vec()))]);
    assert_eq!(packed.stats.put_blocks, 6, "the copy costs no further block");
    let read = mos_flist::to_tree(&reader(packed.rfs, &store)).unwrap();
    assert_ne!(read.find("bin/tool"), read.find("bin/again"));
    assert_eq!(read.get("bin/tool"), read.get("bin/again"));
}

#[test]
fn fractions_of_seconds_are_reported_as_lost() {
    let mut tree = sample();
    let id = tree.find("empty").unwrap();
    tree.inode_mut(id).metadata.mtime = Timestamp {
        seconds: 7,
        nanoseconds: 1,
    };
    let store = Memory::new();
    let packed = packed(&tree, &store);
    assert_eq!(packed.losses, [loss("empty", Lost::SubSecondTime)]);
    let time = reader(packed.rfs, &store).find(b"empty").unwrap().metadata.mtime;
    assert_eq!(
        time,
        Timestamp {
            seconds: 7,
            nanoseconds: 0
        }
    );
}

#[test]
fn names_that_are_not_utf8_are_reported_and_never_collide_in_silence() {
    let mut tree = Tree::default();
    tree.insert_file(b"a/caf\xe9", 0o644, "1").unwrap();
    assert_eq!(
        losses(&tree),
        [Loss {
            path: b"a/caf\xe9".to_vec(),
            what: Lost::Name
        }]
    );
    tree.insert_file(b"a/caf\xe8", 0o644, "2").unwrap();
    let error = pack(&tree, &crate::common::targets(&Memory::new()), &PackOptions::default())
        .unwrap_err()
        .to_string();
    assert!(error.contains("twice in its directory"), "{error}");
}

#[test]
fn strict_makes_a_loss_an_error_before_anything_is_stored() {
    let mut tree = sample();
    let id = tree.find("empty").unwrap();
    tree.inode_mut(id).metadata.mtime.nanoseconds = 1;
    let store = Memory::new();
    let options = PackOptions {
        strict: true,
        ..PackOptions::default()
    };
    let error = pack(&tree, &crate::common::targets(&store), &options).unwrap_err();
    assert!(
        matches!(&error, PackError::Lossy(loss) if loss.path == b"empty"),
        "{error}"
    );
    assert_eq!(store.list("").unwrap(), [""; 0]);
}

#[test]
fn losses_are_summed_up_by_kind() {
    let mut tree = sample();
    for path in ["empty", "exact"] {
        let id = tree.find(path).unwrap();
        tree.inode_mut(id).metadata.mtime.nanoseconds = 1;
    }
    let sums = summary(&losses(&tree));
    assert_eq!((sums.len(), sums[0].kind, sums[0].count), (1, "sub-second-time", 2));
    assert_eq!(
        sums[0].to_string(),
        "not in the flist, 2 times: empty: the part of its time below a second"
    );
}

#[test]
fn what_a_conversion_leaves_behind_is_counted() {
    let mut rfs = packed(&sample(), &Memory::new()).rfs;
    rfs.tags_mut().insert("version".to_owned(), "1".to_owned());
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.fl");
    rfs.save(&path).unwrap();
    let stores = rfs.routes().len();
    let before = summary(&rfs.left_behind());
    assert_eq!(
        before.iter().map(|lost| lost.kind).collect::<Vec<_>>(),
        ["tag", "store"]
    );
    // What others pack has times of its own for the last change.
    let connection = rusqlite::Connection::open(&path).unwrap();
    let changed = connection.execute("UPDATE inode SET ctime = ctime + 1 WHERE parent > 0", []);
    let changed = changed.unwrap() as u64;
    drop(connection);
    let rfs = mos_rfs::Rfs::parse(&std::fs::read(&path).unwrap()).unwrap();
    let found: Vec<_> = summary(&rfs.left_behind())
        .into_iter()
        .map(|lost| (lost.kind, lost.count))
        .collect();
    assert!(changed > 3);
    assert_eq!(found, [("change-time", changed), ("tag", 1), ("store", stores as u64)]);
    let text = summary(&rfs.left_behind())[1].to_string();
    assert_eq!(text, "not in the flist: the tag `version`");
}

#[test]
fn a_damaged_block_is_named_with_its_file_and_nothing_of_it_is_handed_on() {
    let store = Memory::new();
    let rfs = packed(&sample(), &store).rfs;
    let name = rfs.blocks()[1].name();
    let object = format!("{}/{name}", &name[..2]);
    let mut bytes = store.get(&object, 1 << 20).unwrap();
    bytes[100] ^= 1;
    store.put(&object, &bytes).unwrap();
    let reader = reader(rfs, &store);
    let mut out = Vec::new();
    let error = reader
        .read_file(&reader.find(b"bin/tool").unwrap(), &mut out)
        .unwrap_err();
    assert!(matches!(error, ReadError::Tampered { .. }));
    assert!(
        error.to_string().contains("bin/tool") && error.to_string().contains(&name),
        "{error}"
    );
    assert_eq!(out, noise(BLOCK, 1), "the first block was right");
    let findings = reader.verify(Depth::Full, &|_| ());
    assert!(
        matches!(&findings[..], [Finding::Content(ReadError::Tampered { .. })]),
        "{findings:?}"
    );
}

#[test]
fn a_missing_block_is_found_without_reading_content() {
    let store = Memory::new();
    let rfs = packed(&sample(), &store).rfs;
    assert_eq!(reader(rfs.clone(), &store).verify(Depth::Metadata, &|_| ()).len(), 0);
    let name = rfs.blocks()[0].name();
    store.delete(&format!("{}/{name}", &name[..2])).unwrap();
    let findings = reader(rfs, &store).verify(Depth::Metadata, &|_| ());
    assert!(
        matches!(&findings[..], [Finding::Missing(part)] if part.to_string().contains(&name)),
        "{findings:?}"
    );
}

/// rfs leaves the flist behind when packing fails half-way, and serves the file as if it were shorter.
#[test]
fn a_file_that_was_packed_in_part_is_an_error_and_not_a_short_file() {
    let store = Memory::new();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.fl");
    packed(&sample(), &store).rfs.save(&path).unwrap();
    let connection = rusqlite::Connection::open(&path).unwrap();
    connection.execute("DELETE FROM block WHERE rowid = 3", []).unwrap();
    drop(connection);
    let rfs = Rfs::open(&path).unwrap();
    assert!(rfs.incomplete().iter().map(|entry| &entry.path[..]).eq([b"bin/tool"]));
    let reader = reader(rfs, &store);
    let tool = reader.find(b"bin/tool").unwrap();
    for error in [
        reader.read_file(&tool, &mut Vec::new()).unwrap_err(),
        reader.read_at(tool.inode, 0..1).unwrap_err(),
    ] {
        assert!(
            error.to_string().contains("bin/tool") && error.to_string().contains("pack it again"),
            "{error}"
        );
    }
    assert_eq!(reader.verify(Depth::Metadata, &|_| ()).len(), 1);
    assert_eq!(
        reader.read_at(reader.find(b"exact").unwrap().inode, 0..3).unwrap(),
        noise(3, 2)
    );
}

/// rfs writes short blocks in the middle of a file where a read came back short; it can unpack, not mount them.
#[test]
fn a_file_that_shrank_meanwhile_fails_the_packing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    std::fs::write(&path, noise(1000, 1)).unwrap();
    let mut tree = Tree::default();
    tree.insert_file("log", 0o644, mos_tree::Content::file(&path).unwrap())
        .unwrap();
    std::fs::write(&path, "short").unwrap();
    let error = pack(&tree, &crate::common::targets(&Memory::new()), &PackOptions::default()).unwrap_err();
    assert!(
        matches!(&error, PackError::Read { path, .. } if path == "log"),
        "{error}"
    );
}

#[test]
fn reading_a_part_fetches_only_the_blocks_that_it_touches() {
    let store = Memory::new();
    let rfs = packed(&sample(), &store).rfs;
    for block in [0, 2] {
        let name = rfs.blocks()[block].name();
        store.delete(&format!("{}/{name}", &name[..2])).unwrap();
    }
    let reader = reader(rfs, &store);
    let tool = reader.find(b"bin/tool").unwrap().inode;
    let whole = noise(2 * BLOCK + 7, 1);
    let block = BLOCK as u64;
    assert_eq!(reader.read_at(tool, block..2 * block).unwrap(), whole[BLOCK..2 * BLOCK]);
    assert_eq!(
        reader.read_at(tool, block + 5..block + 6).unwrap(),
        whole[BLOCK + 5..BLOCK + 6]
    );
    assert!(reader.read_at(tool, block - 1..block + 1).is_err());
    for empty in [7..7, u64::MAX - 1..u64::MAX] {
        assert_eq!(reader.read_at(tool, empty).unwrap(), b"");
    }
}

#[test]
fn packing_again_puts_nothing() {
    let store = Memory::new();
    assert_eq!(packed(&sample(), &store).stats.put_blocks, 6);
    assert_eq!(packed(&sample(), &store).stats.put_blocks, 0);
}

#[test]
fn a_store_that_fails_fails_the_packing() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, "").unwrap();
    let route = Route::everywhere(format!("dir://{}/below", file.display()));
    let mut targets = Targets::default();
    let store = mos_store::Dir::new(file.join("below"));
    targets.add(route, Layout::Folders, Arc::new(store));
    let error = pack(&sample(), &targets, &PackOptions::default()).unwrap_err();
    assert!(matches!(error, PackError::Store(_)), "{error}");
}

#[test]
fn blocks_go_to_every_store_that_covers_them_and_a_gap_is_an_error() {
    let (low, high, all) = (Memory::new(), Memory::new(), Memory::new());
    let mut targets = Targets::default();
    let mut add = |start, end, store: &Memory| {
        let route = Route {
            start,
            end,
            ..Route::everywhere("dir:///x")
        };
        targets.add(route, Layout::Folders, Arc::new(store.clone()));
        pack(&sample(), &targets, &PackOptions::default())
    };
    assert!(add(0, 0x7f, &low).unwrap_err().to_string().contains("begin with 80"));
    add(0x80, 0xff, &high).unwrap();
    add(0, 0xff, &all).unwrap();
    let names = |store: &Memory| store.list("").unwrap();
    assert!(
        names(&low).iter().all(|name| name.as_str() < "80") && names(&high).iter().all(|name| name.as_str() >= "80")
    );
    assert_eq!([names(&low), names(&high)].concat(), names(&all));
    assert_eq!(names(&all).len(), 6);
}

#[test]
fn a_device_or_a_directory_is_no_file_to_read() {
    let store = Memory::new();
    let mut tree = sample();
    put(
        &mut tree,
        "dir",
        metadata(0o755, 0, 0, 0),
        Kind::Directory(Default::default()),
    );
    let reader = reader(packed(&tree, &store).rfs, &store);
    for path in ["", "dir", "null", "lib", "pipe"] {
        let entry = reader.find(path.as_bytes()).unwrap();
        assert!(
            matches!(reader.read_file(&entry, &mut Vec::new()), Err(ReadError::NotAFile(_))),
            "{path}"
        );
        assert!(
            matches!(reader.read_at(entry.inode, 0..1), Err(ReadError::NotAFile(_))),
            "{path}"
        );
    }
    assert!(matches!(reader.read_at(999, 0..1), Err(ReadError::NotAFile(_))));
    assert!(reader.find(b"bin/none").is_none() && reader.find(b"empty/x").is_none());
}
