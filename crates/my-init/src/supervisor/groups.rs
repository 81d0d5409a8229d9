//! Groups: several services handled as one. A group has no process; its state is what its members' states come to.
//!
//! A group that goes down, to stay there or to come again, is `stopping` until all members have ended; what comes after
//! is in its `after_stop`, as for a process. Until then no member starts. A member that has ended without being asked
//! says so itself (`drags`), so that whoever succeeds a supervisor that was killed in between finds it.

use mos_service::{Kind, OnFailure};

use super::requests::BY_HAND;
use super::state::{AfterStop, Reason, State, Unit};
use super::{Id, RequestError, Supervisor};
use crate::clock::Millis;

impl Supervisor {
    /// Tells every member which group it is in.
    pub(super) fn link_groups(&mut self, ids: &[Id]) {
        for &id in ids {
            if let Some(unit) = self.units.get_mut(id).and_then(Option::as_mut) {
                unit.group = None;
            }
        }
        for &id in ids {
            for member in self.members(id) {
                if let Some(unit) = self.units.get_mut(member).and_then(Option::as_mut)
                    && unit.service.kind != Kind::Group
                {
                    unit.group.get_or_insert(id);
                }
            }
        }
    }

    /// The members of a group that there are; nobody for what is no group.
    pub(super) fn members(&self, id: Id) -> Vec<Id> {
        let group = self.unit(id).filter(|unit| unit.service.kind == Kind::Group);
        group.map_or_else(Vec::new, |unit| unit.needs.clone())
    }

    /// What `on_failure` of a service's group says, if it is in one.
    pub(super) fn fate(&self, unit: &Unit) -> Option<OnFailure> {
        Some(self.service(unit.group?)?.on_failure)
    }

    /// True while no member may start, because some are still to end.
    pub(super) fn group_goes_down(&self, unit: &Unit) -> bool {
        let group = unit.group.and_then(|id| self.unit(id));
        group.is_some_and(|group| group.state == State::Stopping)
    }

    /// A service has ended without being asked: that is its group's concern. `again` says that it is restarted.
    pub(super) fn note_for_group(&mut self, id: Id, again: bool) {
        let down = self.shutdown.is_some();
        let Some(unit) = self.unit(id) else { return };
        let concerns = match self.fate(unit) {
            Some(OnFailure::Restart) => true,
            Some(OnFailure::Stop) => !again,
            Some(OnFailure::Keep) | None => false,
        };
        let done = unit.service.kind == Kind::Oneshot && unit.state == State::Exited;
        if let Some(unit) = self.unit_mut(id).filter(|_| concerns && !done && !down) {
            unit.drags = true;
        }
    }

    /// Something has changed in a service: its group, or the group that it is itself, may have to do something.
    pub(super) fn look_at_group(&mut self, id: Id, now: Millis) {
        let Some(unit) = self.unit(id).filter(|_| self.shutdown.is_none()) else {
            return;
        };
        let group = match unit.service.kind {
            Kind::Group => Some(id),
            _ => unit.group,
        };
        if let Some(group) = group {
            self.follow_members(group, now);
        }
    }

    fn follow_members(&mut self, group: Id, now: Millis) {
        let members = self.members(group);
        self.heed_failures(group, &members, now);
        if self.unit(group).is_some_and(|unit| unit.state == State::Stopping) && !self.take_down(group, &members, now) {
            return;
        }
        let Some(unit) = self.unit(group) else { return };
        let state = self.derived(unit, &members);
        if unit.state == state {
            return;
        }
        if let Some(unit) = self.unit_mut(group) {
            if let State::Failed(reason) = &state {
                unit.last_failure = Some(reason.clone());
            }
            unit.ready = matches!(state, State::Running).then_some(now).or(unit.ready);
        }
        self.set_state(group, state, now);
    }

    /// Begins to take the group down when a member has ended.
    fn heed_failures(&mut self, group: Id, members: &[Id], now: Millis) {
        let culprit = |id: &&Id| self.unit(**id).is_some_and(|unit| unit.drags);
        let Some(culprit) = members.iter().find(culprit).and_then(|id| self.unit(*id)) else {
            return;
        };
        let Some(unit) = self.unit(group).filter(|unit| unit.state != State::Stopping) else {
            return;
        };
        let again = !matches!(culprit.state, State::Failed(_) | State::Exited);
        let what = if again { "restarts" } else { "stops" };
        let line = format!(
            "{}: {what}, because {} has ended",
            unit.service.name, culprit.service.name
        );
        self.print(line);
        self.send_down(group, again, now);
    }

    /// From here on the group goes down. Unless it comes again, its members are not meant to run any more.
    fn send_down(&mut self, group: Id, again: bool, now: Millis) {
        let after = if again { AfterStop::Again } else { AfterStop::Rest };
        let Some(unit) = self.unit_mut(group) else { return };
        unit.after_stop = after;
        let why = format!("its group {} was stopped", unit.service.name);
        for member in self.members(group) {
            if let Some(unit) = self.unit_mut(member).filter(|_| !again) {
                unit.put_down(why.as_str());
            }
        }
        self.set_state(group, State::Stopping, now);
    }

    /// Has those members end that no other member needs any more. True when all have.
    fn take_down(&mut self, group: Id, members: &[Id], now: Millis) -> bool {
        let again = self.unit(group).is_some_and(|unit| unit.after_stop == AfterStop::Again);
        let mut down = true;
        for &member in members {
            let Some(unit) = self.unit(member) else { continue };
            // What waits for its next try has no process, and keeps its time.
            let idles = matches!(unit.state, State::Restarting | State::Listening);
            let up = unit.pid.is_some() || unit.state.is_active() || (idles && !again);
            let free = !unit
                .dependents
                .iter()
                .any(|other| members.contains(other) && self.is_up(*other));
            down &= !up;
            if up && free && unit.state != State::Stopping {
                let after = if again { AfterStop::Again } else { AfterStop::Rest };
                self.begin_stop(member, after, now);
                down &= !self.is_up(member);
            }
        }
        if down {
            self.come_again(group, members, again, now);
        }
        down
    }

