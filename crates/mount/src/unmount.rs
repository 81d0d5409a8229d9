//! Taking mounts away, and seeing what is in the way of a new one.

use std::io;
use std::path::Path;
use std::process::Command;

use rustix::io::Errno;
use rustix::mount::UnmountFlags;

use crate::error::MountError;
use crate::table::{self, Entry};

/// How a mount went away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unmounted {
    /// At once.
    Clean,
    /// Somebody still uses it: it is gone from the directory, and really ends with the last user.
    Lazy,
}

/// Takes away what is mounted at a directory by this crate, with all its layers, also when its daemon is dead. A
/// daemon that lives ends by itself then.
///
/// # Errors
/// [`MountError::Place`] when nothing of ours is mounted there; [`MountError::Io`] when the system refuses.
pub fn unmount(directory: &Path) -> Result<Unmounted, MountError> {
    let place = table::resolve(directory).map_err(MountError::io("find", directory))?;
    let entries = table::at(&place).map_err(MountError::io("read", Path::new("/proc/self/mountinfo")))?;
    let ours = entries.iter().rev().take_while(|entry| entry.is_ours());
    let mut how = None;
    for entry in ours {
        let one = take_away(entry).map_err(MountError::io("unmount", directory))?;
        how = match how {
            Some(Unmounted::Lazy) => Some(Unmounted::Lazy),
            _ => Some(one),
        };
    }
    how.ok_or_else(|| MountError::place(directory, "nothing of ours is mounted here"))
}

fn take_away(entry: &Entry) -> io::Result<Unmounted> {
    match rustix::mount::unmount(&entry.place, UnmountFlags::NOFOLLOW) {
        Ok(()) => Ok(Unmounted::Clean),
        Err(Errno::BUSY) => {
            rustix::mount::unmount(&entry.place, UnmountFlags::NOFOLLOW | UnmountFlags::DETACH)?;
            Ok(Unmounted::Lazy)
        }
        Err(Errno::PERM) if entry.is_fuse() => by_helper(&entry.place),
        Err(error) => Err(error.into()),
    }
}

/// As an ordinary user, who may unmount what is his own by a program with the right to.
fn by_helper(place: &Path) -> io::Result<Unmounted> {
    let run = |arguments: &[&str]| {
        let output = Command::new("fusermount3")
            .args(arguments)
            .arg("--")
            .arg(place)
            .output();
        output.and_then(|output| match output.status.success() {
            true => Ok(()),
            false => Err(io::Error::other(
                String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            )),
        })
    };
    match run(&["-u"]) {
        Ok(()) => Ok(Unmounted::Clean),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(io::Error::new(
            error.kind(),
            "fusermount3 is not installed (Debian: package fuse3)",
        )),
        Err(_) => run(&["-u", "-z"]).map(|()| Unmounted::Lazy),
    }
}

/// Makes sure that a mount can be put at a directory: takes away what a dead daemon left there, and refuses when
/// something of ours is alive.
pub(crate) fn clear(directory: &Path) -> Result<std::path::PathBuf, MountError> {
    let place = table::resolve(directory).map_err(MountError::io("find", directory))?;
    let entries = table::at(&place).map_err(MountError::io("read", Path::new("/proc/self/mountinfo")))?;
    if entries.last().is_some_and(Entry::is_ours) {
        let alive = answers(&place);
        if alive {
            let why = "an image is mounted here already; unmount it first";
            return Err(MountError::place(directory, why));
        }
        unmount(&place)?;
    }
    match std::fs::metadata(&place) {
        Ok(found) if found.is_dir() => Ok(place),
        Ok(_) => Err(MountError::place(directory, "not a directory; make one to mount on")),
        Err(error) => Err(MountError::io("look at", directory)(error)),
    }
}

/// True when whatever serves a mount answers. Only a name that nobody asked for before is sure not to be answered by
/// the kernel, which keeps the rest for longer than a daemon lives.
fn answers(place: &Path) -> bool {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    let name = format!(".mos-alive-{}-{}", std::process::id(), now.as_nanos());
    match std::fs::symlink_metadata(place.join(name)) {
        Ok(_) => true,
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}
