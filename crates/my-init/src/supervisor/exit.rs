//! How a service ended, and making it end.

use mos_service::Kind;

use super::events::What;
use super::state::{AfterStop, Exit, LimitHit, Reason, State};
use super::timers::Timer;
use super::{Action, Id, Supervisor};
use crate::clock::{Millis, seconds};

impl Supervisor {
    /// The service's process has ended and was reaped.
    pub fn exited(&mut self, id: Id, exit: Exit, now: Millis) {
        self.exited_at(id, exit, None, now);
    }

    /// The service's process has ended and was reaped; it had hit this limit.
    pub fn exited_at(&mut self, id: Id, exit: Exit, limit: Option<LimitHit>, now: Millis) {
        self.timers.cancel_all(id);
        self.cancel_probe(id);
        let Some(unit) = self.unit_mut(id) else { return };
        (unit.pid, unit.triggered) = (None, false);
        unit.turns += 1;
        match unit.state {
            State::Stopping => {
                let after = std::mem::take(&mut unit.after_stop);
                self.stopped(id, after, now);
            }
            _ => self.ended(id, exit, limit, now),
        }
        self.settle(now);
    }

    /// It ended by itself.
    fn ended(&mut self, id: Id, exit: Exit, limit: Option<LimitHit>, now: Millis) {
        let Some(unit) = self.unit(id) else { return };
        let early = unit.state == State::Starting && unit.service.kind != Kind::Oneshot;
        match (exit, limit) {
            (Exit::Code(0), _) if early => self.fail(id, Reason::EndedEarly, now),
            (Exit::Code(0), _) => self.ended_well(id, now),
            (exit, Some(limit)) => self.fail(id, Reason::Limit(limit, exit), now),
            (Exit::Code(code), None) => self.fail(id, Reason::ExitCode(code), now),
            (Exit::Signal(number), None) => self.fail(id, Reason::Signal(number), now),
        }
    }

    fn ended_well(&mut self, id: Id, now: Millis) {
        let Some(unit) = self.unit_mut(id) else { return };
        unit.ended_well = true;
        if unit.service.kind == Kind::Oneshot {
            unit.ready = Some(now);
        }
        if !self.listen_again(id, now) && !self.restart_later(id, None, now) {
            self.set_state(id, State::Exited, now);
            self.note_for_group(id, false);
        }
    }

    /// It failed; the restart policy decides what that means.
    pub(super) fn fail(&mut self, id: Id, reason: Reason, now: Millis) {
        self.timers.cancel_all(id);
        self.cancel_probe(id);
        let Some(unit) = self.unit_mut(id) else { return };
        unit.last_failure = Some(reason.clone());
        (unit.triggered, unit.ended_well) = (false, false);
        if self.restart_later(id, Some(&reason), now) {
            return;
        }
        let Some(unit) = self.unit(id) else { return };
        let line = format!("{}: failed: {reason}{}", unit.service.name, unit.given_up(&reason));
        self.set_state(id, State::Failed(reason), now);
        self.close_sockets(id);
        self.note_for_group(id, false);
        self.actions.push_back(Action::PrintWithLog(id, line));
    }

    /// Asks a service to end; without a process it has ended already.
    pub(super) fn begin_stop(&mut self, id: Id, after: AfterStop, now: Millis) {
        let asked = self.timers.at(Timer::Stop(id));
        self.timers.cancel_all(id);
        self.cancel_probe(id);
        let Some(unit) = self.unit_mut(id) else { return };
        let deadline = now.saturating_add(unit.service.lifecycle.stop_timeout_ms);
        let signal = unit.service.lifecycle.stop_signal;
        let stopping = unit.state == State::Stopping;
        if unit.pid.is_none() {
            self.stopped(id, after, now);
            return;
        }
        unit.after_stop = after;
        // Whoever asks again does not give it more time.
        let deadline = if stopping { asked.unwrap_or(deadline) } else { deadline };
        self.timers.arm(Timer::Stop(id), deadline);
        if !stopping {
            self.set_state(id, State::Stopping, now);
            self.actions.push_back(Action::Signal(id, signal));
        }
    }

    fn stopped(&mut self, id: Id, after: AfterStop, now: Millis) {
        let Some(unit) = self.unit_mut(id) else { return };
        if unit.gone {
            return self.forget(id, now);
        }
        match after {
            AfterStop::Fail(reason) => self.fail(id, reason, now),
            AfterStop::Rest => {
                self.close_sockets(id);
                self.set_state(id, State::Inactive, now);
            }
            AfterStop::Again => {
                unit.restarts += u64::from(unit.spawned.is_some());
                self.retry(id, now);
            }
        }
    }

    pub(super) fn stop_timed_out(&mut self, id: Id) {
        let Some(service) = self.service(id) else { return };
        let limit = seconds(service.lifecycle.stop_timeout_ms);
        let line = format!("{}: did not stop within {limit}, killed", service.name);
        self.print(line);
        self.actions.push_back(Action::Kill(id));
    }

    fn forget(&mut self, id: Id, now: Millis) {
        let Some(unit) = self.units.get_mut(id).and_then(Option::take) else {
            return;
        };
        self.boot.uncount(unit.unsettled);
        self.timers.cancel(Timer::Due(id));
        self.leaving.retain(|one| *one != id);
        self.names.remove(&unit.service.name);
        let name = unit.service.name.clone();
        self.tell(now, || What::Removed { name: name.clone() });
        self.forgotten.push(name.clone());
        self.actions.push_back(Action::Forget(id, name));
        for neighbour in unit.dependents.iter().chain(&unit.rivals) {
            self.evaluate(*neighbour, now);
        }
    }
}
