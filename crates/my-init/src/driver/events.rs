//! Events to those who asked for them, as notifications on their connections.
//!
//! A listener that does not read is owed a number: what does not fit into its connection is counted, and the count is
//! the first thing that it is told when it reads again. So it costs a bounded amount, and nobody waits for it.

use serde_json::{Value, json};

use super::Driver;
use crate::protocol::Params;
use crate::supervisor::{Event, What};

/// While this much waits to be read, events are counted and not sent. In bytes.
const BACKLOG: usize = 64 * 1024;

/// Somebody who wants to know what happens.
#[derive(Debug)]
pub(super) struct Listener {
    connection: usize,
    /// The services that it is told of; all when empty.
    names: Vec<String>,
    /// What it was not told.
    lost: u64,
}

impl Driver {
    /// The notifications come on the same connection, after the answer.
    pub(super) fn subscribe(&mut self, connection: usize, params: &Params) -> Value {
        self.listeners.push(Listener {
            connection,
            names: params.texts("names"),
            lost: 0,
        });
        self.supervisor.listen(true);
        json!({ "ok": true, "time": self.now() })
    }

    /// Tells everybody what has happened since the last time.
    pub(super) fn tell_events(&mut self) {
        if self.listeners.is_empty() {
            return;
        }
        let mut listeners = std::mem::take(&mut self.listeners);
        listeners.retain(|listener| self.control.is_there(listener.connection));
        for event in self.supervisor.take_events() {
            let line = notification("event", described(&event));
            let concerned = listeners.iter_mut().filter(|listener| listener.is_concerned_by(&event));
            concerned.for_each(|listener| self.tell(listener, &line));
        }
        listeners.iter_mut().for_each(|listener| self.tell_lost(listener));
        self.supervisor.listen(!listeners.is_empty());
        self.listeners = listeners;
    }

    fn tell(&mut self, listener: &mut Listener, line: &str) {
        self.tell_lost(listener);
        if listener.lost == 0 && self.control.takes(listener.connection, BACKLOG) {
            self.push(listener.connection, line);
        } else {
            listener.lost += 1;
        }
    }

    fn tell_lost(&mut self, listener: &mut Listener) {
        if listener.lost > 0 && self.control.takes(listener.connection, BACKLOG / 2) {
            let lost = std::mem::take(&mut listener.lost);
            self.push(
                listener.connection,
                &notification("events.lost", json!({ "count": lost })),
            );
        }
    }
}

impl Listener {
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

fn notification(method: &str, params: Value) -> String {
    format!("{}\n", json!({ "jsonrpc": "2.0", "method": method, "params": params }))
}
