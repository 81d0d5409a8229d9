//! A low number for what a child is given.
//!
//! A child gets a table of open files with everything up to the highest number that it needs. Whoever has thousands of files
//! open, the newest of which is a pipe for the child, would have them all copied and closed again; with this number in its
//! place it is a handful.

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};

/// Two descriptors that are best made when few others are open.
#[derive(Debug)]
pub struct Pad {
    nothing: OwnedFd,
    low: OwnedFd,
}

impl Pad {
    /// Takes two free numbers, the lowest that there are.
    ///
    /// # Errors
    /// When `/dev/null` cannot be opened, or twice.
    pub fn new() -> io::Result<Self> {
        let nothing = OwnedFd::from(std::fs::File::options().read(true).write(true).open("/dev/null")?);
        let low = nothing.try_clone()?;
        Ok(Self { nothing, low })
    }

    /// `/dev/null`.
    pub fn nothing(&self) -> BorrowedFd<'_> {
        self.nothing.as_fd()
    }

    /// Has the low number stand for this file, until what is returned is dropped.
    pub(super) fn hold(&self, file: BorrowedFd<'_>) -> io::Result<Held<'_>> {
        self.point_to(file)?;
        Ok(Held(self))
    }

    fn point_to(&self, file: BorrowedFd<'_>) -> io::Result<()> {
        // SAFETY: the low number is ours and stays open; what it stands for is nobody's business but ours.
        match unsafe { libc::dup3(file.as_raw_fd(), self.low.as_raw_fd(), libc::O_CLOEXEC) } {
            -1 => Err(io::Error::last_os_error()),
            _ => Ok(()),
        }
    }
}

/// A file under a low number.
pub(super) struct Held<'p>(&'p Pad);

impl Held<'_> {
    pub(super) fn file(&self) -> BorrowedFd<'_> {
        self.0.low.as_fd()
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        // It would keep a pipe open. Cannot fail: both are open.
        let _ = self.0.point_to(self.0.nothing());
    }
}
