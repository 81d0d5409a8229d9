//! Signals by name.

use std::fmt;
use std::str::FromStr;

/// A signal number of Linux on x86-64 and AArch64 (signal(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signal(pub i32);

impl Signal {
    /// Asks a process to end.
    pub const TERM: Self = Self(15);
    /// Ends a process without asking.
    pub const KILL: Self = Self(9);
}

/// The largest signal number (`SIGRTMAX`).
const LARGEST: i32 = 64;

/// Names without `SIG`, at the index of their number (signal(7)).
const NAMES: [&str; 32] = [
    "", "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM",
    "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH",
    "IO", "PWR", "SYS",
];

/// A word that is no signal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignalError {
    word: String,
}

impl fmt::Display for SignalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is not a signal", self.word)?;
        let bare = self.word.strip_prefix("SIG").unwrap_or(&self.word);
        match mos_toml::nearest(bare, NAMES.into_iter().skip(1)) {
            Some(name) => write!(f, ", did you mean `SIG{name}`?"),
            None => write!(f, ", expected a name like `SIGTERM` or a number from 1 to {LARGEST}"),
        }
    }
}

impl std::error::Error for SignalError {}

impl FromStr for Signal {
    type Err = SignalError;

    /// Reads `SIGTERM`, `TERM` or `15`.
    fn from_str(word: &str) -> Result<Self, SignalError> {
        let bare = word.strip_prefix("SIG").unwrap_or(word);
        let named = NAMES.iter().position(|name| !name.is_empty() && *name == bare);
        let number = match named {
            Some(index) => i32::try_from(index).ok(),
            None => word.parse().ok().filter(|number| (1..=LARGEST).contains(number)),
        };
        number.map(Self).ok_or_else(|| SignalError { word: word.to_owned() })
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = usize::try_from(self.0).ok().and_then(|index| NAMES.get(index));
        match name {
            Some(name) if !name.is_empty() => write!(f, "SIG{name}"),
            _ => write!(f, "signal {}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_the_same_signals() {
        assert_eq!("SIGTERM".parse(), Ok(Signal::TERM));
        assert_eq!("KILL".parse(), Ok(Signal::KILL));
        assert_eq!("37".parse(), Ok(Signal(37)));
        assert_eq!(Signal(2).to_string(), "SIGINT");
        assert_eq!(Signal(40).to_string(), "signal 40");
    }

    #[test]
    fn a_wrong_word_names_the_nearest() {
        for (word, message) in [
            ("SIGTREM", "`SIGTREM` is not a signal, did you mean `SIGTERM`?"),
            (
                "0",
                "`0` is not a signal, expected a name like `SIGTERM` or a number from 1 to 64",
            ),
            (
                "65",
                "`65` is not a signal, expected a name like `SIGTERM` or a number from 1 to 64",
            ),
        ] {
            assert_eq!(word.parse::<Signal>().unwrap_err().to_string(), message);
        }
        assert!("SIG".parse::<Signal>().is_err());
    }
}
