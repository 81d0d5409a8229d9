//! Everything down: a service is asked to end once nothing that needs it is left, so in reverse order and in parallel.

use mos_service::Kind;

use super::events::What;
use super::state::{AfterStop, State, Unit};
use super::timers::Timer;
use super::{Action, Id, Supervisor};
use crate::clock::{Millis, seconds};

/// What is to become of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goal {
    /// Off.
    Poweroff,
    /// Started again.
    Reboot,
    /// Stopped, with the power on.
    Halt,
    /// Another kernel, loaded before, in place of this one.
    Kexec,
}

impl Goal {
    /// As the console says it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Poweroff => "poweroff",
            Self::Reboot => "reboot",
            Self::Halt => "halt",
            Self::Kexec => "kexec",
        }
    }

    /// The goal with this word.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Poweroff, Self::Reboot, Self::Halt, Self::Kexec]
            .into_iter()
            .find(|goal| goal.word() == word)
    }
}

impl Supervisor {
    /// Begins to take everything down. A second request does not wait any longer.
    pub fn shut_down(&mut self, goal: Goal, now: Millis) {
        if self.shutdown.replace(goal).is_some() {
            self.print(format!("{} asked for again: not waiting", goal.word()));
            self.finish(goal);
            return;
        }
        self.tell(now, || What::Down { goal });
        self.print(format!("{}: stopping services", goal.word()));
        self.timers.cancel(Timer::Boot);
        self.timers
            .arm(Timer::Shutdown, now.saturating_add(self.settings.shutdown_deadline));
        let ids: Vec<Id> = self.units().map(|(id, _)| id).collect();
        for &id in &ids {
            if let Some(unit) = self.unit_mut(id) {
                unit.wanted = false;
                if matches!(unit.after_stop, AfterStop::Again) {
                    unit.after_stop = AfterStop::Rest;
                }
            }
        }
        for id in ids {
            self.stop_if_free(id, now);
        }
        self.settle(now);
        self.check_down();
    }

    /// Goes on without those that have not ended yet, as a second request does.
    pub fn stop_waiting(&mut self) {
        if let Some(goal) = self.shutdown {
            self.finish(goal);
        }
    }

    /// Stops a service that nothing needs any more. What has ended well still keeps its place in the order.
    pub(super) fn stop_if_free(&mut self, id: Id, now: Millis) {
        let Some(unit) = self.unit(id) else { return };
        // A group has nothing to end itself: it stands only for what needs it.
        let ends = unit.state == State::Stopping && unit.service.kind != Kind::Group;
        let stands = !is_down(unit) && !ends;
        let needed = unit
            .dependents
            .iter()
            .any(|id| self.unit(*id).is_some_and(|unit| !is_down(unit)));
        if stands && !needed {
            self.begin_stop(id, AfterStop::Rest, now);
        }
    }

    pub(super) fn check_down(&mut self) {
        if let Some(goal) = self.shutdown
            && self.timers.at(Timer::Shutdown).is_some()
            && self.units().all(|(_, unit)| unit.pid.is_none())
        {
            self.finish(goal);
        }
    }

    /// The deadline: names who is late and goes on without them.
    pub(super) fn finish_late(&mut self) {
        let late: Vec<String> = self
            .units()
            .filter(|(_, unit)| unit.pid.is_some())
            .map(describe)
            .collect();
        for line in late {
            self.print(line);
        }
        if let Some(goal) = self.shutdown {
            self.finish(goal);
        }
    }

    /// Says so once; whatever still runs is killed by whoever takes the machine down.
    fn finish(&mut self, goal: Goal) {
        self.timers.cancel(Timer::Shutdown);
        if !self.actions.iter().any(|action| matches!(action, Action::Finish(_))) {
            self.actions.push_back(Action::Finish(goal));
        }
    }
}

fn describe((_, unit): (Id, &Unit)) -> String {
    let limit = seconds(unit.service.lifecycle.stop_timeout_ms);
    format!(
        "{}: still {} at the shutdown deadline (its own limit is {limit})",
        unit.service.name,
        unit.state.word()
    )
}

fn is_down(unit: &Unit) -> bool {
    unit.pid.is_none() && matches!(unit.state, State::Inactive | State::Failed(_))
}
