//! The life of a supervisor, in a process of its own, and what its exit code tells the keeper.

use std::hash::{BuildHasher as _, RandomState};
use std::io::Write as _;

use crate::clock::Millis;
use crate::console::Console;
use crate::driver::{Driver, End, Setup};
use crate::keeper::{Kept, UPGRADE};
use crate::supervisor::{Goal, Settings};
use crate::{machine, rescue};

/// Exit codes of every program, see the architecture page: refused, and a bug.
const REFUSED: u8 = 5;
const BUG: u8 = 70;
/// From the request to shut down until what still runs is killed.
const SHUTDOWN_MS: Millis = 60_000;
/// The exit codes with which a supervisor tells the keeper what is to become of the machine.
const GOALS: [(u8, Goal); 4] = [
    (40, Goal::Poweroff),
    (41, Goal::Reboot),
    (43, Goal::Halt),
    (44, Goal::Kexec),
];

/// What is to become of the machine, by the exit code of a supervisor.
pub fn goal(code: u8) -> Option<Goal> {
    GOALS.iter().find(|(number, _)| *number == code).map(|(_, goal)| *goal)
}

/// The exit code that says so.
pub fn code(goal: Goal) -> u8 {
    let found = GOALS.iter().find(|(_, one)| *one == goal);
    found.map_or(BUG, |(number, _)| *number)
}

/// The supervisor's whole life, in a process of its own; returns its exit code.
pub fn work(setup: &Setup, kept: Kept) -> u8 {
    rescue::end_on_panic();
    let place = if setup.machine {
        machine::console()
    } else {
        Console::standard_output()
    };
    let end = place
        .and_then(|console| Driver::new(setup.clone(), console, kept))
        .and_then(|mut driver| {
            let end = driver.run();
            if !setup.machine && !matches!(end, Ok(End::Upgrade)) {
                driver.close();
            }
            // What it has open is the keeper's too, and its successor's.
            std::mem::forget(driver);
            end
        });
    match end {
        Ok(End::Goal(goal)) => code(goal),
        Ok(End::Upgrade) => UPGRADE,
        Err(error) => {
            // Nobody may be there to read it, which is no reason to panic.
            let _ = writeln!(std::io::stderr(), "my_init: {error}");
            match error.kind() {
                std::io::ErrorKind::AddrInUse => REFUSED,
                _ => BUG,
            }
        }
    }
}

/// Times that concern the whole node.
pub fn settings(started: Millis, boot_deadline: Millis) -> Settings {
    Settings {
        started,
        boot_deadline,
        shutdown_deadline: SHUTDOWN_MS,
        // The standard library's own seed is the kernel's random number.
        seed: RandomState::new().hash_one(started),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_goal_has_a_code_of_its_own() {
        for (number, one) in GOALS {
            assert_eq!((goal(number), code(one)), (Some(one), number));
        }
        assert!([0, UPGRADE, REFUSED, BUG].iter().all(|number| goal(*number).is_none()));
    }
}
