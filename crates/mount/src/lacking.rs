//! Tests with a kernel that lacks something: the one that runs, but for one answer.

#[path = "../tests/common/mod.rs"]
#[allow(unreachable_pub, reason = "it is shared with the tests of the whole crate")]
mod common;

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use common::{Packed, alone, assert_shows, logged, packed, put, source, text};
use mos_sys::loop_device::{self, LoopDevice};
use mos_tree::{Kind, Tree};
use rustix::io::Errno;

use crate::mounted::mount_on;
use crate::system::{Context, Linux, Part, System};
use crate::{How, MountError, MountOptions, Mounted, Prefetch, Unmounted, Way, mount};

/// What is not there.
#[derive(Debug, Clone, Copy)]
enum Lack {
    /// A file system: what fsopen(2) answers.
    Kind(Part, Errno),
    /// The right to mount it.
    Right(Part, Errno),
    /// An option.
    Option(&'static str),
    /// EROFS from files, and loop devices.
    FilesAndLoop(io::ErrorKind),
    /// EROFS from files.
    Files,
}

struct Without(Lack);

impl System for Without {
    fn open(&self, part: Part) -> rustix::io::Result<OwnedFd> {
        match self.0 {
            Lack::Kind(lacking, errno) if lacking == part => Err(errno),
            _ => Linux.open(part),
        }
    }

    fn set(&self, context: &Context<'_>, key: &'static str, value: Option<&OsStr>) -> rustix::io::Result<()> {
        let from_file = key == "source" && value.is_some_and(|value| Path::new(value).is_file());
        match self.0 {
            Lack::Option(lacking) if lacking == key => Err(Errno::INVAL),
            Lack::Files | Lack::FilesAndLoop(_) if context.part == Part::Erofs && from_file => Err(Errno::NOTBLK),
            _ => Linux.set(context, key, value),
        }
    }

    fn create(&self, context: &Context<'_>) -> rustix::io::Result<()> {
        match self.0 {
            Lack::Right(part, errno) if part == context.part => Err(errno),
            _ => Linux.create(context),
        }
    }

    fn loop_device(&self, file: &File) -> io::Result<LoopDevice> {
        match self.0 {
            Lack::FilesAndLoop(io::ErrorKind::NotFound) => Err(Errno::NOENT.into()),
            Lack::FilesAndLoop(_) => Err(Errno::PERM.into()),
            _ => loop_device::attach(file),
        }
    }
}

/// A tree in a store, and a place.
struct Setting {
    packed: Packed,
    directory: tempfile::TempDir,
}

impl Setting {
    fn new() -> Self {
        let mut tree = Tree::default();
        for (name, size) in [(b"a/one", 100), (b"a/two", 70_000), (b"b/one", 300_000)] {
            put(&mut tree, name, 0o644, Kind::File(text(size, size as usize).into()));
        }
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("place")).unwrap();
        let packed = packed(tree);
        Self { packed, directory }
    }

    fn options(&self, how: How) -> MountOptions {
        MountOptions {
            how,
            cache: Some(self.directory.path().join("cache")),
            prefetch: Prefetch::All,
            ..logged().0
        }
    }

    fn mount(&self, system: &dyn System, options: &MountOptions) -> Result<Mounted, MountError> {
        let source = source(&self.packed.flist, Arc::new(self.packed.store.clone()));
        mount_on(system, source, &self.directory.path().join("place"), options)
    }

    fn shows(&self, mounted: Mounted) {
        assert_shows(&self.packed.tree, &self.directory.path().join("place"));
        assert_eq!(mounted.unmount().unwrap(), Unmounted::Clean);
        self.is_clean();
    }

    /// Nothing is mounted, and no directory that was mounted on for a moment is left.
    fn is_clean(&self) {
        let root = self.directory.path().display().to_string();
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!table.contains(&root), "{table}");
        let mut names: Vec<_> = fs::read_dir(self.directory.path().join("cache"))
            .unwrap()
            .flatten()
            .collect();
        names.retain(|entry| entry.file_name().to_string_lossy().contains("mount"));
        assert!(names.is_empty(), "{names:?}");
    }
}

