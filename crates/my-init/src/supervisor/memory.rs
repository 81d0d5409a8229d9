//! What a supervisor knows of a service as JSON, and knowing it again: for the successor of one that was killed.
//!
//! Times are on the clock of the kernel, which goes on. What can be found out anew (probes under way, counts of what is
//! unsettled, who waits for whom) is not kept.

use std::collections::BTreeMap;

use mos_service::{Kind, Service};
use serde_json::{Value, json};

use super::state::{AfterStop, Exit, LimitHit, Reason, State, Unit};
use super::timers::Timer;
use super::{Action, Goal, Id, Supervisor};
use crate::clock::Millis;

/// What [`Supervisor::remember_node`] says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeState {
    shutdown: Option<Goal>,
    down_at: Option<Millis>,
    started: Millis,
    boot: [Option<Millis>; 4],
    clock_ahead: Option<i64>,
}

impl Supervisor {
    /// Services of which something has changed since the last call, in the order in which they are to be noted.
    pub fn take_changed(&mut self) -> Vec<Id> {
        let touched = std::mem::take(&mut self.touched);
        for &id in &touched {
            if let Some(unit) = self.units.get_mut(id).and_then(Option::as_mut) {
                unit.touched = false;
            }
        }
        touched
    }

    /// Something has changed of a service that only the caller knows of.
    pub fn touch(&mut self, id: Id) {
        let _ = self.unit_mut(id);
    }

    /// What is known of a service; `None` when it is no more.
    pub fn remember(&self, id: Id) -> Option<Value> {
        let unit = self.unit(id)?;
        Some(unit.remember(self.timers.at(Timer::Restart(id))))
    }

    /// What is known of the node as a whole, to be compared.
    pub fn node_state(&self) -> NodeState {
        NodeState {
            shutdown: self.shutdown,
            down_at: self.timers.at(Timer::Shutdown),
            started: self.settings.started,
            boot: self.boot.milestones(),
            clock_ahead: self.clock_ahead,
        }
    }

    /// What is known of the node as a whole.
    pub fn remember_node(&self) -> Value {
        let node = self.node_state();
        json!({
            "shutdown": node.shutdown.map(Goal::word),
            "down_at": node.down_at,
            "started": node.started,
            "boot": node.boot,
            "clock_ahead": node.clock_ahead,
        })
    }

    /// Begins where another supervisor ended: `services` (with the identity of the files each would run) are the ones
    /// there are, `memories` what was known of each by name, `node` of all, `started` the service of which a process was made
    /// last, and that process. What has changed since is restarted, as by [`Supervisor::reload`]. Whoever else was being
    /// started is in [`Supervisor::unspawned`].
    pub fn resume(
        &mut self,
        services: Vec<(Service, u64)>,
        mut memories: BTreeMap<String, Value>,
        node: &Value,
        started: Option<(&str, u32)>,
        now: Millis,
    ) {
        let mut changed = Vec::new();
        for (service, stamp) in services {
            let memory = memories.remove(&service.name);
            let source = service.source;
            let id = self.add(service, stamp, now);
            if let Some((memory, unit)) = memory.zip(self.unit_mut(id)) {
                let same = unit.recall(&memory) == Some(source) && unit.stamp == stamp;
                changed.extend((!same).then_some(id));
            }
        }
        for (name, memory) in memories {
            // Its file is gone: it is to end, if it has not.
            let id = self.add(Service::forgotten(&name), 0, now);
            if let Some(unit) = self.unit_mut(id) {
                unit.recall(&memory);
                (unit.gone, unit.wanted) = (true, false);
            }
        }
        if let Some((name, pid)) = started {
            self.find_process(name, pid, now);
        }
        self.recall_node(node, now);
        self.link(now);
        let ids: Vec<Id> = self.units().map(|(id, _)| id).collect();
        for &id in &ids {
            self.go_on(id, now);
        }
        for id in changed {
            self.apply_change(id, now);
        }
        self.evaluate_all(now);
        if self.shutdown.is_some() {
            ids.iter().for_each(|id| self.stop_if_free(*id, now));
        }
        self.settle(now);
    }

