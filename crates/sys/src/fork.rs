//! A child that shares its parent's table of open files, so that what it opens outlives it.
//!
//! The parent does next to nothing; the child works. When the child is killed, everything that it had open (pipes of
//! processes it looks after, listening sockets, files in memory) is still open in the parent, under the same numbers, and
//! its successor takes over what it wants: nobody at the other end of a pipe notices.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};

use rustix::process::Pid;

/// The open files of a process that will have children sharing them.
#[derive(Debug)]
pub struct SharedFiles {
    /// Those that the process has for itself.
    own: BTreeSet<RawFd>,
}

/// Who returns from [`SharedFiles::fork`].
#[derive(Debug)]
pub enum Fork {
    /// The parent, with the child's process id.
    Parent(Pid),
    /// The child, with what earlier children left open.
    Child(Leftovers),
}

/// What earlier children left open. What is not taken stays open, for whoever comes next, unless it is closed on purpose:
/// a child that fails before it knows what there is must not take it away from its successor.
#[derive(Debug)]
pub struct Leftovers(BTreeSet<RawFd>);

impl SharedFiles {
    /// These are the process's own, beside standard input, output and error; all others are, or will be, its children's.
    pub fn except(own: &[impl AsFd]) -> Self {
        let own = own.iter().map(|file| file.as_fd().as_raw_fd());
        Self {
            own: own.chain(0..=libc::STDERR_FILENO).collect(),
        }
    }

    /// Forks; the child has the same table of open files, not a copy (`CLONE_FILES`, clone(2)).
    ///
    /// # Errors
    /// When this process has more than one thread, of which the child would have only one, or whatever the system says.
    pub fn fork(&self) -> io::Result<Fork> {
        if std::fs::read_dir("/proc/self/task")?.count() != 1 {
            return Err(io::Error::other("more than one thread"));
        }
        // Both have the same table, so this is asked before there are two: a child that failed here would not know what it is.
        let leftovers = open_now()?.difference(&self.own).copied().collect();
        let flags = libc::CLONE_FILES | libc::SIGCHLD;
        let none = std::ptr::null_mut::<libc::c_void>();
        // SAFETY: without CLONE_VM and without a stack this is fork(2) with one more flag. There is only one thread, so no
        // lock is held by one that the child does not have.
        let pid = unsafe { libc::syscall(libc::SYS_clone, flags, none, none, none, none) };
        match i32::try_from(pid) {
            Ok(0) => Ok(Fork::Child(Leftovers(leftovers))),
            Ok(pid) if pid > 0 => Pid::from_raw(pid).map(Fork::Parent).ok_or(io::ErrorKind::Other.into()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

impl Leftovers {
    /// After exec: everything that is open but standard input, output and error, all of which was handed over by the
    /// program before.
    ///
    /// # Errors
    /// When `/proc/self/fd` cannot be read.
    pub fn inherited() -> io::Result<Self> {
        Ok(Self(
            open_now()?
                .into_iter()
                .filter(|number| *number > libc::STDERR_FILENO)
                .collect(),
        ))
    }

    /// Says whether the next program has them too.
    pub fn keep_on_exec(&self, keep: bool) {
        for number in &self.0 {
            let flags = if keep { 0 } else { libc::FD_CLOEXEC };
            // SAFETY: changes a flag of a descriptor; one that is not open any more is an error that concerns nobody.
            unsafe { libc::fcntl(*number, libc::F_SETFD, flags) };
        }
    }

    /// Takes over a descriptor by its number; `None` when it is not open, or not one of them.
    pub fn take(&mut self, number: RawFd) -> Option<OwnedFd> {
        if !self.0.remove(&number) {
            return None;
        }
        // SAFETY: it was open when this process or program began, was opened by one before it, and is given away once.
        let taken = unsafe { OwnedFd::from_raw_fd(number) };
        // No program that is executed from here on is to have it.
        let _ = rustix::io::fcntl_setfd(&taken, rustix::io::FdFlags::CLOEXEC);
        Some(taken)
    }

    /// Closes what was not taken.
    pub fn close(mut self) {
        while let Some(number) = self.0.first().copied() {
            drop(self.take(number));
        }
    }
}

/// The numbers of all open descriptors. That of the directory itself is closed again when this returns.
fn open_now() -> io::Result<BTreeSet<RawFd>> {
    let listed = std::fs::read_dir("/proc/self/fd")?;
    let numbers = listed
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let numbers: Vec<RawFd> = numbers.collect();
    // SAFETY: only asks whether the number is open.
    let open = |number: &RawFd| unsafe { libc::fcntl(*number, libc::F_GETFD) } >= 0;
    Ok(numbers.into_iter().filter(open).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn with_other_threads_it_refuses() {
        // A test runs on a thread of its own, beside the first one.
        let files = SharedFiles::except(&[io::stdin()]);
        assert_eq!(files.fork().unwrap_err().to_string(), "more than one thread");
    }
}
