//! Events to those who asked for them: what a subscription sends, see [`super::streams`].
//!
//! A listener that does not read is owed a number: what does not fit into its connection is counted, and the count is
//! the first thing that it is told when it reads again.

use serde_json::{Value, json};

use super::Driver;
use super::streams::Wants;
use crate::protocol::{Params, Refusal};
use crate::supervisor::{Event, What};

/// Somebody who wants to know what happens.
#[derive(Debug)]
pub(super) struct Listener {
    /// The services that it is told of; all when empty.
    names: Vec<String>,
    /// What it was not told.
    lost: u64,
}

impl Driver {
    /// The notifications come on the same connection, after the answer.
    ///
    /// # Errors
    /// When it asks for too much.
    pub(super) fn subscribe_to_events(&mut self, connection: usize, params: &Params) -> Result<Value, Refusal> {
        let names = params.texts("names");
        self.check_subscription(connection, names.len())?;
        self.subscribe(connection, Wants::Events(Listener { names, lost: 0 }));
        Ok(json!({ "ok": true, "time": self.now() }))
    }

    /// Tells what has happened since the last time. Goes on for ever.
    pub(super) fn send_events(&mut self, connection: usize, listener: &mut Listener, events: &[Event]) -> bool {
        self.tell_lost(connection, listener);
        for event in events {
            if !listener.is_concerned_by(event) {
                continue;
            }
            if listener.lost == 0 && self.has_room(connection) {
                self.notify(connection, "event", &described(event));
            } else {
                listener.lost += 1;
            }
        }
        true
    }

    fn tell_lost(&mut self, connection: usize, listener: &mut Listener) {
        if listener.lost > 0 && self.has_room(connection) {
            let lost = std::mem::take(&mut listener.lost);
            self.notify(connection, "events.lost", &json!({ "count": lost }));
        }
    }
}

impl Listener {
    /// True when it is still to be told that it was not told something.
    pub(super) fn owes(&self) -> bool {
        self.lost > 0
    }

    fn is_concerned_by(&self, event: &Event) -> bool {
        match &event.what {
            What::Added { name } | What::Removed { name } | What::State { name, .. } => {
                self.names.is_empty() || self.names.contains(name)
            }
            What::Ready | What::Down { .. } => true,
        }
    }
}

fn described(event: &Event) -> Value {
    let time = event.time;
    match &event.what {
        What::Added { name } => json!({ "time": time, "kind": "added", "name": name }),
        What::Removed { name } => json!({ "time": time, "kind": "removed", "name": name }),
        What::Ready => json!({ "time": time, "kind": "ready" }),
        What::Down { goal } => json!({ "time": time, "kind": "shutdown", "goal": goal.word() }),
        What::State {
            name,
            before,
            state,
            reason,
            pid,
        } => {
            let mut event = json!({ "time": time, "kind": "state", "name": name, "before": before, "state": state });
            if let Some(reason) = reason {
                event["reason"] = json!(reason);
            }
            if let Some(pid) = pid {
                event["pid"] = json!(pid);
            }
            event
        }
    }
}
