//! Services whose sockets are open before they run.
//!
//! A service with sockets starts like any other; but before it gets a process its sockets are opened, and from then on
//! whoever requires it may start: connections wait. If it is started on demand it gets no further than that
//! (`listening`) until somebody connects, or asks for it.

use super::state::{State, Unit};
use super::timers::Timer;
use super::{Action, Id, Supervisor};
use crate::clock::Millis;

impl Supervisor {
    /// Its sockets are open. True when it is to have a process now; otherwise the caller waits for a connection and
    /// reports it with [`Supervisor::connected`].
    pub fn bound(&mut self, id: Id, now: Millis) -> bool {
        let Some(unit) = self.unit_mut(id) else { return false };
        let before = std::mem::replace(&mut unit.bound, true);
        let waits = unit.is_on_demand() && !unit.triggered;
        if waits {
            unit.spawned = None;
            self.set_state(id, State::Listening, now);
        } else if !before {
            self.changed.push_back(id);
        }
        self.settle(now);
        !waits
    }

    /// Somebody has connected.
    pub fn connected(&mut self, id: Id, now: Millis) {
        if self.unit(id).is_some_and(|unit| unit.state == State::Listening) {
            self.trigger(id, now);
            self.settle(now);
        }
    }

    fn trigger(&mut self, id: Id, now: Millis) {
        if let Some(unit) = self.unit_mut(id) {
            unit.triggered = true;
            unit.spawned = Some(now);
        }
        self.set_state(id, State::Starting, now);
        self.actions.push_back(Action::Spawn(id));
    }

    /// What the last supervisor had open is not there: it is opened again.
    pub fn listen_anew(&mut self, id: Id, now: Millis) {
        self.set_state(id, State::Starting, now);
        self.actions.push_back(Action::Spawn(id));
        self.settle(now);
    }

    /// Whoever connects from here on is told that nobody is there.
    pub(super) fn close_sockets(&mut self, id: Id) {
        let Some(unit) = self.unit_mut(id) else { return };
        if std::mem::take(&mut unit.bound) {
            self.actions.push_back(Action::CloseSockets(id));
        }
    }

    /// A service that is started on demand has ended well: it waits for the next connection. One that ended at once may
    /// not have taken the one that waits, so there is a pause before it gets it again. False for other services.
    pub(super) fn listen_again(&mut self, id: Id, now: Millis) -> bool {
        let down = self.shutdown.is_some();
        let Some(unit) = self
            .unit(id)
            .filter(|unit| unit.is_on_demand() && unit.wanted && !unit.gone && !down)
        else {
            return false;
        };
        let earliest = unit
            .spawned
            .unwrap_or(0)
            .saturating_add(unit.service.lifecycle.restart_delay_ms);
        if earliest <= now {
            self.retry(id, now);
        } else {
            self.set_state(id, State::Restarting, now);
            self.timers.arm(Timer::Restart(id), earliest);
        }
        true
    }
}

impl Unit {
    pub(super) fn is_on_demand(&self) -> bool {
        self.service.sockets.as_ref().is_some_and(|sockets| sockets.on_demand)
    }

    /// True when a service that requires this one may start.
    pub(super) fn satisfies(&self) -> bool {
        let open = self.bound && self.service.sockets.is_some();
        let comes = matches!(self.state, State::Listening | State::Starting | State::Restarting);
        self.state.satisfies() || (open && comes)
    }
}
