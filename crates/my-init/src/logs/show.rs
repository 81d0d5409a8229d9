//! `my_init logs`: reads along, and goes on where it was when the supervisor is another one.
//!
//! Every line comes with its place in its log, so that nothing is shown twice; and from the last moment at which all was
//! there everything is asked for again, so that nothing is missed but what is no longer kept, which is said.

use std::collections::HashMap;
use std::io::{self, BufRead as _, BufReader, Read as _, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::date;
use crate::client::AskError;
use crate::clock::{self, Millis};
use crate::lossy::printable;

/// Lines that are shown of what is there, unless somebody says how many, or from when on.
const LINES: u64 = 100;
/// So long a my_init that is gone is waited for.
const PATIENCE: Duration = Duration::from_secs(30);
/// Two ways to tell the time differ by so much.
const ROUNDING: Millis = 1;
/// Between two attempts to find it.
const PAUSE: Duration = Duration::from_millis(50);
/// The longest message, in bytes.
const MESSAGE_MAX: u64 = 1024 * 1024;

/// What is to be shown, and how.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wanted {
    /// Of these services; of all when there are none.
    pub names: Vec<String>,
    /// At most so many lines of what is there.
    pub lines: Option<u64>,
    /// Only what came at that time or later: see [`date::read`].
    pub since: Option<String>,
    /// Go on with what comes.
    pub follow: bool,
    /// With the time before each line.
    pub times: bool,
    /// An object for each line.
    pub json: bool,
    /// A terminal shows it, which is not to obey what a service prints.
    pub terminal: bool,
}

/// A line that came.
#[derive(Debug)]
struct Line {
    name: String,
    time: Millis,
    text: String,
    goes_on: bool,
}

/// Shows logs until all is shown, or for ever.
///
/// # Errors
/// When nobody answers, the server refuses, or the output is closed.
pub fn show(socket: &Path, wanted: &Wanted, output: &mut dyn Write) -> Result<(), AskError> {
    let mut reader = Reader::new(wanted)?;
    let mut gone_since: Option<Instant> = None;
    loop {
        let shown = reader.shown;
        match reader.attend(socket, output) {
            Ok(()) => return Ok(()),
            Err(End::Refused(code, message)) => return Err(AskError::Refused(code, message)),
            Err(End::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            Err(End::Output(error)) => return Err(AskError::Offline(error)),
            Err(End::Lost(error)) => {
                if reader.shown != shown {
                    gone_since = None;
                }
                let begun = *gone_since.get_or_insert_with(Instant::now);
                if !wanted.follow || !reader.begun || begun.elapsed() > PATIENCE {
                    return Err(AskError::Offline(error));
                }
                std::thread::sleep(PAUSE);
            }
        }
    }
}

/// Why a connection is no more.
enum End {
    Lost(io::Error),
    Refused(i64, String),
    Output(io::Error),
}

struct Reader<'a> {
    wanted: &'a Wanted,
    /// Only what came then or later, since the kernel started.
    since: Option<Millis>,
    /// Which log of a service is being read, and how far it was.
    places: HashMap<String, (u64, u64)>,
    /// At that time all that had come was here.
    complete: Option<Millis>,
    /// Messages that came, so that a connection that brings some is told from one that does not.
    shown: u64,
    /// The server has answered once.
    begun: bool,
    /// Lines that were there at the beginning, until all of them are.
    first: Option<Vec<Line>>,
}

impl<'a> Reader<'a> {
    fn new(wanted: &'a Wanted) -> Result<Self, AskError> {
        let since = wanted
            .since
            .as_ref()
            .map(|text| date::read(text, date::since_1970(clock::now())));
        let since = since.transpose().map_err(|error| AskError::Refused(-32602, error))?;
        Ok(Self {
            wanted,
            since: since.map(|time| time.saturating_sub(date::since_1970(0) + ROUNDING)),
            places: HashMap::new(),
            complete: None,
            shown: 0,
            begun: false,
            first: Some(Vec::new()),
        })
    }

