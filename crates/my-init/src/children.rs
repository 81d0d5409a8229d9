//! Who the children of a process are, as the kernel tells it, and the end of all of our own.

use std::fs;
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitOptions, kill_process, wait};

/// Between two looks at whether everybody has ended.
const PAUSE: Duration = Duration::from_millis(10);
/// So many looks: one that the kernel cannot end (in an uninterruptible wait) is left.
const LOOKS: usize = 500;

/// The children of a process with one thread: from the kernel, if it has such a list (`CONFIG_PROC_CHILDREN`), or
/// everybody, among whom are those whose parent it is.
pub fn children_of(parent: u32) -> Vec<u32> {
    if let Ok(list) = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")) {
        return list
            .split_ascii_whitespace()
            .filter_map(|pid| pid.parse().ok())
            .collect();
    }
    let Ok(all) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let numbers = all
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    // The parent is the second field after the name (proc(5)).
    numbers
        .filter(|pid| field(*pid, 1).is_some_and(|ppid| ppid == u64::from(parent)))
        .collect()
}

/// When a process was started, in ticks since the kernel was (field 22 of `/proc/PID/stat`, proc(5)).
pub fn started(pid: u32) -> Option<u64> {
    field(pid, 19)
}

/// True when there is a process with this id that has not ended.
pub fn is_alive(pid: u32) -> bool {
    let stat = crate::lossy::read(format!("/proc/{pid}/stat"));
    stat.is_ok_and(|stat| {
        !stat
            .rsplit_once(") ")
            .is_some_and(|(_, rest)| rest.starts_with(['Z', 'X']))
    })
}

/// The user who started a process: also of one that runs as another by set-user-ID (`Uid:` of `/proc/PID/status`, proc(5)).
pub fn user_of(pid: u32) -> Option<u32> {
    let status = crate::lossy::read(format!("/proc/{pid}/status")).ok()?;
    let users = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    users.split_ascii_whitespace().next()?.parse().ok()
}

/// A number in `pid (name) state ppid …`, counted from the state; a name may hold anything.
fn field(pid: u32, index: usize) -> Option<u64> {
    let stat = crate::lossy::read(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.split(' ').nth(index)?.parse().ok()
}

/// Ends all children of this process, and theirs, who become ours as their parents end (where we are PID 1 or a
/// "subreaper", prctl(2)). Returns how many there were.
pub fn end_all() -> usize {
    let mut ended = 0;
    for _ in 0..LOOKS {
        for pid in children_of(std::process::id()) {
            if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        loop {
            match wait(WaitOptions::NOHANG) {
                Ok(Some(_)) => ended += 1,
                Ok(None) => break,
                Err(_) => return ended,
            }
        }
        std::thread::sleep(PAUSE);
    }
    ended
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_is_found_and_is_younger_than_its_parent() {
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        // The list is that of one thread, and tests have several.
        let own = std::process::id();
        assert_eq!(field(child.id(), 1), Some(u64::from(own)));
        assert!(started(child.id()) >= started(own) && started(own).is_some());
        assert!(is_alive(child.id()));
        assert_eq!(user_of(child.id()), Some(rustix::process::getuid().as_raw()));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(started(child.id()), None);
        assert!(!is_alive(child.id()));
    }
}
