//! What asks for an end of everything: signals, people, the power button.

use std::fs;

use super::Driver;
use crate::signals::{self, Wish};
use crate::supervisor::Goal;

/// Says whether another kernel is loaded (kernel documentation, ABI/testing/sysfs-kernel-kexec).
const KEXEC_LOADED: &str = "/sys/kernel/kexec_loaded";

impl Driver {
    pub(super) fn take_signal(&mut self, number: i32) {
        match signals::meaning(number) {
            Some((Wish::Reload, _)) => drop(self.reload(false)),
            Some((Wish::Renew, _)) => self.renew(),
            Some((Wish::Down(goal), name)) => self.shut_down(goal, name),
            Some((Wish::DownNow(goal), name)) => {
                self.shut_down(goal, name);
                self.supervisor.stop_waiting();
            }
            None => {}
        }
    }

    fn renew(&mut self) {
        let renewed = super::answers::own_program().and_then(|program| self.upgrade(&program));
        if let Err(error) = renewed {
            self.say(&format!("no new supervisor: {error}"));
        }
    }

    /// Begins to take everything down. Without a loaded kernel, kexec is an ordinary reboot.
    pub(super) fn shut_down(&mut self, goal: Goal, asked_by: &str) {
        let goal = match goal {
            Goal::Kexec if self.setup.machine && !is_kexec_loaded() => {
                self.say("no other kernel is loaded (my_init kexec loads one): the machine starts anew instead");
                Goal::Reboot
            }
            goal => goal,
        };
        self.say(&format!("{} asked for by {asked_by}", goal.word()));
        self.dismiss_operators();
        self.supervisor.shut_down(goal, self.now());
    }
}

fn is_kexec_loaded() -> bool {
    fs::read_to_string(KEXEC_LOADED).is_ok_and(|text| text.trim() == "1")
}
