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

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
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
}
