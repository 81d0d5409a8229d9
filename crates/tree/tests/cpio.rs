//! Our cpio archives against GNU cpio, and our directories against the host's file system.

#![allow(clippy::unwrap_used, reason = "helpers of tests stop the test, as tests do")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use mos_tree::{Inode, Kind, Metadata, Timestamp, Tree, cpio, directory};

fn sample() -> Tree {
    let mut tree = Tree::default();
    let time = Timestamp {
        seconds: 1_000_000_000,
        nanoseconds: 0,
    };
    let id = tree.insert_file("bin/a", 0o4750, "content").unwrap();
    tree.inode_mut(id).metadata.mtime = time;
    tree.link("bin/b", id).unwrap();
    tree.link("sbin/c", id).unwrap();
    let empty = tree.insert_file("empty/a", 0o600, "").unwrap();
    tree.link("empty/b", empty).unwrap();
    tree.insert_symlink("link", "bin/a").unwrap();
    tree.insert_directory("closed", 0o555).unwrap();
    tree.insert_file("closed/in", 0o444, vec![7; 100_000]).unwrap();
    tree
}

fn with_devices() -> Tree {
    let mut tree = sample();
    for (path, kind) in [
        ("dev/console", Kind::CharacterDevice { major: 5, minor: 1 }),
        (
            "dev/vda",
            Kind::BlockDevice {
                major: 254,
                minor: 70_000,
            },
        ),
        ("run/pipe", Kind::Fifo),
    ] {
        let metadata = Metadata {
            uid: 3,
            gid: 4,
            ..Metadata::root(0o600)
        };
        tree.insert(path, Inode { metadata, kind }).unwrap();
    }
    tree
}

fn archive(tree: &Tree) -> Vec<u8> {
    let mut bytes = Vec::new();
    cpio::write(tree, &mut bytes).unwrap();
    bytes
}

/// What `cpio` says when it is fed with these bytes; nothing when it is not installed.
fn gnu_cpio(arguments: &[&str], directory: &Path, input: &[u8]) -> Option<Vec<u8>> {
    let file = directory.with_extension("input");
    fs::write(&file, input).unwrap();
    let output = Command::new("cpio")
        .args(arguments)
        .current_dir(directory)
        .env("TZ", "UTC")
        .stdin(fs::File::open(&file).unwrap())
        .stderr(Stdio::piped())
        .output();
    fs::remove_file(&file).unwrap();
    match output {
        Ok(output) => {
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            Some(output.stdout)
        }
        Err(error) => {
            eprintln!("skipped: cannot run cpio: {error}");
            None
        }
    }
}

/// What both sides must agree on. The host sets the times of links and directories as it likes.
fn comparable(tree: &Tree) -> BTreeMap<Vec<u8>, (u32, i64, Kind)> {
    let below = tree.walk().filter(|entry| !entry.path.is_empty());
    let described = below.map(|entry| {
        let metadata = &entry.inode.metadata;
        let (kind, time) = match &entry.inode.kind {
            Kind::Directory(_) => (Kind::Directory(BTreeMap::new()), 0),
            Kind::File(content) => (Kind::File(content.read().unwrap().into()), metadata.mtime.seconds),
            other => (other.clone(), 0),
        };
        (entry.path.clone(), (metadata.mode, time, kind))
    });
    described.collect()
}

#[test]
fn gnu_cpio_lists_devices_owners_links_and_times() {
    let directory = tempfile::tempdir().unwrap();
    let Some(listing) = gnu_cpio(&["-itv", "-n", "--quiet"], directory.path(), &archive(&with_devices())) else {
        return;
    };
    let listing = String::from_utf8(listing).unwrap();
    let words: Vec<String> = listing
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    for expected in [
        "drwxr-xr-x 2 0 0 0 Jan 1 1970 .",
        "-rwsr-x--- 3 0 0 0 Sep 9 2001 bin/a",
        "-rwsr-x--- 3 0 0 7 Sep 9 2001 sbin/c",
        "crw------- 1 3 4 5, 1 Jan 1 1970 dev/console",
        "brw------- 1 3 4 254, 70000 Jan 1 1970 dev/vda",
        "prw------- 1 3 4 0 Jan 1 1970 run/pipe",
        "lrwxrwxrwx 1 0 0 5 Jan 1 1970 link -> bin/a",
    ] {
        assert!(
            words.iter().any(|line| line == expected),
            "no line `{expected}` in\n{listing}"
        );
    }
}

