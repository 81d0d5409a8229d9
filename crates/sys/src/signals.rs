//! Signals as something to read instead of something that interrupts.

use std::fs::File;
use std::io::{self, Read as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd as _};

/// The size of `struct signalfd_siginfo`, whose first four bytes are the signal's number (signalfd(2)).
const RECORD: usize = 128;

/// Signals that are blocked and arrive here (signalfd(2)). Never blocks: meant for epoll.
#[derive(Debug)]
pub struct Signals(File);

impl Signals {
    /// Blocks the signals with these numbers in this thread, and in threads and forks it makes, and collects them.
    ///
    /// # Errors
    /// Whatever the system says; an unknown number is `EINVAL`.
    pub fn new(numbers: &[i32]) -> io::Result<Self> {
        let set = set_of(numbers)?;
        // SAFETY: `set` is initialised; a null third argument asks for nothing back.
        if unsafe { libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) } != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: `set` is initialised; -1 asks for a new descriptor.
        let fd = unsafe { libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: `fd` was just returned as new, so nobody else owns it.
        Ok(Self(unsafe { File::from_raw_fd(fd) }))
    }

    /// The number of the next signal; `None` when there is none now.
    ///
    /// # Errors
    /// Whatever the system says.
    pub fn next(&self) -> io::Result<Option<i32>> {
        let mut record = [0; RECORD];
        match (&self.0).read(&mut record) {
            Ok(RECORD) => {
                let [a, b, c, d, ..] = record;
                Ok(i32::try_from(u32::from_ne_bytes([a, b, c, d])).ok())
            }
            Ok(_) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Does something while these signals are delivered as usual, such as starting a program that is to get them: what is
/// blocked here is blocked in a child too. Afterwards they are blocked.
pub fn deliver<T>(numbers: &[i32], act: impl FnOnce() -> T) -> T {
    let set = set_of(numbers);
    let change = |how| {
        if let Ok(set) = &set {
            // SAFETY: `set` is initialised; a null third argument asks for nothing back.
            unsafe { libc::sigprocmask(how, set, std::ptr::null_mut()) };
        }
    };
    change(libc::SIG_UNBLOCK);
    let done = act();
    change(libc::SIG_BLOCK);
    done
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Sends a signal to a process, by number: also one of the real-time signals, for which there are no names.
///
/// # Errors
/// `ESRCH` when there is no such process, `EPERM`, `EINVAL`.
pub fn send(pid: rustix::process::Pid, number: i32) -> io::Result<()> {
    // SAFETY: kill(2) takes two numbers.
    match unsafe { libc::kill(pid.as_raw_nonzero().get(), number) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Sends a signal to every process but this one, in one step, so that none can escape by making others (kill(2) with -1).
/// Only for process 1, whose system (or PID namespace) it is.
///
/// # Errors
/// `PermissionDenied` when this is another process; `ESRCH` when there is nobody else.
pub fn send_all(number: i32) -> io::Result<()> {
    if std::process::id() != 1 {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    // SAFETY: kill(2) takes two numbers.
    match unsafe { libc::kill(-1, number) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn set_of(numbers: &[i32]) -> io::Result<libc::sigset_t> {
    let mut set = MaybeUninit::uninit();
    // SAFETY: sigemptyset initialises the set it is given.
    let mut set = unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        set.assume_init()
    };
    for &number in numbers {
        // SAFETY: `set` is initialised; a bad number is answered with an error.
        if unsafe { libc::sigaddset(&raw mut set, number) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(set)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_read_not_delivered() {
        // SIGURG is ignored by default, so a failure of this test kills nobody.
        let signals = Signals::new(&[libc::SIGURG]).unwrap();
        assert_eq!(signals.next().unwrap(), None);
        // SAFETY: raises a signal in this thread, where it is blocked.
        assert_eq!(unsafe { libc::raise(libc::SIGURG) }, 0);
        assert_eq!(signals.next().unwrap(), Some(libc::SIGURG));
        assert_eq!(signals.next().unwrap(), None);
        assert!(Signals::new(&[1000]).is_err());
    }

    #[test]
    fn only_process_1_may_signal_everybody() {
        assert_eq!(send_all(0).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        send(rustix::process::getpid(), 0).unwrap();
        assert_eq!(
            send(rustix::process::getpid(), 1000).unwrap_err().raw_os_error(),
            Some(libc::EINVAL)
        );
    }
}
