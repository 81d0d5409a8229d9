//! Requests to answers.

use std::path::PathBuf;

use serde_json::{Map, Value, json};

use super::{Driver, Id};
use crate::protocol::{self, Call, NOT_PERMITTED, Refusal, Request, VALIDATION};
use crate::supervisor::{Goal, RequestError};

impl Driver {
    /// The answer to one line; none to a notification or an empty line.
    pub(super) fn answer(&mut self, line: &[u8], may_write: bool) -> Option<String> {
        if line.iter().all(u8::is_ascii_whitespace) {
            return None;
        }
        let Request { id, call } = match protocol::parse(line) {
            Ok(request) => request,
            Err(answer) => return Some(answer),
        };
        let result = if call.writes() && !may_write {
            Err(Refusal::new(NOT_PERMITTED, "only root may do this"))
        } else {
            self.call(&call)
        };
        id.map(|id| protocol::answer(&id, result))
    }

    fn call(&mut self, call: &Call) -> Result<Value, Refusal> {
        match call {
            Call::Ping => Ok(json!("pong")),
            Call::Reload => {
                let difference = self.reload();
                Ok(json!({
                    "added": difference.added, "changed": difference.changed, "removed": difference.removed,
                }))
            }
            Call::Upgrade(program) => {
                let program = program
                    .as_ref()
                    .map_or_else(own_program, |path| Ok(PathBuf::from(path)));
                let upgraded = program.and_then(|program| self.upgrade(&program));
                upgraded
                    .map(|()| json!(true))
                    .map_err(|error| Refusal::new(VALIDATION, error))
            }
            Call::Poweroff => self.go_down(Goal::Poweroff),
            Call::Reboot => self.go_down(Goal::Reboot),
            Call::List => Ok(self.list()),
            Call::ListFull => {
                let now = self.now();
                Ok(self
                    .sorted()
                    .into_iter()
                    .map(|id| self.supervisor.status(id, now))
                    .collect())
            }
            Call::Status(name) => Ok(self.supervisor.status(self.named(name)?, self.now())),
            Call::Why(name) => self.why(name),
            Call::Tail(name, lines) => self.tail(name, *lines),
            Call::Start(name) => self.change(name, |driver, name| {
                driver.introduce(name);
                driver.supervisor.start(name, driver.now())
            }),
            Call::Stop(name) => self.change(name, |driver, name| driver.supervisor.stop(name, driver.now())),
            Call::Restart(name) => self.change(name, |driver, name| {
                driver.introduce(name);
                driver.supervisor.restart(name, driver.now())
            }),
        }
    }

    fn go_down(&mut self, goal: Goal) -> Result<Value, Refusal> {
        self.shut_down(goal, "request");
        Ok(json!(true))
    }

    fn named(&self, name: &str) -> Result<Id, Refusal> {
        let missing = || refusal(&RequestError::NotFound(name.to_owned()));
        self.supervisor.find(name).ok_or_else(missing)
    }

    fn change(
        &mut self,
        name: &str,
        act: impl Fn(&mut Self, &str) -> Result<(), RequestError>,
    ) -> Result<Value, Refusal> {
        act(self, name).map_err(|error| refusal(&error))?;
        let state = self.supervisor.find(name).and_then(|id| self.supervisor.unit(id));
        Ok(json!({ "name": name, "state": state.map(|unit| unit.state().word()) }))
    }

    fn sorted(&self) -> Vec<Id> {
        let mut ids: Vec<(&str, Id)> = self
            .supervisor
            .units()
            .map(|(id, unit)| (unit.service().name.as_str(), id))
            .collect();
        ids.sort_unstable();
        ids.into_iter().map(|(_, id)| id).collect()
    }

    fn list(&self) -> Value {
        let states = self.supervisor.units().map(|(_, unit)| {
            let state = Value::from(unit.state().word());
            (unit.service().name.clone(), state)
        });
        Value::Object(states.collect::<Map<String, Value>>())
    }

    fn why(&self, name: &str) -> Result<Value, Refusal> {
        let id = self.named(name)?;
        let mut lines = self.supervisor.why(id, self.now());
        if let Some(last) = self.slots.get(&id).and_then(|slot| slot.log.last_line()) {
            lines.push(format!("last line of its log: {last}"));
        }
        let state = self.supervisor.unit(id).map(|unit| unit.state().word());
        Ok(json!({ "name": name, "state": state, "waits_for": self.supervisor.waits_for(id), "lines": lines }))
    }

    fn tail(&self, name: &str, lines: usize) -> Result<Value, Refusal> {
        let log = self.slots.get(&self.named(name)?).map(|slot| &slot.log);
        let lines = log.map(|log| log.tail(lines)).unwrap_or_default();
        Ok(json!({ "lines": lines, "dropped": log.map_or(0, crate::logs::Log::dropped) }))
    }
}

/// The file that we were started from, or what has taken its place since.
fn own_program() -> Result<PathBuf, String> {
    let path = std::env::current_exe().map_err(|error| error.to_string())?;
    let text = path.to_string_lossy();
    Ok(PathBuf::from(text.strip_suffix(" (deleted)").unwrap_or(&text)))
}

fn refusal(error: &RequestError) -> Refusal {
    Refusal::new(error.code(), error.to_string())
}
