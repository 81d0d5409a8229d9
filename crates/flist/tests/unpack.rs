//! Unpacking: crashes at every change to the disk, running again, holes, and images of other formats.
//!
//! The list of crash points is recorded from a run of the real thing: every change announces itself, so a new one is cut
//! off here without anybody having to remember it.
#![allow(clippy::unwrap_used, reason = "helpers of tests stop the test, as tests do")]

mod common;

use std::io::Write;
use std::ops::Range;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::{large, metadata, noise, packed, parsed, reader, sequential, text};
use mos_flist::{
    Advance, Depth, Entry, EntryKind, Finding, Image, Progress, ReadError, Reader, Slice, UnpackError, UnpackOptions,
    Unpacked, diff, unpack, unpack_observed,
};
use mos_store::{Digest, Memory};
use mos_tree::{Inode, Kind, Tree, directory};

/// Which operation the child process dies before.
const CRASH_AT: &str = "MOS_TEST_CRASH_AT";
/// The destination of the child process.
const TARGET: &str = "MOS_TEST_TARGET";

/// A directory as a tree. Who is not root owns whatever he unpacks, which says nothing.
fn found(directory: &Path) -> Tree {
    let options = directory::Options {
        owners: rustix::process::geteuid().is_root(),
        xattrs: true,
    };
    directory::read(directory, options).unwrap()
}

/// One of everything that takes steps of its own.
fn tree() -> Tree {
    let mut tree = Tree::default();
    let mut put = |path: &str, mode, kind| {
        let mut metadata = metadata(mode, path.len() as u32);
        if !rustix::process::geteuid().is_root() {
            (metadata.uid, metadata.gid) = (0, 0);
        }
        tree.insert(path, Inode { metadata, kind }).unwrap()
    };
    put("a", 0o555, Kind::Directory(Default::default()));
    let mut holes = text(1, 30_000);
    holes.extend(vec![0; 60_000]);
    holes.extend(text(2, 10_000));
    let id = put("a/holes", 0o4755, Kind::File(holes.into()));
    put("b", 0o777, Kind::Symlink(b"a/holes".to_vec()));
    put("c/d/pipe", 0o600, Kind::Fifo);
    put("c/d/small", 0o444, Kind::File("small".into()));
    put("c/empty", 0o644, Kind::File("".into()));
    tree.inode_mut(id)
        .metadata
        .xattrs
        .insert(b"user.x".to_vec(), b"y".to_vec());
    tree.link("z", id).unwrap();
    tree
}

fn image(tree: &Tree) -> Reader {
    let store = Memory::new();
    sequential(&parsed(&packed(tree, &store)), &store)
}

/// The digest of the flist that a tree packs to: two trees with one digest are the same in everything.
fn digest(tree: &Tree) -> Digest {
    packed(tree, &Memory::new()).digest
}

/// Says what is different between a tree and a directory.
fn assert_unpacked(tree: &Tree, target: &Path) {
    let found = found(target);
    if digest(&found) != digest(tree) {
        let changes = diff(&image(tree), &image(&found)).unwrap();
        let changes: Vec<String> = changes.iter().take(8).map(ToString::to_string).collect();
        panic!("{}: {changes:?}", target.display());
    }
}

fn again(image: &dyn Image, target: &Path) -> Unpacked {
    unpack(image, target, &UnpackOptions::default(), &|_| {}).unwrap()
}

/// Stops before the operation with this number: as an error, or as a process that dies.
fn cut(image: &dyn Image, target: &Path, at: usize, die: bool) -> Result<Unpacked, UnpackError> {
    let left = AtomicUsize::new(at);
    let options = UnpackOptions {
        threads: 1,
        ..UnpackOptions::default()
    };
    unpack_observed(image, target, &options, &|_| {}, &|_| {
        let stop = left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
            .is_err();
        match (stop, die) {
            (false, _) => Ok(()),
            (true, false) => Err(std::io::Error::other("power cut")),
            (true, true) => std::process::abort(),
        }
    })
}

/// Every change of a whole run, in order.
fn operations(image: &dyn Image) -> Vec<String> {
    let directory = tempfile::tempdir().unwrap();
    let operations = Mutex::new(Vec::new());
    let options = UnpackOptions {
        threads: 1,
        ..UnpackOptions::default()
    };
    unpack_observed(image, &directory.path().join("out"), &options, &|_| {}, &|operation| {
        let path = String::from_utf8_lossy(operation.path).into_owned();
        operations.lock().unwrap().push(format!("{} {path}", operation.doing));
        Ok(())
    })
    .unwrap();
    operations.into_inner().unwrap()
}

