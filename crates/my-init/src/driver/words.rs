//! What we say ourselves: on the console and in our own log.

use super::{Driver, Id, intake};
use crate::clock;
use crate::logs::syslog;
use crate::lossy;

impl Driver {
    pub(super) fn say(&mut self, line: &str) {
        self.say_at(syslog::INFO, line);
    }

    /// Says something on the console, if it is serious enough, and in our own log in any case.
    pub(super) fn say_at(&mut self, level: u32, line: &str) {
        self.add_to_log(intake::OWN, format!("{}\n", lossy::printable(line)).as_bytes());
        if level > self.setup.log_level && !self.setup.debug {
            return;
        }
        self.console.say(clock::now(), line);
    }

    pub(super) fn say_with_log(&mut self, id: Id, line: String) {
        let last = self.slots.get(&id).and_then(|slot| slot.log.last_line());
        let line = match last {
            Some(last) => format!("{line}; last line: {last}"),
            None => line,
        };
        self.say_at(syslog::ERROR, &line);
    }
}
