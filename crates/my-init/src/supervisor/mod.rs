//! The supervisor: a state machine without side effects.
//!
//! Every input is a method that takes the time; every output is an [`Action`], taken with [`Supervisor::take`]. The
//! caller executes actions, answers [`Action::Spawn`] with [`Supervisor::spawned`] or [`Supervisor::spawn_failed`], and
//! calls [`Supervisor::tick`] when [`Supervisor::next_deadline`] has come. Nothing here waits for anything, so nothing
//! can dead-lock, and simulated time tests all of it.
//!
//! | file | concern |
//! |---|---|
//! | `events` | what happens, for those who listen |
//! | `start` | what a service waits for, and starting it |
//! | `exit` | how it ended, stopping |
//! | `restart` | whether and when it is started again |
//! | `groups` | several services as one |
//! | `follow` | what a service does when something happens to one that it requires |
//! | `health` | readiness and probes |
//! | `instances` | services that exist because somebody asked for them |
//! | `reload` | new service files as a difference |
//! | `requests` | what people ask for |
//! | `leave` | those that need a service go before it |
//! | `boot` | `ready`, the timeline, the boot deadline |
//! | `shutdown` | everything down, in reverse order |
//! | `schedule` | oneshots that are started at certain times |
//! | `proxy` | services behind a proxy |
//! | `sockets` | sockets that are open before their service runs |
//! | `memory` | what a successor needs to know, and knowing it |
//! | `verified` | when and by what a state was last verified |
//! | `report` | what a service waits for, in words; status for the control protocol |

mod boot;
mod events;
mod exit;
mod follow;
mod groups;
mod health;
mod instances;
mod leave;
mod memory;
mod proxy;
mod reload;
mod report;
mod requests;
mod restart;
mod schedule;
mod shutdown;
mod sockets;
mod start;
mod state;
mod timers;
mod verified;

#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};

use mos_service::{Service, Signal};

pub use events::{Event, What};
pub use leave::Company;
pub use memory::{Known, NodeState};
pub use reload::Difference;
pub use requests::RequestError;
pub use shutdown::Goal;
pub use state::{Exit, LimitHit, Reason, State, Unit};

use crate::clock::Millis;
use timers::{Timer, Timers};

/// A service's number. Free numbers are used again, but only after [`Action::Forget`].
pub type Id = usize;

/// What the caller is to do, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Print a line on the console.
    Print(String),
    /// Print a line about a service, with the last thing that the service printed itself.
    PrintWithLog(Id, String),
    /// Ask [`Supervisor::begin_spawn`] whether to start the service, and start it.
    Spawn(Id),
    /// Send a signal to the service's process group.
    Signal(Id, Signal),
    /// End every process of the service.
    Kill(Id),
    /// Try the service's health probe and report with [`Supervisor::probed`].
    Probe(Id),
    /// Drop the probe.
    CancelProbe(Id),
    /// Close the service's sockets.
    CloseSockets(Id),
    /// The service of this name is no more.
    Forget(Id, String),
    /// Everything is down, as far as it goes: take the machine down.
    Finish(Goal),
}

/// Times that concern the whole node, in milliseconds.
#[derive(Debug, Clone)]
pub struct Settings {
    /// When the first instruction ran.
    pub started: Millis,
    /// From there until what is not ready is named.
    pub boot_deadline: Millis,
    /// From the request to shut down until everything that still runs is killed.
    pub shutdown_deadline: Millis,
    /// Any number, another one on each node: what is random here follows from it.
    pub seed: u64,
}

/// The state machine.
#[derive(Debug)]
pub struct Supervisor {
    settings: Settings,
    units: Vec<Option<Unit>>,
    /// Places in `units` that nobody holds any more.
    free: Vec<Id>,
    names: HashMap<String, Id>,
    timers: Timers,
    actions: VecDeque<Action>,
    /// Services whose state changed, whose neighbours are still to be looked at.
    changed: VecDeque<Id>,
    /// Services of which something has changed since a successor was last told, in this order: who is killed while telling
    /// has told causes before consequences, which then are found again.
    touched: Vec<Id>,
    /// Services that were let go since then.
    forgotten: Vec<String>,
    boot: boot::Boot,
    shutdown: Option<Goal>,
    /// Services that go as soon as those have gone that need them.
    leaving: Vec<Id>,
    /// By how much the wall clock is ahead of ours, in milliseconds.
    clock_ahead: Option<i64>,
    /// What has happened and was not taken yet; `None` while nobody listens.
    events: Option<Vec<Event>>,
}

