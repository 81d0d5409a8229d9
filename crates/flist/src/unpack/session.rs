//! The marker of a run that has not ended.
//!
//! A file in the root of the destination, locked while a run works there, holding the boot id of the machine: a run that
//! finds one knows that another did not end, and from another boot id that names may be on the disk whose content was
//! lost with the power. It is removed when everything is on the disk.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;

use mos_sys::durable::TEMPORARY_PREFIX;
use rustix::fs::{self, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::UnpackError;
use super::disk::{Disk, remove};
use crate::image::Image;

/// Changes with every start of the machine (Linux `Documentation/admin-guide/sysctl/kernel.rst`, `random`).
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// A run that works.
pub(super) struct Session {
    name: OsString,
    /// Locked as long as this is open.
    _marker: File,
    /// An earlier run did not end.
    pub(super) resumed: bool,
    /// And it ran before the machine was started anew, or nobody knows.
    pub(super) doubtful: bool,
}

impl Session {
    pub(super) fn begin(disk: &Disk<'_>, image: &dyn Image) -> Result<Self, UnpackError> {
        let name = marker_name(image);
        let path = name.as_bytes();
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let open = || fs::openat(disk.root_fd(), &*name, flags, Mode::from_raw_mode(0o600));
        let fd = disk.run("create", path, open)?;
        match fs::flock(&fd, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => return Err(disk.busy()),
            other => other.map_err(|error| disk.fail("lock", path, error.into()))?,
        }
        let is = fs::fstat(&fd).map_err(|error| disk.fail("look at", path, error.into()))?;
        if is.st_nlink == 0 {
            // The run that held it ended between our opening and locking, and took the marker along.
            return Err(disk.busy());
        }
        let mut marker = File::from(fd);
        let mut found = Vec::new();
        let read = (&mut marker).take(64).read_to_end(&mut found);
        read.map_err(|error| disk.fail("read", path, error))?;
        let now = std::fs::read(BOOT_ID).unwrap_or_default();
        let mut session = Self {
            name: name.clone(),
            _marker: marker,
            resumed: !found.is_empty(),
            doubtful: !found.is_empty() && (found != now || now.is_empty()),
        };
        if !session.resumed {
            // When nobody knows the boot id, this still says that a run began.
            let text = if now.is_empty() { b"unknown\n".to_vec() } else { now };
            disk.run("mark as unfinished", path, || Ok(()))?;
            let written = session
                ._marker
                .write_all(&text)
                .and_then(|()| session._marker.sync_all());
            written.map_err(|error| disk.fail("write", path, error))?;
            disk.sync_root()?;
        }
        Ok(session)
    }

    /// Puts everything on the disk, then takes the marker away.
    pub(super) fn end(&mut self, disk: &Disk<'_>) -> Result<(), UnpackError> {
        disk.run("sync", b"", || fs::syncfs(disk.root_fd()))?;
        disk.run("unmark", self.name.as_bytes(), || remove(disk.root_fd(), &self.name))
    }
}

/// A name that the image does not have.
fn marker_name(image: &dyn Image) -> OsString {
    let mut name = format!("{TEMPORARY_PREFIX}unpack");
    while image.find(name.as_bytes()).is_some() {
        name.push('-');
    }
    name.into()
}
