//! Ending what still runs, whoever started it, and naming what would not end.

use std::fs;
use std::time::{Duration, Instant};

use mos_sys::signals::send_all;
use rustix::process::{Signal, WaitOptions};

use super::STEP;

/// Between asking and killing, and between killing and going on without.
const GRACE: Duration = Duration::from_secs(2);
/// So many are named, at most.
const NAMED_MAX: usize = 10;

/// Asks every process to end, kills those that do not, and takes all of them in. Returns who was late.
pub(super) fn end_all() -> Vec<String> {
    // An interactive shell takes no notice of SIGTERM, and who is stopped takes notice of nothing.
    for signal in [Signal::TERM, Signal::HUP, Signal::CONT] {
        let _ = send_all(signal.as_raw());
    }
    if wait_for_all(GRACE) {
        return Vec::new();
    }
    let mut told = naming("did not end when asked, and is killed");
    let _ = send_all(Signal::KILL.as_raw());
    if !wait_for_all(GRACE) {
        told.extend(naming("cannot be killed: going down with it"));
    }
    told
}

fn naming(what: &str) -> Vec<String> {
    let late = running();
    let more = late.len().saturating_sub(NAMED_MAX);
    let mut told: Vec<String> = late.iter().take(NAMED_MAX).map(|one| format!("{one} {what}")).collect();
    if more > 0 {
        told.push(format!("{more} more"));
    }
    told
}

/// Every process that has a program, as `NAME (process PID)`.
fn running() -> Vec<String> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let numbers = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    numbers.filter(|pid| *pid > 1).filter_map(name).collect()
}

/// Threads of the kernel and what has ended already have no command line (proc(5)).
fn name(pid: u32) -> Option<String> {
    let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let name = crate::lossy::read(format!("/proc/{pid}/comm")).ok()?;
    (!line.is_empty()).then(|| format!("{} (process {pid})", name.trim_end()))
}

/// Takes in every child until there is none; true when all are gone in time. Whoever loses its parent becomes ours, so
/// without a child there is nobody left.
fn wait_for_all(limit: Duration) -> bool {
    let deadline = Instant::now() + limit;
    loop {
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some(_)) => {}
            Ok(None) if Instant::now() < deadline => std::thread::sleep(STEP),
            Ok(None) => return false,
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_named_and_threads_of_the_kernel_are_not() {
        let own = std::process::id();
        assert!(running().iter().any(|one| one.ends_with(&format!("(process {own})"))));
        assert_eq!(name(u32::MAX), None);
        if fs::read_to_string("/proc/2/comm").is_ok_and(|name| name == "kthreadd\n") {
            assert_eq!(name(2), None);
        }
    }
}