impl Supervisor {
    /// A supervisor without services; give it some with [`Supervisor::reload`].
    pub fn new(settings: Settings) -> Self {
        let mut timers = Timers::default();
        timers.arm(Timer::Boot, settings.started.saturating_add(settings.boot_deadline));
        Self {
            settings,
            units: Vec::new(),
            free: Vec::new(),
            names: HashMap::new(),
            timers,
            actions: VecDeque::new(),
            changed: VecDeque::new(),
            touched: Vec::new(),
            forgotten: Vec::new(),
            boot: boot::Boot::default(),
            shutdown: None,
            leaving: Vec::new(),
            clock_ahead: None,
            events: None,
        }
    }

    /// The next thing to do.
    pub fn take(&mut self) -> Option<Action> {
        let action = self.actions.pop_front();
        if let Some(Action::Forget(id, _)) = &action {
            self.free.push(*id);
        }
        action
    }

    /// True while there are things to do.
    pub fn is_busy(&self) -> bool {
        !self.actions.is_empty()
    }

    /// When [`Supervisor::tick`] has something to do next; `None` when only an event can change anything.
    pub fn next_deadline(&self) -> Option<Millis> {
        self.timers.next()
    }

    /// Does whatever is due.
    pub fn tick(&mut self, now: Millis) {
        while let Some(timer) = self.timers.expired(now) {
            match timer {
                Timer::Start(id) => self.start_timed_out(id, now),
                Timer::Stop(id) => self.stop_timed_out(id),
                Timer::Restart(id) => self.retry(id, now),
                Timer::Due(id) => self.due(id, now),
                Timer::Probe(id) => self.begin_probe(id, now),
                Timer::ProbeTimeout(id) => self.probe_timed_out(id, now),
                Timer::Boot => self.boot_deadline(now),
                Timer::Shutdown => self.finish_late(),
            }
            self.settle(now);
        }
    }

    /// A service by number.
    pub fn unit(&self, id: Id) -> Option<&Unit> {
        self.units.get(id).and_then(Option::as_ref)
    }

    /// A service by name.
    pub fn find(&self, name: &str) -> Option<Id> {
        self.names.get(name).copied()
    }

    /// All services.
    pub fn units(&self) -> impl Iterator<Item = (Id, &Unit)> {
        self.units
            .iter()
            .enumerate()
            .filter_map(|(id, unit)| Some((id, unit.as_ref()?)))
    }

    /// Whoever asks for this means to change something.
    fn unit_mut(&mut self, id: Id) -> Option<&mut Unit> {
        let unit = self.units.get_mut(id).and_then(Option::as_mut)?;
        if !std::mem::replace(&mut unit.touched, true) {
            self.touched.push(id);
        }
        Some(unit)
    }

    fn print(&mut self, line: String) {
        self.actions.push_back(Action::Print(line));
    }

    fn set_state(&mut self, id: Id, state: State, now: Millis) {
        if self.unit(id).is_some_and(|unit| unit.state != state) {
            self.note_state(id, &state, now);
        }
        let Some(unit) = self.unit_mut(id) else { return };
        if unit.state != state {
            unit.state = state;
            unit.since = now;
        }
        self.changed.push_back(id);
    }

    /// Lets every change reach whoever it concerns, until nothing changes any more. The queue is this call's own: there
    /// is no channel that could be full.
    fn settle(&mut self, now: Millis) {
        while let Some(id) = self.changed.pop_front() {
            self.count(id);
            self.note_milestone(id, now);
            self.look_again(id, now);
            self.look_at_group(id, now);
            self.look_at_proxies(id, now);
            if !self.leaving.is_empty() {
                self.let_leave(now);
            }
        }
        self.check_ready(now);
        self.check_down();
    }

    fn look_again(&mut self, id: Id, now: Millis) {
        let Some(unit) = self.unit(id) else { return };
        let neighbours: Vec<Id> = match self.shutdown {
            None => unit.dependents.iter().chain(&unit.rivals).copied().collect(),
            Some(_) => unit.needs.clone(),
        };
        // Waiting ends when somebody runs or has ended; other changes concern only targets, which claim to run.
        let frees = !matches!(
            unit.state,
            State::Blocked | State::Starting | State::Degraded | State::Stopping
        ) || unit.bound;
        for neighbour in neighbours {
            self.follow(neighbour, now);
            match self.shutdown {
                None if frees || !self.is_blocked(neighbour) => self.evaluate(neighbour, now),
                None => {}
                Some(_) => self.stop_if_free(neighbour, now),
            }
        }
    }

    fn is_blocked(&self, id: Id) -> bool {
        self.unit(id).is_some_and(|unit| unit.state == State::Blocked)
    }

    fn service(&self, id: Id) -> Option<&Service> {
        self.unit(id).map(Unit::service)
    }
}
