//! What is known of services, in words and as JSON.

use mos_service::{Class, Kind, Status};
use serde_json::{Value, json};

use super::state::{State, Unit};
use super::{Id, Supervisor};
use crate::clock::{Millis, seconds};

impl Supervisor {
    /// One line: name, state, and what it waits for or why it failed.
    pub fn describe(&self, id: Id) -> String {
        let Some(unit) = self.unit(id) else {
            return String::new();
        };
        let mut line = format!("{}: {}", unit.service.name, unit.state.word());
        if let Some(reason) = unit.cause(&unit.state) {
            line.push_str(&format!(": {reason}"));
        }
        if let State::Failed(reason) = &unit.state {
            line.push_str(&unit.given_up(reason));
        }
        let waits = self.waits_for(id);
        if !waits.is_empty() {
            line.push_str(&format!(", waits for {}", waits.join(", ")));
        }
        line
    }

    /// What has to happen before a service goes on; empty when nothing has to.
    pub fn waits_for(&self, id: Id) -> Vec<String> {
        let Some(unit) = self.unit(id) else { return Vec::new() };
        match unit.state {
            _ if unit.service.kind == Kind::Group => self.unmet(unit),
            State::Blocked => self.unmet(unit),
            _ if unit.leaving.is_some() => self.company_of(id),
            State::Listening => vec!["a connection".to_owned()],
            State::Starting => vec![readiness(unit)],
            State::Stopping => vec!["its end".to_owned()],
            _ => Vec::new(),
        }
    }

    fn unmet(&self, unit: &Unit) -> Vec<String> {
        let named = |other: &Unit| format!("{} ({})", other.service.name, other.state.word());
        let requires = unit.service.dependencies.requires.iter();
        let required = requires.filter_map(|one| self.unit(self.find(&one.name)?));
        let mut unmet: Vec<String> = required.filter(|other| !other.satisfies()).map(named).collect();
        for other in self.waits_after(unit).map(named) {
            if !unmet.contains(&other) {
                unmet.push(other);
            }
        }
        let group = unit.group.filter(|_| self.group_goes_down(unit));
        let group = group.and_then(|id| self.service(id));
        unmet.extend(group.map(|group| format!("the end of the others in {}", group.name)));
        let leaving = self.leaving.iter().filter_map(|id| self.service(*id));
        let leaving = leaving.filter(|other| {
            unit.service
                .dependencies
                .requires
                .iter()
                .any(|one| one.name == other.name)
        });
        unmet.extend(leaving.map(|other| format!("{}, which is about to stop", other.name)));
        let rivals = self.active_rivals(unit);
        unmet.extend(rivals.map(|rival| format!("the end of {}, with which it conflicts", rival.service.name)));
        unmet
    }

    /// The whole story of one service, for people.
    pub fn why(&self, id: Id, now: Millis) -> Vec<String> {
        let Some(unit) = self.unit(id) else { return Vec::new() };
        let mut lines = vec![self.describe(id)];
        lines.push(format!("in this state for {}", seconds(now.saturating_sub(unit.since))));
        if !unit.wanted {
            lines.push(format!("not meant to run: {}", self.rests_because(unit, now)));
        }
        if !unit.status.is_empty() {
            lines.push(format!("it says: {}", unit.status));
        }
        let (ago, by) = unit.verified(now);
        lines.push(format!("last verified {} ago by {by}", seconds(ago)));
        if !unit.probe_error.is_empty() {
            lines.push(format!(
                "last failed probe: {} ({} in a row failed)",
                unit.probe_error, unit.probe_failures
            ));
        }
        if let Some(wait) = self.next_attempt_in(id, now) {
            let left = unit.attempts_left(now).map(|left| format!(", {left} more after that"));
            lines.push(format!("next try in {}{}", seconds(wait), left.unwrap_or_default()));
        }
        if let Some(reason) = &unit.last_failure {
            lines.push(format!("last failure: {reason}"));
        }
        lines.push(format!("defined by {}", unit.service.file));
        lines
    }

    /// Why a service is not meant to run.
    fn rests_because(&self, unit: &Unit, now: Millis) -> String {
        let next = self.timing_status(unit, now);
        let next = next.as_ref().and_then(|timing| timing["next_in_ms"].as_u64());
        match (self.shutdown, &unit.put_down, next) {
            (Some(goal), _, _) => format!("{} is under way", goal.word()),
            _ if unit.gone => "it was removed, or its file is gone".to_owned(),
            (_, Some(why), _) => why.to_string(),
            (_, None, Some(next)) => format!("it is started at its times, next in {}", seconds(next)),
            _ => "nobody has started it, and it is not started without being asked (`status` in its file or its \
                  group, my_init.target, my_init.rescue)"
                .to_owned(),
        }
    }

