//! What a supervisor knows of a service as a [`Note`], and knowing it again: for the successor of one that was killed.
//!
//! Times are on the clock of the kernel, which goes on. What can be found out anew (probes under way, counts of what is
//! unsettled, who waits for whom) is not kept.

use mos_service::{Kind, Service};

use super::leave::Leaving;
use super::state::{AfterStop, Exit, LimitHit, Reason, State, Unit};
use super::timers::Timer;
use super::{Action, Goal, Id, Supervisor};
use crate::clock::Millis;
use crate::journal::Notes;
use crate::note::Note;

/// The keys of what is known of a service. None ever means anything else: programs of other versions read them.
mod key {
    pub(super) const SOURCE: u8 = 1;
    pub(super) const ONESHOT: u8 = 2;
    pub(super) const STATE: u8 = 3;
    pub(super) const REASON: u8 = 4;
    pub(super) const CONDITION: u8 = 5;
    pub(super) const WANTED: u8 = 6;
    pub(super) const GONE: u8 = 7;
    pub(super) const PULLED: u8 = 8;
    pub(super) const TIMING: u8 = 9;
    pub(super) const BOUND: u8 = 10;
    pub(super) const TRIGGERED: u8 = 11;
    pub(super) const DRAGS: u8 = 12;
    pub(super) const REQUESTED: u8 = 13;
    pub(super) const PID: u8 = 14;
    pub(super) const SINCE: u8 = 15;
    pub(super) const SPAWNED: u8 = 16;
    pub(super) const READY: u8 = 17;
    pub(super) const TURNS: u8 = 18;
    pub(super) const SEEN: u8 = 19;
    pub(super) const ATTEMPTS: u8 = 20;
    pub(super) const RESTARTS: u8 = 21;
    pub(super) const RESTARTS_BY_HAND: u8 = 22;
    pub(super) const LAST_FAILURE: u8 = 23;
    pub(super) const AGAIN: u8 = 24;
    pub(super) const FAIL: u8 = 25;
    pub(super) const NOTIFIED: u8 = 26;
    pub(super) const STATUS: u8 = 27;
    pub(super) const PROBE_FAILURES: u8 = 28;
    pub(super) const PROBE_ERROR: u8 = 29;
    pub(super) const PROBE_SUCCESSES: u8 = 30;
    pub(super) const PROBED_AT: u8 = 31;
    pub(super) const UNHEALTHY: u8 = 32;
    pub(super) const STAMP: u8 = 33;
    pub(super) const RESTART_AT: u8 = 34;
    pub(super) const LEAVING: u8 = 35;
    pub(super) const PUT_DOWN: u8 = 36;
    pub(super) const ENDED_WELL: u8 = 37;

    /// In a part of [`SEEN`]: whose turns, and how many.
    pub(super) const NAME: u8 = 1;
    pub(super) const COUNT: u8 = 2;

    /// In a reason.
    pub(super) const KIND: u8 = 1;
    pub(super) const NUMBER: u8 = 2;
    pub(super) const TEXT: u8 = 3;
    pub(super) const EXIT: u8 = 4;

    /// In what is known of the node.
    pub(super) const SHUTDOWN: u8 = 1;
    pub(super) const DOWN_AT: u8 = 2;
    pub(super) const STARTED: u8 = 3;
    pub(super) const BOOT: u8 = 4;
    pub(super) const CLOCK_AHEAD: u8 = 5;
}

/// What [`Supervisor::remember_node`] says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeState {
    shutdown: Option<Goal>,
    down_at: Option<Millis>,
    started: Millis,
    boot: [Option<Millis>; 4],
    clock_ahead: Option<i64>,
}

impl Supervisor {
    /// Services of which something has changed since the last call, in the order in which they are to be noted.
    pub fn take_changed(&mut self) -> Vec<Id> {
        let touched = std::mem::take(&mut self.touched);
        for &id in &touched {
            if let Some(unit) = self.units.get_mut(id).and_then(Option::as_mut) {
                unit.touched = false;
            }
        }
        touched
    }

    /// Services that are no more since the last call. That is to be noted before the changes, and with them: the end of the
    /// process of such a service may count as read in the note of another.
    pub fn take_forgotten(&mut self) -> Vec<String> {
        std::mem::take(&mut self.forgotten)
    }

