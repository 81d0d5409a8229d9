//! New service files, applied as a difference.

use std::collections::HashSet;

use mos_service::{Graph, Service, Status};

use super::events::What;
use super::state::{AfterStop, Reason, State, Unit};
use super::{Id, Supervisor};
use crate::clock::Millis;

/// What a reload did, by name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Difference {
    /// Were not there before.
    pub added: Vec<String>,
    /// Are described otherwise than before, or run other files.
    pub changed: Vec<String>,
    /// Are no more.
    pub removed: Vec<String>,
    /// Of those that changed: whose processes are replaced.
    pub restarted: Vec<String>,
    /// What is different about each that changed.
    pub why: Vec<(String, String)>,
}

impl Supervisor {
    /// Makes `services` (with the identity of the files each would run) the ones there are. What has not changed is left
    /// alone; what has is restarted if it runs; what is gone is stopped. Names are unique.
    pub fn reload(&mut self, services: Vec<(Service, u64)>, now: Millis) -> Difference {
        let difference = self.compare(&services);
        for name in &difference.removed {
            if let Some(id) = self.find(name) {
                self.let_go(id, now);
            }
        }
        self.take_in(services, now);
        difference
    }

    /// What [`Supervisor::reload`] would do.
    pub fn compare(&self, services: &[(Service, u64)]) -> Difference {
        let kept: HashSet<&str> = services.iter().map(|(service, _)| service.name.as_str()).collect();
        let present = self.units().map(|(_, unit)| unit).filter(|unit| !unit.gone);
        let names = present.map(|unit| unit.service.name.as_str());
        let mut difference = Difference {
            removed: names.filter(|name| !kept.contains(name)).map(str::to_owned).collect(),
            ..Difference::default()
        };
        difference.removed.sort();
        for (service, stamp) in services {
            self.compare_one(service, *stamp, &mut difference);
        }
        difference
    }

    fn compare_one(&self, service: &Service, stamp: u64, difference: &mut Difference) {
        let name = || service.name.clone();
        let unit = self.find(&service.name).and_then(|id| self.unit(id));
        let Some(unit) = unit.filter(|unit| !unit.gone) else {
            return difference.added.push(name());
        };
        let mut why = match unit.service.source == service.source {
            true => Vec::new(),
            false => unit.service.differences(service),
        };
        if unit.stamp != stamp {
            why.push("files that it runs");
        }
        if why.is_empty() {
            return;
        }
        difference.changed.push(name());
        difference.why.push((name(), why.join(", ")));
        let alike = unit.service.source == service.source || unit.service.runs_alike(service);
        let anew = unit.stamp != stamp || !alike;
        let wanted = match (unit.service.status == service.status, service.status) {
            (false, Status::Start) => true,
            (false, Status::Stop) => false,
            _ => unit.wanted,
        };
        if unit.pid.is_some() && anew && wanted {
            difference.restarted.push(name());
        }
    }

    /// Adds these services, or replaces those of the same names; all others stay as they are.
    pub fn define(&mut self, services: Vec<(Service, u64)>, now: Millis) {
        self.take_in(services, now);
    }

    /// Lets go of a service: it is asked to end, and keeps its name until it has.
    pub fn remove(&mut self, id: Id, now: Millis) {
        self.let_go(id, now);
        self.settle(now);
    }

    /// A removed service keeps its name until it has ended: one that takes its place must not run beside it.
    fn let_go(&mut self, id: Id, now: Millis) {
        if let Some(unit) = self.unit_mut(id) {
            (unit.gone, unit.wanted) = (true, false);
        }
        self.begin_stop(id, AfterStop::Rest, now);
    }

    fn take_in(&mut self, services: Vec<(Service, u64)>, now: Millis) {
        let (mut changed, mut found) = (Vec::new(), Vec::new());
        for (service, stamp) in services {
            match self.find(&service.name) {
                None => {
                    self.add(service, stamp, now);
                }
                Some(id) => {
                    found.extend(self.unit(id).is_some_and(Unit::is_unread).then_some(id));
                    changed.extend(self.replace(id, service, stamp).then_some(id));
                }
            }
        }
        self.link(now);
        found.retain(|id| !changed.contains(id));
        for id in found {
            self.read_again(id, now);
        }
        for id in changed {
            self.apply_change(id, now);
        }
        self.evaluate_all(now);
        self.settle(now);
    }

    pub(super) fn add(&mut self, service: Service, stamp: u64, now: Millis) -> Id {
        let name = service.name.clone();
        self.tell(now, || What::Added { name: name.clone() });
        let unit = Some(Unit::new(service, stamp, now));
        let id = match self.free.pop() {
            Some(free) => {
                self.units[free] = unit;
                free
            }
            None => {
                self.units.push(unit);
                self.units.len() - 1
            }
        };
        self.names.insert(name, id);
        self.unit_mut(id);
        id
    }

