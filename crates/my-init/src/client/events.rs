//! `events`: what happens, line by line, while it happens.

use std::io::{BufRead as _, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::verbs::print;
use super::{AskError, offline};
use crate::options::Question;

/// So long a my_init that is gone is waited for.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two attempts to find it.
const PAUSE: Duration = Duration::from_millis(50);

/// Everything that happens from now on.
#[derive(Debug)]
pub(super) struct Events {
    names: Vec<String>,
    lines: BufReader<UnixStream>,
}

impl Events {
    /// Subscribes.
    pub(super) fn subscribe(socket: &Path, names: &[String]) -> Result<Self, AskError> {
        let mut stream = UnixStream::connect(socket).map_err(AskError::Offline)?;
        let request = json!({ "jsonrpc": "2.0", "id": 1, "method": "events.subscribe", "params": { "names": names } });
        writeln!(stream, "{request}").map_err(AskError::Offline)?;
        let mut events = Self {
            names: names.to_vec(),
            lines: BufReader::new(stream),
        };
        match events.next()? {
            answer if answer["error"].is_object() => Err(super::refused(&answer["error"])),
            _ => Ok(events),
        }
    }

    /// The next message.
    pub(super) fn next(&mut self) -> Result<Value, AskError> {
        let mut line = String::new();
        self.lines.read_line(&mut line).map_err(AskError::Offline)?;
        serde_json::from_str(&line).map_err(|_| offline("it has ended the connection"))
    }

    /// The next message, of whichever supervisor: another one is waited for when this one is gone, and that something
    /// may have happened in between is a message too.
    pub(super) fn next_of_any(&mut self, socket: &Path) -> Result<Value, AskError> {
        let lost = match self.next() {
            Err(AskError::Offline(error)) => error,
            other => return other,
        };
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            std::thread::sleep(PAUSE);
            if let Ok(events) = Self::subscribe(socket, &self.names) {
                *self = events;
                return Ok(json!({ "method": "events.lost", "params": { "why": "the connection was lost" } }));
            }
        }
        Err(AskError::Offline(lost))
    }

    /// True when another message has come already, at least in part.
    pub(super) fn has_more(&self) -> bool {
        !self.lines.buffer().is_empty()
    }

    /// What is waited on.
    pub(super) fn stream(&self) -> &UnixStream {
        self.lines.get_ref()
    }
}

/// Prints events for ever.
pub(super) fn follow(socket: &Path, question: &Question, json: bool, out: &mut dyn Write) -> Result<(), AskError> {
    let mut events = Events::subscribe(socket, &question.words)?;
    loop {
        let message = events.next_of_any(socket)?;
        let text = match json {
            true => format!("{}\n", message["params"]),
            false => line(&message),
        };
        print(out, &text)?;
    }
}

/// An event as people read it.
pub(super) fn line(message: &Value) -> String {
    let event = &message["params"];
    let word = |key: &str| event[key].as_str().unwrap_or_default();
    if message["method"] == "events.lost" {
        return match event["count"].as_u64() {
            Some(count) => format!("{count} events were lost\n"),
            None => format!("{}: events may be missing here\n", word("why")),
        };
    }
    let time = event["time"].as_u64().unwrap_or(0);
    let what = match word("kind") {
        "state" => format!("{}: {} -> {}", word("name"), word("before"), word("state")),
        "shutdown" => word("goal").to_owned(),
        kind @ ("added" | "removed") => format!("{}: {kind}", word("name")),
        kind => kind.to_owned(),
    };
    let why = event["reason"]
        .as_str()
        .map_or(String::new(), |reason| format!(" ({reason})"));
    format!("[{:>4}.{:03}] {what}{why}\n", time / 1000, time % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_lines() {
        let event = |params: Value| line(&json!({ "method": "event", "params": params }));
        let failed = json!({ "time": 3214, "kind": "state", "name": "web", "before": "starting", "state": "failed", "reason": "exit code 1" });
        assert_eq!(event(failed), "[   3.214] web: starting -> failed (exit code 1)\n");
        assert_eq!(
            event(json!({ "time": 7, "kind": "removed", "name": "web" })),
            "[   0.007] web: removed\n"
        );
        assert_eq!(event(json!({ "time": 7, "kind": "ready" })), "[   0.007] ready\n");
        let lost = json!({ "method": "events.lost", "params": { "count": 3 } });
        assert_eq!(line(&lost), "3 events were lost\n");
    }
}
