//! Stops and restarts by hand: those that need a service go before it does.
//!
//! The service says itself that it is to go (`leaving`), and that is all that is remembered: who goes with it, and who may
//! go now, follows from where everybody stands, whenever something changes. So it also follows for the successor of a
//! supervisor that was killed in between. Whoever nobody needs any more is asked to end, all of those at once, each with
//! its own limit; the service itself is the last.

use std::collections::{BTreeMap, BTreeSet};

use mos_service::{Kind, Reaction};

use super::state::{AfterStop, Reason, State, Unit};
use super::{Id, RequestError, Supervisor};
use crate::clock::Millis;

/// How a service is to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Leaving {
    /// To come again.
    pub(super) again: bool,
    /// With everybody who requires it, also where the edge says nothing.
    pub(super) tree: bool,
}

/// Who is concerned when a service is stopped or restarted. Names, sorted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Company {
    /// Stop before it, and stay down.
    pub stops: Vec<String>,
    /// Stop before it, and start again when it is there.
    pub restarts: Vec<String>,
    /// Require it, and go on without it.
    pub keeps: Vec<String>,
}

/// One that goes with another.
#[derive(Debug, Clone, Copy)]
struct Member {
    /// It starts again when what it requires is there.
    again: bool,
    /// Whom it goes because of.
    via: Id,
}

type Members = BTreeMap<Id, Member>;

impl Leaving {
    /// For a successor: a bit each.
    pub(super) fn number(self) -> u64 {
        u64::from(self.again) | u64::from(self.tree) << 1
    }

    pub(super) fn of(number: u64) -> Self {
        Self {
            again: number & 1 != 0,
            tree: number & 2 != 0,
        }
    }
}

