//! What goes on being sent to somebody who asked once: logs that are read along, and events.
//!
//! A subscription costs a bounded amount whatever its reader does: nothing is put into a connection that holds
//! [`BACKLOG`] bytes, what cannot be sent is counted where it is lost and told when there is room again, and who has read
//! nothing for [`PATIENCE`] is cut off. Everybody gets a little at a time in turn; nobody waits for anybody.

use serde_json::{Value, json};

use super::Driver;
use super::events::Listener;
use super::follow::Follow;
use crate::clock::Millis;

/// While this much waits to be read, no more is sent. In bytes.
const BACKLOG: usize = 64 * 1024;
/// A reader whose connection is full for so long is gone, or as good as.
const PATIENCE: Millis = 60_000;

/// A subscription.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) connection: usize,
    wants: Wants,
    patience: Patience,
}

/// With a reader that does not read.
#[derive(Debug, Default)]
struct Patience {
    /// Since when its connection is full.
    full_since: Option<Millis>,
}

impl Patience {
    /// False when nobody has read for too long.
    fn lasts(&mut self, has_room: bool, now: Millis) -> bool {
        if has_room {
            self.full_since = None;
            return true;
        }
        now.saturating_sub(*self.full_since.get_or_insert(now)) < PATIENCE
    }
}

/// What is sent.
#[derive(Debug)]
pub(super) enum Wants {
    Logs(Follow),
    Events(Listener),
}

impl Driver {
    /// From here on it is sent, after the answer to the request.
    pub(super) fn subscribe(&mut self, connection: usize, wants: Wants) {
        self.streams.push(Stream {
            connection,
            wants,
            patience: Patience::default(),
        });
        self.listen_for_streams();
    }

    fn listen_for_streams(&mut self) {
        let listens = |stream: &Stream| matches!(stream.wants, Wants::Events(_));
        self.supervisor.listen(self.streams.iter().any(listens));
    }

    /// True when somebody could be sent something at once.
    pub(super) fn is_sending(&self) -> bool {
        self.streams.iter().any(|stream| {
            let due = match &stream.wants {
                Wants::Logs(follow) => follow.is_due(),
                // Events are sent, or counted, when they happen.
                Wants::Events(listener) => listener.owes(),
            };
            due && self.has_room(stream.connection)
        })
    }

    /// Sends everybody a part of what there is, as far as it is taken.
    pub(super) fn attend_streams(&mut self) {
        if self.streams.is_empty() {
            return;
        }
        let events = self.supervisor.take_events();
        let mut streams = std::mem::take(&mut self.streams);
        streams.retain_mut(|stream| {
            let connection = stream.connection;
            let goes_on = self.control.is_there(connection)
                && match &mut stream.wants {
                    Wants::Logs(follow) => self.send_pieces(connection, follow),
                    Wants::Events(listener) => self.send_events(connection, listener, &events),
                };
            goes_on && self.is_read(stream)
        });
        // Nobody can have come in between.
        self.streams = streams;
        self.listen_for_streams();
    }

    /// False when it was not read for so long that nobody is there.
    fn is_read(&mut self, stream: &mut Stream) -> bool {
        let patient = stream.patience.lasts(self.has_room(stream.connection), self.now());
        if !patient {
            self.hang_up(stream.connection);
        }
        patient
    }

    /// The readers of logs.
    pub(super) fn follows(&mut self) -> impl Iterator<Item = &mut Follow> {
        self.streams.iter_mut().filter_map(|stream| match &mut stream.wants {
            Wants::Logs(follow) => Some(follow),
            Wants::Events(_) => None,
        })
    }

    /// True when more may be sent.
    pub(super) fn has_room(&self, connection: usize) -> bool {
        self.control.takes(connection, BACKLOG)
    }

    /// Sends a notification, which the connection has room for.
    pub(super) fn notify(&mut self, connection: usize, method: &str, params: &Value) {
        let message = json!({ "jsonrpc": "2.0", "method": method, "params": params });
        self.push(connection, &format!("{message}\n"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_reads_a_little_now_and_then_stays_and_who_reads_nothing_does_not() {
        let mut patience = Patience::default();
        for minute in 0..10 {
            assert!(patience.lasts(false, minute * PATIENCE));
            assert!(patience.lasts(false, minute * PATIENCE + PATIENCE - 1));
            assert!(patience.lasts(true, minute * PATIENCE + PATIENCE - 1));
        }
        assert!(patience.lasts(false, 1_000_000));
        assert!(!patience.lasts(false, 1_000_000 + PATIENCE));
    }
}
