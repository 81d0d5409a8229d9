//! The boot: `ready`, the timeline, and the deadline after which what is stuck is named.

use mos_service::Status;

use super::events::What;
use super::state::{State, Unit};
use super::{Action, Id, Supervisor};
use crate::clock::{Millis, seconds};

/// The target that stands for a node that is up.
const READY: &str = "ready";
/// The service that brings the network up.
const NETWORK: &str = "mosnet";
/// The oneshot that fetches the release.
const FETCH: &str = "runtime-fetch";
/// So many stuck services are named; a console is no place for a thousand.
const NAMED_MAX: usize = 20;

/// When the boot passed its milestones.
#[derive(Debug, Default)]
pub(super) struct Boot {
    services: Option<Millis>,
    network: Option<Millis>,
    fetch: Option<Millis>,
    ready: Option<Millis>,
    /// Critical services that have failed since somebody asked.
    lost: Vec<Id>,
    /// How many services `ready` still waits for.
    unsettled: usize,
}

impl Boot {
    pub(super) fn is_over(&self) -> bool {
        self.ready.is_some()
    }

    pub(super) fn milestones(&self) -> [Option<Millis>; 4] {
        [self.services, self.network, self.fetch, self.ready]
    }

    pub(super) fn recall(&mut self, milestones: [Option<Millis>; 4]) {
        [self.services, self.network, self.fetch, self.ready] = milestones;
    }

    pub(super) fn note_spawn(&mut self, now: Millis) {
        self.services.get_or_insert(now);
    }

    pub(super) fn uncount(&mut self, unsettled: bool) {
        self.unsettled -= usize::from(unsettled);
    }
}

impl Supervisor {
    /// When the node was ready.
    pub fn ready_at(&self) -> Option<Millis> {
        self.boot.ready
    }

    /// Critical services that have failed, or were changed in vain, since the last call. A successor is told of all again.
    pub fn take_lost(&mut self) -> Vec<Id> {
        let mut lost = std::mem::take(&mut self.boot.lost);
        lost.sort_unstable();
        lost.dedup();
        lost
    }

    /// Keeps the number of unsettled services, so that nobody has to look at all of them after each event.
    pub(super) fn count(&mut self, id: Id) {
        let Some(unit) = self.unit_mut(id) else { return };
        // Nobody waits for a time that may be tomorrow.
        let enabled = unit.service.status == Status::Start && unit.service.schedule.is_none() && !unit.gone;
        let unsettled = enabled && !unit.is_settled();
        let before = std::mem::replace(&mut unit.unsettled, unsettled);
        self.boot.unsettled = self.boot.unsettled - usize::from(before) + usize::from(unsettled);
    }

    pub(super) fn note_milestone(&mut self, id: Id, now: Millis) {
        let Some(unit) = self.unit(id) else { return };
        if lost(unit) && self.shutdown.is_none() {
            self.boot.lost.push(id);
        }
        let Some(unit) = self.unit(id) else { return };
        match (unit.service.name.as_str(), &unit.state) {
            (NETWORK, State::Running) => self.boot.network.get_or_insert(now),
            (FETCH, State::Exited) => self.boot.fetch.get_or_insert(now),
            _ => return,
        };
    }

    pub(super) fn check_ready(&mut self, now: Millis) {
        if self.boot.ready.is_some() || self.boot.unsettled > 0 || self.shutdown.is_some() || self.units.is_empty() {
            return;
        }
        let target = self.find(READY).and_then(|id| self.unit(id));
        if target.is_some_and(|unit| unit.state != State::Running) || self.units().any(|(_, unit)| lost(unit)) {
            return;
        }
        self.boot.ready = Some(now);
        self.timers.cancel(super::timers::Timer::Boot);
        self.tell(now, || What::Ready);
        self.print(READY.to_owned());
        self.print(self.timeline());
    }

    /// A milestone that was not passed is left out.
    fn timeline(&self) -> String {
        let boot = &self.boot;
        let stages = [
            ("start", Some(self.settings.started)),
            ("services", boot.services),
            ("network", boot.network),
            ("fetch", boot.fetch),
            ("ready", boot.ready),
        ];
        let words = stages
            .iter()
            .filter_map(|(name, at)| Some(format!(" {name}={}", at.as_ref()?)));
        format!("timeline{}", words.collect::<String>())
    }

    /// Names what is stuck, once: those that wait for others only when there is nobody else to name.
    pub(super) fn boot_deadline(&mut self, now: Millis) {
        if self.boot.ready.is_some() || self.shutdown.is_some() {
            return;
        }
        let limit = seconds(now.saturating_sub(self.settings.started) / 1000 * 1000);
        let stuck = self.units().filter(|(_, unit)| unit.unsettled || lost(unit));
        let (blocked, mut named): (Vec<Id>, Vec<Id>) = stuck
            .map(|(id, _)| id)
            .partition(|id| self.unit(*id).is_some_and(|unit| unit.state == State::Blocked));
        let waiting = if named.is_empty() { 0 } else { blocked.len() };
        if named.is_empty() {
            named = blocked;
        }
        let left_out = named.len().saturating_sub(NAMED_MAX);
        for id in named.into_iter().take(NAMED_MAX) {
            let line = format!("not ready after {limit}: {}", self.describe(id));
            self.actions.push_back(Action::PrintWithLog(id, line));
        }
        if left_out + waiting > 0 {
            self.print(format!(
                "not ready after {limit}: {left_out} more, and {waiting} that wait for them"
            ));
        }
    }
}

/// True for a service without which the node is not ready, and which will not come by itself.
fn lost(unit: &Unit) -> bool {
    unit.service.critical && unit.service.status == Status::Start && matches!(unit.state, State::Failed(_))
}
