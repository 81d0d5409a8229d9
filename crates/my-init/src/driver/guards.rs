//! Whether anybody is in the way of a service that is to be started: holds its port, or runs under a guarded name.
//!
//! Who is killed for it is waited for without waiting: the kernel tells of the end (pidfd_open(2)), and then everything
//! is looked at anew. A successor of a supervisor that was killed meanwhile finds the service not yet started, and looks.

use std::os::fd::OwnedFd;

use mos_service::{Kind, Service};
use rustix::event::epoll::{self, EventFlags};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::launch::Role;
use super::legacy::role_of;
use super::{Driver, Id, Token, data, unwatch};
use crate::holders::{Holder, Wanted};

/// Whoever comes back so often has somebody who starts it again.
const ROUNDS_MAX: u32 = 5;

/// A service that waits for the end of those that were killed to make way for it.
#[derive(Debug)]
pub(super) struct Clearing {
    id: Id,
    rounds: u32,
    ending: Vec<OwnedFd>,
}

/// Whether a service can be started.
pub(super) enum Way {
    Free,
    /// It is being made free; the service is started when it is.
    Clearing,
    /// Who is in the way.
    Held(String),
}

impl Driver {
    /// Looks for whoever is in the way of a service, and kills them if it says so.
    pub(super) fn way(&mut self, id: Id, service: &Service) -> Way {
        if service.guards.is_empty() {
            return Way::Free;
        }
        let rounds = self.give_up_clearing(id);
        let wanted = Wanted::now(&service.guards);
        let (mut holders, unseen) = wanted.find();
        let own = [Some(std::process::id()), keeper()];
        holders.retain(|holder| !own.contains(&Some(holder.pid)));
        if let Some(port) = unseen.first() {
            return Way::Held(format!("port {port} is held by a process that cannot be seen"));
        }
        if holders.is_empty() {
            return Way::Free;
        }
        let stays = |holder: &&Holder| !self.may_kill(holder, service);
        match holders
            .iter()
            .find(stays)
            .or(holders.first().filter(|_| rounds >= ROUNDS_MAX))
        {
            Some(holder) => Way::Held(self.describe_holder(holder)),
            None => self.clear(id, rounds + 1, &wanted, &holders),
        }
    }

    /// What the last process of the service left behind is always killed; others only if the service says so, and
    /// nothing that we look after ourselves.
    fn may_kill(&self, holder: &Holder, service: &Service) -> bool {
        match role_of(holder.pid) {
            Some(Role::Service(name)) if name == service.name => service.kind == Kind::Process,
            Some(Role::Service(name)) => service.guards.kill_others && !self.runs(&name),
            // But no probe, no shell, and whoever else works for us; that one says so proves nothing.
            _ => service.guards.kill_others && holder.pid != 1 && self.family.owner(holder.pid).is_none(),
        }
    }

    fn runs(&self, name: &str) -> bool {
        let unit = self.supervisor.find(name).and_then(|id| self.supervisor.unit(id));
        unit.is_some_and(|unit| unit.pid().is_some())
    }

    fn describe_holder(&self, holder: &Holder) -> String {
        let process = match role_of(holder.pid) {
            Some(Role::Service(name)) if self.runs(&name) => {
                format!(
                    "{} (process {}), which belongs to the service {name}",
                    holder.name, holder.pid
                )
            }
            _ => format!("{} (process {})", holder.name, holder.pid),
        };
        match holder.port {
            Some(port) => format!("port {port} is held by {process}"),
            None => format!("{process} runs already"),
        }
    }

    fn clear(&mut self, id: Id, rounds: u32, wanted: &Wanted<'_>, holders: &[Holder]) -> Way {
        let mut clearing = Clearing {
            id,
            rounds,
            ending: Vec::new(),
        };
        let name = self.supervisor.unit(id).map(|unit| unit.service().name.clone());
        for holder in holders {
            let process = match kill(holder, wanted) {
                Ok(process) => process,
                Err(error) => return Way::Held(format!("{}: {error}", self.describe_holder(holder))),
            };
            let Some(process) = process else { continue };
            let line = self.describe_holder(holder);
            self.say(&format!("{}: {line}: killed", name.as_deref().unwrap_or_default()));
            if let Err(error) = epoll::add(&self.epoll, &process, data(Token::Holder(id)), EventFlags::IN) {
                return Way::Held(format!("{line}: {error}"));
            }
            clearing.ending.push(process);
        }
        if clearing.ending.is_empty() {
            // All have ended by themselves.
            return Way::Free;
        }
        self.clearings.push(clearing);
        Way::Clearing
    }

    /// One that was killed has ended.
    pub(super) fn holder_ended(&mut self, id: Id) {
        let Some(clearing) = self.clearings.iter_mut().find(|clearing| clearing.id == id) else {
            return;
        };
        for process in clearing.ending.extract_if(.., |process| has_ended(process)) {
            unwatch(&self.epoll, process);
        }
        if clearing.ending.is_empty() {
            self.supervisor.spawn_again(id);
        }
    }

    /// Waits for nobody any more; returns how often somebody was killed.
    pub(super) fn give_up_clearing(&mut self, id: Id) -> u32 {
        let Some(place) = self.clearings.iter().position(|clearing| clearing.id == id) else {
            return 0;
        };
        let clearing = self.clearings.swap_remove(place);
        for process in clearing.ending {
            unwatch(&self.epoll, process);
        }
        clearing.rounds
    }
}

fn keeper() -> Option<u32> {
    rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get().unsigned_abs())
}

/// Kills a holder; `None` when it has ended, or let go, by itself. Once its descriptor is there its number cannot become
/// another process's unnoticed, so what it holds is looked at again in between.
fn kill(holder: &Holder, wanted: &Wanted<'_>) -> rustix::io::Result<Option<OwnedFd>> {
    let Some(pid) = i32::try_from(holder.pid).ok().and_then(Pid::from_raw) else {
        return Ok(None);
    };
    let process = match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(process) => process,
        Err(rustix::io::Errno::SRCH) => return Ok(None),
        Err(error) => return Err(error),
    };
    if wanted.find_in(holder.pid).is_none() {
        return Ok(None);
    }
    match pidfd_send_signal(&process, Signal::KILL) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(Some(process)),
        Err(error) => Err(error),
    }
}

fn has_ended(process: &OwnedFd) -> bool {
    let mut events = [PollFd::new(process, PollFlags::IN)];
    poll(&mut events, Some(&Timespec::default())).is_ok_and(|count| count > 0)
}
