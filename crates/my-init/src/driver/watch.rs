//! Feeding the hardware watchdog from the loop.

use std::os::fd::OwnedFd;
use std::path::Path;

use mos_sys::fork::Leftovers;

use super::Driver;
use super::legacy::key;
use crate::alarm;
use crate::clock::Millis;
use crate::note::Note;
use crate::watchdog::{DEVICE, Watchdog};

impl Driver {
    /// How long we may stand still: not until the watchdog thinks so too.
    pub(super) fn patience(&self) -> Millis {
        let interval = self.watchdog.as_ref().map(Watchdog::interval);
        interval.map_or(alarm::LIMIT, |interval| interval.min(alarm::LIMIT))
    }

    /// Arms the watchdog if the command line wants one, or goes on with the last supervisor's.
    pub(super) fn arm_watchdog(&mut self, node: Option<&Note>, leftovers: Option<&mut Leftovers>) {
        let Some(seconds) = self.setup.line.watchdog.filter(|_| self.setup.machine) else {
            return;
        };
        let number = node.and_then(|node| node.small(key::WATCHDOG));
        let left: Option<OwnedFd> = leftovers.and_then(|leftovers| leftovers.take(number?));
        let now = self.now();
        let first = left.is_none();
        let armed = match left {
            Some(device) => Watchdog::take(device, seconds, now),
            None => Watchdog::arm(Path::new(DEVICE), seconds, now),
        };
        match armed {
            Ok(watchdog) => {
                if first && watchdog.has_acted() {
                    self.say(&format!(
                        "{DEVICE}: it has started the machine anew, because nobody had fed it"
                    ));
                }
                self.watchdog = Some(watchdog);
            }
            Err(error) => self.say(&format!("{DEVICE}: there is no watchdog: {error}")),
        }
    }

    /// Once around the loop: that is what feeds it.
    pub(super) fn feed_watchdog(&mut self) {
        let now = self.now();
        let fed = self.watchdog.as_mut().map_or(Ok(()), |watchdog| watchdog.feed(now));
        if let Err(error) = fed {
            self.say(&format!("{DEVICE}: cannot be fed: {error}"));
        }
    }
}
