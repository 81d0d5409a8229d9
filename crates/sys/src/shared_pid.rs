//! Process ids in memory that several processes share, written while a process is made: whoever started it can be killed at
//! any moment, and the others know.
//!
//! Until it has a table of open files of its own, a new process uses its maker's, which is also that of whoever comes after
//! the maker. What it is to be given is there under numbers that a successor would give to other files, so the successor
//! waits until it has taken them: a matter of one system call, which under load can take its time.

use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Between two looks at whether a process has a table of files of its own.
const PAUSE: Duration = Duration::from_millis(1);
/// So many looks. Whoever has not come to its first system call by then is held by somebody, who is to let it go.
const LOOKS: u32 = 5_000;

/// What several processes know of the process that is being made. Children of this process that do not execute another
/// program share it.
#[derive(Debug)]
pub struct SharedPid(NonNull<Page>);

#[derive(Debug)]
struct Page {
    /// The process that was announced last.
    announced: AtomicU32,
    /// The process that is being made, as long as it uses its maker's table of files.
    unsettled: AtomicU32,
}

// SAFETY: it is only reached through atomics, and never unmapped.
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
        let page = unsafe { libc::mmap(std::ptr::null_mut(), size_of::<Page>(), access, kind, -1, 0) };
        if page == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        // A page is aligned for any type, and new memory is zero.
        NonNull::new(page.cast())
            .map(Self)
            .ok_or(io::ErrorKind::OutOfMemory.into())
    }

    fn page(&self) -> &Page {
        // SAFETY: mapped when this was made, aligned, and never unmapped.
        unsafe { self.0.as_ref() }
    }

    /// Empties the place.
    pub fn clear(&self) {
        self.page().announced.store(0, Ordering::SeqCst);
    }

    /// The process that was announced last, if one was since the place was emptied.
    pub fn get(&self) -> Option<u32> {
        Some(self.page().announced.load(Ordering::SeqCst)).filter(|pid| *pid != 0)
    }

    /// Waits until the process that somebody else was making has its own table of open files, and is announced if it is to
    /// be: to be called before any file is closed that its maker had open. Waits five seconds at most.
    pub fn settle(&self) {
        for _ in 0..LOOKS {
            let pid = self.page().unsettled.load(Ordering::SeqCst);
            if pid == 0 || !is_there(pid) {
                break;
            }
            std::thread::sleep(PAUSE);
        }
        self.settled();
    }

    /// Said by the process itself, before anything else: who it is.
    pub(crate) fn announce(&self, pid: u32) {
        self.page().announced.store(pid, Ordering::SeqCst);
    }

    /// It has a table of files of its own, or is no more.
    pub(crate) fn settled(&self) {
        self.page().unsettled.store(0, Ordering::SeqCst);
    }

    /// Where the kernel writes who is being made (`CLONE_PARENT_SETTID`, clone(2)).
    pub(crate) fn address(&self) -> u64 {
        self.page().unsettled.as_ptr() as u64
    }
}

fn is_there(pid: u32) -> bool {
    // SAFETY: sends nothing.
    let status = i32::try_from(pid).map(|pid| unsafe { libc::kill(pid, 0) });
    status == Ok(0) || io::Error::last_os_error().raw_os_error() == Some(libc::EPERM)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;

    #[test]
    fn a_successor_waits_for_the_process_that_is_being_made_and_for_no_other() {
        let place = SharedPid::new().unwrap();
        place.settle();
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        place.page().unsettled.store(child.id(), Ordering::SeqCst);
        let settled = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(50));
                settled.store(true, Ordering::SeqCst);
                place.announce(child.id());
                place.settled();
            });
            place.settle();
            assert!(settled.load(Ordering::SeqCst));
        });
        assert_eq!(place.get(), Some(child.id()));
        place.page().unsettled.store(child.id(), Ordering::SeqCst);
        child.kill().unwrap();
        child.wait().unwrap();
        let begun = std::time::Instant::now();
        place.settle();
        assert!(begun.elapsed() < PAUSE * LOOKS, "nobody waits for the dead");
    }
}
