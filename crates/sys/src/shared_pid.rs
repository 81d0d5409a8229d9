//! Process ids in memory that several processes share, written while a process is made: whoever started it can be killed at
//! any moment, and the others know.
//!
//! Until it has a table of open files of its own, a new process uses its maker's, which is also that of whoever comes after
//! the maker. What it is to be given is there under numbers that a successor would give to other files, so the successor
//! waits until it has taken them: a matter of one system call, which under load can take its time.
//!
//! Starts are counted, so that the end of a process can be told from that of another one that had the same id before. The
//! count is odd from [`SharedPid::begin`] to [`SharedPid::done`], and the place holds an id only in between, written by the
//! kernel before the process runs. So whoever sees a process ended, *before its id can be used again*, and asks for a
//! [`SharedPid::mark`], gets one that is at least [`birth`] of its start, and one that is less for whoever had that id
//! earlier:
//!
//! - of the process itself: either its id is in the place, and the count is that of its start; or it is not any more, and
//!   the count has gone on;
//! - of an earlier one: either its id is in the place, from its own start, and the count is that of an earlier start; or
//!   it is not, and the count is at most that of the later start, which has not got its process yet.

use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
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
    /// How many starts were begun and done, together.
    count: AtomicU64,
    /// The process of the start that is under way.
    pid: AtomicU32,
    /// The same, once it has a table of files of its own.
    settled: AtomicU32,
}

// SAFETY: it is only reached through atomics, and never unmapped.
unsafe impl Send for SharedPid {}
// SAFETY: as above.
unsafe impl Sync for SharedPid {}

/// The least mark of the end of a process whose start had this number.
pub fn birth(start: u64) -> u64 {
    start.wrapping_mul(2) | 1
}

impl SharedPid {
    /// A place with nobody in it, whose count begins with this number, or the next even one. Takes a page of memory, for
    /// ever.
    ///
    /// # Errors
    /// When there is no memory.
    pub fn new(count: u64) -> io::Result<Self> {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let kind = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
        // SAFETY: asks for new memory, at no particular place, backed by no file.
        let page = unsafe { libc::mmap(std::ptr::null_mut(), size_of::<Page>(), access, kind, -1, 0) };
        if page == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        // A page is aligned for any type, and new memory is zero.
        let place = NonNull::new(page.cast()).map(Self).ok_or(io::ErrorKind::OutOfMemory)?;
        place.page().count.store(count.next_multiple_of(2), Ordering::SeqCst);
        Ok(place)
    }

    fn page(&self) -> &Page {
        // SAFETY: mapped when this was made, aligned, and never unmapped.
        unsafe { self.0.as_ref() }
    }

    /// Empties the place for a start, and returns the start's number.
    pub fn begin(&self) -> u64 {
        self.done();
        self.page().count.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// The process that was started is known elsewhere, or there is none: empties the place.
    pub fn done(&self) {
        let page = self.page();
        // First the count: who finds nobody in the place has to find that the start is over.
        if page.count.load(Ordering::SeqCst) % 2 == 1 {
            page.count.fetch_add(1, Ordering::SeqCst);
        }
        page.pid.store(0, Ordering::SeqCst);
        page.settled.store(0, Ordering::SeqCst);
    }

    /// How many starts were begun and done, together.
    pub fn count(&self) -> u64 {
        self.page().count.load(Ordering::SeqCst)
    }

    /// The number of the start that is under way and its process, if there is one.
    pub fn get(&self) -> Option<(u64, u32)> {
        let (count, pid) = (self.count(), self.page().pid.load(Ordering::SeqCst));
        (count % 2 == 1 && pid != 0).then_some((count, pid))
    }

    /// Says to which of several processes that have this id, one after the other, an end belongs: see the top. To be asked
    /// when the process has ended and is still there for its parent to take in, after which the id may be another's.
    pub fn mark(&self, pid: u32) -> u64 {
        let before = self.count();
        match self.page().pid.load(Ordering::SeqCst) == pid {
            true => before.wrapping_mul(2) | 1,
            false => self.count().wrapping_mul(2),
        }
    }

    /// Waits until the process that somebody else was making has its own table of open files: to be called before any file
    /// is closed that its maker had open. Waits five seconds at most.
    pub fn settle(&self) {
        for _ in 0..LOOKS {
            let pid = self.page().pid.load(Ordering::SeqCst);
            if pid == 0 || self.page().settled.load(Ordering::SeqCst) == pid || !is_there(pid) {
                break;
            }
            std::thread::sleep(PAUSE);
        }
        self.settled();
    }

    /// The process has a table of files of its own, or is no more.
    pub(crate) fn settled(&self) {
        let page = self.page();
        page.settled.store(page.pid.load(Ordering::SeqCst), Ordering::SeqCst);
    }

    /// Where the kernel writes who is being made (`CLONE_PARENT_SETTID`, clone(2)).
    pub(crate) fn address(&self) -> u64 {
        self.page().pid.as_ptr() as u64
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

    /// What the kernel does.
    fn make(place: &SharedPid, pid: u32) {
        place.page().pid.store(pid, Ordering::SeqCst);
    }

    #[test]
    fn the_end_of_a_process_is_told_from_that_of_an_earlier_one_with_its_id() {
        let place = SharedPid::new(7).unwrap();
        assert_eq!((place.count(), place.get()), (8, None));
        let first = place.begin();
        assert_eq!(place.get(), None);
        // Somebody's whom nobody here has started.
        let stranger = place.mark(5);
        make(&place, 5);
        assert_eq!(place.get(), Some((first, 5)));
        let early = place.mark(5);
        place.done();
        assert_eq!(place.get(), None);
        let late = place.mark(5);
        assert!(stranger < birth(first) && early >= birth(first) && late >= birth(first));
        let second = place.begin();
        let latest = place.mark(5);
        make(&place, 5);
        let own = place.mark(5);
        assert!([stranger, early, late, latest].iter().all(|mark| *mark < birth(second)));
        assert!(latest >= birth(first) && own >= birth(second));
        // One that was not done with.
        let third = place.begin();
        assert!(own < birth(third) && place.mark(5) < birth(third) && place.get().is_none());
    }

    #[test]
    fn a_successor_waits_for_the_process_that_is_being_made_and_for_no_other() {
        let place = SharedPid::new(0).unwrap();
        place.settle();
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let start = place.begin();
        make(&place, child.id());
        let settled = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(50));
                settled.store(true, Ordering::SeqCst);
                place.settled();
            });
            place.settle();
            assert!(settled.load(Ordering::SeqCst));
        });
        assert_eq!(place.get(), Some((start, child.id())));
        place.begin();
        make(&place, child.id());
        child.kill().unwrap();
        child.wait().unwrap();
        let begun = std::time::Instant::now();
        place.settle();
        assert!(begun.elapsed() < PAUSE * LOOKS, "nobody waits for the dead");
    }
}
