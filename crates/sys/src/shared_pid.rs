//! A process id in memory that several processes share, written by the kernel while it makes the process: whoever
//! started it can be killed at any moment, and the others know.

use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

/// The place of a process id. Children of this process that do not execute another program share it.
#[derive(Debug)]
pub struct SharedPid(NonNull<AtomicU32>);

// SAFETY: it is only reached through an atomic, and never unmapped.
unsafe impl Send for SharedPid {}
// SAFETY: as above.
unsafe impl Sync for SharedPid {}

impl SharedPid {
    /// A place with nobody in it. Takes a page of memory, for ever.
    ///
    /// # Errors
    /// When there is no memory.
    pub fn new() -> io::Result<Self> {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let kind = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
        // SAFETY: asks for new memory, at no particular place, backed by no file.
        let page = unsafe { libc::mmap(std::ptr::null_mut(), size_of::<AtomicU32>(), access, kind, -1, 0) };
        if page == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        // A page is aligned for any type, and new memory is zero.
        NonNull::new(page.cast())
            .map(Self)
            .ok_or(io::ErrorKind::OutOfMemory.into())
    }

    fn place(&self) -> &AtomicU32 {
        // SAFETY: mapped when this was made, aligned, and never unmapped.
        unsafe { self.0.as_ref() }
    }

    /// Empties the place.
    pub fn clear(&self) {
        self.place().store(0, Ordering::SeqCst);
    }

    /// The process that was made last, if one was since the place was emptied.
    pub fn get(&self) -> Option<u32> {
        Some(self.place().load(Ordering::SeqCst)).filter(|pid| *pid != 0)
    }

    /// Where the kernel is to write (`CLONE_PARENT_SETTID`, clone(2)).
    pub(crate) fn address(&self) -> u64 {
        self.place().as_ptr() as u64
    }
}