    /// Something has changed of a service that only the caller knows of.
    pub fn touch(&mut self, id: Id) {
        let _ = self.unit_mut(id);
    }

    /// What is known of a service; `None` when it is no more.
    pub fn remember(&self, id: Id) -> Option<Note> {
        let unit = self.unit(id)?;
        Some(unit.remember(self.timers.at(Timer::Restart(id))))
    }

    /// What is known of the node as a whole, to be compared.
    pub fn node_state(&self) -> NodeState {
        NodeState {
            shutdown: self.shutdown,
            down_at: self.timers.at(Timer::Shutdown),
            started: self.settings.started,
            boot: self.boot.milestones(),
            clock_ahead: self.clock_ahead,
        }
    }

    /// What is known of the node as a whole.
    pub fn remember_node(&self) -> Note {
        let (node, mut note, mut boot) = (self.node_state(), Note::default(), Note::default());
        note.add_text(key::SHUTDOWN, node.shutdown.map_or("", Goal::word));
        note.add(key::DOWN_AT, node.down_at);
        note.add(key::STARTED, node.started);
        for (key, passed) in (1..).zip(node.boot) {
            boot.add(key, passed);
        }
        note.add_part(key::BOOT, &boot);
        note.add_signed(key::CLOCK_AHEAD, node.clock_ahead);
        note
    }

    /// Begins where another supervisor ended: `services` (with the identity of the files each would run) are the ones
    /// there are, `memories` what was known of each by name, `node` of all, `started` the service of which a process was made
    /// last, and that process. What has changed since is restarted, as by [`Supervisor::reload`]. Whoever else was being
    /// started is in [`Supervisor::unspawned`].
    pub fn resume(
        &mut self,
        services: Vec<(Service, u64)>,
        mut memories: Notes,
        node: &Note,
        started: Option<(&str, u32)>,
        now: Millis,
    ) {
        let mut changed = Vec::new();
        for (service, stamp) in services {
            let memory = memories.remove(&service.name);
            let source = service.source;
            let id = self.add(service, stamp, now);
            if let Some((memory, unit)) = memory.zip(self.unit_mut(id)) {
                let same = unit.recall(&memory) == Some(source) && unit.stamp == stamp;
                changed.extend((!same).then_some(id));
            }
        }
        for (name, memory) in memories {
            // Its file is gone: it is to end, if it has not.
            let id = self.add(Service::forgotten(&name), 0, now);
            if let Some(unit) = self.unit_mut(id) {
                unit.recall(&memory);
                (unit.gone, unit.wanted) = (true, false);
            }
        }
        if let Some((name, pid)) = started {
            self.find_process(name, pid, now);
        }
        self.recall_node(node, now);
        self.link(now);
        self.recall_leaving();
        let ids: Vec<Id> = self.units().map(|(id, _)| id).collect();
        for &id in &ids {
            self.go_on(id, now);
        }
        for id in changed {
            self.apply_change(id, now);
        }
        self.evaluate_all(now);
        if self.shutdown.is_some() {
            ids.iter().for_each(|id| self.stop_if_free(*id, now));
        }
        self.settle(now);
    }

    /// A service has a process that the last supervisor did not come to note. It is known before anything is decided: the
    /// service may be one that is to end, because its file is gone or another.
    fn find_process(&mut self, name: &str, pid: u32, now: Millis) {
        let found = self.find(name).and_then(|id| self.unit_mut(id));
        if let Some(unit) = found.filter(|unit| unit.is_unspawned()) {
            (unit.pid, unit.spawned) = (Some(pid), Some(now));
        }
    }

    fn recall_node(&mut self, node: &Note, now: Millis) {
        if let Some(started) = node.number(key::STARTED) {
            self.settings.started = started;
        }
        let boot = node.part(key::BOOT).unwrap_or_default();
        self.boot.recall([1, 2, 3, 4].map(|key| boot.number(key)));
        self.clock_ahead = node.signed(key::CLOCK_AHEAD).or(self.clock_ahead);
        if self.boot.is_over() {
            self.timers.cancel(Timer::Boot);
        }
        if let Some(goal) = Goal::from_word(&node.text(key::SHUTDOWN)) {
            let limit = now.saturating_add(self.settings.shutdown_deadline);
            self.shutdown = Some(goal);
            self.timers.cancel(Timer::Boot);
            self.timers
                .arm(Timer::Shutdown, node.number(key::DOWN_AT).unwrap_or(limit));
        }
    }

