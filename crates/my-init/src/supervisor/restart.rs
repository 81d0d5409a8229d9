//! The restart policy: whether a service that has ended is started again, and when.

use mos_service::{Restart, Status, jittered};

use super::state::{Reason, State, Unit};
use super::timers::Timer;
use super::{Action, Id, Supervisor};
use crate::clock::{Millis, seconds};

impl Supervisor {
    /// Arranges a restart if policy allows one; `failure` is `None` after a good end.
    pub(super) fn restart_later(&mut self, id: Id, failure: Option<&Reason>, now: Millis) -> bool {
        let Some(unit) = self.unit(id) else { return false };
        let lifecycle = &unit.service.lifecycle;
        let attempt = unit.next_attempt(now);
        let allowed = unit.is_cared_for() && lifecycle.may_restart(attempt, failure.is_some());
        if !allowed || self.shutdown.is_some() {
            return false;
        }
        let entropy = self.entropy(&unit.service.name, now);
        let delay = jittered(lifecycle.delay_ms(attempt), lifecycle.restart_jitter_percent, entropy);
        let when = match delay {
            0 => "now".to_owned(),
            delay => format!("in {}", seconds(delay)),
        };
        let why = failure.map_or_else(|| "exit code 0".to_owned(), Reason::to_string);
        let line = format!("{}: {why}, restart {when} (attempt {attempt})", unit.service.name);
        if let Some(unit) = self.unit_mut(id) {
            unit.attempts = attempt;
            unit.restarts += 1;
        }
        self.set_state(id, State::Restarting, now);
        self.note_for_group(id, true);
        self.actions.push_back(Action::PrintWithLog(id, line));
        self.timers.arm(Timer::Restart(id), now.saturating_add(delay));
        true
    }

    /// Milliseconds until a service is started again by itself.
    pub(super) fn next_attempt_in(&self, id: Id, now: Millis) -> Option<Millis> {
        let at = self.timers.at(Timer::Restart(id))?;
        Some(at.saturating_sub(now))
    }
}

impl Unit {
    /// True when it may be started again by itself.
    pub(super) fn is_cared_for(&self) -> bool {
        let service = &self.service;
        // A group that was started by hand keeps its members as one that was started by itself does, and a proxy the
        // service behind it.
        let started = service.status == Status::Start || self.group.is_some() || self.pulled;
        let kept_up = started && service.lifecycle.restart != Restart::Never;
        self.wanted && !self.gone && kept_up
    }

    /// The number in a row that the restart would have which follows its end now.
    fn next_attempt(&self, now: Millis) -> u32 {
        let ran = self.ready.map_or(0, |ready| now.saturating_sub(ready));
        self.service.lifecycle.counted(self.attempts, ran).saturating_add(1)
    }

    /// How many restarts in a row there may still be; `None` without a limit, or when there are none by itself.
    pub(super) fn attempts_left(&self, now: Millis) -> Option<u32> {
        let limit = self.service.lifecycle.max_restarts;
        (limit > 0 && self.is_cared_for()).then(|| limit.saturating_sub(self.counted_attempts(now)))
    }

    /// For whoever reads that it failed: why it is not started again, when that is for the number of its restarts.
    pub(super) fn given_up(&self, reason: &Reason) -> String {
        let limit = self.service.lifecycle.max_restarts;
        let counted = !reason.is_dependency() && !matches!(reason, Reason::Cycle(_));
        match limit > 0 && counted && self.is_cared_for() && self.attempts >= limit {
            true => format!(", given up after {limit} restarts in a row"),
            false => String::new(),
        }
    }
}
