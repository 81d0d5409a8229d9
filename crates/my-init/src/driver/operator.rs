//! The operator's shell: with `my_init.debug` on the kernel command line, which is part of the signed image, a root
//! shell stands on the console. Without that word there is no way in.

use rustix::process::{Pid, Signal, kill_process_group};

use super::{Driver, Owner};
use crate::clock::Millis;
use crate::shell;

/// From the start of a shell to that of the next, at the least: one that ends at once must not fill the console.
const PAUSE_MS: Millis = 5_000;

/// The shell on the console.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    /// There is none, and there will be none.
    Nobody,
    /// It is to be started, not before this time.
    Due(Millis),
    /// It runs: process, and when it was started.
    Present(u32, Millis),
}

impl Operator {
    /// For a machine with `my_init.debug`.
    pub(super) fn new(wanted: bool) -> Self {
        if wanted { Self::Due(0) } else { Self::Nobody }
    }

    /// When something is to be done.
    pub(super) fn deadline(self) -> Option<Millis> {
        match self {
            Self::Due(at) => Some(at),
            _ => None,
        }
    }

    /// What follows the end of the shell.
    fn ended(self) -> Self {
        match self {
            Self::Present(_, started) => Self::Due(started.saturating_add(PAUSE_MS)),
            other => other,
        }
    }
}

impl Driver {
    /// Starts the shell when it is time.
    pub(super) fn attend_operator(&mut self) {
        let now = self.now();
        if self.operator.deadline().is_none_or(|at| at > now) {
            return;
        }
        match shell::start(true) {
            Ok(pid) => {
                self.children.insert(pid, Owner::Operator);
                self.operator = Operator::Present(pid, now);
            }
            Err(error) => {
                self.operator = Operator::Nobody;
                self.say(&format!("no shell on the console: {error}"));
            }
        }
    }

    pub(super) fn operator_left(&mut self) {
        self.operator = self.operator.ended();
    }

    /// Hangs up: an interactive shell takes no notice of SIGTERM, and nobody is to wait for it.
    pub(super) fn dismiss_operator(&mut self) {
        if let Operator::Present(pid, _) = self.operator
            && let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw)
        {
            let _ = kill_process_group(pid, Signal::HUP);
        }
        self.operator = Operator::Nobody;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_gets_a_shell_unasked() {
        assert_eq!(Operator::new(false).deadline(), None);
        assert_eq!(Operator::new(false).ended(), Operator::Nobody);
    }

    #[test]
    fn a_shell_that_ended_comes_back_but_not_in_a_hurry() {
        assert_eq!(Operator::new(true).deadline(), Some(0));
        let present = Operator::Present(7, 1000);
        assert_eq!((present.deadline(), present.ended()), (None, Operator::Due(6000)));
    }
}