#[test]
fn cut_off_at_every_change_running_again_completes() {
    let (tree, directory) = (tree(), tempfile::tempdir().unwrap());
    let image = image(&tree);
    let operations = operations(&image);
    assert!(operations.len() > 40, "{operations:#?}");
    for (at, operation) in operations.iter().enumerate() {
        let target = directory.path().join(at.to_string());
        let error = cut(&image, &target, at, false).unwrap_err().to_string();
        assert!(error.contains("power cut"), "{operation}: {error}");
        // Cut off a second time, one change further on.
        let _ = cut(&image, &target, at + 1, false);
        again(&image, &target);
        assert_unpacked(&tree, &target);
    }
}

#[test]
fn killed_at_every_change_running_again_completes() {
    let (tree, directory) = (tree(), tempfile::tempdir().unwrap());
    let image = image(&tree);
    for at in 0..operations(&image).len() {
        let target = directory.path().join(at.to_string());
        let status = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "dies_where_it_is_told", "--include-ignored"])
            .env(CRASH_AT, at.to_string())
            .env(TARGET, &target)
            .output()
            .unwrap()
            .status;
        assert!(!status.success(), "operation {at} is not reached");
        again(&image, &target);
        assert_unpacked(&tree, &target);
    }
}

#[test]
#[ignore = "the child process of another test"]
fn dies_where_it_is_told() {
    let (Ok(at), Ok(target)) = (std::env::var(CRASH_AT), std::env::var(TARGET)) else {
        return;
    };
    let _ = cut(&image(&tree()), Path::new(&target), at.parse().unwrap(), true);
}

/// Unpacked once; the image, the directory that holds it, and its path.
fn unpacked(tree: &Tree) -> (Reader, tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let target = directory.path().join("out");
    let image = image(tree);
    again(&image, &target);
    (image, directory, target)
}

/// Changes a byte of a file and puts its time back.
fn damage_behind_its_back(path: &Path) {
    let metadata = std::fs::metadata(path).unwrap();
    let mut bytes = std::fs::read(path).unwrap();
    bytes[20] ^= 1;
    std::fs::write(path, bytes).unwrap();
    std::fs::set_permissions(path, metadata.permissions()).unwrap();
    let file = std::fs::File::options().write(true).open(path).unwrap();
    file.set_modified(metadata.modified().unwrap()).unwrap();
}

#[test]
fn what_is_complete_stays_and_what_is_not_is_written_again() {
    let tree = large();
    let (image, _directory, target) = unpacked(&tree);
    let names = tree
        .walk()
        .filter(|entry| !matches!(entry.inode.kind, Kind::Directory(_)))
        .count() as u64;
    let privileged = UnpackOptions::default().privileged;
    let done = again(&image, &target);
    assert_eq!((done.kept, done.bytes), (names - done.left_out.len() as u64, 0));
    let inode = |path: &str| std::fs::symlink_metadata(target.join(path)).unwrap().ino();
    let before = inode("sizes/4096");
    assert_eq!(again(&image, &target).bytes, 0);
    assert_eq!(inode("sizes/4096"), before);

    // Each of these is noticed.
    let path = |path: &str| target.join(path);
    std::fs::set_permissions(path("sizes/1024"), std::fs::Permissions::from_mode(0o777)).unwrap();
    std::fs::write(path("sizes/1025"), "other").unwrap();
    std::fs::remove_file(path("sizes/4095")).unwrap();
    std::fs::remove_file(path("bin/t")).unwrap();
    symlink("elsewhere", path("bin/t")).unwrap();
    let touched = std::fs::File::options().write(true).open(path("sizes/4097")).unwrap();
    touched.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    std::fs::hard_link(path("sizes/1"), target.join("another name")).unwrap();
    let mut changed = 1024 + 1025 + 4095 + 4097 + 1;
    if privileged {
        std::os::unix::fs::chown(path("sizes/1023"), Some(99), None).unwrap();
        rustix::fs::removexattr(path("attributes"), "user.large").unwrap();
        changed += 1023 + 2000;
    }
    assert_eq!(again(&image, &target).bytes, changed);
    std::fs::remove_file(target.join("another name")).unwrap();
    again(&image, &target);
    if privileged {
        assert_unpacked(&tree, &target);
    }
}

#[test]
fn paranoid_finds_content_that_changed_behind_its_back() {
    let tree = large();
    let (image, _directory, target) = unpacked(&tree);
    damage_behind_its_back(&target.join("sizes/65536"));
    assert_eq!(again(&image, &target).bytes, 0);
    let options = UnpackOptions {
        paranoid: true,
        ..UnpackOptions::default()
    };
    assert_eq!(unpack(&image, &target, &options, &|_| {}).unwrap().bytes, 65_536);
    assert_eq!(unpack(&image, &target, &options, &|_| {}).unwrap().bytes, 0);
    // Without digests the content is read from the image.
    damage_behind_its_back(&target.join("sizes/65536"));
    assert_eq!(
        unpack(&NoDigests(image), &target, &options, &|_| {}).unwrap().bytes,
        65_536
    );
}

