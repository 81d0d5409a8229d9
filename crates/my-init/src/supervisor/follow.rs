//! What a service that runs does when something happens to one that it requires, edge by edge.
//!
//! Nothing here depends on seeing a change at the moment when it happens: a service notes at its start how often each one
//! that it follows had begun or ended until then (`turns`), and what follows is decided from that and from where that one
//! stands now. So it is also decided by a supervisor whose predecessor was killed right after the change.

use mos_service::{Follow, Kind, Reaction};

use super::state::{AfterStop, Reason, State, Unit};
use super::{Id, Supervisor};
use crate::clock::Millis;

/// What has happened to a service, as seen by one that was started with it.
#[derive(Debug, Clone, Copy)]
enum Happened {
    Stopped,
    Failed,
    Restarted,
}

impl Supervisor {
    /// Notes where each one stands that a service follows, which is about to be started.
    pub(super) fn note_turns(&mut self, id: Id) {
        let Some(unit) = self.unit(id) else { return };
        let turns = unit.followed().filter_map(|(name, _)| {
            let other = self.unit(self.find(name)?)?;
            Some((name.to_owned(), other.turns))
        });
        let seen = turns.collect();
        if let Some(unit) = self.unit_mut(id) {
            unit.seen = seen;
            unit.turns += 1;
        }
    }

    /// Does what follows for a service, if something has happened to one that it follows.
    pub(super) fn follow(&mut self, id: Id, now: Millis) {
        let Some((reaction, reason)) = self.unit(id).and_then(|unit| self.what_follows(unit)) else {
            return;
        };
        let Some(unit) = self.unit_mut(id) else { return };
        let (after, what) = match reaction {
            Reaction::Keep => return,
            Reaction::Restart => (AfterStop::Again, "restarts"),
            Reaction::Stop => (AfterStop::Rest, "stops"),
        };
        let line = format!("{}: {what}, because {reason}", unit.service.name);
        if reaction == Reaction::Stop {
            unit.put_down(reason.as_str());
        } else {
            unit.wanted = true;
        }
        unit.last_failure = Some(Reason::Followed(reason));
        self.print(line);
        self.begin_stop(id, after, now);
    }

    /// The strongest reaction that is called for, and why.
    fn what_follows(&self, unit: &Unit) -> Option<(Reaction, String)> {
        let runs = matches!(unit.state, State::Starting | State::Running | State::Degraded);
        if !runs || unit.gone || self.shutdown.is_some() {
            return None;
        }
        let mut strongest = None;
        for (name, follow) in unit.followed() {
            let Some(happened) = self.happened(name, unit.seen(name)) else {
                continue;
            };
            let (reaction, verb) = match happened {
                Happened::Stopped => (follow.on_stop, "was stopped"),
                Happened::Failed => (follow.on_failure, "has failed"),
                Happened::Restarted => (follow.on_restart, "is restarted"),
            };
            if strongest.as_ref().is_none_or(|(strongest, _)| reaction > *strongest) {
                strongest = Some((reaction, format!("{name} {verb}")));
            }
        }
        strongest.filter(|(reaction, _)| *reaction != Reaction::Keep)
    }

    /// What has happened to a service since it had begun or ended `seen` times; `None` for nothing, or nothing yet.
    fn happened(&self, name: &str, seen: Option<u64>) -> Option<Happened> {
        let Some(other) = self.find(name).and_then(|id| self.unit(id)) else {
            return Some(Happened::Stopped);
        };
        let changed = seen.is_some_and(|seen| seen != other.turns);
        match &other.state {
            State::Failed(_) => Some(Happened::Failed),
            // It comes and goes behind its socket, which is what others know of it.
            _ if other.is_on_demand() && other.satisfies() => None,
            State::Listening => None,
            State::Stopping => match other.after_stop {
                AfterStop::Rest => Some(Happened::Stopped),
                AfterStop::Again => Some(Happened::Restarted),
                // Whether it is restarted is decided when it has ended.
                AfterStop::Fail(_) => None,
            },
            State::Inactive if !other.wanted => Some(Happened::Stopped),
            State::Inactive | State::Blocked | State::Starting | State::Restarting => Some(Happened::Restarted),
            State::Running | State::Degraded => changed.then_some(Happened::Restarted),
            State::Exited if other.service.kind == Kind::Oneshot => changed.then_some(Happened::Restarted),
            State::Exited | State::Skipped(_) => changed.then_some(Happened::Stopped),
        }
    }
}

impl Unit {
    /// Those whose lot concerns it once it runs.
    fn followed(&self) -> impl Iterator<Item = (&str, Follow)> {
        let edges = self.service.dependencies.requires.iter();
        let followed = edges.filter(|edge| edge.follow != Follow::default());
        followed.map(|edge| (edge.name.as_str(), edge.follow))
    }

    fn seen(&self, name: &str) -> Option<u64> {
        let seen = self.seen.iter().find(|(other, _)| other == name);
        seen.map(|(_, turns)| *turns)
    }
}