    /// A service has a process that the last supervisor did not come to note. It is known before anything is decided: the
    /// service may be one that is to end, because its file is gone or another.
    fn find_process(&mut self, name: &str, pid: u32, now: Millis) {
        let found = self.find(name).and_then(|id| self.unit_mut(id));
        if let Some(unit) = found.filter(|unit| unit.is_unspawned()) {
            (unit.pid, unit.spawned) = (Some(pid), Some(now));
        }
    }

    fn recall_node(&mut self, node: &Value, now: Millis) {
        if let Some(started) = node["started"].as_u64() {
            self.settings.started = started;
        }
        self.boot.recall(&node["boot"]);
        self.clock_ahead = node["clock_ahead"].as_i64().or(self.clock_ahead);
        if self.boot.is_over() {
            self.timers.cancel(Timer::Boot);
        }
        if let Some(goal) = node["shutdown"].as_str().and_then(Goal::from_word) {
            let limit = now.saturating_add(self.settings.shutdown_deadline);
            self.shutdown = Some(goal);
            self.timers.cancel(Timer::Boot);
            self.timers
                .arm(Timer::Shutdown, node["down_at"].as_u64().unwrap_or(limit));
        }
    }

    /// Sets the deadlines of a service anew, and does again what may not have been done.
    pub(super) fn go_on(&mut self, id: Id, now: Millis) {
        let Some(unit) = self.unit(id) else { return };
        let lifecycle = &unit.service.lifecycle;
        match unit.state {
            State::Stopping if unit.service.kind == Kind::Group => {}
            State::Stopping => {
                let (limit, signal) = (lifecycle.stop_timeout_ms, lifecycle.stop_signal);
                self.timers.arm(Timer::Stop(id), unit.since.saturating_add(limit));
                self.actions.push_back(Action::Signal(id, signal));
            }
            _ if unit.gone => self.begin_stop(id, AfterStop::Rest, now),
            State::Starting if unit.pid.is_some() => {
                let begun = unit.spawned.unwrap_or(now);
                let (limit, tells) = (lifecycle.start_timeout_ms, unit.service.tells_readiness());
                // What it waits for is not known while its file cannot be read.
                let waits = unit.is_unread() || unit.service.waits_for_readiness();
                let notified = unit.notified;
                if limit > 0 {
                    self.timers.arm(Timer::Start(id), begun.saturating_add(limit));
                }
                match (tells, notified) {
                    (true, true) => self.follow_notification(id, now),
                    (true, false) => {}
                    (false, _) if !waits => self.become_ready(id, now),
                    (false, _) => self.schedule_first_probe(id, now),
                }
            }
            State::Running | State::Degraded if unit.service.health.is_some() => self.schedule_next_probe(id, now),
            State::Restarting => {
                let at = unit.restart_at.unwrap_or(now);
                self.timers.arm(Timer::Restart(id), at);
            }
            _ => {}
        }
    }

    /// Services that were to be started when the last supervisor ended, and have no process.
    pub fn unspawned(&self) -> Vec<Id> {
        let waiting = self.units().filter(|(_, unit)| unit.is_unspawned());
        waiting.map(|(id, _)| id).collect()
    }

    /// There was no process: starts it.
    pub fn spawn_again(&mut self, id: Id) {
        self.actions.push_back(Action::Spawn(id));
    }
}

impl Unit {
    fn is_unspawned(&self) -> bool {
        self.state == State::Starting && self.pid.is_none() && self.service.kind != Kind::Group
    }