#[test]
fn after_a_power_cut_content_is_compared() {
    let tree = large();
    let (image, _directory, target) = unpacked(&tree);
    damage_behind_its_back(&target.join("sizes/65536"));
    // As a run leaves it that did not end before the machine was started anew.
    std::fs::write(target.join(".tmp-unpack"), "another boot").unwrap();
    std::fs::write(target.join("sizes/.tmp-99999"), "left over").unwrap();
    let done = again(&image, &target);
    assert_eq!(done.bytes, 65_536);
    assert!(!target.join(".tmp-unpack").exists() && !target.join("sizes/.tmp-99999").exists());
}

#[test]
fn two_runs_do_not_work_in_one_place() {
    let (image, _directory, target) = unpacked(&tree());
    let marker = std::fs::File::create(target.join(".tmp-unpack")).unwrap();
    rustix::fs::flock(&marker, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let error = unpack(&image, &target, &UnpackOptions::default(), &|_| {}).unwrap_err();
    assert!(matches!(error, UnpackError::Busy(_)), "{error}");
    drop(marker);
    again(&image, &target);
}

#[test]
fn a_name_like_the_marker_is_a_name_like_any_other() {
    let mut tree = tree();
    tree.insert_file(".tmp-unpack", 0o644, "mine").unwrap();
    let (_image, _directory, target) = unpacked(&tree);
    assert_eq!(std::fs::read(target.join(".tmp-unpack")).unwrap(), b"mine");
    assert!(!target.join(".tmp-unpack-").exists());
}

#[test]
fn any_number_of_threads_gives_the_same_and_tells_all_progress() {
    let mut tree = large();
    for n in 0..40 {
        tree.insert_file(format!("deep/{n}/file"), 0o600, noise(n, 90_000))
            .unwrap();
    }
    let image = image(&tree);
    let total: u64 = image.entries().filter_map(|entry| entry.size()).sum();
    let directory = tempfile::tempdir().unwrap();
    for threads in [1, 2, 5] {
        let told = Mutex::new((0, 0));
        let options = UnpackOptions {
            threads,
            ..UnpackOptions::default()
        };
        let target = directory.path().join(threads.to_string());
        let done = unpack(&image, &target, &options, &|done: Advance| {
            let mut told = told.lock().unwrap();
            *told = (told.0 + done.files, told.1 + done.bytes);
        })
        .unwrap();
        // A hard link brings no bytes.
        let links: u64 = image.find(b"bin/link").unwrap().size().unwrap();
        assert_eq!(*told.lock().unwrap(), (done.names, total - links));
        if options.privileged {
            assert_unpacked(&tree, &target);
        }
    }
}

#[test]
fn holes_stay_holes() {
    let directory = tempfile::tempdir().unwrap();
    let sparse = directory.path().join("sparse");
    let file = std::fs::File::create(&sparse).unwrap();
    file.set_len(100 << 20).unwrap();
    let mut tree = Tree::default();
    let content = mos_tree::Content::file(&sparse).unwrap();
    tree.insert_file("sparse", 0o644, content).unwrap();
    let (_image, _directory, target) = unpacked(&tree);
    let found = std::fs::metadata(target.join("sparse")).unwrap();
    assert_eq!(found.len(), 100 << 20);
    assert!(found.blocks() * 512 <= 8192, "{} blocks", found.blocks());
}

#[test]
fn a_store_that_fails_leaves_no_half_file() {
    let store = Memory::new();
    let mut tree = tree();
    tree.insert_file("c/big", 0o644, noise(5, 40 << 20)).unwrap();
    let flist = parsed(&packed(&tree, &store));
    let directory = tempfile::tempdir().unwrap();
    let gone = flist.blobs().last().unwrap().digest.blob_name();
    let bytes = mos_store::Read::get(&store, &gone, u64::MAX).unwrap();
    mos_store::Write::delete(&store, &gone).unwrap();
    let error = unpack(
        &reader(&flist, &store),
        directory.path(),
        &UnpackOptions::default(),
        &|_| {},
    )
    .unwrap_err();
    assert!(matches!(error, UnpackError::Read(ReadError::Store { .. })), "{error}");
    for name in std::fs::read_dir(directory.path().join("c")).into_iter().flatten() {
        let name = name.unwrap().file_name();
        assert!(!name.as_encoded_bytes().starts_with(b".tmp-"), "{name:?}");
    }
    mos_store::Write::put(&store, &gone, &bytes).unwrap();
    again(&reader(&flist, &store), directory.path());
    assert_unpacked(&tree, directory.path());
}

/// An image of a format that knows no digests.
struct NoDigests(Reader);

fn without_digest(mut entry: Entry<'_>) -> Entry<'_> {
    if let EntryKind::File { object, .. } = &mut entry.kind {
        *object = None;
    }
    entry
}

impl Image for NoDigests {
    fn entries(&self) -> Box<dyn Iterator<Item = Entry<'_>> + '_> {
        Box::new(self.0.entries().map(without_digest))
    }

    fn find(&self, path: &[u8]) -> Option<Entry<'_>> {
        self.0.find(path).map(without_digest)
    }

    fn read_file(&self, entry: &Entry<'_>, out: &mut dyn Write) -> Result<(), ReadError> {
        self.0.read_file(entry, out)
    }

    fn read_at(&self, inode: u64, range: Range<u64>) -> Result<Slice, ReadError> {
        self.0.read_at(inode, range)
    }

    fn verify(&self, depth: Depth, progress: &Progress<'_>) -> Vec<Finding> {
        self.0.verify(depth, progress)
    }
}

#[test]
fn images_without_digests_are_compared_by_content() {
    let old = large();
    let mut new = large();
    let id = new.find("sizes/noise").unwrap();
    let mut content = noise(7, 700_000);
    content[699_999] ^= 1;
    new.inode_mut(id).kind = Kind::File(content.into());
    let changes = diff(&NoDigests(image(&old)), &image(&new)).unwrap();
    let changes: Vec<String> = changes.iter().map(ToString::to_string).collect();
    assert_eq!(changes, ["~ sizes/noise (content)"]);
    assert_eq!(diff(&NoDigests(image(&old)), &NoDigests(image(&old))).unwrap(), []);
}

#[test]
fn any_range_of_a_file_can_be_read() {
    let (tree, image) = (large(), image(&large()));
    for path in ["sizes/1000000", "sizes/noise", "sizes/1023", "sizes/0", "bin/tool"] {
        let Kind::File(content) = &tree.get(path).unwrap().kind else {
            panic!("{path}");
        };
        let content = content.read().unwrap();
        let inode = image.find(path.as_bytes()).unwrap().inode;
        let end = content.len() as u64;
        for range in [
            0..end,
            0..u64::MAX,
            end..end + 5,
            end + 1..end + 9,
            7..7,
            end / 2..end / 2 + 70_000,
            1..2,
        ] {
            let clamp = |at: u64| at.min(end) as usize;
            let expected = &content[clamp(range.start)..clamp(range.end)];
            assert!(
                image.read_at(inode, range.clone()).unwrap() == expected,
                "{path} {range:?}"
            );
        }
    }
    let directory = image.find(b"sizes/").unwrap().inode;
    let error = image.read_at(directory, 0..1).unwrap_err();
    assert!(matches!(error, ReadError::NotAFile(path) if path == "sizes"));
}

#[test]
fn what_is_better_decoded_with_a_page_is_what_its_frame_holds_of_the_file() {
    let image = image(&large());
    let inode = image.find(b"sizes/noise").unwrap().inode;
    let page = |at: u64| image.around(inode, &(at..at + 4096));
    assert_eq!(page(0), None, "the first page: somebody reads in order");
    assert_eq!(image.around(inode, &(4096..200_000)), None);
    let mut end = 1;
    while end < 700_000 {
        let Some(part) = page(end) else {
            // A frame that is mostly other files.
            end += 4096;
            continue;
        };
        assert!(part.contains(&end) && part.end - part.start >= 100_000, "{part:?}");
        assert_eq!(page(part.end - 1).as_ref(), Some(&part));
        end = part.end;
    }
    assert_eq!(end, 700_000, "the last part ends with the file");
    let small = image.find(b"sizes/1023").unwrap().inode;
    assert_eq!(image.around(small, &(512..1023)), None);
}

#[test]
fn paths_are_found_whatever_their_slashes() {
    let image = image(&large());
    for entry in image.entries() {
        assert_eq!(image.find(&entry.path).unwrap().inode, entry.inode);
        let absolute = [b"/", &entry.path[..], b"/"].concat();
        assert_eq!(image.find(&absolute).unwrap().path, entry.path);
    }
    for absent in [
        "no",
        "bin/no",
        "bin/tool/no",
        "bin//tool",
        "./bin",
        "bin/..",
        "sizes/10",
    ] {
        assert!(image.find(absent.as_bytes()).is_none(), "{absent}");
    }
}
