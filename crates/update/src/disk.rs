//! Every change to the disk, one operation each, announced before it is done.
//!
//! [`execute`](crate::execute()) changes nothing but through this: the operations announced during an update are thus
//! exactly the places where a crash can leave something, and the crash tests take their list from here.

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use mos_flist::ObjectDigest;
use mos_sys::durable;
use mos_sys::verity::Verity;

use crate::{Step, UpdateError};

/// Told what happens, and able to stop it.
pub trait Observer {
    /// A step begins; `number` counts from 1.
    fn step(&mut self, _step: &Step, _number: usize, _total: usize) {}

    /// The disk is about to be changed.
    ///
    /// # Errors
    /// Any error stops the update there, as a power cut would.
    fn before(&mut self, _operation: &Operation<'_>) -> io::Result<()> {
        Ok(())
    }
}

/// Watches nothing.
impl Observer for () {}

/// One change to the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Operation<'a> {
    /// What, an imperative.
    pub doing: &'static str,
    /// Where.
    pub path: &'a Path,
}

pub(crate) struct Disk<'a> {
    pub(crate) observer: &'a mut dyn Observer,
    pub(crate) verity: &'a Verity,
}

impl Disk<'_> {
    fn run<T>(
        &mut self,
        doing: &'static str,
        path: &Path,
        change: impl FnOnce() -> io::Result<T>,
    ) -> Result<T, UpdateError> {
        let announced = self.observer.before(&Operation { doing, path });
        announced.and_then(|()| change()).map_err(UpdateError::io(doing, path))
    }

    pub(crate) fn sweep(&mut self, directory: &Path) -> Result<usize, UpdateError> {
        self.run("sweep", directory, || durable::sweep(directory))
    }

    pub(crate) fn make_directories(&mut self, path: &Path) -> Result<(), UpdateError> {
        if path.is_dir() {
            return Ok(());
        }
        self.run("make directory", path, || fs::create_dir_all(path))
    }

    /// Writes a file durably. It is readable by its owner alone until it is complete, and has its mode only then: what
    /// was not verified is never executable.
    pub(crate) fn write(
        &mut self,
        path: &Path,
        executable: bool,
        fill: impl FnOnce(&mut dyn Write) -> Result<(), UpdateError>,
    ) -> Result<(), UpdateError> {
        self.run("write", path, || Ok(()))?;
        let mut failed = None;
        let observer = &mut *self.observer;
        let written = durable::write_with(path, 0o600, |file| {
            let filled = fill(&mut Watched { file, path, observer });
            if let Err(error) = filled {
                failed = Some(error);
                return Err(io::ErrorKind::InvalidData.into());
            }
            file.set_permissions(Permissions::from_mode(mode(executable)))
        });
        failed.map_or_else(|| written.map_err(UpdateError::io("write", path)), Err)
    }

    /// Has the kernel check what it reads of an object from now on (fs-verity), where the file system can.
    pub(crate) fn protect(&mut self, object: &Path, digest: &ObjectDigest) -> Result<(), UpdateError> {
        if self.verity.is_lacking() {
            return Ok(());
        }
        self.run("protect", object, || Ok(()))?;
        let protected = self.verity.protect(object);
        match protected.map_err(UpdateError::io("protect", object))? {
            Some(found) if found != *digest.as_bytes() => {
                let why = "its fs-verity digest is another than its name";
                let wrong = io::Error::new(io::ErrorKind::InvalidData, why);
                // So that it is fetched again.
                self.remove_file(object)?;
                Err(UpdateError::io("protect", object)(wrong))
            }
            _ => Ok(()),
        }
    }

    /// Gives an object another name; copies it where that is impossible.
    pub(crate) fn link(&mut self, object: &Path, path: &Path, executable: bool) -> Result<(), UpdateError> {
        let linked = self.run("link", path, || fs::hard_link(object, path));
        match linked {
            Err(UpdateError::Io { ref source, .. }) if no_links(source) => self.copy(object, path, executable),
            other => other,
        }
    }

    pub(crate) fn copy(&mut self, object: &Path, path: &Path, executable: bool) -> Result<(), UpdateError> {
        let mut from = File::open(object).map_err(UpdateError::io("read", object))?;
        self.write(path, executable, |to| {
            io::copy(&mut from, to)
                .map(|_| ())
                .map_err(UpdateError::io("copy to", path))
        })
    }

    pub(crate) fn symlink(&mut self, target: &Path, path: &Path) -> Result<(), UpdateError> {
        self.run("link", path, || std::os::unix::fs::symlink(target, path))
    }

    pub(crate) fn switch(&mut self, target: &Path, path: &Path) -> Result<(), UpdateError> {
        self.run("switch", path, || durable::symlink(target, path))
    }

    pub(crate) fn sync(&mut self, directory: &Path) -> Result<(), UpdateError> {
        self.run("sync", directory, || durable::sync_directory(directory))
    }

    pub(crate) fn rename(&mut self, from: &Path, to: &Path) -> Result<(), UpdateError> {
        self.run("rename", to, || durable::rename(from, to))
    }

    pub(crate) fn remove_directory(&mut self, path: &Path) -> Result<(), UpdateError> {
        self.run("remove", path, || fs::remove_dir_all(path))
    }

    pub(crate) fn remove_file(&mut self, path: &Path) -> Result<(), UpdateError> {
        self.run("remove", path, || fs::remove_file(path))
    }
}

/// The permission bits of files in a generation.
pub(crate) fn mode(executable: bool) -> u32 {
    if executable { 0o755 } else { 0o644 }
}

fn no_links(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::CrossesDevices
            | io::ErrorKind::TooManyLinks
            | io::ErrorKind::Unsupported
            | io::ErrorKind::PermissionDenied
    )
}

/// A file being written; every piece is an operation.
struct Watched<'a> {
    file: &'a mut File,
    path: &'a Path,
    observer: &'a mut dyn Observer,
}

impl Write for Watched<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (doing, path) = ("write a piece of", self.path);
        self.observer.before(&Operation { doing, path })?;
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
