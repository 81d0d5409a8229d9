//! Deadlines: at most one per service and purpose, the next one found without looking at all of them.

use std::collections::{BTreeSet, HashMap};

use super::Id;
use crate::clock::Millis;

/// What a deadline is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Timer {
    /// The service should be ready.
    Start(Id),
    /// The service should have ended.
    Stop(Id),
    /// The service is to be started again.
    Restart(Id),
    /// The service is started at this time.
    Due(Id),
    /// The service's health is to be probed.
    Probe(Id),
    /// The probe should have been answered.
    ProbeTimeout(Id),
    /// The node should be ready.
    Boot,
    /// The node should be down.
    Shutdown,
}

#[derive(Debug, Default)]
pub(super) struct Timers {
    by_time: BTreeSet<(Millis, Timer)>,
    by_timer: HashMap<Timer, Millis>,
}

impl Timers {
    /// Sets a deadline in place of the timer's last.
    pub(super) fn arm(&mut self, timer: Timer, at: Millis) {
        self.cancel(timer);
        self.by_timer.insert(timer, at);
        self.by_time.insert((at, timer));
    }

    pub(super) fn cancel(&mut self, timer: Timer) {
        if let Some(at) = self.by_timer.remove(&timer) {
            self.by_time.remove(&(at, timer));
        }
    }

    pub(super) fn cancel_all(&mut self, id: Id) {
        for timer in [
            Timer::Start(id),
            Timer::Stop(id),
            Timer::Restart(id),
            Timer::Probe(id),
            Timer::ProbeTimeout(id),
        ] {
            self.cancel(timer);
        }
    }

    /// When a timer goes off, if it is set.
    pub(super) fn at(&self, timer: Timer) -> Option<Millis> {
        self.by_timer.get(&timer).copied()
    }

    pub(super) fn next(&self) -> Option<Millis> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// Takes one timer that has gone off.
    pub(super) fn expired(&mut self, now: Millis) -> Option<Timer> {
        let &(at, timer) = self.by_time.first()?;
        if at > now {
            return None;
        }
        self.cancel(timer);
        Some(timer)
    }
}
