//! What happens, for those who want to know while it happens.
//!
//! Nothing is kept unless somebody listens, and the caller takes what is kept after each turn of its loop.

use super::state::State;
use super::{Goal, Id, Supervisor};
use crate::clock::Millis;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// When, in milliseconds since the kernel started.
    pub time: Millis,
    /// What.
    pub what: What,
}

/// The kinds of event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// A service came into being.
    Added {
        /// Its name.
        name: String,
    },
    /// A service is no more.
    Removed {
        /// Its name.
        name: String,
    },
    /// A service changed its state.
    State {
        /// Its name.
        name: String,
        /// The word of the state it was in.
        before: &'static str,
        /// The word of the state it is in.
        state: &'static str,
        /// Why, where that is not plain.
        reason: Option<String>,
        /// Its process.
        pid: Option<u32>,
    },
    /// The node is up.
    Ready,
    /// The node goes down.
    Down {
        /// To what.
        goal: Goal,
    },
}

impl Supervisor {
    /// Keeps what happens from now on, or keeps it no longer.
    pub fn listen(&mut self, listening: bool) {
        if listening != self.events.is_some() {
            self.events = listening.then(Vec::new);
        }
    }

    /// What has happened since the last time.
    pub fn take_events(&mut self) -> Vec<Event> {
        self.events.as_mut().map(std::mem::take).unwrap_or_default()
    }

    pub(super) fn tell(&mut self, time: Millis, what: impl FnOnce() -> What) {
        if let Some(events) = &mut self.events {
            events.push(Event { time, what: what() });
        }
    }

    /// A service is about to have this state.
    pub(super) fn note_state(&mut self, id: Id, state: &State, time: Millis) {
        let Some(unit) = self.units.get(id).and_then(Option::as_ref) else {
            return;
        };
        let Some(events) = &mut self.events else { return };
        let reason = unit.cause(state);
        let what = What::State {
            name: unit.service.name.clone(),
            before: unit.state.word(),
            state: state.word(),
            reason,
            pid: unit.pid,
        };
        events.push(Event { time, what });
    }
}