    /// Takes over a new description. Returns whether something has to be done about it: a process that would be started
    /// alike goes on.
    fn replace(&mut self, id: Id, service: Service, stamp: u64) -> bool {
        let Some(unit) = self.unit_mut(id) else { return false };
        let revived = std::mem::take(&mut unit.gone);
        // The same text says the same, also where the old one could not be read any more when a supervisor took over.
        let same = unit.service.source == service.source || unit.service.same(&service);
        let alike = same || unit.pid.is_some() && unit.service.runs_alike(&service);
        let meant = unit.wanted;
        if revived || unit.service.status != service.status {
            unit.wanted = match service.status {
                Status::Start => service.schedule.is_none(),
                Status::Stop => false,
                Status::Ignore => unit.wanted,
            };
            unit.put_down = unit.put_down.take().filter(|_| service.status == Status::Ignore);
        }
        let stays = !revived && alike && unit.stamp == stamp && unit.wanted == meant;
        unit.service = service;
        unit.stamp = stamp;
        !stays
    }

    /// The file of a service could not be read when a supervisor took over, and can be now: it is looked after again.
    fn read_again(&mut self, id: Id, now: Millis) {
        let Some(unit) = self.unit(id).filter(|unit| !unit.is_unread()) else {
            return;
        };
        match unit.state {
            State::Restarting | State::Failed(Reason::Spawn(_)) => self.apply_change(id, now),
            _ => self.go_on(id, now),
        }
    }

    pub(super) fn apply_change(&mut self, id: Id, now: Millis) {
        let group = self.group_restarted_with(id);
        let up = |id: Id| self.unit(id).is_some_and(|unit| unit.wanted);
        if let Some(group) = group.filter(|group| up(*group) && up(id)) {
            return self.restart_group(group, now);
        }
        self.schedule_anew(id, now);
        let Some(unit) = self.unit_mut(id) else { return };
        if unit.timing.is_some() && (unit.pid.is_some() || unit.state.is_at_rest()) {
            // What is under way is finished as it was begun, and what is not waits for its time.
            return;
        }
        unit.attempts = 0;
        let after = if unit.wanted { AfterStop::Again } else { AfterStop::Rest };
        self.begin_stop(id, after, now);
    }

    /// Draws the edges between services anew and sets aside those that wait for themselves.
    pub(super) fn link(&mut self, now: Millis) {
        let ids: Vec<Id> = self.units().filter(|(_, unit)| !unit.gone).map(|(id, _)| id).collect();
        let graph = Graph::new(ids.iter().filter_map(|id| self.service(*id)));
        for (index, &id) in ids.iter().enumerate() {
            let numbers = |list: &[usize]| list.iter().filter_map(|index| ids.get(*index).copied()).collect();
            let (needs, dependents) = (numbers(graph.needs(index)), numbers(graph.dependents(index)));
            if let Some(unit) = self.unit_mut(id) {
                (unit.needs, unit.dependents) = (needs, dependents);
                unit.rivals.clear();
                if matches!(unit.state, State::Failed(Reason::Cycle(_))) {
                    unit.state = State::Inactive;
                }
            }
        }
        for &id in &ids {
            self.link_rivals(id);
        }
        self.link_groups(&ids);
        self.link_proxies(&ids);
        for cycle in graph.cycles() {
            self.set_aside(&cycle.iter().map(|index| ids[*index]).collect::<Vec<Id>>(), now);
        }
    }

    fn link_rivals(&mut self, id: Id) {
        let Some(service) = self.service(id) else { return };
        let conflicts = service.dependencies.conflicts.iter();
        let rivals: Vec<Id> = conflicts
            .filter_map(|other| self.find(&other.name))
            .filter(|other| *other != id)
            .collect();
        for rival in rivals {
            for (one, other) in [(id, rival), (rival, id)] {
                if let Some(unit) = self.unit_mut(one)
                    && !unit.rivals.contains(&other)
                {
                    unit.rivals.push(other);
                }
            }
        }
    }

    /// Members of a cycle cannot start; everybody else goes on. One that runs already keeps running.
    fn set_aside(&mut self, cycle: &[Id], now: Millis) {
        let names = cycle.iter().chain(cycle.first()).filter_map(|id| self.service(*id));
        let walk = names
            .map(|service| service.name.as_str())
            .collect::<Vec<_>>()
            .join(" -> ");
        self.print(format!("services wait for each other and are left out: {walk}"));
        for &id in cycle {
            let Some(unit) = self.unit_mut(id) else { continue };
            if unit.pid.is_none() {
                unit.last_failure = Some(Reason::Cycle(walk.clone()));
                self.set_state(id, State::Failed(Reason::Cycle(walk.clone())), now);
            }
        }
    }

    pub(super) fn evaluate_all(&mut self, now: Millis) {
        for id in 0..self.units.len() {
            self.changed.push_back(id);
            self.arm_schedule(id, now);
            self.evaluate(id, now);
        }
    }
}
