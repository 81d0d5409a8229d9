//! What people ask for. Every request is answered at once; what it sets going is seen in the service's state.

use std::fmt;

use mos_service::Kind;

use super::leave::Leaving;
use super::state::{AfterStop, Reason, State};
use super::{Id, Supervisor};
use crate::clock::Millis;
use crate::protocol::codes;

/// Why a service is down that somebody has stopped.
pub(super) const BY_HAND: &str = "it was stopped by hand";

/// Why a request was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequestError {
    /// No service has this name.
    NotFound(String),
    /// It is already active.
    AlreadyRunning(String),
    /// It is not active.
    NotRunning(String),
    /// It waits for itself.
    Cycle(String),
    /// It requires what no service file defines.
    MissingDependency(String),
    /// Everything is being taken down.
    ShuttingDown,
}

impl RequestError {
    /// The code in the control protocol.
    pub fn code(&self) -> i64 {
        match self {
            Self::NotFound(_) => codes::NOT_FOUND,
            Self::AlreadyRunning(_) => codes::ALREADY_RUNNING,
            Self::NotRunning(_) | Self::ShuttingDown => codes::NOT_RUNNING,
            Self::Cycle(_) => codes::CYCLE,
            Self::MissingDependency(_) => codes::MISSING_DEPENDENCY,
        }
    }
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound(name) => write!(f, "no service is named `{name}`"),
            Self::AlreadyRunning(name) => write!(f, "{name} is already active"),
            Self::NotRunning(name) => write!(f, "{name} is not active"),
            Self::Cycle(text) | Self::MissingDependency(text) => f.write_str(text),
            Self::ShuttingDown => f.write_str("the node is shutting down"),
        }
    }
}

impl std::error::Error for RequestError {}

impl Supervisor {
    /// Starts a service, also one that is not started by itself.
    ///
    /// # Errors
    /// When there is none, it is active, or cannot start.
    pub fn start(&mut self, name: &str, now: Millis) -> Result<(), RequestError> {
        let id = self.named(name)?;
        if self.is_group(id) {
            return self.start_group(id, now);
        }
        let unit = self.unit(id);
        if unit.is_some_and(|unit| matches!(unit.state, State::Starting | State::Running | State::Degraded)) {
            return self.stay_after_all(id, name);
        }
        self.begin_anew(id, false, now)
    }

    /// Starts whatever a service requires, and what that requires, as far as it is not active. What cannot be started is
    /// seen in the state of whoever waits for it.
    pub fn start_required(&mut self, name: &str, now: Millis) {
        let mut names = vec![name.to_owned()];
        let mut next = 0;
        while let Some(service) = names.get(next).and_then(|name| self.service(self.find(name)?)) {
            let required = service.dependencies.requires.iter().map(|one| one.name.clone());
            let required: Vec<String> = required
                .filter(|name| !names.contains(name) && self.find(name).is_some())
                .collect();
            names.extend(required);
            next += 1;
        }
        for name in names.iter().skip(1).rev() {
            let id = self.find(name);
            let satisfied = id
                .and_then(|id| self.unit(id))
                .is_some_and(|unit| unit.state.satisfies());
            if !satisfied {
                let _ = self.start(name, now);
            }
        }
    }

    /// Stops a service and keeps it down.
    ///
    /// # Errors
    /// When there is none, or it is not active.
    pub fn stop(&mut self, name: &str, now: Millis) -> Result<(), RequestError> {
        self.stop_with(name, false, now)
    }

    /// The same, before it those that require it and whose files say that they stop with it; with `tree` all that
    /// require it, directly or not.
    ///
    /// # Errors
    /// When there is none, or it is not active.
    pub fn stop_with(&mut self, name: &str, tree: bool, now: Millis) -> Result<(), RequestError> {
        let id = self.named(name)?;
        let Some(unit) = self.unit_mut(id) else {
            return Err(RequestError::NotFound(name.to_owned()));
        };
        let at_rest = unit.state.is_at_rest() && unit.service.kind != Kind::Group;
        unit.put_down(BY_HAND);
        if at_rest || self.is_idle_group(id) {
            return Err(RequestError::NotRunning(name.to_owned()));
        }
        self.leave(id, Leaving { again: false, tree }, now);
        self.settle(now);
        Ok(())
    }

    /// Starts a service anew, whatever its state.
    ///
    /// # Errors
    /// When there is none, or it cannot start.
    pub fn restart(&mut self, name: &str, now: Millis) -> Result<(), RequestError> {
        self.restart_with(name, false, now)
    }

    /// The same, before it those end that require it and whose files say that they restart with it; with `tree` all that
    /// require it, directly or not. They start again when it is there.
    ///
    /// # Errors
    /// When there is none, or it cannot start.
    pub fn restart_with(&mut self, name: &str, tree: bool, now: Millis) -> Result<(), RequestError> {
        let id = self.named(name)?;
        let group = if self.is_group(id) {
            Some(id)
        } else {
            self.group_restarted_with(id)
        };
        if let Some(group) = group {
            self.leave(group, Leaving { again: true, tree }, now);
            self.settle(now);
            return Ok(());
        }
        self.begin_anew(id, tree, now)
    }

    /// It runs: there is something to do only when it was about to go.
    fn stay_after_all(&mut self, id: Id, name: &str) -> Result<(), RequestError> {
        match self.unit_mut(id) {
            Some(unit) if unit.leaving.is_some() => unit.wanted = true,
            _ => return Err(RequestError::AlreadyRunning(name.to_owned())),
        }
        self.stay(id);
        Ok(())
    }

    pub(super) fn named(&self, name: &str) -> Result<Id, RequestError> {
        if self.shutdown.is_some() {
            return Err(RequestError::ShuttingDown);
        }
        let found = self
            .find(name)
            .filter(|id| self.unit(*id).is_some_and(|unit| !unit.gone));
        found.ok_or_else(|| RequestError::NotFound(name.to_owned()))
    }

    fn begin_anew(&mut self, id: Id, tree: bool, now: Millis) -> Result<(), RequestError> {
        let Some(unit) = self.unit_mut(id) else { return Ok(()) };
        if let State::Failed(reason @ Reason::Cycle(_)) = &unit.state {
            return Err(RequestError::Cycle(reason.to_string()));
        }
        (unit.wanted, unit.triggered) = (true, true);
        unit.attempts = 0;
        let asked_before = unit.state == State::Stopping && unit.after_stop == AfterStop::Again
            || unit.leaving.is_some_and(|leaving| leaving.again);
        unit.restarts_by_hand += u64::from(unit.spawned.is_some() && !asked_before);
        // Nobody has to go before one that is not there.
        match unit.pid.is_some() || tree {
            true => self.leave(id, Leaving { again: true, tree }, now),
            false => self.begin_stop(id, AfterStop::Again, now),
        }
        self.settle(now);
        match self.unit(id).map(|unit| &unit.state) {
            Some(State::Failed(reason @ Reason::MissingDependency(_))) => {
                Err(RequestError::MissingDependency(reason.to_string()))
            }
            _ => Ok(()),
        }
    }
}
