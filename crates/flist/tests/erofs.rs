//! Our images against erofs-utils and the kernel.
#![allow(clippy::unwrap_used, reason = "helpers of tests stop the test, as tests do")]

mod common;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use common::random::some_tree;
use common::{large, packed, parsed, reader, round_trip, sequential, small};
use mos_flist::{ObjectDigest, UnpackOptions, unpack};
use mos_store::Memory;
use mos_tree::{Kind, Timestamp, Tree};
use proptest::prelude::*;

/// Runs a tool, or says why it was not run.
fn run(tool: &str, arguments: &[&str]) -> Option<Output> {
    match Command::new(tool).args(arguments).output() {
        Ok(output) => Some(output),
        Err(error) => {
            eprintln!("not checked: `{tool}`: {error}");
            None
        }
    }
}

fn write(directory: &Path, tree: &Tree) -> PathBuf {
    let path = directory.join("tree.fl");
    std::fs::write(&path, round_trip(tree).flist).unwrap();
    path
}

#[test]
fn fsck_accepts_what_we_write() {
    let directory = tempfile::tempdir().unwrap();
    for tree in [Tree::default(), small(), large()] {
        let path = write(directory.path(), &tree);
        let Some(output) = run("fsck.erofs", &["-d3", path.to_str().unwrap()]) else {
            return;
        };
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.contains("No errors found"), "{said}");
    }
}

#[test]
fn fsck_would_notice() {
    let directory = tempfile::tempdir().unwrap();
    let path = write(directory.path(), &small());
    let mut bytes = std::fs::read(&path).unwrap();
    // The mode of the root, whose inode follows the superblock.
    bytes[1024 + 128 + 5] = 0;
    std::fs::write(&path, &bytes).unwrap();
    let Some(output) = run("fsck.erofs", &["-d3", path.to_str().unwrap()]) else {
        return;
    };
    assert!(!output.status.success());
}

#[test]
fn dump_finds_a_file_and_its_size() {
    let directory = tempfile::tempdir().unwrap();
    let path = write(directory.path(), &large());
    let Some(output) = run("dump.erofs", &["--path=/sizes/1000000", path.to_str().unwrap()]) else {
        return;
    };
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        said.contains("Size: 1000000") && said.contains("Uid: 13") && said.contains("0640"),
        "{said}"
    );
}

/// One line per file, as `find` prints it below a directory.
fn found(directory: &Path) -> Vec<Vec<u8>> {
    // Sizes of directories are a file system's own business.
    let format = "%P %y %m %U %G %T@ %l\\0";
    let output = Command::new("find")
        .arg(directory)
        .args(["-printf", format])
        .output()
        .unwrap();
    assert!(output.status.success());
    let mut lines: Vec<Vec<u8>> = output.stdout.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect();
    lines.sort();
    lines
}

/// The same lines, from the tree.
fn expected(tree: &Tree) -> Vec<Vec<u8>> {
    let mut lines = vec![Vec::new()];
    for entry in tree.walk() {
        let metadata = &entry.inode.metadata;
        let (kind, target) = match &entry.inode.kind {
            Kind::Directory(_) => ('d', &b""[..]),
            Kind::File(_) => ('f', &b""[..]),
            Kind::Symlink(target) => ('l', target.as_slice()),
            Kind::CharacterDevice { .. } => ('c', &b""[..]),
            Kind::BlockDevice { .. } => ('b', &b""[..]),
            Kind::Fifo => ('p', &b""[..]),
            Kind::Socket => ('s', &b""[..]),
        };
        let time = format!("{}.{:09}0", metadata.mtime.seconds, metadata.mtime.nanoseconds);
        let rest = format!(" {kind} {:o} {} {} {time} ", metadata.mode, metadata.uid, metadata.gid);
        lines.push([&entry.path, rest.as_bytes(), target].concat());
    }
    lines.sort();
    lines
}

/// The tree without times before 1970, which `find` prints in a way of its own.
fn listed() -> Tree {
    let mut tree = large();
    tree.remove("old").unwrap();
    tree
}

