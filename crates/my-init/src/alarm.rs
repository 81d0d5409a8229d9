//! An alarm for the supervisor: it is set before a program is executed, which may never come to an end where a file system
//! does not answer, and stopped after that. Who is still at it when it rings is killed by the keeper; the successor finds
//! the process as it is, and does not wait for its program. It costs two system calls a start, and nothing in between.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

use crate::clock::Millis;

/// How long executing a program may take: long for a disk, short for a person who wants an answer.
pub const LIMIT: Millis = 5_000;

/// A clock that both have open.
#[derive(Debug)]
pub struct Alarm(OwnedFd);

impl Alarm {
    /// One that is not set.
    ///
    /// # Errors
    /// Whatever the system says.
    pub fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        Ok(Self(timerfd_create(TimerfdClockId::Monotonic, flags)?))
    }

    /// Rings after this time.
    pub fn set(&self, limit: Millis) {
        self.arm(limit.max(1));
    }

    /// Does not ring.
    pub fn stop(&self) {
        self.arm(0);
    }

    fn arm(&self, after: Millis) {
        let never = Timespec { tv_sec: 0, tv_nsec: 0 };
        let after = Timespec {
            tv_sec: i64::try_from(after / 1000).unwrap_or(i64::MAX),
            tv_nsec: i64::try_from(after % 1000).unwrap_or(0) * 1_000_000,
        };
        let time = Itimerspec {
            it_interval: never,
            it_value: after,
        };
        // Fails for a wrong time only.
        let _ = timerfd_settime(&self.0, TimerfdTimerFlags::empty(), &time);
    }

    /// True once after it has rung.
    pub fn has_rung(&self) -> bool {
        rustix::io::read(&self.0, &mut [0; 8]).is_ok()
    }
}

impl AsFd for Alarm {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{PollFd, PollFlags, poll};

    #[test]
    fn it_rings_once_unless_it_is_stopped() {
        let alarm = Alarm::new().expect("a timer");
        alarm.set(3_600_000);
        alarm.stop();
        assert!(!alarm.has_rung());
        alarm.set(1);
        poll(&mut [PollFd::new(&alarm, PollFlags::IN)], None).expect("it rings");
        assert!(alarm.has_rung() && !alarm.has_rung());
    }
}
