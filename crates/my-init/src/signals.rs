//! What the signals to PID 1 mean, in one table: the ancestor's, the kernel's, and those by which the tools of other inits
//! and of containers ask for an end.

use crate::supervisor::Goal;

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// Read the service files again.
    Reload,
    /// A new supervisor, from the program as it is on disk now; services go on.
    Renew,
    /// Take everything down.
    Down(Goal),
    /// The same without waiting for services.
    DownNow(Goal),
}

/// `SIGRTMIN` of glibc, from which systemd counts (the kernel's is 32, musl's 35).
const REAL_TIME: i32 = 34;

/// Number, wish, and who sends it.
pub const SIGNALS: [(i32, Wish, &str); 14] = [
    (1, Wish::Reload, "SIGHUP"),
    (2, Wish::Down(Goal::Reboot), "SIGINT, Ctrl-Alt-Del"),
    (10, Wish::Renew, "SIGUSR1"),
    (12, Wish::Down(Goal::Poweroff), "SIGUSR2"),
    (15, Wish::Down(Goal::Poweroff), "SIGTERM"),
    (30, Wish::Down(Goal::Poweroff), "SIGPWR"),
    (REAL_TIME + 3, Wish::Down(Goal::Halt), "SIGRTMIN+3"),
    (REAL_TIME + 4, Wish::Down(Goal::Poweroff), "SIGRTMIN+4"),
    (REAL_TIME + 5, Wish::Down(Goal::Reboot), "SIGRTMIN+5"),
    (REAL_TIME + 6, Wish::Down(Goal::Kexec), "SIGRTMIN+6"),
    (REAL_TIME + 13, Wish::DownNow(Goal::Halt), "SIGRTMIN+13"),
    (REAL_TIME + 14, Wish::DownNow(Goal::Poweroff), "SIGRTMIN+14"),
    (REAL_TIME + 15, Wish::DownNow(Goal::Reboot), "SIGRTMIN+15"),
    (REAL_TIME + 16, Wish::DownNow(Goal::Kexec), "SIGRTMIN+16"),
];

/// The numbers of all of them.
pub const NUMBERS: [i32; SIGNALS.len()] = {
    let mut numbers = [0; SIGNALS.len()];
    let mut index = 0;
    while index < numbers.len() {
        numbers[index] = SIGNALS[index].0;
        index += 1;
    }
    numbers
};

/// What a signal asks for, and its name.
pub fn meaning(number: i32) -> Option<(Wish, &'static str)> {
    let found = SIGNALS.iter().find(|(one, _, _)| *one == number);
    found.map(|(_, wish, name)| (*wish, *name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_signal_means_two_things() {
        let mut numbers = NUMBERS.to_vec();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), SIGNALS.len());
        assert_eq!(meaning(37), Some((Wish::Down(Goal::Halt), "SIGRTMIN+3")));
        assert_eq!(meaning(17), None);
    }
}
