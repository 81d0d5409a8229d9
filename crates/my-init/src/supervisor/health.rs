//! Readiness and health: notifications and probes. Probing goes on for as long as the service runs.

use mos_service::Restart;

use super::state::{AfterStop, Reason, State};
use super::timers::Timer;
use super::{Action, Id, Supervisor};
use crate::clock::Millis;

/// The wait after the first failed probe of a service that is starting; doubles up to the service's interval, so that
/// readiness is seen soon and costs little when it takes long.
const FIRST_RETRY: Millis = 25;
/// How many doublings can matter before any interval (a day at most) is reached.
const DOUBLINGS_MAX: u32 = 22;
/// What is kept of a service's own status text, in characters.
const STATUS_MAX: usize = 200;

impl Supervisor {
    /// The service said `READY=1` or `STATUS=…` on its notify socket.
    pub fn notified(&mut self, id: Id, ready: bool, status: Option<&str>, now: Millis) {
        let Some(unit) = self.unit_mut(id) else { return };
        if let Some(status) = status {
            unit.status = status
                .chars()
                .filter(|character| !character.is_control())
                .take(STATUS_MAX)
                .collect();
        }
        if ready && unit.state == State::Starting && unit.service.notify && !unit.notified {
            unit.notified = true;
            match unit.service.health {
                Some(_) => self.schedule_first_probe(id, now),
                None => self.become_ready(id, now),
            }
        }
        self.settle(now);
    }

    pub(super) fn schedule_first_probe(&mut self, id: Id, now: Millis) {
        if let Some(health) = self.service(id).and_then(|service| service.health.as_ref()) {
            let at = now.saturating_add(health.start_period_ms);
            self.timers.arm(Timer::Probe(id), at);
        }
    }

    pub(super) fn begin_probe(&mut self, id: Id, now: Millis) {
        let Some(unit) = self.unit_mut(id) else { return };
        let Some(health) = &unit.service.health else { return };
        let limit = now.saturating_add(health.timeout_ms);
        unit.probing = true;
        self.timers.arm(Timer::ProbeTimeout(id), limit);
        self.actions.push_back(Action::Probe(id));
    }

    pub(super) fn cancel_probe(&mut self, id: Id) {
        let Some(unit) = self.unit_mut(id) else { return };
        if std::mem::take(&mut unit.probing) {
            self.timers.cancel(Timer::ProbeTimeout(id));
            self.actions.push_back(Action::CancelProbe(id));
        }
    }

    pub(super) fn probe_timed_out(&mut self, id: Id, now: Millis) {
        let Some(unit) = self.unit_mut(id) else { return };
        unit.probing = false;
        let limit = unit.service.health.as_ref().map_or(0, |health| health.timeout_ms);
        self.actions.push_back(Action::CancelProbe(id));
        self.answer(
            id,
            Err(format!("no answer within {}", crate::clock::seconds(limit))),
            now,
        );
    }

    /// The probe was answered, or failed with this error.
    pub fn probed(&mut self, id: Id, result: Result<(), String>, now: Millis) {
        let Some(unit) = self.unit_mut(id) else { return };
        if std::mem::take(&mut unit.probing) {
            self.timers.cancel(Timer::ProbeTimeout(id));
            self.answer(id, result, now);
            self.settle(now);
        }
    }

    fn answer(&mut self, id: Id, result: Result<(), String>, now: Millis) {
        match (self.unit(id).map(|unit| &unit.state), result) {
            (Some(State::Starting), Ok(())) => self.become_ready(id, now),
            (Some(State::Degraded), Ok(())) => self.recover(id, now),
            (Some(State::Running), Ok(())) => {}
            (Some(State::Starting), Err(error)) => self.note_probe_failure(id, error),
            (Some(State::Running | State::Degraded), Err(error)) => {
                self.note_probe_failure(id, error);
                if self.unhealthy(id, now) {
                    return;
                }
            }
            _ => return,
        }
        self.schedule_next_probe(id, now);
    }

    fn recover(&mut self, id: Id, now: Millis) {
        let Some(unit) = self.unit_mut(id) else { return };
        unit.probe_failures = 0;
        unit.probe_error.clear();
        let line = format!("{}: healthy again", unit.service.name);
        self.print(line);
        self.set_state(id, State::Running, now);
    }

    fn note_probe_failure(&mut self, id: Id, error: String) {
        if let Some(unit) = self.unit_mut(id) {
            unit.probe_failures = unit.probe_failures.saturating_add(1);
            unit.probe_error = error;
        }
    }

    /// A failed probe of a service that was ready: first it is marked, then restarted. True when it is being restarted.
    fn unhealthy(&mut self, id: Id, now: Millis) -> bool {
        let Some(unit) = self.unit(id) else { return false };
        let Some(health) = &unit.service.health else {
            return false;
        };
        let error = unit.probe_error.clone();
        if unit.probe_failures >= health.retries && unit.service.lifecycle.restart != Restart::Never {
            self.begin_stop(id, AfterStop::Fail(Reason::Health(error)), now);
            return true;
        }
        if unit.state == State::Running {
            let line = format!("{}: degraded: {error}", unit.service.name);
            self.print(line);
            self.set_state(id, State::Degraded, now);
        }
        false
    }

    pub(super) fn schedule_next_probe(&mut self, id: Id, now: Millis) {
        let Some(unit) = self.unit(id) else { return };
        let Some(health) = &unit.service.health else { return };
        let wait = match unit.state {
            State::Starting => {
                let doublings = unit.probe_failures.saturating_sub(1).min(DOUBLINGS_MAX);
                (FIRST_RETRY << doublings).min(health.interval_ms)
            }
            _ => health.interval_ms,
        };
        self.timers.arm(Timer::Probe(id), now.saturating_add(wait));
    }
}
