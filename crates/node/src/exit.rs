//! Exit codes, the same for every program of MOS.

use std::process::ExitCode;

/// How a program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Fine.
    Fine = 0,
    /// The check found a problem, or the work could not be done.
    Problem = 1,
    /// Wrong usage.
    Usage = 2,
    /// Something was not what a trusted key vouches for.
    Trust = 3,
    /// Not found, or nobody answers.
    Offline = 4,
    /// Somebody else is at work.
    Locked = 5,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
