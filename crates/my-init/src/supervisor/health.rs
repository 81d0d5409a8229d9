//! Readiness and health: notifications and probes. Probing goes on for as long as the service runs.

use mos_service::{Unhealthy, fnv1a, jittered};

use super::state::{AfterStop, Reason, State, Unit};
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
    /// The service said `READY=1` or `STATUS=…` on its notify socket, or that it is ready on its descriptor for that.
    pub fn notified(&mut self, id: Id, ready: bool, status: Option<&str>, now: Millis) {
        let Some(unit) = self.unit_mut(id) else { return };
        if let Some(status) = status {
            unit.status = status
                .chars()
                .filter(|character| !character.is_control())
                .take(STATUS_MAX)
                .collect();
        }
        if ready && unit.state == State::Starting && !unit.notified {
            // Kept also while the file that would say what it means cannot be read: it is not said again.
            unit.notified = true;
            self.follow_notification(id, now);
        }
        self.settle(now);
    }

    /// What a service leads to that has said it is ready, when that is how it tells.
    pub(super) fn follow_notification(&mut self, id: Id, now: Millis) {
        let Some(unit) = self.unit(id).filter(|unit| unit.service.tells_readiness()) else {
            return;
        };
        match unit.service.health {
            Some(_) => self.schedule_first_probe(id, now),
            None => self.become_ready(id, now),
        }
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
        let Some(unit) = self.unit_mut(id) else { return };
        unit.probed_at = Some(now);
        match (&unit.state, result) {
            (State::Starting, Ok(())) => self.become_ready(id, now),
            (State::Starting, Err(error)) => unit.note_failed_probe(error),
            (State::Running | State::Degraded, Ok(())) => self.answered_well(id, now),
            (State::Running | State::Degraded, Err(error)) => {
                unit.note_failed_probe(error);
                self.answered_badly(id, now);
            }
            _ => {}
        }
        self.schedule_next_probe(id, now);
    }

    /// A good answer of a service that was ready: enough of them in a row make it healthy again.
    fn answered_well(&mut self, id: Id, now: Millis) {
        let Some(unit) = self.unit_mut(id) else { return };
        unit.probe_failures = 0;
        unit.probe_successes = unit.probe_successes.saturating_add(1);
        let enough = unit.service.health.as_ref().map_or(1, |health| health.successes);
        if unit.unhealthy && unit.probe_successes < enough {
            return;
        }
        unit.probe_error.clear();
        if std::mem::take(&mut unit.unhealthy) {
            let line = format!("{}: healthy again", unit.service.name);
            self.print(line);
            self.set_state(id, State::Running, now);
        }
    }

    /// A failed probe of a service that was ready: enough of them in a row make it unhealthy.
    fn answered_badly(&mut self, id: Id, now: Millis) {
        let Some(unit) = self.unit_mut(id) else { return };
        let Some(health) = &unit.service.health else { return };
        if unit.unhealthy || unit.probe_failures < health.retries {
            return;
        }
        unit.unhealthy = true;
        let error = unit.probe_error.clone();
        let line = format!("{}: unhealthy: {error}", unit.service.name);
        match health.action {
            // Who may not be started again is of more use unhealthy than not at all.
            Unhealthy::Restart if unit.is_cared_for() => {
                self.begin_stop(id, AfterStop::Fail(Reason::Health(error)), now);
            }
            Unhealthy::Restart | Unhealthy::Mark => {
                self.print(line);
                self.set_state(id, State::Degraded, now);
            }
            Unhealthy::Nothing => self.print(line),
        }
    }

    pub(super) fn schedule_next_probe(&mut self, id: Id, now: Millis) {
        let Some(unit) = self.unit(id) else { return };
        let Some(health) = &unit.service.health else { return };
        // A successor of a supervisor that was killed counts from the last answer too.
        let last = unit.probed_at.unwrap_or(now);
        let wait = match unit.state {
            State::Starting => {
                let doublings = unit.probe_failures.saturating_sub(1).min(DOUBLINGS_MAX);
                (FIRST_RETRY << doublings).min(health.interval_ms)
            }
            State::Running | State::Degraded => {
                let entropy = self.entropy(&unit.service.name, last);
                jittered(health.interval_ms, health.jitter_percent, entropy)
            }
            _ => return,
        };
        let at = last.saturating_add(wait).max(now);
        self.timers.arm(Timer::Probe(id), at);
    }

    /// A number that differs from service to service, from moment to moment and from node to node.
    pub(super) fn entropy(&self, name: &str, moment: Millis) -> u64 {
        let numbers = [self.settings.seed, moment].map(u64::to_le_bytes);
        fnv1a(&[name.as_bytes(), numbers.as_flattened()].concat())
    }
}

impl Unit {
    fn note_failed_probe(&mut self, error: String) {
        self.probe_failures = self.probe_failures.saturating_add(1);
        self.probe_successes = 0;
        self.probe_error = error;
    }
}