impl Supervisor {
    /// Who would go with a service, and who would not.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn company(&self, name: &str, again: bool, tree: bool) -> Result<Company, RequestError> {
        let named = self.named(name)?;
        let root = if again { self.group_restarted_with(named) } else { None }.unwrap_or(named);
        let members = self.members_of(root, Leaving { again, tree });
        let named = |again: bool| {
            let members = members.iter().filter(|(_, member)| member.again == again);
            self.names_of(members.map(|(id, _)| *id).filter(|id| self.stands(*id, again)))
        };
        let roots = self.roots(root);
        let dependents = roots.iter().filter_map(|id| self.unit(*id));
        let dependents = dependents.flat_map(|unit| unit.dependents.iter().map(move |id| (unit, *id)));
        let keeps = dependents.filter(|(unit, id)| {
            let requires = self
                .unit(*id)
                .is_some_and(|other| other.requires(&unit.service.name).is_some());
            requires && !members.contains_key(id) && !roots.contains(id) && self.stands(*id, true)
        });
        Ok(Company {
            stops: named(false),
            restarts: named(true),
            keeps: self.names_of(keeps.map(|(_, id)| id)),
        })
    }

    /// Who has still to go before a service that is about to.
    pub(super) fn company_of(&self, root: Id) -> Vec<String> {
        let how = self.unit(root).and_then(|unit| unit.leaving);
        let members = how.map_or_else(Members::new, |how| self.members_of(root, how));
        let standing = members.iter().filter(|(id, member)| self.stands(**id, member.again));
        let names = self.names_of(standing.map(|(id, _)| *id));
        names
            .iter()
            .map(|name| format!("the end of {name}, which needs it"))
            .collect()
    }

    /// Of those that are processes, sorted.
    fn names_of(&self, ids: impl Iterator<Item = Id>) -> Vec<String> {
        let units = ids.filter_map(|id| self.unit(id)).filter(|unit| !is_only_a_name(unit));
        let names: BTreeSet<&str> = units.map(|unit| unit.service.name.as_str()).collect();
        names.into_iter().map(str::to_owned).collect()
    }

    /// From here on the service goes, once those that go with it have.
    pub(super) fn leave(&mut self, root: Id, how: Leaving, now: Millis) {
        if let Some(unit) = self.unit_mut(root) {
            unit.leaving = Some(how);
        }
        if !self.leaving.contains(&root) {
            self.leaving.push(root);
        }
        self.let_leave(now);
    }

    /// Finds those again that were on their way when the last supervisor ended.
    pub(super) fn recall_leaving(&mut self) {
        let leaving = self.units().filter(|(_, unit)| unit.leaving.is_some());
        self.leaving = leaving.map(|(id, _)| id).collect();
    }

    /// It goes on, or has gone.
    pub(super) fn stay(&mut self, id: Id) {
        self.leaving.retain(|one| *one != id);
        if self.unit(id).is_some_and(|unit| unit.leaving.is_some())
            && let Some(unit) = self.unit_mut(id)
        {
            unit.leaving = None;
        }
    }

    /// Asks everybody to end who is to go and is not needed any more by others that are.
    pub(super) fn let_leave(&mut self, now: Millis) {
        if self.shutdown.is_some() {
            self.leaving.clear();
        }
        for root in self.leaving.clone() {
            let Some(how) = self.unit(root).and_then(|unit| unit.leaving) else {
                self.stay(root);
                continue;
            };
            let members = self.members_of(root, how);
            let held = self.held(&members);
            for (&id, member) in &members {
                if self.stands(id, member.again) && !held.contains(&id) {
                    self.send_away(id, *member, root, now);
                }
            }
            if !self.roots(root).iter().any(|id| held.contains(id)) {
                self.stay(root);
                self.go(root, how, now);
            }
        }
    }

    /// True while a service may not start, because one that it requires is about to go.
    pub(super) fn goes_with_another(&self, id: Id) -> bool {
        self.leaving.iter().any(|root| {
            let how = self.unit(*root).and_then(|unit| unit.leaving);
            how.is_some_and(|how| self.members_of(*root, how).contains_key(&id))
        })
    }

    /// The service itself; of a group also its members.
    fn roots(&self, root: Id) -> Vec<Id> {
        [vec![root], self.members(root)].concat()
    }

    /// Everybody who goes with a service. Who has no process goes nowhere, and takes nobody along.
    fn members_of(&self, root: Id, how: Leaving) -> Members {
        let roots = self.roots(root);
        let mut members = Members::new();
        let mut open: Vec<(Id, bool)> = roots.iter().map(|id| (*id, how.again)).collect();
        while let Some((via, again)) = open.pop() {
            let Some(unit) = self.unit(via) else { continue };
            for &id in unit.dependents.iter().filter(|id| !roots.contains(id)) {
                let Some(again) = self.unit(id).and_then(|other| fate(other, unit, again, how)) else {
                    continue;
                };
                // Of several fates a stop counts.
                if members.get(&id).is_none_or(|known: &Member| known.again && !again) {
                    members.insert(id, Member { again, via });
                    let carries = self.unit(id).is_some_and(is_only_a_name) || self.stands(id, again);
                    open.extend(carries.then_some((id, again)));
                }
            }
        }
        members
    }

    /// Everybody who is needed, directly or not, by a member that is still there.
    fn held(&self, members: &Members) -> BTreeSet<Id> {
        let standing = members.iter().filter(|(id, member)| self.stands(**id, member.again));
        let mut open: Vec<Id> = standing.map(|(id, _)| *id).collect();
        let mut held = BTreeSet::new();
        while let Some(id) = open.pop() {
            for &need in self.needs(id) {
                if held.insert(need) && members.contains_key(&need) {
                    open.push(need);
                }
            }
        }
        held
    }

    /// True while it has something to end. What waits for its next try has no process, and starts only with the others.
    fn stands(&self, id: Id, again: bool) -> bool {
        let Some(unit) = self.unit(id).filter(|unit| unit.service.kind != Kind::Group) else {
            return false;
        };
        let idles = matches!(unit.state, State::Restarting | State::Listening);
        unit.pid.is_some() || unit.state.is_active() || (idles && !again)
    }

    fn send_away(&mut self, id: Id, member: Member, root: Id, now: Millis) {
        let Some(via) = self.service(member.via).map(|service| service.name.clone()) else {
            return;
        };
        let comes_again = match member.via == root {
            true => self
                .unit(root)
                .and_then(|unit| unit.leaving)
                .is_some_and(|how| how.again),
            false => member.again,
        };
        let Some(unit) = self.unit_mut(id) else { return };
        if unit.state == State::Stopping && (unit.after_stop == AfterStop::Rest || member.again) {
            return;
        }
        let reason = format!("{via} {}", if comes_again { "is restarted" } else { "was stopped" });
        if !member.again {
            unit.put_down(reason.as_str());
        }
        let after = if unit.wanted { AfterStop::Again } else { AfterStop::Rest };
        if !is_only_a_name(unit) {
            let what = if member.again { "restarts" } else { "stops" };
            let line = format!("{}: {what}, because {reason}", unit.service.name);
            unit.last_failure = Some(Reason::Followed(reason));
            self.print(line);
        }
        self.begin_stop(id, after, now);
    }

    /// Nobody who goes with it is left.
    fn go(&mut self, root: Id, how: Leaving, now: Millis) {
        match (self.is_group(root), how.again) {
            (true, true) => self.restart_group(root, now),
            (true, false) => self.stop_group(root, now),
            (false, true) => self.begin_stop(root, AfterStop::Again, now),
            (false, false) => self.begin_stop(root, AfterStop::Rest, now),
        }
    }
}

/// What becomes of a service when one that it may require goes: `Some(true)` when it starts again with it, `None` when
/// that does not concern it. Targets and groups only stand for others, and say what is true.
fn fate(other: &Unit, unit: &Unit, again: bool, how: Leaving) -> Option<bool> {
    let edge = other.requires(&unit.service.name)?;
    if is_only_a_name(other) {
        return Some(true);
    }
    let reaction = if again { edge.on_restart } else { edge.on_stop };
    match reaction {
        Reaction::Keep => how.tree.then_some(how.again),
        Reaction::Restart => Some(true),
        Reaction::Stop => Some(false),
    }
}

fn is_only_a_name(unit: &Unit) -> bool {
    matches!(unit.service.kind, Kind::Target | Kind::Group)
}

impl Unit {
    /// What follows for it from what happens to another, if it requires that one.
    fn requires(&self, name: &str) -> Option<mos_service::Follow> {
        let edges = &self.service.dependencies.requires;
        edges.iter().find(|edge| edge.name == name).map(|edge| edge.follow)
    }
}