    /// Sets the deadlines of a service anew, and does again what may not have been done.
    pub(super) fn go_on(&mut self, id: Id, now: Millis) {
        let Some(unit) = self.unit(id) else { return };
        let lifecycle = &unit.service.lifecycle;
        match unit.state {
            State::Stopping if unit.service.kind == Kind::Group => {}
            State::Stopping => {
                let (limit, signal) = (lifecycle.stop_timeout_ms, lifecycle.stop_signal);
                self.timers.arm(Timer::Stop(id), unit.since.saturating_add(limit));
                self.actions.push_back(Action::Signal(id, signal));
            }
            _ if unit.gone => self.begin_stop(id, AfterStop::Rest, now),
            State::Starting if unit.pid.is_some() => {
                let begun = unit.spawned.unwrap_or(now);
                let (limit, tells) = (lifecycle.start_timeout_ms, unit.service.tells_readiness());
                // What it waits for is not known while its file cannot be read.
                let waits = unit.is_unread() || unit.service.waits_for_readiness();
                let notified = unit.notified;
                if limit > 0 {
                    self.timers.arm(Timer::Start(id), begun.saturating_add(limit));
                }
                match (tells, notified) {
                    (true, true) => self.follow_notification(id, now),
                    (true, false) => {}
                    (false, _) if !waits => self.become_ready(id, now),
                    (false, _) => self.schedule_first_probe(id, now),
                }
            }
            State::Running | State::Degraded if unit.service.health.is_some() => self.schedule_next_probe(id, now),
            State::Restarting => {
                let at = unit.restart_at.unwrap_or(now);
                self.timers.arm(Timer::Restart(id), at);
            }
            _ => {}
        }
    }

    /// Services that were to be started when the last supervisor ended, and have no process.
    pub fn unspawned(&self) -> Vec<Id> {
        let waiting = self.units().filter(|(_, unit)| unit.is_unspawned());
        waiting.map(|(id, _)| id).collect()
    }

    /// There was no process: starts it.
    pub fn spawn_again(&mut self, id: Id) {
        self.actions.push_back(Action::Spawn(id));
    }
}

impl Unit {
    fn is_unspawned(&self) -> bool {
        self.state == State::Starting && self.pid.is_none() && self.service.kind != Kind::Group
    }

    fn remember(&self, restart_at: Option<Millis>) -> Note {
        let mut note = Note::default();
        note.add(key::SOURCE, self.service.source);
        note.add_flag(key::ONESHOT, self.service.kind == Kind::Oneshot);
        note.add(key::STATE, self.state.number());
        match &self.state {
            State::Failed(reason) => note.add_part(key::REASON, &reason.remember()),
            State::Skipped(condition) => note.add_text(key::CONDITION, condition),
            _ => {}
        }
        note.add(key::PID, self.pid.map(u64::from));
        note.add(key::SINCE, self.since);
        note.add(key::SPAWNED, self.spawned);
        note.add(key::READY, self.ready);
        note.add(key::STAMP, self.stamp);
        note.add(key::RESTART_AT, restart_at);
        self.remember_wishes(&mut note);
        self.remember_counts(&mut note);
        self.remember_health(&mut note);
        note
    }

    fn remember_wishes(&self, note: &mut Note) {
        note.add_flag(key::WANTED, self.wanted);
        note.add_text(key::PUT_DOWN, self.put_down.as_deref().unwrap_or_default());
        note.add_flag(key::GONE, self.gone);
        note.add_flag(key::PULLED, self.pulled);
        note.add(key::LEAVING, self.leaving.map(Leaving::number));
        note.add_flag(key::BOUND, self.bound);
        note.add_flag(key::TRIGGERED, self.triggered);
        note.add_flag(key::DRAGS, self.drags);
        note.add_flag(key::REQUESTED, self.requested);
        if let Some(timing) = &self.timing {
            note.add_part(key::TIMING, &timing.remember());
        }
        match &self.after_stop {
            AfterStop::Rest => {}
            AfterStop::Again => note.add_flag(key::AGAIN, true),
            AfterStop::Fail(reason) => note.add_part(key::FAIL, &reason.remember()),
        }
    }