    fn is_up(&self, id: Id) -> bool {
        self.unit(id)
            .is_some_and(|unit| unit.pid.is_some() || unit.state.is_active())
    }

    /// All members are down. Those that are meant to run start when what they need is there; a oneshot is done again.
    fn come_again(&mut self, group: Id, members: &[Id], again: bool, now: Millis) {
        if let Some(unit) = self.unit_mut(group) {
            unit.after_stop = AfterStop::Rest;
            unit.restarts += u64::from(again);
            unit.state = State::Inactive;
        }
        for &member in members {
            let Some(unit) = self.unit_mut(member) else { continue };
            unit.drags = false;
            let waits = matches!(unit.state, State::Restarting | State::Failed(Reason::Cycle(_)));
            let anew = again && unit.wanted && !waits;
            if anew || (!again && unit.state == State::Blocked) {
                self.set_state(member, State::Inactive, now);
            }
        }
        for &member in members {
            self.evaluate(member, now);
        }
    }

    /// What the states of the members come to: the first of these that one of them is in.
    fn derived(&self, group: &Unit, members: &[Id]) -> State {
        let missing = group.service.dependencies.requires.iter();
        if let Some(missing) = missing.map(|one| &one.name).find(|name| self.find(name).is_none()) {
            return State::Failed(Reason::MissingDependency(missing.clone()));
        }
        let members: Vec<&Unit> = members.iter().filter_map(|id| self.unit(*id)).collect();
        let any = |state: State| members.iter().any(|unit| unit.state == state);
        if let Some(failed) = members.iter().find(|unit| matches!(unit.state, State::Failed(_))) {
            return State::Failed(Reason::DependencyFailed(failed.service.name.clone()));
        }
        let passing = [State::Restarting, State::Starting, State::Blocked];
        if let Some(state) = passing.into_iter().find(|state| any(state.clone())) {
            return state;
        }
        let lives = any(State::Running) || any(State::Degraded) || any(State::Listening);
        let rests = |unit: &&Unit| match unit.state {
            State::Inactive | State::Stopping => true,
            State::Exited => unit.service.kind != Kind::Oneshot,
            _ => false,
        };
        match (lives, members.iter().any(rests)) {
            (true, missing) if missing || any(State::Degraded) => State::Degraded,
            (true, _) => State::Running,
            // The last ones end; nobody else is asked to.
            (false, _) if any(State::Stopping) => State::Stopping,
            (false, _) if members.iter().any(|unit| unit.state.satisfies()) => State::Exited,
            (false, _) => State::Inactive,
        }
    }

    /// The group, when a request names one.
    pub(super) fn is_group(&self, id: Id) -> bool {
        self.service(id).is_some_and(|service| service.kind == Kind::Group)
    }

    /// The group that is restarted when this member is.
    pub(super) fn group_restarted_with(&self, id: Id) -> Option<Id> {
        let unit = self.unit(id)?;
        unit.group.filter(|_| self.fate(unit) == Some(OnFailure::Restart))
    }

    /// Starts those members that do not run.
    pub(super) fn start_group(&mut self, group: Id, now: Millis) -> Result<(), RequestError> {
        let members = self.members(group);
        let runs = |id: &Id| {
            self.unit(*id)
                .is_some_and(|unit| matches!(unit.state, State::Starting | State::Running | State::Degraded))
        };
        let Some(unit) = self.unit(group) else { return Ok(()) };
        let stopping = unit.state == State::Stopping;
        if !stopping && !members.is_empty() && members.iter().all(runs) {
            return Err(RequestError::AlreadyRunning(unit.service.name.clone()));
        }
        let idle: Vec<Id> = members.into_iter().filter(|id| stopping || !runs(id)).collect();
        self.want(group, &idle);
        if stopping {
            if let Some(unit) = self.unit_mut(group) {
                unit.after_stop = AfterStop::Again;
            }
        } else {
            for id in idle {
                self.begin_stop(id, AfterStop::Again, now);
            }
        }
        self.settle(now);
        Ok(())
    }

    fn want(&mut self, group: Id, members: &[Id]) {
        for &id in members.iter().chain([&group]) {
            if let Some(unit) = self.unit_mut(id) {
                (unit.wanted, unit.drags, unit.attempts) = (true, false, 0);
            }
        }
    }

    /// True for a group of which no member is active.
    pub(super) fn is_idle_group(&self, id: Id) -> bool {
        let at_rest = |id: &Id| self.unit(*id).is_none_or(|unit| unit.state.is_at_rest());
        self.is_group(id) && self.members(id).iter().all(at_rest)
    }

    /// Stops all members and keeps them down.
    pub(super) fn stop_group(&mut self, group: Id, now: Millis) {
        if let Some(unit) = self.unit_mut(group) {
            unit.put_down(BY_HAND);
        }
        self.send_down(group, false, now);
        self.settle(now);
    }

    /// Stops all members, then starts them.
    pub(super) fn restart_group(&mut self, group: Id, now: Millis) {
        let members = self.members(group);
        self.want(group, &members);
        // Nobody waits for a next try: it comes now.
        for member in members {
            if self.unit(member).is_some_and(|unit| unit.state == State::Restarting) {
                self.begin_stop(member, AfterStop::Rest, now);
            }
        }
        self.send_down(group, true, now);
        self.settle(now);
    }
}
