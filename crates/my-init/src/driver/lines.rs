//! The line protocol of zinit up to 0.2.14, for clients that were not changed since: one line of words, one object
//! `{"state": "ok" | "error", "body": …}`, and the connection ends.
//!
//! Such a line is known by its first word, which no request in JSON begins with. `log` is not there: it never ended.

use serde_json::{Map, Value, json};

use super::{Driver, Id};
use crate::supervisor::{Goal, State, Unit};

/// The commands, and whether they change something.
const COMMANDS: [(&str, bool); 10] = [
    ("list", false),
    ("status", false),
    ("log", false),
    ("start", true),
    ("stop", true),
    ("kill", true),
    ("monitor", true),
    ("forget", true),
    ("shutdown", true),
    ("reboot", true),
];

impl Driver {
    /// The answer to a line of the old protocol; `None` when it is none.
    pub(super) fn answer_words(&mut self, line: &[u8], may_write: bool) -> Option<String> {
        let line = std::str::from_utf8(line).ok()?;
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let (command, writes) = COMMANDS.iter().find(|(command, _)| words.first() == Some(command))?;
        let result = match *writes && !may_write {
            true => Err("only root may do this".to_owned()),
            false => self.obey(command, &words[1..]),
        };
        let (state, body) = match result {
            Ok(body) => ("ok", body),
            Err(message) => ("error", Value::from(message)),
        };
        Some(format!("{}\n", json!({ "state": state, "body": body })))
    }

    fn obey(&mut self, command: &str, words: &[&str]) -> Result<Value, String> {
        let now = self.now();
        match (command, words) {
            ("list", []) => Ok(self.old_list()),
            ("status", [name]) => self.old_status(name),
            ("start", [name]) => done(self.supervisor.start(name, now)),
            ("stop", [name]) => done(self.supervisor.stop(name, now)),
            ("kill", [name, signal]) => done(
                self.send_signal(name, &signal.to_uppercase())
                    .map_err(|refusal| refusal.message),
            ),
            ("monitor", [name]) => self.monitor(name),
            ("forget", [name]) => self.forget_stopped(name),
            ("shutdown", []) => {
                self.shut_down(Goal::Poweroff, "request");
                Ok(Value::Null)
            }
            ("reboot", []) => {
                self.shut_down(Goal::Reboot, "request");
                Ok(Value::Null)
            }
            ("log", _) => {
                Err("`log` is not answered in this protocol: call logs.follow, or run `my_init logs`".to_owned())
            }
            _ => Err(format!("wrong number of words for `{command}`")),
        }
    }

    fn old_list(&self) -> Value {
        let units = self.supervisor.units();
        let states = units.map(|(_, unit)| (unit.service().name.clone(), Value::from(old_state(unit))));
        Value::Object(states.collect::<Map<String, Value>>())
    }

    fn old_status(&self, name: &str) -> Result<Value, String> {
        let id = self.known(name)?;
        let unit = self.supervisor.unit(id);
        let needs = self
            .supervisor
            .needs(id)
            .iter()
            .filter_map(|need| self.supervisor.unit(*need));
        let after = needs.map(|unit| (unit.service().name.clone(), Value::from(old_state(unit))));
        let wanted = self.supervisor.status(id, self.now())["wanted"] == true;
        Ok(json!({
            "name": name,
            "pid": unit.and_then(Unit::pid).unwrap_or(0),
            "state": unit.map(old_state),
            "target": if wanted { "Up" } else { "Down" },
            "after": Value::Object(after.collect::<Map<String, Value>>()),
        }))
    }

    fn known(&self, name: &str) -> Result<Id, String> {
        self.named(name).map_err(|refusal| refusal.message)
    }

    /// Takes in the service of a file that was put among the others.
    fn monitor(&mut self, name: &str) -> Result<Value, String> {
        self.take_in(name);
        self.known(name).map(|_| Value::Null)
    }

    /// Lets go of a service that does not run; its file is for the caller to remove.
    fn forget_stopped(&mut self, name: &str) -> Result<Value, String> {
        let id = self.known(name)?;
        if self.supervisor.unit(id).is_some_and(|unit| unit.pid().is_some()) {
            return Err(format!("{name} is still running: stop it first"));
        }
        self.supervisor.remove(id, self.now());
        Ok(Value::Null)
    }
}

fn done<T>(result: Result<T, impl ToString>) -> Result<Value, String> {
    result.map(|_| Value::Null).map_err(|error| error.to_string())
}

/// The state in the words of that protocol.
fn old_state(unit: &Unit) -> String {
    let oneshot = unit.service().kind == mos_service::Kind::Oneshot;
    match unit.state() {
        State::Inactive => "Unknown".to_owned(),
        State::Starting if !oneshot => "Spawned".to_owned(),
        State::Starting | State::Running | State::Stopping => "Running".to_owned(),
        State::Degraded => "TestFailure".to_owned(),
        State::Exited | State::Skipped(_) => "Success".to_owned(),
        State::Failed(reason) => format!("Error({reason})"),
        State::Restarting => "Error(restarting)".to_owned(),
        // It waits for something that its file names.
        _ => "Blocked".to_owned(),
    }
}
