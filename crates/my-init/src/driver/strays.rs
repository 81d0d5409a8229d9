//! Processes that outlive the service they belong to: in a session of their own (setsid(2)), so that a signal to its
//! process group does not reach them. In a control group they are ended with everybody else; without one they are found
//! among the keeper's children, who they become when their parent ends, by the name of the service in their environment.

use std::collections::{HashMap, HashSet};

use mos_service::Kind;
use rustix::process::{Pid, Signal, kill_process};

use super::launch::Role;
use super::{Driver, Id};
use crate::children::started;
use crate::supervisor::Unit;

/// Whose strays are to be looked for.
#[derive(Debug, Default)]
pub(super) struct Strays {
    /// Services whose process has ended.
    ended: HashSet<String>,
    /// Strays that are being ended, and their services: their own children become strays then.
    ending: HashMap<u32, String>,
}

impl Strays {
    /// A process has ended that was no service's.
    pub(super) fn ended(&mut self, pid: u32) {
        self.ended.extend(self.ending.remove(&pid));
    }
}

impl Driver {
    /// The process of a service has ended.
    pub(super) fn look_for_strays(&mut self, id: Id) {
        let grouped = self.slots.get(&id).is_some_and(|slot| slot.cgroup.is_some());
        if let Some(unit) = self.supervisor.unit(id).filter(|_| !grouped) {
            self.strays.ended.insert(unit.service().name.clone());
        }
    }

    /// Ends the strays of services whose processes have ended. To be called before any of them is started again.
    pub(super) fn end_strays(&mut self) {
        if self.strays.ended.is_empty() {
            return;
        }
        let names = std::mem::take(&mut self.strays.ended);
        for (pid, role) in self.unknown_children() {
            if let Role::Service(name) = role
                && names.contains(&name)
                && self.is_older_than_main(pid, &name)
            {
                self.end_stray(pid, name);
            }
        }
    }

    /// Ends one that the last supervisor did not come to: it was there before the service's process was.
    pub(super) fn end_if_stray(&mut self, pid: u32, name: &str) {
        let unit = self.supervisor.find(name).and_then(|id| self.supervisor.unit(id));
        let stays = unit.is_some_and(|unit| unit.service().kind == Kind::Process);
        if stays && self.is_older_than_main(pid, name) {
            self.end_stray(pid, name.to_owned());
        }
    }

    /// True also when the service has no process.
    fn is_older_than_main(&self, pid: u32, name: &str) -> bool {
        let unit = self.supervisor.find(name).and_then(|id| self.supervisor.unit(id));
        let main = unit.and_then(Unit::pid);
        main.is_none_or(|main| started(pid) < started(main))
    }

    fn end_stray(&mut self, pid: u32, name: String) {
        if self.strays.ending.contains_key(&pid) {
            return;
        }
        if let Some(process) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
            let _ = kill_process(process, Signal::KILL);
            self.say(&format!("{name}: process {pid} was left behind, killed"));
            self.strays.ending.insert(pid, name);
        }
    }
}