    fn remember_counts(&self, note: &mut Note) {
        note.add_count(key::TURNS, self.turns);
        for (name, count) in &self.seen {
            let mut turns = Note::default();
            turns.add_text(key::NAME, name);
            turns.add(key::COUNT, *count);
            note.add_part(key::SEEN, &turns);
        }
        note.add_count(key::ATTEMPTS, self.attempts.into());
        note.add_count(key::RESTARTS, self.restarts);
        note.add_count(key::RESTARTS_BY_HAND, self.restarts_by_hand);
        if let Some(reason) = &self.last_failure {
            note.add_part(key::LAST_FAILURE, &reason.remember());
        }
        note.add_flag(key::ENDED_WELL, self.ended_well);
    }

    fn remember_health(&self, note: &mut Note) {
        note.add_flag(key::NOTIFIED, self.notified);
        note.add_text(key::STATUS, &self.status);
        note.add_count(key::PROBE_FAILURES, self.probe_failures.into());
        note.add_text(key::PROBE_ERROR, &self.probe_error);
        note.add_count(key::PROBE_SUCCESSES, self.probe_successes.into());
        note.add(key::PROBED_AT, self.probed_at);
        note.add_flag(key::UNHEALTHY, self.unhealthy);
    }

    /// Takes everything over, and returns what the service file was. What cannot be read is as if it was never noted.
    fn recall(&mut self, memory: &Note) -> Option<u64> {
        self.state = State::recall(memory)?;
        self.pid = memory.small(key::PID);
        self.since = memory.count(key::SINCE);
        (self.spawned, self.ready) = (memory.number(key::SPAWNED), memory.number(key::READY));
        self.stamp = memory.count(key::STAMP);
        self.restart_at = memory.number(key::RESTART_AT);
        self.recall_wishes(memory);
        self.recall_counts(memory);
        self.recall_health(memory);
        Some(memory.count(key::SOURCE))
    }

    fn recall_wishes(&mut self, memory: &Note) {
        (self.wanted, self.gone) = (memory.flag(key::WANTED), memory.flag(key::GONE));
        self.put_down = Some(memory.text(key::PUT_DOWN))
            .filter(|why| !why.is_empty())
            .map(Box::from);
        (self.requested, self.drags) = (memory.flag(key::REQUESTED), memory.flag(key::DRAGS));
        (self.bound, self.triggered) = (memory.flag(key::BOUND), memory.flag(key::TRIGGERED));
        self.pulled = memory.flag(key::PULLED);
        self.leaving = memory.number(key::LEAVING).map(Leaving::of);
        let timing = memory.part(key::TIMING);
        self.timing = timing.map(|timing| Box::new(super::schedule::Timing::recall(&timing)));
        self.after_stop = match memory.part(key::FAIL) {
            _ if memory.flag(key::AGAIN) => AfterStop::Again,
            reason => reason
                .and_then(|reason| Reason::recall(&reason))
                .map_or(AfterStop::Rest, AfterStop::Fail),
        };
    }

    fn recall_counts(&mut self, memory: &Note) {
        self.turns = memory.count(key::TURNS);
        let seen = memory.parts(key::SEEN);
        self.seen = seen
            .map(|turns| (turns.text(key::NAME), turns.count(key::COUNT)))
            .collect();
        self.attempts = memory.small(key::ATTEMPTS).unwrap_or(0);
        self.restarts = memory.count(key::RESTARTS);
        self.restarts_by_hand = memory.count(key::RESTARTS_BY_HAND);
        self.ended_well = memory.flag(key::ENDED_WELL);
        self.last_failure = memory
            .part(key::LAST_FAILURE)
            .and_then(|reason| Reason::recall(&reason));
    }

    fn recall_health(&mut self, memory: &Note) {
        self.notified = memory.flag(key::NOTIFIED);
        self.status = memory.text(key::STATUS);
        self.probe_failures = memory.small(key::PROBE_FAILURES).unwrap_or(0);
        self.probe_error = memory.text(key::PROBE_ERROR);
        self.probe_successes = memory.small(key::PROBE_SUCCESSES).unwrap_or(0);
        (self.probed_at, self.unhealthy) = (memory.number(key::PROBED_AT), memory.flag(key::UNHEALTHY));
    }
}

/// What is known of a service as of one whose file cannot be read now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// What its file was.
    pub source: u64,
    /// Identity of the files it runs.
    pub stamp: u64,
    /// It does its work and ends.
    pub oneshot: bool,
    /// It is an instance that somebody asked for.
    pub requested: bool,
}