    fn request(&self) -> Value {
        let mut params = json!({ "follow": self.wanted.follow });
        if !self.wanted.names.is_empty() {
            params["names"] = json!(self.wanted.names);
        }
        match self.complete {
            Some(time) => params["since"] = json!(time),
            None => {
                if let Some(since) = self.since {
                    params["since"] = json!(since);
                }
                if let Some(lines) = self.lines() {
                    params["lines"] = json!(lines);
                }
            }
        }
        json!({ "jsonrpc": "2.0", "id": 1, "method": "logs.follow", "params": params })
    }

    /// How many lines of what is there are shown.
    fn lines(&self) -> Option<u64> {
        let standard = self.since.is_none().then_some(LINES);
        self.wanted.lines.or(standard)
    }

    /// One connection.
    fn attend(&mut self, socket: &Path, output: &mut dyn Write) -> Result<(), End> {
        let mut stream = UnixStream::connect(socket).map_err(End::Lost)?;
        writeln!(stream, "{}", self.request()).map_err(End::Lost)?;
        let mut messages = BufReader::new(stream);
        loop {
            let mut text = String::new();
            let read = (&mut messages).take(MESSAGE_MAX).read_line(&mut text);
            if read.map_err(End::Lost)? == 0 || !text.ends_with('\n') {
                return Err(End::Lost(io::ErrorKind::UnexpectedEof.into()));
            }
            let message: Value = serde_json::from_str(&text).map_err(|error| End::Lost(io::Error::other(error)))?;
            if let Some(error) = message.get("error") {
                let text = error["message"].as_str().unwrap_or("no reason given").to_owned();
                return Err(End::Refused(error["code"].as_i64().unwrap_or(0), text));
            }
            self.begun = true;
            if self.take(&message, output).map_err(End::Output)? {
                return Ok(());
            }
        }
    }

    /// Takes a message in; true when it was the last one.
    fn take(&mut self, message: &Value, output: &mut dyn Write) -> io::Result<bool> {
        let params = &message["params"];
        match message["method"].as_str() {
            Some("logs.lines") => self.take_lines(params, output)?,
            Some("logs.caught_up") => {
                for line in self.first.take().map(|lines| self.newest(lines)).unwrap_or_default() {
                    self.print(&line, output)?;
                }
            }
            _ => return Ok(false),
        }
        self.shown += 1;
        self.complete = params["time"].as_u64().or(self.complete);
        output.flush()?;
        Ok(message["method"] == "logs.caught_up" && !self.wanted.follow)
    }

    fn take_lines(&mut self, params: &Value, output: &mut dyn Write) -> io::Result<()> {
        let name = params["name"].as_str().unwrap_or_default();
        let (log, next) = (
            params["log"].as_u64().unwrap_or(0),
            params["next"].as_u64().unwrap_or(0),
        );
        let known = self
            .places
            .get(name)
            .filter(|(born, _)| *born == log)
            .map(|(_, place)| *place);
        let lines: Vec<&Value> = params["lines"].as_array().into_iter().flatten().collect();
        let first = lines.first().and_then(|line| line[1].as_u64()).unwrap_or(next);
        let missed = match known {
            Some(place) => first.saturating_sub(place),
            None => params["missed"].as_u64().unwrap_or(0),
        };
        if missed > 0 {
            self.tell_missed(name, missed, output)?;
        }
        for line in lines {
            if line[1].as_u64().unwrap_or(0) < known.unwrap_or(0) {
                continue;
            }
            let line = Line {
                name: name.to_owned(),
                time: line[0].as_u64().unwrap_or(0),
                text: line[2].as_str().unwrap_or_default().to_owned(),
                goes_on: line[3].as_bool().unwrap_or(false),
            };
            if self.since.is_some_and(|since| line.time < since) {
                continue;
            }
            match &mut self.first {
                Some(first) => first.push(line),
                None => self.print(&line, output)?,
            }
        }
        if known.is_none_or(|known| known < next) {
            self.places.insert(name.to_owned(), (log, next));
        }
        Ok(())
    }

