//! Large and odd trees on a disk: packed, unpacked, and read back.
#![allow(clippy::unwrap_used, reason = "helpers of tests stop the test, as tests do")]

mod common;

use std::fs;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;

use common::{packed, parsed, reader, round_trip};
use mos_flist::{UnpackOptions, unpack};
use mos_store::Memory;
use mos_tree::directory::{Options, read};
use mos_tree::{Kind, Tree};

const ALL: Options = Options {
    owners: true,
    xattrs: true,
};

/// Packs a folder, unpacks that beside it as `out`, and asserts that both are the same tree.
fn there_and_back(folder: &Path) -> Tree {
    let tree = read(&folder.join("tree"), ALL).unwrap();
    let store = Memory::new();
    let flist = parsed(&packed(&tree, &store));
    let options = UnpackOptions::default();
    unpack(&reader(&flist, &store), &folder.join("out"), &options, &|_| {}).unwrap();
    assert!(read(&folder.join("out"), ALL).unwrap() == tree);
    tree
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("tree")).unwrap();
    folder
}

/// In memory: a disk takes half a minute for as many names.
#[test]
fn a_directory_with_a_hundred_thousand_entries() {
    const COUNT: usize = 100_000;
    let mut tree = Tree::default();
    for n in 0..COUNT {
        tree.insert_file(format!("many/{n:x}-{}", "n".repeat(n % 40)), 0o644, "")
            .unwrap();
    }
    let flist = parsed(&round_trip(&tree));
    let last = format!("many/{:x}-{}", COUNT - 1, "n".repeat((COUNT - 1) % 40));
    assert!(flist.find("many/0-").is_some() && flist.find(&last).is_some());
    assert!(flist.find("many/0-n").is_none());
}

#[test]
fn ten_gigabytes_of_holes_come_back_as_holes() {
    let folder = folder();
    let path = folder.path().join("tree/sparse");
    let file = fs::File::create(&path).unwrap();
    file.set_len(10 << 30).unwrap();
    file.write_all_at(b"here", 5 << 30).unwrap();
    if file.metadata().unwrap().blocks() > 1000 {
        eprintln!("SKIPPED: this file system has no holes");
        return;
    }
    let tree = read(&folder.path().join("tree"), ALL).unwrap();
    let store = Memory::new();
    let flist = parsed(&packed(&tree, &store));
    let options = UnpackOptions::default();
    unpack(&reader(&flist, &store), &folder.path().join("out"), &options, &|_| {}).unwrap();
    let out = fs::File::open(folder.path().join("out/sparse")).unwrap();
    let found = out.metadata().unwrap();
    assert_eq!(found.len(), 10 << 30);
    assert!(
        found.blocks() <= file.metadata().unwrap().blocks() + 2048,
        "{} blocks",
        found.blocks()
    );
    let mut bytes = [1; 8];
    out.read_exact_at(&mut bytes, (5 << 30) - 2).unwrap();
    assert_eq!(&bytes, b"\0\0here\0\0");
}

#[test]
fn names_that_differ_in_case_or_normal_form_only() {
    let folder = folder();
    let at = |name: &str| folder.path().join("tree").join(name);
    // U+00E9, and e with U+0301: the same letter in two normal forms of Unicode.
    let names = ["name", "Name", "NAME", "caf\u{e9}", "cafe\u{301}", "\u{212b}", "\u{c5}"];
    for name in names {
        fs::create_dir(at(name)).unwrap();
        fs::write(at(name).join(name), name).unwrap();
    }
    let tree = there_and_back(folder.path());
    for name in names {
        let file = tree.get(format!("{name}/{name}")).unwrap();
        let Kind::File(content) = &file.kind else {
            panic!("{name}")
        };
        assert_eq!(content.read().unwrap(), name.as_bytes());
    }
}

#[test]
fn links_that_lead_nowhere_or_in_circles_are_kept_as_they_are() {
    let folder = folder();
    let at = |name: &str| folder.path().join("tree").join(name);
    fs::create_dir(at("deep")).unwrap();
    for (name, target) in [
        ("self", "self"),
        ("one", "two"),
        ("two", "one"),
        ("deep/up", ".."),
        ("deep/root", "/"),
        ("dangling", "nothing/at all"),
        ("outside", "../../../../../../etc/passwd"),
    ] {
        symlink(target, at(name)).unwrap();
    }
    let tree = there_and_back(folder.path());
    assert_eq!(tree.get("deep/up").unwrap().kind, Kind::Symlink(b"..".to_vec()));
    assert_eq!(tree.walk().count(), 9);
}

#[test]
fn owners_beyond_sixteen_bits_and_closed_files_come_back() {
    let folder = folder();
    let at = |name: &str| folder.path().join("tree").join(name);
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: owners need root");
        return;
    }
    let largest = u32::MAX - 1;
    for (name, uid, gid) in [
        ("small", 65_535, 65_534),
        ("large", 65_536, 70_000),
        ("largest", largest, largest),
    ] {
        fs::write(at(name), name).unwrap();
        std::os::unix::fs::chown(at(name), Some(uid), Some(gid)).unwrap();
    }
    fs::create_dir(at("closed")).unwrap();
    fs::write(at("closed/file"), "x").unwrap();
    fs::set_permissions(at("closed/file"), fs::Permissions::from_mode(0o000)).unwrap();
    fs::set_permissions(at("closed"), fs::Permissions::from_mode(0o000)).unwrap();
    let tree = there_and_back(folder.path());
    let owner = |name: &str| {
        (
            tree.get(name).unwrap().metadata.uid,
            tree.get(name).unwrap().metadata.gid,
        )
    };
    assert_eq!(
        (owner("large"), owner("largest")),
        ((65_536, 70_000), (largest, largest))
    );
    assert_eq!(tree.get("closed/file").unwrap().metadata.mode, 0);
}