impl Known {
    /// What [`Supervisor::remember`] said.
    pub fn of(memory: &Note) -> Self {
        Self {
            source: memory.count(key::SOURCE),
            stamp: memory.count(key::STAMP),
            oneshot: memory.flag(key::ONESHOT),
            requested: memory.flag(key::REQUESTED),
        }
    }
}

impl State {
    /// Its number in notes. None ever means another state.
    fn number(&self) -> u64 {
        match self {
            Self::Inactive => 1,
            Self::Blocked => 2,
            Self::Starting => 3,
            Self::Listening => 4,
            Self::Running => 5,
            Self::Degraded => 6,
            Self::Stopping => 7,
            Self::Restarting => 8,
            Self::Exited => 9,
            Self::Skipped(_) => 10,
            Self::Failed(_) => 11,
        }
    }

    fn recall(memory: &Note) -> Option<Self> {
        Some(match memory.number(key::STATE)? {
            1 => Self::Inactive,
            2 => Self::Blocked,
            3 => Self::Starting,
            4 => Self::Listening,
            5 => Self::Running,
            6 => Self::Degraded,
            7 => Self::Stopping,
            8 => Self::Restarting,
            9 => Self::Exited,
            10 => Self::Skipped(memory.text(key::CONDITION)),
            11 => Self::Failed(Reason::recall(&memory.part(key::REASON)?)?),
            _ => return None,
        })
    }
}

impl Reason {
    fn remember(&self) -> Note {
        let mut note = Note::default();
        // No number ever means another kind.
        let kind = match self {
            Self::ExitCode(_) => 1,
            Self::Signal(_) => 2,
            Self::EndedEarly => 3,
            Self::StartTimeout(_) => 4,
            Self::Health(_) => 5,
            Self::DependencyFailed(_) => 6,
            Self::MissingDependency(_) => 7,
            Self::Spawn(_) => 8,
            Self::Cycle(_) => 9,
            Self::Followed(_) => 10,
            Self::Limit(LimitHit::Memory(_), _) => 11,
            Self::Limit(LimitHit::Tasks(_), _) => 12,
        };
        note.add(key::KIND, kind);
        match self {
            Self::ExitCode(code) => note.add_signed(key::EXIT, i64::from(*code)),
            Self::Signal(number) => note.add_signed(key::EXIT, -i64::from(*number)),
            Self::EndedEarly => {}
            Self::StartTimeout(limit) => note.add(key::NUMBER, *limit),
            Self::Health(text)
            | Self::DependencyFailed(text)
            | Self::MissingDependency(text)
            | Self::Spawn(text)
            | Self::Cycle(text)
            | Self::Followed(text) => note.add_text(key::TEXT, text),
            Self::Limit(LimitHit::Memory(count) | LimitHit::Tasks(count), exit) => {
                note.add(key::NUMBER, *count);
                note.add_signed(key::EXIT, exit.number());
            }
        }
        note
    }

    fn recall(memory: &Note) -> Option<Self> {
        let text = || memory.text(key::TEXT);
        let exit = || Exit::from_number(memory.signed(key::EXIT)?);
        let count = || memory.number(key::NUMBER);
        Some(match memory.number(key::KIND)? {
            1 | 2 => match exit()? {
                Exit::Code(code) => Self::ExitCode(code),
                Exit::Signal(number) => Self::Signal(number),
            },
            3 => Self::EndedEarly,
            4 => Self::StartTimeout(count()?),
            5 => Self::Health(text()),
            6 => Self::DependencyFailed(text()),
            7 => Self::MissingDependency(text()),
            8 => Self::Spawn(text()),
            9 => Self::Cycle(text()),
            10 => Self::Followed(text()),
            11 => Self::Limit(LimitHit::Memory(count()?), exit()?),
            12 => Self::Limit(LimitHit::Tasks(count()?), exit()?),
            _ => return None,
        })
    }
}

impl Exit {
    /// The code, or the negative number of the signal.
    fn number(self) -> i64 {
        match self {
            Self::Code(code) => code.into(),
            Self::Signal(number) => -i64::from(number),
        }
    }

    fn from_number(number: i64) -> Option<Self> {
        let number = i32::try_from(number).ok()?;
        Some(match number {
            ..0 => Self::Signal(number.checked_neg()?),
            _ => Self::Code(number),
        })
    }
}