fn assert_same(found: &[Vec<u8>], expected: &[Vec<u8>]) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert_eq!(String::from_utf8_lossy(found), String::from_utf8_lossy(expected));
    }
}

fn attribute(path: &Path, name: &str) -> Vec<u8> {
    let mut value = vec![0; 65_536];
    let length = rustix::fs::lgetxattr(path, name, &mut value).unwrap();
    value.truncate(length);
    value
}

fn tree_object(tree: &Tree, path: &str) -> ObjectDigest {
    match &tree.get(path).unwrap().kind {
        Kind::File(content) => ObjectDigest::of(&content.read().unwrap()),
        other => panic!("{path}: {other:?}"),
    }
}

/// Unmounts when a test ends, however it does.
struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

/// Mounts an image, or says why not.
fn mount_image(image: &Path, place: &Path) -> Option<Mounted> {
    let (from, to) = (image.to_str().unwrap(), place.to_str().unwrap());
    let output = run("mount", &["-t", "erofs", "-o", "loop,ro", from, to])?;
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr);
        eprintln!("not checked: no mount here: {why}");
        return None;
    }
    Some(Mounted(place.to_owned()))
}

/// Mounts an flist as it is.
fn mount_flist(image: &Path, place: &Path) -> Option<Mounted> {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split('.').map(|number| number.parse().unwrap_or(0));
    if (numbers.next(), numbers.next()) < (Some(6), Some(15)) {
        eprintln!(
            "SKIPPED: Linux before 6.15 shows one time for all compact inodes of an flist that is mounted by hand"
        );
        return None;
    }
    mount_image(image, place)
}

#[test]
fn the_kernel_lists_the_same_tree() {
    let directory = tempfile::tempdir().unwrap();
    let path = write(directory.path(), &listed());
    let mount = directory.path().join("mount");
    std::fs::create_dir(&mount).unwrap();
    let Some(mounted) = mount_flist(&path, &mount) else {
        return;
    };
    assert_same(&found(&mount), &expected(&listed()));
    assert_eq!(std::fs::read(mount.join("etc/host")).unwrap(), b"inline\n");
    assert_eq!(std::fs::metadata(mount.join("sizes/1000000")).unwrap().len(), 1_000_000);
    let attributes = &listed().get("attributes").unwrap().metadata.xattrs.clone();
    for (name, value) in attributes {
        let name = String::from_utf8(name.clone()).unwrap();
        assert_eq!(attribute(&mount.join("attributes"), &name), *value, "{name}");
    }
    // Whoever forgets that the content is elsewhere gets an error or a hole, by kernel, never bytes of the image.
    if let Ok(bytes) = std::fs::read(mount.join("sizes/1000000")) {
        assert_eq!(bytes, vec![0; 1_000_000]);
    }
    drop(mounted);
}

/// Whether the inode is compact, by its number in an image.
fn is_compact(image: &[u8], nid: u64) -> bool {
    image[nid as usize * 32] & 1 == 0
}

#[test]
fn inodes_are_compact_where_they_fit_and_keep_their_times() {
    let mut tree = small();
    let ids: Vec<_> = tree.walk().map(|entry| entry.id).collect();
    for (id, later) in ids.into_iter().zip(0..) {
        let metadata = &mut tree.inode_mut(id).metadata;
        (metadata.uid, metadata.gid) = (u32::from(u16::MAX), 0);
        metadata.mtime = Timestamp {
            seconds: 1_700_000_000 + later,
            nanoseconds: 7,
        };
    }
    let (fine, rich) = (tree.find("etc/host").unwrap(), tree.find("bin/tool").unwrap());
    tree.inode_mut(fine).metadata.mtime.nanoseconds = 8;
    tree.inode_mut(rich).metadata.uid = 1 << 16;
    let old = tree.find("bin").unwrap();
    tree.inode_mut(old).metadata.mtime.seconds -= i64::from(u32::MAX);
    let packed = round_trip(&tree);
    let flist = parsed(&packed);
    for entry in flist.entries() {
        let fits = ![&b"etc/host"[..], b"bin/tool", b"bin/link", b"bin"].contains(&&entry.path[..]);
        let compact = is_compact(flist.as_bytes(), entry.inode);
        assert_eq!(compact, fits, "{}", String::from_utf8_lossy(&entry.path));
    }
    let directory = tempfile::tempdir().unwrap();
    let (path, mount) = (directory.path().join("tree.fl"), directory.path().join("mount"));
    std::fs::write(&path, &packed.flist).unwrap();
    std::fs::create_dir(&mount).unwrap();
    let Some(_mounted) = mount_flist(&path, &mount) else {
        return;
    };
    assert_same(&found(&mount), &expected(&tree));
}

