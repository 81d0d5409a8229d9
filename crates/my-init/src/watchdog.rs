//! The hardware watchdog: a device that starts the machine anew when it is not fed.
//!
//! With `my_init.watchdog=SECONDS` the supervisor's loop feeds it, three times in that time, and nobody else does: when the
//! loop stands still, or no supervisor stays alive, the machine starts anew. The device stays open over the end of a
//! supervisor and over an upgrade; who closes it without a word has the machine reset. On the way down it is fed at each
//! step, each of which has an end; a reboot leaves it armed, so that one that hangs is ended too.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::path::Path;

use mos_sys::fork::Leftovers;
use mos_sys::watchdog::{has_acted, set_timeout};

use crate::clock::Millis;
use crate::supervisor::Goal;

/// The first device, by its old name.
pub const DEVICE: &str = "/dev/watchdog";
/// So often it is fed in its time.
const FEEDINGS: Millis = 3;
/// The least time that is asked for, in seconds: a busy machine must not be taken for a dead one.
const LEAST: u32 = 5;
/// On the way down, in seconds: longer than any of its steps.
const DOWN: u32 = 90;
/// Written last, it says that closing is meant (`WDIOF_MAGICCLOSE`).
const MAGIC: &[u8] = b"V";
/// Any other byte feeds it.
const FOOD: &[u8] = b"\0";

/// A device that is armed.
#[derive(Debug)]
pub struct Watchdog {
    device: File,
    interval: Millis,
    due: Millis,
}

impl Watchdog {
    /// Opens the device, which arms it.
    ///
    /// # Errors
    /// `NotFound` when there is none, `EBUSY` when somebody else has it, or whatever else the system says.
    pub fn arm(path: &Path, seconds: u32, now: Millis) -> io::Result<Self> {
        Self::take(OpenOptions::new().write(true).open(path)?.into(), seconds, now)
    }

    /// Goes on with one that somebody else opened.
    ///
    /// # Errors
    /// When it cannot be set to that time; it is then disarmed, as far as it lets itself be.
    pub fn take(device: OwnedFd, seconds: u32, now: Millis) -> io::Result<Self> {
        let device = File::from(device);
        match set_timeout(&device, seconds.max(LEAST)) {
            Ok(seconds) => Ok(Self::fed_within(device, seconds, now)),
            Err(error) => {
                let _ = (&device).write_all(MAGIC);
                Err(error)
            }
        }
    }

    fn fed_within(device: File, seconds: u32, now: Millis) -> Self {
        Self {
            device,
            interval: Millis::from(seconds) * 1000 / FEEDINGS,
            due: now,
        }
    }

    /// From one time it is fed to the next.
    pub fn interval(&self) -> Millis {
        self.interval
    }

    /// True when it has started the machine anew, as far as the device can tell.
    pub fn has_acted(&self) -> bool {
        has_acted(&self.device).unwrap_or(false)
    }

    /// When it is to be fed next.
    pub fn due(&self) -> Millis {
        self.due
    }

    /// Feeds it when it is time.
    ///
    /// # Errors
    /// Whatever the system says.
    pub fn feed(&mut self, now: Millis) -> io::Result<()> {
        if now < self.due {
            return Ok(());
        }
        self.due = now.saturating_add(self.interval);
        self.device.write_all(FOOD)
    }

    /// Its descriptor, for the successor.
    pub fn number(&self) -> RawFd {
        self.device.as_raw_fd()
    }

    /// The machine goes down for this: disarms the device, unless the machine starts anew by itself.
    pub fn leave(mut self, goal: Goal) {
        if goal == Goal::Reboot {
            let _ = self.device.write_all(FOOD);
            std::mem::forget(self);
        } else {
            let _ = self.device.write_all(MAGIC);
        }
    }
}

/// What a supervisor left open, for the way down.
pub fn inherited(now: Millis) -> Option<Watchdog> {
    let open = fs::read_dir("/proc/self/fd").ok()?.flatten();
    let device = |entry: &fs::DirEntry| fs::read_link(entry.path()).is_ok_and(|link| link == Path::new(DEVICE));
    let number = open
        .filter(device)
        .find_map(|entry| entry.file_name().to_str()?.parse().ok())?;
    let mut leftovers = Leftovers::inherited().ok()?;
    let taken = leftovers.take(number);
    Watchdog::take(taken?, DOWN, now).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stand_in(seconds: u32) -> (tempfile::NamedTempFile, Watchdog) {
        let file = tempfile::NamedTempFile::new().unwrap();
        let watchdog = Watchdog::fed_within(file.reopen().unwrap(), seconds, 1000);
        (file, watchdog)
    }

    #[test]
    fn it_is_fed_three_times_in_its_time_and_not_more_often() {
        let (file, mut watchdog) = stand_in(30);
        assert_eq!(watchdog.due(), 1000);
        for now in (1000..61_000).step_by(100) {
            watchdog.feed(now).unwrap();
        }
        assert_eq!(fs::read(file.path()).unwrap(), [0; 6]);
        assert_eq!(watchdog.due(), 61_000);
    }

    #[test]
    fn only_a_reboot_leaves_it_armed() {
        for (goal, last) in [
            (Goal::Poweroff, b'V'),
            (Goal::Halt, b'V'),
            (Goal::Kexec, b'V'),
            (Goal::Reboot, 0),
        ] {
            let (file, watchdog) = stand_in(30);
            watchdog.leave(goal);
            assert_eq!(fs::read(file.path()).unwrap().last(), Some(&last), "{goal:?}");
        }
    }

    #[test]
    fn what_is_no_watchdog_is_let_go() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(Watchdog::arm(file.path(), 30, 0).is_err());
        assert_eq!(fs::read(file.path()).unwrap(), b"V");
    }
}
