//! Devices that come and go while the machine runs.
//!
//! Permissions and links of a node are set at once. For modules a process is started (`boot::plug`), shortly after the
//! last of several events; it looks at what is there, so an event that was missed, with a supervisor or for want of room,
//! is made up for by the next run.

use std::path::Path;

use rustix::event::epoll::{self, EventFlags};

use super::{Driver, Owner, Token, data};
use crate::boot::accounts::Accounts;
use crate::boot::{nodes, plug, seed};
use crate::clock::Millis;
use crate::uevent::{Heard, Uevents};

/// Events come in crowds.
const PAUSE_MS: Millis = 200;
/// After a supervisor has begun: what came while there was none.
const FIRST_MS: Millis = 1_000;
/// So many events are taken at once; more come the next time round.
const EVENTS: usize = 64;
const DEVICES: &str = "/dev";

/// The ear for events.
#[derive(Debug)]
pub(super) struct Hotplug {
    uevents: Uevents,
    accounts: Accounts,
    due: Option<Millis>,
    runs: bool,
    seeded: bool,
}

impl Hotplug {
    pub(super) fn deadline(&self) -> Option<Millis> {
        self.due.filter(|_| !self.runs)
    }
}

impl Driver {
    /// Listens, on a machine.
    pub(super) fn expect_devices(&mut self) {
        if !self.setup.machine {
            return;
        }
        let listening = Uevents::listen().and_then(|uevents| {
            epoll::add(&self.epoll, &uevents, data(Token::Uevents), EventFlags::IN)?;
            Ok(uevents)
        });
        match listening {
            Ok(uevents) => {
                let first = self.now().saturating_add(FIRST_MS);
                self.hotplug = Some(Hotplug {
                    uevents,
                    accounts: Accounts::read(Path::new("/")),
                    due: plug::is_needed().then_some(first),
                    runs: false,
                    seeded: seed::is_done(),
                });
            }
            Err(error) => self.say(&format!("new devices are not noticed: {error}")),
        }
    }

    pub(super) fn hear_devices(&mut self) {
        let now = self.now();
        let Some(hotplug) = &mut self.hotplug else { return };
        let mut watchdog = false;
        for _ in 0..EVENTS {
            match hotplug.uevents.next() {
                Heard::Nothing => break,
                Heard::Stranger => {}
                Heard::Lost => hotplug.due = Some(now.saturating_add(PAUSE_MS)),
                Heard::Event(facts) => {
                    let is = |key: &str, value: &str| facts.get(key).is_some_and(|fact| fact == value);
                    if is("ACTION", "remove") {
                        nodes::vanish(Path::new(DEVICES), &facts);
                        continue;
                    }
                    nodes::appear(Path::new(DEVICES), &facts, is("SUBSYSTEM", "block"), &hotplug.accounts);
                    watchdog |= is("SUBSYSTEM", "watchdog");
                    if is("ACTION", "add") && facts.contains_key("MODALIAS") && plug::is_needed() {
                        hotplug.due = Some(now.saturating_add(PAUSE_MS));
                    }
                }
            }
        }
        if watchdog && self.watchdog.is_none() {
            self.arm_watchdog(None, None);
        }
    }

    /// Starts the process when it is time: for devices, and once for the seed, whose file system is there when the machine
    /// is ready.
    pub(super) fn attend_devices(&mut self) {
        let now = self.now();
        let ready = self.supervisor.ready_at().is_some();
        let Some(hotplug) = &mut self.hotplug else { return };
        if ready && !hotplug.seeded {
            hotplug.seeded = true;
            hotplug.due = Some(now);
        }
        if hotplug.deadline().is_none_or(|due| due > now) {
            return;
        }
        hotplug.due = None;
        let start = self.starting.begin();
        let started = plug::start(Some(self.starting));
        hotplug.runs = started.is_ok();
        match started {
            Ok(pid) => {
                self.own(pid, Owner::Plug, start);
            }
            Err(error) => self.say(&format!("no modules are loaded for new devices: {error}")),
        }
    }

    pub(super) fn plug_ended(&mut self) {
        if let Some(hotplug) = &mut self.hotplug {
            hotplug.runs = false;
        }
    }
}