const LACKS: [(Lack, &str); 10] = [
    (Lack::Kind(Part::Erofs, Errno::NODEV), "`modprobe erofs`"),
    (Lack::Kind(Part::Overlay, Errno::NODEV), "`modprobe overlay`"),
    (Lack::Kind(Part::Erofs, Errno::NOSYS), "no fsopen"),
    (Lack::Kind(Part::Erofs, Errno::PERM), "container"),
    (Lack::Right(Part::Erofs, Errno::PERM), "may not use EROFS"),
    (Lack::Right(Part::Overlay, Errno::ACCESS), "may not use overlayfs"),
    (Lack::Option("lowerdir+"), "Linux 6.8"),
    (Lack::Option("datadir+"), "Linux 6.8"),
    (Lack::FilesAndLoop(io::ErrorKind::NotFound), "`modprobe loop`"),
    (
        Lack::FilesAndLoop(io::ErrorKind::PermissionDenied),
        "may not use loop devices",
    ),
];

#[test]
fn what_the_kernel_lacks_is_done_by_fuse_and_the_reason_is_told() {
    if !alone() {
        return;
    }
    let setting = Setting::new();
    for (lack, words) in LACKS {
        let mounted = setting.mount(&Without(lack), &setting.options(How::Auto)).unwrap();
        assert_ne!(mounted.way(), Way::Kernel, "{lack:?}");
        assert!(mounted.why().contains(words), "{lack:?}: {}", mounted.why());
        setting.shows(mounted);
    }
}

#[test]
fn when_only_the_kernel_was_asked_for_what_it_lacks_is_an_error() {
    if !alone() {
        return;
    }
    let setting = Setting::new();
    for (lack, words) in LACKS {
        let error = setting
            .mount(&Without(lack), &setting.options(How::Kernel))
            .unwrap_err();
        assert!(
            matches!(error, MountError::Impossible { way: "kernel", .. }),
            "{error:?}"
        );
        assert!(error.to_string().contains(words), "{lack:?}: {error}");
        setting.is_clean();
    }
}

#[test]
fn kernels_that_mount_no_files_take_a_loop_device() {
    if !alone() {
        return;
    }
    let setting = Setting::new();
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(4096).unwrap();
    if let Err(error) = loop_device::attach(file.as_file()) {
        return eprintln!("SKIPPED: no loop devices here: {error}");
    }
    let mounted = setting
        .mount(&Without(Lack::Files), &setting.options(How::Kernel))
        .unwrap();
    assert_eq!(mounted.way(), Way::Kernel);
    setting.shows(mounted);
}

#[test]
fn a_writable_layer_needs_overlayfs_in_every_way() {
    if !alone() {
        return;
    }
    let setting = Setting::new();
    let upper = setting.directory.path().join("upper");
    fs::create_dir(&upper).unwrap();
    let options = MountOptions {
        writable: Some(upper),
        ..setting.options(How::Auto)
    };
    let without = Without(Lack::Kind(Part::Overlay, Errno::NODEV));
    let error = setting.mount(&without, &options).unwrap_err().to_string();
    assert!(error.starts_with("writable: not possible: this kernel"), "{error}");
    assert!(error.contains("`modprobe overlay`"), "{error}");
    setting.is_clean();
}

#[test]
fn what_is_not_the_kernels_fault_is_no_reason_for_another_way() {
    if !alone() {
        return;
    }
    let setting = Setting::new();
    let options = setting.options(How::Auto);
    fs::create_dir_all(setting.directory.path().join("cache")).unwrap();
    fs::write(setting.directory.path().join("cache/flists"), "in the way").unwrap();
    let source = source(&setting.packed.flist, Arc::new(setting.packed.store.clone()));
    let error = mount(source, &setting.directory.path().join("place"), &options).unwrap_err();
    assert!(
        matches!(&error, MountError::Io { path, .. } if path.ends_with("flists")),
        "{error}"
    );
    setting.is_clean();
}