    /// By time, and no more than were asked for. Lines of one log stay as they came.
    fn newest(&self, mut lines: Vec<Line>) -> Vec<Line> {
        // A line of which it is no longer known when it came has the time of the one before.
        let mut latest: HashMap<String, Millis> = HashMap::new();
        lines.sort_by_cached_key(|line| {
            let latest = latest.entry(line.name.clone()).or_insert(0);
            *latest = line.time.max(*latest);
            *latest
        });
        let count = self.lines().and_then(|count| usize::try_from(count).ok());
        let surplus = lines.len().saturating_sub(count.unwrap_or(usize::MAX));
        lines.drain(..surplus);
        lines
    }

    fn tell_missed(&self, name: &str, missed: u64, output: &mut dyn Write) -> io::Result<()> {
        match self.wanted.json {
            true => writeln!(output, "{}", json!({ "name": name, "missed": missed })),
            false => writeln!(output, "{}[{missed} bytes are missing here]", self.prefix(name)),
        }
    }

    fn print(&self, line: &Line, output: &mut dyn Write) -> io::Result<()> {
        if self.wanted.json {
            let mut object = json!({ "name": line.name, "time_ms": line.time, "text": line.text });
            if line.time > 0 {
                object["time"] = json!(date::text(date::since_1970(line.time)));
            }
            if line.goes_on {
                object["goes_on"] = json!(true);
            }
            return writeln!(output, "{object}");
        }
        if self.wanted.times {
            let time = if line.time > 0 {
                date::text(date::since_1970(line.time))
            } else {
                "-".to_owned()
            };
            write!(output, "{time} ")?;
        }
        let text = if self.wanted.terminal {
            printable(&line.text)
        } else {
            line.text.clone()
        };
        writeln!(output, "{}{text}", self.prefix(&line.name))
    }

    fn prefix(&self, name: &str) -> String {
        match self.wanted.names.len() {
            1 => String::new(),
            _ => format!("{name}: "),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(wanted: &Wanted, messages: &[Value]) -> String {
        let mut reader = Reader::new(wanted).unwrap_or_else(|_| panic!("{wanted:?}"));
        let mut output = Vec::new();
        for message in messages {
            let _ = reader.take(message, &mut output).expect("room");
        }
        String::from_utf8(output).expect("text")
    }

    fn lines(name: &str, log: u64, next: u64, lines: Value) -> Value {
        json!({ "method": "logs.lines", "params": { "name": name, "log": log, "next": next, "lines": lines } })
    }

    fn caught_up() -> Value {
        json!({ "method": "logs.caught_up", "params": { "time": 9 } })
    }

    #[test]
    fn several_logs_are_one_by_time_and_what_comes_again_is_not_shown_again() {
        let wanted = Wanted {
            lines: Some(3),
            follow: true,
            terminal: true,
            ..Wanted::default()
        };
        let text = shown(
            &wanted,
            &[
                lines("web", 1, 20, json!([[3, 0, "a"], [5, 10, "d"]])),
                lines("db", 1, 20, json!([[4, 0, "b"], [4, 10, "c\u{1b}[2J"]])),
                caught_up(),
                // Another supervisor tells what it cannot know that we know.
                lines("web", 1, 30, json!([[5, 10, "d"], [6, 20, "e"]])),
                lines("db", 1, 90, json!([[7, 80, "f"]])),
                // The service was removed and added again.
                lines("web", 2, 10, json!([[8, 0, "g"]])),
            ],
        );
        let expected = "db: b\ndb: c\u{fffd}[2J\nweb: d\nweb: e\ndb: [60 bytes are missing here]\ndb: f\nweb: g\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn one_log_is_shown_as_it_is() {
        let wanted = Wanted {
            names: vec!["web".to_owned()],
            ..Wanted::default()
        };
        let messages = [
            lines("web", 1, 9, json!([[3, 0, "a\tb", true], [0, 4, "c"]])),
            caught_up(),
        ];
        assert_eq!(shown(&wanted, &messages), "a\tb\nc\n");
        let wanted = Wanted { json: true, ..wanted };
        let text = shown(&wanted, &messages);
        let first: Value = serde_json::from_str(text.lines().next().expect("a line")).expect("JSON");
        assert_eq!(
            (&first["text"], &first["time_ms"], &first["goes_on"]),
            (&json!("a\tb"), &json!(3), &json!(true))
        );
        assert!(first["time"].as_str().is_some_and(|time| time.ends_with('Z')), "{text}");
    }
}