    fn remember(&self, restart_at: Option<Millis>) -> Value {
        let reason = match &self.state {
            State::Failed(reason) => reason.remember(),
            State::Skipped(condition) => json!(condition),
            _ => Value::Null,
        };
        sparse([
            ("source", json!(self.service.source)),
            ("oneshot", json!(self.service.kind == Kind::Oneshot)),
            ("state", json!(self.state.word())),
            ("reason", json!(reason)),
            ("wanted", json!(self.wanted)),
            ("gone", json!(self.gone)),
            ("pulled", json!(self.pulled)),
            ("timing", json!(self.timing.as_ref().map(|timing| timing.remember()))),
            ("bound", json!(self.bound)),
            ("triggered", json!(self.triggered)),
            ("drags", json!(self.drags)),
            ("requested", json!(self.requested)),
            ("pid", json!(self.pid)),
            ("since", json!(self.since)),
            ("spawned", json!(self.spawned)),
            ("ready", json!(self.ready)),
            ("turns", count(self.turns)),
            ("seen", json!(self.seen)),
            ("attempts", count(self.attempts.into())),
            ("restarts", count(self.restarts)),
            ("restarts_by_hand", count(self.restarts_by_hand)),
            ("last_failure", json!(self.last_failure.as_ref().map(Reason::remember))),
            ("after_stop", json!(self.after_stop.remember())),
            ("notified", json!(self.notified)),
            ("status", json!(self.status)),
            ("probe_failures", count(self.probe_failures.into())),
            ("probe_error", json!(self.probe_error)),
            ("probe_successes", count(self.probe_successes.into())),
            ("probed_at", json!(self.probed_at)),
            ("unhealthy", json!(self.unhealthy)),
            ("stamp", json!(self.stamp)),
            ("restart_at", json!(restart_at)),
        ])
    }

    /// Takes everything over, and returns what the service file was. What cannot be read is as if it was never noted.
    fn recall(&mut self, memory: &Value) -> Option<u64> {
        let number = |key: &str| memory[key].as_u64();
        let small = |key: &str| number(key).and_then(|number| u32::try_from(number).ok());
        let truth = |key: &str| memory[key].as_bool().unwrap_or(false);
        let text = |key: &str| memory[key].as_str().unwrap_or_default().to_owned();
        self.state = State::recall(memory["state"].as_str()?, &memory["reason"])?;
        (self.wanted, self.gone, self.notified) = (truth("wanted"), truth("gone"), truth("notified"));
        (self.requested, self.drags) = (truth("requested"), truth("drags"));
        (self.bound, self.triggered) = (truth("bound"), truth("triggered"));
        self.timing = super::schedule::Timing::recall(&memory["timing"]).map(Box::new);
        self.pulled = truth("pulled");
        self.pid = small("pid");
        self.since = number("since").unwrap_or(0);
        (self.spawned, self.ready) = (number("spawned"), number("ready"));
        self.turns = number("turns").unwrap_or(0);
        let seen = memory["seen"].as_array().into_iter().flatten();
        self.seen = seen
            .filter_map(|pair| Some((pair[0].as_str()?.to_owned(), pair[1].as_u64()?)))
            .collect();
        self.attempts = small("attempts").unwrap_or(0);
        self.restarts = number("restarts").unwrap_or(0);
        self.restarts_by_hand = number("restarts_by_hand").unwrap_or(0);
        self.last_failure = Reason::recall(&memory["last_failure"]);
        self.after_stop = AfterStop::recall(&memory["after_stop"]);
        self.probe_failures = small("probe_failures").unwrap_or(0);
        self.probe_successes = small("probe_successes").unwrap_or(0);
        (self.probed_at, self.unhealthy) = (number("probed_at"), truth("unhealthy"));
        (self.status, self.probe_error) = (text("status"), text("probe_error"));
        self.stamp = number("stamp").unwrap_or(0);
        self.restart_at = number("restart_at");
        Some(number("source").unwrap_or(0))
    }
}

/// A count, if there is anything to count.
fn count(number: u64) -> Value {
    (number > 0).then_some(number).into()
}

