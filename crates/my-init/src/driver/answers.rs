//! Requests to answers.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::{Driver, Id};
use crate::protocol::codes::{NOT_PERMITTED, NOT_RUNNING, VALIDATION};
use crate::protocol::{self, Call, Params, Refusal, Request};
use crate::supervisor::{Goal, RequestError, State};

/// Lines of a log that are shown unless somebody says how many.
const LINES: u64 = 100;

impl Driver {
    /// The answer to one line; none to a notification or an empty line.
    pub(super) fn answer(&mut self, connection: usize, line: &[u8], may_write: bool) -> Option<String> {
        if line.iter().all(u8::is_ascii_whitespace) {
            return None;
        }
        let Request { id, method, params } = match protocol::parse(line) {
            Ok(request) => request,
            Err(answer) => return Some(answer),
        };
        let result = if method.writes && !may_write {
            Err(Refusal::new(
                NOT_PERMITTED,
                "only root, or a member of the group that my_init was given for this, may do this",
            ))
        } else {
            self.call(method.call, &params, connection)
        };
        id.map(|id| protocol::answer(&id, result))
    }

    fn call(&mut self, call: Call, params: &Params, connection: usize) -> Result<Value, Refusal> {
        let name = params.text("name");
        match call {
            Call::Discover => Ok(protocol::document()),
            Call::Ping => Ok(json!({ "version": env!("CARGO_PKG_VERSION"), "pid": std::process::id() })),
            Call::Reload => Ok(self.reload(params.truth("dry_run"))),
            Call::Upgrade => {
                let program = params
                    .given("program")
                    .map_or_else(own_program, |path| Ok(PathBuf::from(path)));
                let upgraded = program.and_then(|program| self.upgrade(&program));
                upgraded
                    .map(|()| json!({ "ok": true }))
                    .map_err(|error| Refusal::new(VALIDATION, error))
            }
            Call::Poweroff => self.go_down(Goal::Poweroff),
            Call::Reboot => self.go_down(Goal::Reboot),
            Call::Halt => self.go_down(Goal::Halt),
            Call::Kexec => self.go_down(Goal::Kexec),
            Call::List => Ok(self.list()),
            Call::ListFull => Ok(self.list_full()),
            Call::Status => Ok(self.status(self.named(name)?)),
            Call::StatusFull => self.status_full(name),
            Call::Stats => self.stats(name),
            Call::Children => self.children(name),
            Call::ProcessTree => self.process_tree(name),
            Call::DebugState => Ok(self.debug_state()),
            Call::Tree => Ok(self.tree()),
            Call::Subscribe => self.subscribe_to_events(connection, params),
            Call::IsRunning => self.is_running(name),
            Call::Why => self.why(name),
            Call::Timers => Ok(self.supervisor.timetable(self.now())),
            Call::Define => self.define(params),
            Call::Undefine => self.undefine(name),
            Call::Definition => self.definition(name, self.control.may_write(connection)),
            Call::LogLines => self.tail(name, params).map(|mut tail| tail["lines"].take()),
            Call::Tail => self.tail(name, params),
            Call::Filter => self.filter_log(params),
            Call::Follow => self.follow(connection, params),
            Call::SetProxy => self.set_proxy(params.value("config")),
            Call::DropProxy => self.drop_proxy(name),
            Call::ListProxies => Ok(self.list_proxies()),
            Call::ProxyStatus => self.proxy_status(name),
            Call::ProxyStatusAll => Ok(self.proxy_status_all()),
            Call::Start => self.change(name, |driver, name| {
                driver.introduce(name);
                if params.truth("tree") {
                    driver.supervisor.start_required(name, driver.now());
                }
                driver.supervisor.start(name, driver.now())
            }),
            Call::Stop => self.end_by_hand(params, false),
            Call::Restart => self.end_by_hand(params, true),
            Call::Kill => self.send_signal(name, params.given("signal").unwrap_or("SIGTERM")),
            // It was refused before it came here.
            Call::Refused => Ok(Value::Null),
        }
    }

    fn go_down(&mut self, goal: Goal) -> Result<Value, Refusal> {
        self.shut_down(goal, "request");
        Ok(json!({ "ok": true }))
    }

    pub(super) fn named(&self, name: &str) -> Result<Id, Refusal> {
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
        Ok(json!({ "ok": true, "name": name, "state": state.map(|unit| unit.state().word()) }))
    }

    fn is_running(&self, name: &str) -> Result<Value, Refusal> {
        let id = self.named(name)?;
        let state = self.supervisor.unit(id).map(crate::supervisor::Unit::state);
        Ok(json!(matches!(state, Some(State::Running | State::Degraded))))
    }

    pub(super) fn send_signal(&mut self, name: &str, signal: &str) -> Result<Value, Refusal> {
        let signal: mos_service::Signal = signal
            .parse()
            .map_err(|error: mos_service::SignalError| Refusal::new(VALIDATION, error.to_string()))?;
        let id = self.named(name)?;
        if self
            .supervisor
            .unit(id)
            .and_then(crate::supervisor::Unit::pid)
            .is_none()
        {
            return Err(Refusal::new(NOT_RUNNING, format!("{name} has no process")));
        }
        self.signal(id, signal.0);
        self.change(name, |_, _| Ok(()))
    }

    pub(super) fn sorted(&self) -> Vec<Id> {
        let mut ids: Vec<(&str, Id)> = self
            .supervisor
            .units()
            .map(|(id, unit)| (unit.service().name.as_str(), id))
            .collect();
        ids.sort_unstable();
        ids.into_iter().map(|(_, id)| id).collect()
    }

    fn list(&self) -> Value {
        let units = self.sorted().into_iter().filter_map(|id| self.supervisor.unit(id));
        units.map(|unit| unit.service().name.as_str()).collect()
    }

    fn list_full(&self) -> Value {
        self.sorted().into_iter().map(|id| self.status(id)).collect()
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

    fn tail(&self, name: &str, params: &Params) -> Result<Value, Refusal> {
        let lines = params.number("lines").unwrap_or(LINES);
        let id = self.log_of(name).map_or_else(|| self.named(name), Ok)?;
        let log = self.slots.get(&id).map(|slot| &slot.log);
        let lines = log.map(|log| log.tail(usize::try_from(lines).unwrap_or(usize::MAX)));
        Ok(json!({ "lines": lines.unwrap_or_default(), "dropped": log.map_or(0, crate::logs::Log::dropped) }))
    }
}

/// The file that we were started from, or what has taken its place since.
pub(super) fn own_program() -> Result<PathBuf, String> {
    let path = std::env::current_exe().map_err(|error| error.to_string())?;
    let text = path.to_string_lossy();
    Ok(PathBuf::from(text.strip_suffix(" (deleted)").unwrap_or(&text)))
}

pub(super) fn refusal(error: &RequestError) -> Refusal {
    Refusal::new(error.code(), error.to_string())
}