#[test]
fn compact_inodes_of_what_a_kernel_mounts_have_the_build_time() {
    let mut tree = small();
    let ids: Vec<_> = tree.walk().map(|entry| entry.id).collect();
    for id in ids {
        let metadata = &mut tree.inode_mut(id).metadata;
        (metadata.uid, metadata.gid, metadata.mtime) = (0, 0, Timestamp::default());
    }
    let late = tree.find("etc/host").unwrap();
    tree.inode_mut(late).metadata.mtime.seconds = 1;
    let flist = parsed(&packed(&tree, &Memory::new()));
    let host = flist.entries().find(|entry| entry.path == b"etc/host").unwrap().inode;
    assert!(
        is_compact(flist.as_bytes(), host),
        "where only Linux 6.15 has the right time, or this program"
    );
    let image = mos_flist::overlay_image(&flist).unwrap();
    // struct erofs_inode_compact: the time stands at byte 12, and Linux before 6.15 takes it for zero.
    let inodes = image.chunks_exact(32).enumerate().skip(36);
    let host =
        inodes.filter(|(_, inode)| inode[4..6] == 0o100_644_u16.to_le_bytes() && inode[8..12] == 7_u32.to_le_bytes());
    let host: Vec<bool> = host.map(|(nid, _)| is_compact(&image, nid as u64)).collect();
    assert_eq!(host, [false]);
}