/// An object without what says nothing: most services are unremarkable, and every change of each is noted.
fn sparse<const N: usize>(pairs: [(&str, Value); N]) -> Value {
    let says = |value: &Value| match value {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(all) => !all.is_empty(),
        _ => true,
    };
    let pairs = pairs.into_iter().filter(|(_, value)| says(value));
    Value::Object(pairs.map(|(key, value)| (key.to_owned(), value)).collect())
}

impl State {
    fn recall(word: &str, reason: &Value) -> Option<Self> {
        let plain = [
            Self::Inactive,
            Self::Blocked,
            Self::Starting,
            Self::Listening,
            Self::Running,
            Self::Degraded,
            Self::Stopping,
            Self::Restarting,
            Self::Exited,
        ];
        match word {
            "failed" => Reason::recall(reason).map(Self::Failed),
            "skipped" => reason.as_str().map(|condition| Self::Skipped(condition.to_owned())),
            word => plain.into_iter().find(|state| state.word() == word),
        }
    }
}

impl Reason {
    fn remember(&self) -> Value {
        match self {
            Self::ExitCode(code) => json!(["exit-code", code]),
            Self::Signal(number) => json!(["signal", number]),
            Self::EndedEarly => json!(["ended-early"]),
            Self::StartTimeout(limit) => json!(["start-timeout", limit]),
            Self::Health(error) => json!(["health", error]),
            Self::DependencyFailed(name) => json!(["dependency-failed", name]),
            Self::MissingDependency(name) => json!(["missing-dependency", name]),
            Self::Spawn(error) => json!(["spawn", error]),
            Self::Cycle(walk) => json!(["cycle", walk]),
            Self::Followed(what) => json!(["followed", what]),
            Self::Limit(LimitHit::Memory(count), exit) => json!(["memory", count, exit.number()]),
            Self::Limit(LimitHit::Tasks(count), exit) => json!(["tasks", count, exit.number()]),
        }
    }

    fn recall(memory: &Value) -> Option<Self> {
        let value = &memory[1];
        let text = || value.as_str().map(str::to_owned);
        let number = || value.as_i64().and_then(|number| i32::try_from(number).ok());
        match memory[0].as_str()? {
            "exit-code" => number().map(Self::ExitCode),
            "signal" => number().map(Self::Signal),
            "ended-early" => Some(Self::EndedEarly),
            "start-timeout" => value.as_u64().map(Self::StartTimeout),
            "health" => text().map(Self::Health),
            "dependency-failed" => text().map(Self::DependencyFailed),
            "missing-dependency" => text().map(Self::MissingDependency),
            "spawn" => text().map(Self::Spawn),
            "cycle" => text().map(Self::Cycle),
            "followed" => text().map(Self::Followed),
            word @ ("memory" | "tasks") => {
                let (count, exit) = (value.as_u64()?, Exit::from_number(memory[2].as_i64()?)?);
                let hit = if word == "memory" {
                    LimitHit::Memory
                } else {
                    LimitHit::Tasks
                };
                Some(Self::Limit(hit(count), exit))
            }
            _ => None,
        }
    }
}

impl Exit {
    /// The code, or the negative number of the signal.
    fn number(self) -> i32 {
        match self {
            Self::Code(code) => code,
            Self::Signal(number) => -number,
        }
    }

    fn from_number(number: i64) -> Option<Self> {
        let number = i32::try_from(number).ok()?;
        Some(match number {
            ..0 => Self::Signal(number.checked_neg()?),
            _ => Self::Code(number),
        })
    }
}

impl AfterStop {
    fn remember(&self) -> Value {
        match self {
            Self::Rest => Value::Null,
            Self::Again => json!("again"),
            Self::Fail(reason) => reason.remember(),
        }
    }

    fn recall(memory: &Value) -> Self {
        match memory.as_str() {
            Some("again") => Self::Again,
            _ => Reason::recall(memory).map_or(Self::Rest, Self::Fail),
        }
    }
}