#[test]
fn gnu_cpio_unpacks_what_we_pack_and_we_read_what_it_packs() {
    let directory = tempfile::tempdir().unwrap();
    let tree = sample();
    if gnu_cpio(&["-idm", "--quiet"], directory.path(), &archive(&tree)).is_none() {
        return;
    }
    let unpacked = directory::read(directory.path(), directory::Options::default()).unwrap();
    assert_eq!(comparable(&unpacked), comparable(&tree));
    assert_eq!(unpacked.find("bin/a"), unpacked.find("sbin/c"));
    assert_eq!(unpacked.find("empty/a"), unpacked.find("empty/b"));

    let names: Vec<u8> = unpacked
        .walk()
        .skip(1)
        .flat_map(|entry| [entry.path, vec![b'\n']].concat())
        .collect();
    let theirs = gnu_cpio(&["-o", "-H", "newc", "--quiet"], directory.path(), &names).unwrap();
    let read = cpio::read(&theirs).unwrap();
    assert_eq!(comparable(&read), comparable(&tree));
    assert_eq!(read.find("bin/b"), read.find("sbin/c"));
    assert_eq!(read.find("empty/a"), read.find("empty/b"));
}

#[test]
fn directory_gives_back_what_was_written() {
    let host = tempfile::tempdir().unwrap();
    let tree = sample();
    let options = directory::Options::default();
    directory::write(&tree, host.path(), options).unwrap();
    assert_eq!(directory::read(host.path(), options).unwrap(), tree);
    // And again over itself: files are replaced. An ordinary user cannot write into a closed directory.
    let closed = host.path().join("closed");
    fs::set_permissions(&closed, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    directory::write(&tree, host.path(), options).unwrap();
    assert_eq!(directory::read(host.path(), options).unwrap(), tree);
}

#[test]
fn writing_never_follows_links_of_the_host() {
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("a"), "untouched").unwrap();
    let host = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(outside.path(), host.path().join("bin")).unwrap();
    std::os::unix::fs::symlink(outside.path().join("a"), host.path().join("link")).unwrap();
    directory::write(&sample(), host.path(), directory::Options::default()).unwrap();
    assert_eq!(fs::read_to_string(outside.path().join("a")).unwrap(), "untouched");
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
    assert!(fs::symlink_metadata(host.path().join("bin")).unwrap().is_dir());
    assert_eq!(fs::read_link(host.path().join("link")).unwrap(), Path::new("bin/a"));
}

#[test]
fn devices_owners_and_attributes_reach_the_disk_when_root_writes_them() {
    let host = tempfile::tempdir().unwrap();
    let options = directory::Options {
        owners: true,
        xattrs: true,
    };
    let mut tree = with_devices();
    let id = tree.find("bin/a").unwrap();
    tree.inode_mut(id)
        .metadata
        .xattrs
        .insert(b"user.mos".to_vec(), b"value".to_vec());
    match directory::write(&tree, host.path(), options) {
        Ok(()) => assert_eq!(directory::read(host.path(), options).unwrap(), tree),
        Err(error) => {
            let code = error.source.raw_os_error().map(rustix::io::Errno::from_raw_os_error);
            let refused = [rustix::io::Errno::PERM, rustix::io::Errno::OPNOTSUPP];
            assert!(code.is_some_and(|code| refused.contains(&code)), "{error}");
            eprintln!("skipped: needs root and a file system with attributes: {error}");
        }
    }
}