#[test]
fn the_image_for_overlayfs_names_the_objects() {
    let directory = tempfile::tempdir().unwrap();
    let image = mos_flist::overlay_image(&parsed(&packed(&listed(), &Memory::new()))).unwrap();
    let path = directory.path().join("image");
    std::fs::write(&path, &image).unwrap();
    if let Some(output) = run("fsck.erofs", &["-d3", path.to_str().unwrap()]) {
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
    let mount = directory.path().join("mount");
    std::fs::create_dir(&mount).unwrap();
    let Some(mounted) = mount_image(&path, &mount) else {
        return;
    };
    assert_same(&found(&mount), &expected(&listed()));
    let object = tree_object(&listed(), "bin/tool");
    assert_eq!(
        attribute(&mount.join("bin/tool"), "trusted.overlay.redirect"),
        format!("/{}", object.path()).as_bytes()
    );
    assert_eq!(
        attribute(&mount.join("bin/tool"), "trusted.overlay.metacopy")[4..],
        *object.as_bytes()
    );
    for (name, value) in &listed().get("attributes").unwrap().metadata.xattrs {
        let name = String::from_utf8(name.clone())
            .unwrap()
            .replace("trusted.overlay.", "trusted.overlay.overlay.");
        assert_eq!(attribute(&mount.join("attributes"), &name), *value, "{name}");
    }
    drop(mounted);
}

#[test]
fn unpack_gives_the_same_tree() {
    let directory = tempfile::tempdir().unwrap();
    let store = Memory::new();
    let flist = parsed(&packed(&listed(), &store));
    let options = UnpackOptions::default();
    if !options.privileged {
        eprintln!("not checked: owners and devices need root");
        return;
    }
    let target = directory.path().join("out");
    // Twice: what stands there already is replaced.
    for _ in 0..2 {
        let done = unpack(&sequential(&flist, &store), &target, &options, &|_| {}).unwrap();
        assert_eq!(done.names as usize + 1, listed().walk().count());
        assert_same(&found(&target), &expected(&listed()));
    }
    for entry in listed().walk() {
        if let Kind::File(content) = &entry.inode.kind {
            let path = target.join(std::os::unix::ffi::OsStrExt::from_bytes(&entry.path[..]) as &std::ffi::OsStr);
            assert_eq!(std::fs::read(path).unwrap(), content.read().unwrap());
        }
    }
    for (name, value) in &listed().get("attributes").unwrap().metadata.xattrs {
        let name = String::from_utf8(name.clone()).unwrap();
        assert_eq!(attribute(&target.join("attributes"), &name), *value, "{name}");
    }
    use std::os::unix::fs::MetadataExt as _;
    let inode = |name: &str| std::fs::metadata(target.join(name)).unwrap().ino();
    assert_eq!(inode("bin/tool"), inode("bin/link"));
}

#[test]
fn unpack_never_leaves_its_directory() {
    let directory = tempfile::tempdir().unwrap();
    let outside = directory.path().join("outside");
    let target = directory.path().join("out");
    std::fs::create_dir_all(&outside).unwrap();
    std::fs::create_dir_all(&target).unwrap();
    std::os::unix::fs::symlink(&outside, target.join("bin")).unwrap();
    let store = Memory::new();
    let flist = parsed(&packed(&small(), &store));
    let options = UnpackOptions {
        privileged: false,
        ..UnpackOptions::default()
    };
    let error = unpack(&reader(&flist, &store), &target, &options, &|_| {})
        .unwrap_err()
        .to_string();
    assert!(error.contains("out/bin"), "{error}");
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
}

#[test]
fn without_privilege_device_nodes_are_left_out_and_named() {
    let directory = tempfile::tempdir().unwrap();
    let mut tree = small();
    tree.link("null2", tree.find("null").unwrap()).unwrap();
    let store = Memory::new();
    let flist = parsed(&packed(&tree, &store));
    let options = UnpackOptions {
        privileged: false,
        ..UnpackOptions::default()
    };
    let done = unpack(&reader(&flist, &store), directory.path(), &options, &|_| {}).unwrap();
    assert_eq!(done.left_out, [b"null".to_vec(), b"null2".to_vec()]);
    assert!(directory.path().join("bin/link").exists() && !directory.path().join("null2").exists());
}

proptest! {
    // Each case starts two programs, and one more for each file whose size is asked for.
    #![proptest_config(ProptestConfig { cases: 40, max_shrink_iters: 200, ..ProptestConfig::default() })]
    #[test]
    fn erofs_utils_accept_random_trees(mut tree in some_tree()) {
        // Years that have no calendar: dump.erofs crashes on them.
        let ids: Vec<_> = tree.walk().map(|entry| entry.id).collect();
        for id in ids {
            tree.inode_mut(id).metadata.mtime.seconds %= 1 << 33;
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), packed(&tree, &Memory::new()).flist).unwrap();
        let path = file.path().to_str().unwrap();
        let Some(output) = run("fsck.erofs", &["-d3", path]) else { return Ok(()) };
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        prop_assert!(output.status.success() && said.contains("No errors found"), "{}", said);
        for entry in tree.walk().filter(|entry| !entry.path.is_empty()).take(3) {
            let (Ok(name), Kind::File(content)) = (std::str::from_utf8(&entry.path), &entry.inode.kind) else { continue };
            let Some(output) = run("dump.erofs", &[&format!("--path=/{name}"), path]) else { return Ok(()) };
            let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
            let metadata = &entry.inode.metadata;
            prop_assert!(said.contains(&format!("Size: {} ", content.len())), "{}", said);
            prop_assert!(said.contains(&format!("Uid: {} ", metadata.uid)), "{} {}", metadata.uid, said);
        }
    }
}
