//! Logs that somebody reads along: what a subscription sends, see [`super::streams`].
//!
//! A reader has a place in each log and nothing else: what it has not been sent yet is in the logs themselves, not in a
//! queue. If the log goes on without it, it is told how much it has missed.

use std::collections::{BTreeMap, VecDeque};

use serde_json::{Value, json};

use super::streams::Wants;
use super::{Driver, Id};
use crate::clock::Millis;
use crate::logs::{Log, lines, marks};
use crate::protocol::{Params, Refusal};

/// Bytes of a log that are sent at a time; also the longest line that is sent in one piece.
const CHUNK: usize = 8 * 1024;
/// Pieces that one reader is sent before the loop looks at other things.
const PIECES: usize = 16;

/// What a reader wants.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Wish {
    /// The services, or all.
    names: Option<Vec<String>>,
    /// At most so many lines of each that are there already.
    lines: Option<usize>,
    /// Nothing that is known to have come before.
    since: Option<Millis>,
    /// Goes on with what comes.
    follow: bool,
}

/// A reader.
#[derive(Debug)]
pub(super) struct Follow {
    wish: Wish,
    /// Which log and where in it, for every service of which it has been sent something.
    places: BTreeMap<Id, (u64, u64)>,
    /// Whose logs have something that it has not been sent.
    waiting: VecDeque<Id>,
    /// It has been sent what was there at the beginning.
    caught_up: bool,
}

impl Wish {
    fn of(params: &Params) -> Self {
        let count = |count| usize::try_from(count).unwrap_or(usize::MAX);
        Self {
            names: params.value("names").is_array().then(|| params.texts("names")),
            lines: params.number("lines").map(count),
            since: params.number("since"),
            follow: params.truth("follow"),
        }
    }

    fn concerns(&self, name: &str) -> bool {
        self.names
            .as_ref()
            .is_none_or(|names| names.iter().any(|one| one == name))
    }

    /// Where to begin in a log.
    fn start(&self, log: &Log) -> u64 {
        let first = self
            .lines
            .map_or(log.dropped(), |count| lines::start_of_last(log, count));
        // What came at that time may have been noted together with what came just before, or may have gone on with it.
        let since = self.since.and_then(|time| marks::place_before(&log.marks(), time));
        let since = since.map_or(0, |place| lines::start_of_line(log, place));
        first.max(since)
    }
}

impl Follow {
    /// True when there is something that it has not been sent.
    pub(super) fn is_due(&self) -> bool {
        !self.waiting.is_empty() || !self.caught_up
    }

    fn wake(&mut self, id: Id) {
        if !self.waiting.contains(&id) {
            self.waiting.push_back(id);
        }
    }
}

impl Driver {
    /// Somebody wants to read along. The notifications come on the same connection, after the answer.
    ///
    /// # Errors
    /// When a service is not known, or it asks for too much.
    pub(super) fn follow(&mut self, connection: usize, params: &Params) -> Result<Value, Refusal> {
        let wish = Wish::of(params);
        self.check_subscription(connection, wish.names.as_ref().map_or(0, Vec::len))?;
        for name in wish.names.iter().flatten() {
            if self.log_of(name).is_none() {
                self.named(name)?;
            }
        }
        self.begin_to_follow(connection, wish);
        Ok(json!({ "ok": true }))
    }

    fn begin_to_follow(&mut self, connection: usize, wish: Wish) {
        let mut follow = Follow {
            wish,
            places: BTreeMap::new(),
            waiting: VecDeque::new(),
            caught_up: false,
        };
        for id in self.log_ids() {
            let name = self.log_name(id);
            if let (Some(slot), Some(true)) = (self.slots.get(&id), name.map(|name| follow.wish.concerns(name))) {
                let log = &slot.log;
                follow.places.insert(id, (log.born(), follow.wish.start(log)));
                follow.waiting.push_back(id);
            }
        }
        self.subscribe(connection, Wants::Logs(follow));
    }

    /// A log has something new.
    pub(super) fn wake_followers(&mut self, id: Id) {
        if self.streams.is_empty() {
            return;
        }
        let Some(name) = self.log_name(id).map(str::to_owned) else {
            return;
        };
        let concerned = self.follows().filter(|follow| follow.wish.concerns(&name));
        concerned.for_each(|follow| follow.wake(id));
    }

    /// A log is no more.
    pub(super) fn forget_log(&mut self, id: Id) {
        for follow in self.follows() {
            follow.places.remove(&id);
            follow.waiting.retain(|one| *one != id);
        }
        self.intake.forget(id);
    }

    /// Sends a reader the next pieces, as far as it takes them; false when it wants no more.
    pub(super) fn send_pieces(&mut self, connection: usize, follow: &mut Follow) -> bool {
        for _ in 0..PIECES {
            if !self.has_room(connection) {
                return true;
            }
            let Some(id) = follow.waiting.pop_front() else {
                return self.caught_up(connection, follow);
            };
            if let Some(piece) = self.piece(follow, id) {
                self.notify(connection, "logs.lines", &piece);
            }
        }
        true
    }

    fn caught_up(&mut self, connection: usize, follow: &mut Follow) -> bool {
        if !std::mem::replace(&mut follow.caught_up, true) {
            let told = json!({ "time": self.now() });
            self.notify(connection, "logs.caught_up", &told);
        }
        follow.wish.follow
    }

    /// The next piece of a log; `None` when nothing whole is there.
    fn piece(&self, follow: &mut Follow, id: Id) -> Option<Value> {
        let slot = self.slots.get(&id)?;
        let name = self.log_name(id)?;
        let log = &slot.log;
        // Of a log that has begun since, it has seen nothing yet.
        let place = follow.places.get(&id).filter(|(born, _)| *born == log.born());
        let seen = place.map_or(0, |(_, place)| *place.min(&log.end()));
        let missed = log.dropped().saturating_sub(seen);
        let start = seen.max(log.dropped());
        let mut bytes = vec![0; CHUNK.min(usize::try_from(log.end() - start).unwrap_or(CHUNK))];
        let count = log.read_at(start, &mut bytes);
        bytes.truncate(count);
        let at_end = start + count as u64 == log.end();
        let endless = count == CHUNK && !bytes.contains(&b'\n');
        let all = endless || at_end && (!follow.wish.follow || slot.is_silent());
        let (lines, used) = lines::split(&bytes, start, &log.marks(), all);
        let next = start + used as u64;
        follow.places.insert(id, (log.born(), next));
        if used > 0 && next < log.end() {
            follow.waiting.push_back(id);
        }
        if lines.is_empty() && missed == 0 {
            return None;
        }
        let mut piece = json!({ "name": name, "log": log.born(), "next": next, "lines": lines.iter().map(as_json).collect::<Value>() });
        if missed > 0 {
            piece["missed"] = json!(missed);
        }
        if follow.waiting.is_empty() {
            piece["time"] = json!(self.now());
        }
        Some(piece)
    }
}

/// `[time, place, text]`, with `true` behind it when the line goes on in the next piece.
fn as_json(line: &lines::Line) -> Value {
    match line.goes_on {
        false => json!([line.time, line.place, line.text]),
        true => json!([line.time, line.place, line.text, true]),
    }
}