    /// What a service waits for before it starts.
    pub fn needs(&self, id: Id) -> &[Id] {
        self.unit(id).map_or(&[], |unit| unit.needs.as_slice())
    }

    /// True when somebody waits for a service.
    pub fn is_needed(&self, id: Id) -> bool {
        self.unit(id).is_some_and(|unit| !unit.dependents.is_empty())
    }

    /// A service's relations to others, each with where the other stands and whether that is as it should be.
    pub fn relations(&self, id: Id) -> Value {
        let Some(unit) = self.unit(id) else { return Value::Null };
        let dependencies = &unit.service.dependencies;
        let lists = [
            ("requires", &dependencies.requires),
            ("after", &dependencies.after),
            ("wants", &dependencies.wants),
            ("conflicts", &dependencies.conflicts),
        ];
        let each = lists
            .iter()
            .flat_map(|(kind, list)| list.iter().map(move |one| (*kind, &one.name)));
        let relation = |(kind, name): (&str, &String)| {
            let other = self.find(name).and_then(|id| self.unit(id));
            let satisfied = match kind {
                "requires" => other.is_some_and(Unit::satisfies),
                "after" => other.is_none_or(|other| !other.is_awaited()),
                "conflicts" => other.is_none_or(|other| !other.state.is_active()),
                _ => true,
            };
            let state = other.map_or("missing", |other| other.state.word());
            json!({ "name": name, "dep_type": kind, "state": state, "satisfied": satisfied })
        };
        each.map(relation).collect()
    }

    /// Everything about one service, for programs. Times are milliseconds since the kernel started; what is not known
    /// is absent.
    pub fn status(&self, id: Id, now: Millis) -> Value {
        let Some(unit) = self.unit(id) else { return Value::Null };
        let service = &unit.service;
        let (verified_ago, verified_by) = unit.verified(now);
        known(json!({
            "name": service.name,
            "kind": kind(service.kind),
            "state": unit.state.word(),
            "reason": unit.cause(&unit.state),
            "pid": unit.pid,
            "waits_for": self.waits_for(id),
            "status": unit.status,
            "health": health(unit),
            "probe_failures": unit.probe_failures,
            "probe_error": unit.probe_error,
            "verified_ms_ago": verified_ago,
            "verified_by": verified_by,
            "enabled": service.status == Status::Start,
            "wanted": unit.wanted,
            "critical": service.critical,
            "class": match service.class { Class::User => "user", Class::System => "system" },
            "restarts": unit.restarts,
            "restarts_by_hand": unit.restarts_by_hand,
            "attempts": unit.counted_attempts(now),
            "attempts_left": unit.attempts_left(now),
            "next_attempt_in_ms": self.next_attempt_in(id, now),
            "last_failure": unit.last_failure.as_ref().map(ToString::to_string),
            "since_ms": unit.since,
            "spawned_ms": unit.spawned,
            "ready_ms": unit.ready,
            "timer": self.timing_status(unit, now),
            "file": service.file,
        }))
    }
}

/// Without what is not known: clients of zinit take no `null` for a number.
fn known(mut status: Value) -> Value {
    if let Some(fields) = status.as_object_mut() {
        fields.retain(|_, value| !value.is_null());
    }
    status
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Process => "service",
        Kind::Oneshot => "oneshot",
        Kind::Target => "target",
        Kind::Group => "group",
    }
}

fn readiness(unit: &Unit) -> String {
    let service = &unit.service;
    match &service.health {
        _ if unit.pid.is_none() => "its process".to_owned(),
        _ if service.kind == Kind::Oneshot => "its end".to_owned(),
        _ if service.tells_readiness() && !unit.notified => service.readiness_sign(),
        Some(health) => health.probe.to_string(),
        // There is always something that is waited for; here it is in a file that is not whole.
        None => "what its file says, which cannot be read now".to_owned(),
    }
}

/// `none` means that being alive is all that is checked.
fn health(unit: &Unit) -> &'static str {
    match (&unit.service.health, &unit.state) {
        (None, _) => "none",
        (Some(_), State::Running | State::Degraded) if unit.unhealthy => "unhealthy",
        (Some(_), State::Running) if unit.probe_failures > 0 => "failing",
        (Some(_), State::Running) => "healthy",
        (Some(_), _) => "unknown",
    }
}
