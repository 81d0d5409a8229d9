//! Room among open files: services do not take what clients need, and nobody takes what the next supervisor needs.

use std::io;
use std::os::fd::RawFd;

use rustix::process::{Resource, getrlimit, setrlimit};

/// What the next supervisor opens before it closes what the last one left, beside what that had opened itself.
const SUCCESSOR: u64 = 32;
/// What connections, probes and files that are read now and then may need beside services.
const OTHERS: u64 = 32;

/// Lowers this process's own limit, not the keeper's, and so not that of the next supervisor.
pub(super) fn leave_for_successor() {
    let mut limit = getrlimit(Resource::Nofile);
    if let Some(maximum) = limit.current {
        limit.current = Some(maximum.saturating_sub(SUCCESSOR).max(maximum / 2));
        // It can be lowered always (setrlimit(2)).
        let _ = setrlimit(Resource::Nofile, limit);
    }
}

/// An error when the descriptor that a service was just given is among the last ones: the kernel gives the lowest
/// number that is free. So many logs have no descriptor yet, and will want one.
pub(super) fn leave_for_others(newest: RawFd, logs_to_come: usize) -> io::Result<()> {
    let number = u64::try_from(newest).unwrap_or(0).saturating_add(logs_to_come as u64);
    match getrlimit(Resource::Nofile).current {
        Some(maximum) if number.saturating_add(OTHERS) >= maximum => Err(io::Error::other(format!(
            "too many open files: the limit of my_init is {maximum}"
        ))),
        _ => Ok(()),
    }
}
