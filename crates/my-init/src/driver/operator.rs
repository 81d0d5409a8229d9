//! The operator's shells, on every console of the machine: with `my_init.debug` or `my_init.rescue` on the kernel command
//! line, and with `my_init.emergency=shell` when a critical service has failed. The command line is part of the signed
//! image; without one of these words there is no way in.

use rustix::process::{Pid, Signal, kill_process_group};

use super::{Driver, Owner};
use crate::boot::command_line::Emergency;
use crate::clock::Millis;
use crate::shell;
use crate::supervisor::Goal;

/// From the start of a shell to that of the next, at the least: one that ends at once must not fill the console.
const PAUSE_MS: Millis = 5_000;

/// A console and its shell.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Operator {
    terminal: String,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// It is to be started, not before this time.
    Due(Millis),
    /// It runs: process, and when it was started.
    Present(u32, Millis),
    /// It cannot be started.
    Lost,
}

/// The shells.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Operators(Vec<Operator>);

impl Operators {
    /// Shells on these terminals, as soon as may be. Those that are there stay.
    fn rouse(&mut self, terminals: Vec<String>) {
        for terminal in terminals {
            if !self.0.iter().any(|one| one.terminal == terminal) {
                self.0.push(Operator {
                    terminal,
                    state: State::Due(0),
                });
            }
        }
    }

    /// A shell that an earlier supervisor started.
    pub(super) fn found(&mut self, terminal: String, pid: u32, now: Millis) {
        let state = State::Present(pid, now);
        match self.0.iter_mut().find(|one| one.terminal == terminal) {
            Some(one) => one.state = state,
            None => self.0.push(Operator { terminal, state }),
        }
    }

    /// When something is to be done.
    pub(super) fn deadline(&self) -> Option<Millis> {
        let due = self.0.iter().filter_map(|one| match one.state {
            State::Due(at) => Some(at),
            _ => None,
        });
        due.min()
    }

    fn due(&self, now: Millis) -> Option<usize> {
        self.0
            .iter()
            .position(|one| matches!(one.state, State::Due(at) if at <= now))
    }

    /// The next one follows, but not in a hurry.
    fn left(&mut self, pid: u32) {
        for one in &mut self.0 {
            if let State::Present(present, started) = one.state
                && present == pid
            {
                one.state = State::Due(started.saturating_add(PAUSE_MS));
            }
        }
    }

    fn present(&self) -> impl Iterator<Item = u32> {
        self.0.iter().filter_map(|one| match one.state {
            State::Present(pid, _) => Some(pid),
            _ => None,
        })
    }
}

impl Driver {
    /// Has shells started if the command line wants them from the beginning.
    pub(super) fn expect_operators(&mut self) {
        let line = &self.setup.line;
        if self.setup.machine && (line.debug || line.rescue) {
            self.operators.rouse(shell::terminals());
        }
        if self.setup.machine && line.rescue {
            self.say("rescue: no service is started; my_init start NAME does, my_init reboot ends this");
        }
    }

    /// A critical service has failed: says so, and does what the command line wants done.
    pub(super) fn meet_emergency(&mut self) {
        let lost = self.supervisor.take_lost();
        if lost.is_empty() || !self.setup.machine {
            return;
        }
        for id in lost {
            self.say_with_log(
                id,
                format!("emergency: critical service {}", self.supervisor.describe(id)),
            );
        }
        match self.setup.line.emergency() {
            Emergency::Stay => self.say(
                "emergency: the rest goes on; my_init.emergency=shell|reboot on the kernel command line would do more",
            ),
            Emergency::Shell => self.operators.rouse(shell::terminals()),
            Emergency::Reboot => self.shut_down(Goal::Reboot, "the failure of a critical service"),
        }
    }

    /// Starts the shells for which it is time.
    pub(super) fn attend_operators(&mut self) {
        let now = self.now();
        while let Some(index) = self.operators.due(now) {
            let terminal = self.operators.0[index].terminal.clone();
            let start = self.starting.begin();
            self.operators.0[index].state = match shell::start(&terminal, Some(self.starting)) {
                Ok(pid) => {
                    self.own(pid, Owner::Operator, start);
                    State::Present(pid, now)
                }
                Err(error) => {
                    self.say(&format!("no shell on {terminal}: {error}"));
                    State::Lost
                }
            };
        }
    }

    pub(super) fn operator_left(&mut self, pid: u32) {
        self.operators.left(pid);
    }

    /// Hangs up: an interactive shell takes no notice of SIGTERM, and nobody is to wait for it.
    pub(super) fn dismiss_operators(&mut self) {
        for pid in self.operators.present() {
            if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
                let _ = kill_process_group(pid, Signal::HUP);
            }
        }
        self.operators = Operators::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_gets_a_shell_unasked() {
        let mut operators = Operators::default();
        assert_eq!((operators.deadline(), operators.due(u64::MAX)), (None, None));
        operators.left(7);
        assert_eq!(operators, Operators::default());
    }

    #[test]
    fn a_shell_that_ended_comes_back_but_not_in_a_hurry() {
        let mut operators = Operators::default();
        operators.rouse(vec!["/dev/ttyS0".to_owned(), "/dev/tty1".to_owned()]);
        assert_eq!((operators.deadline(), operators.due(0)), (Some(0), Some(0)));
        operators.found("/dev/ttyS0".to_owned(), 7, 1000);
        operators.found("/dev/tty1".to_owned(), 8, 2000);
        operators.rouse(vec!["/dev/tty1".to_owned()]);
        assert_eq!(
            (operators.deadline(), operators.present().collect::<Vec<_>>()),
            (None, vec![7, 8])
        );
        operators.left(7);
        assert_eq!(
            (operators.deadline(), operators.due(5999), operators.due(6000)),
            (Some(6000), None, Some(0))
        );
    }
}
