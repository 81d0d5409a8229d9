//! What a service waits for, and starting it.

use mos_service::{Kind, Service};

use super::state::{AfterStop, Reason, State, Unit};
use super::timers::Timer;
use super::{Action, Id, Supervisor};
use crate::clock::Millis;

/// Whether a service may start.
enum Verdict {
    Go,
    Wait,
    Refuse(Reason),
}

impl Supervisor {
    /// Starts a service, or notes what it waits for, if it is meant to run and does not.
    pub(super) fn evaluate(&mut self, id: Id, now: Millis) {
        let Some(unit) = self.unit(id) else { return };
        if unit.service.kind == Kind::Group {
            return self.look_at_group(id, now);
        }
        if !unit.wanted || unit.gone || self.shutdown.is_some() || !awaits_verdict(unit) {
            return;
        }
        let target_runs = unit.state == State::Running;
        match self.verdict(unit) {
            Verdict::Go if target_runs => {}
            Verdict::Go => self.launch(id, now),
            Verdict::Wait if unit.state == State::Blocked => {}
            Verdict::Wait => self.set_state(id, State::Blocked, now),
            Verdict::Refuse(reason) => self.refuse(id, reason, now),
        }
    }

    fn refuse(&mut self, id: Id, reason: Reason, now: Millis) {
        let Some(unit) = self.unit_mut(id) else { return };
        let state = State::Failed(reason.clone());
        if unit.state == state {
            return;
        }
        unit.last_failure = Some(reason.clone());
        let line = format!("{}: failed: {reason}", unit.service.name);
        self.set_state(id, state, now);
        // A failed dependency has said so itself.
        if !matches!(reason, Reason::DependencyFailed(_)) {
            self.print(line);
        }
    }

    fn verdict(&self, unit: &Unit) -> Verdict {
        let mut waits = false;
        for dependency in &unit.service.dependencies.requires {
            let Some(other) = self.find(&dependency.name).and_then(|id| self.unit(id)) else {
                return Verdict::Refuse(Reason::MissingDependency(dependency.name.clone()));
            };
            if matches!(other.state, State::Failed(_)) {
                return Verdict::Refuse(Reason::DependencyFailed(dependency.name.clone()));
            }
            waits |= !other.satisfies();
        }
        waits |= self.waits_after(unit).next().is_some() || self.active_rivals(unit).next().is_some();
        waits |= self.group_goes_down(unit);
        waits |= !self.leaving.is_empty()
            && self
                .find(&unit.service.name)
                .is_some_and(|id| self.goes_with_another(id));
        if waits { Verdict::Wait } else { Verdict::Go }
    }

    /// Services named in `after` that have not yet had their first try.
    pub(super) fn waits_after<'s>(&'s self, unit: &'s Unit) -> impl Iterator<Item = &'s Unit> {
        let after = unit.service.dependencies.after.iter();
        let others = after.filter_map(|dependency| self.unit(self.find(&dependency.name)?));
        others.filter(|other| other.is_awaited())
    }

    pub(super) fn active_rivals<'s>(&'s self, unit: &'s Unit) -> impl Iterator<Item = &'s Unit> {
        let rivals = unit.rivals.iter().filter_map(|id| self.unit(*id));
        rivals.filter(|rival| rival.state.is_active())
    }

    fn launch(&mut self, id: Id, now: Millis) {
        self.note_turns(id);
        let Some(unit) = self.unit_mut(id) else { return };
        (unit.notified, unit.probing, unit.unhealthy) = (false, false, false);
        (unit.probe_failures, unit.probe_successes, unit.probed_at) = (0, 0, None);
        (unit.after_stop, unit.ready) = (AfterStop::Rest, None);
        unit.probe_error.clear();
        unit.status.clear();
        if unit.service.kind == Kind::Target {
            unit.ready = Some(now);
            self.set_state(id, State::Running, now);
        } else {
            unit.spawned = Some(now);
            self.set_state(id, State::Starting, now);
            self.actions.push_back(Action::Spawn(id));
        }
    }

    /// Answers [`Action::Spawn`]: the service to start now, unless that has changed since.
    pub fn begin_spawn(&self, id: Id) -> Option<&Service> {
        let unit = self.unit(id)?;
        (unit.state == State::Starting && unit.pid.is_none()).then_some(&unit.service)
    }

    /// The service executes its program as process `pid`; `stamp` identifies the files that it runs.
    pub fn spawned(&mut self, id: Id, pid: u32, stamp: u64, now: Millis) {
        let Some(unit) = self.unit_mut(id) else { return };
        unit.pid = Some(pid);
        unit.stamp = stamp;
        unit.spawned = Some(now);
        let limit = unit.service.lifecycle.start_timeout_ms;
        let waits = unit.service.waits_for_readiness();
        let tells = unit.service.tells_readiness();
        self.boot.note_spawn(now);
        if !waits {
            self.become_ready(id, now);
        } else {
            if limit > 0 {
                self.timers.arm(Timer::Start(id), now.saturating_add(limit));
            }
            if !tells {
                self.schedule_first_probe(id, now);
            }
        }
        self.settle(now);
    }

    /// The service could not be started.
    pub fn spawn_failed(&mut self, id: Id, error: String, now: Millis) {
        self.fail(id, Reason::Spawn(error), now);
        self.settle(now);
    }

    /// Answers [`Action::Spawn`]: this condition of the service does not hold, so it is left out.
    pub fn skipped(&mut self, id: Id, condition: String, now: Millis) {
        let Some(unit) = self.unit_mut(id) else { return };
        let line = format!("{}: skipped: {condition}", unit.service.name);
        self.print(line);
        self.set_state(id, State::Skipped(condition), now);
        self.settle(now);
    }

    pub(super) fn become_ready(&mut self, id: Id, now: Millis) {
        self.timers.cancel(Timer::Start(id));
        if let Some(unit) = self.unit_mut(id) {
            unit.ready = Some(now);
            unit.probe_failures = 0;
            unit.probe_error.clear();
        }
        self.set_state(id, State::Running, now);
    }

    /// The delay before a restart is over.
    pub(super) fn retry(&mut self, id: Id, now: Millis) {
        self.set_state(id, State::Inactive, now);
        self.evaluate(id, now);
    }

    pub(super) fn start_timed_out(&mut self, id: Id, now: Millis) {
        let Some(unit) = self.unit(id) else { return };
        let reason = Reason::StartTimeout(unit.service.lifecycle.start_timeout_ms);
        self.begin_stop(id, AfterStop::Fail(reason), now);
    }
}

impl Unit {
    /// True while a service that comes after this one waits for it: its first try is under way, or is to come.
    pub(super) fn is_awaited(&self) -> bool {
        match self.state {
            State::Blocked | State::Starting | State::Stopping => true,
            State::Inactive => self.wanted,
            _ => false,
        }
    }
}

/// True in the states from which a service starts when what it needs is there. A running target is looked at again,
/// because it claims that its services run.
fn awaits_verdict(unit: &Unit) -> bool {
    match &unit.state {
        State::Inactive | State::Blocked => true,
        State::Failed(reason) => reason.is_dependency(),
        State::Running => unit.service.kind == Kind::Target,
        _ => false,
    }
}
