//! Taking the machine down once the services are: kill, unmount, sync, reboot(2).
//!
//! A file system on a dead disk can hold `umount` and `sync` for ever. They therefore run on a thread of their own, and
//! the machine goes down without them when their time is over.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::mount::{MountFlags, UnmountFlags, mount_remount, unmount};
use rustix::process::{Signal, WaitOptions, kill_process, test_kill_process};
use rustix::system::{RebootCommand, reboot};

use crate::clock;
use crate::console::Console;
use crate::supervisor::Goal;

/// For processes that are not services (or outlived theirs), between asking and killing.
const GRACE: Duration = Duration::from_secs(2);
/// For unmounting and writing back.
const SYNC_LIMIT: Duration = Duration::from_secs(30);
/// Between two looks at what is left.
const STEP: Duration = Duration::from_millis(10);
/// For the console's last lines.
const CONSOLE_LIMIT: Duration = Duration::from_secs(1);

/// File systems of the kernel, with nothing to write back.
const VIRTUAL: [&str; 13] = [
    "autofs",
    "bpf",
    "cgroup",
    "cgroup2",
    "debugfs",
    "devpts",
    "devtmpfs",
    "proc",
    "pstore",
    "ramfs",
    "rootfs",
    "securityfs",
    "sysfs",
];

/// Takes the machine down. Returns only when even reboot(2) fails, with the reason.
pub fn take_down(goal: Goal, console: &mut Console) -> String {
    say(console, "stopping every process");
    end_processes();
    say(console, "unmounting file systems");
    let (told, telling) = mpsc::channel();
    std::thread::spawn(move || {
        for problem in release_file_systems() {
            let _ = told.send(problem);
        }
    });
    report(&telling, console);
    say(console, goal.word());
    let deadline = Instant::now() + CONSOLE_LIMIT;
    while console.is_behind() && Instant::now() < deadline {
        console.flush();
        std::thread::sleep(STEP);
    }
    let command = match goal {
        Goal::Poweroff => RebootCommand::PowerOff,
        Goal::Reboot => RebootCommand::Restart,
    };
    match reboot(command) {
        Ok(()) => "the kernel let us go on".to_owned(),
        Err(error) => std::io::Error::from(error).to_string(),
    }
}

fn say(console: &mut Console, text: &str) {
    console.say(clock::now(), text);
}

/// Prints problems until the thread is done, or late.
fn report(telling: &mpsc::Receiver<String>, console: &mut Console) {
    let deadline = Instant::now() + SYNC_LIMIT;
    loop {
        match telling.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(problem) => say(console, &problem),
            Err(mpsc::RecvTimeoutError::Disconnected) => return,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                let limit = SYNC_LIMIT.as_secs();
                return say(
                    console,
                    &format!("unmounting takes longer than {limit} s: going down without it"),
                );
            }
        }
    }
}

fn end_processes() {
    signal_all(Signal::TERM);
    if !wait_for_all(GRACE) {
        signal_all(Signal::KILL);
        wait_for_all(GRACE);
    }
}

/// As PID 1: every process but ourselves (kill(2)). Processes of the kernel take no notice.
fn signal_all(signal: Signal) {
    // kill(-1) is not in rustix; /proc is mounted, so every process can be named.
    for pid in processes() {
        let _ = kill_process(pid, signal);
    }
}

fn processes() -> Vec<rustix::process::Pid> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    let numbers = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let own = i32::try_from(std::process::id()).unwrap_or(1);
    numbers
        .filter(|number| *number > 1 && *number != own)
        .filter_map(rustix::process::Pid::from_raw)
        .collect()
}

/// Takes in every child until there is none; true when all are gone in time.
fn wait_for_all(limit: Duration) -> bool {
    let deadline = Instant::now() + limit;
    loop {
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some(_)) => {}
            Ok(None) if Instant::now() < deadline => std::thread::sleep(STEP),
            Ok(None) => return false,
            // No child of ours is left; what others still have is ours as soon as they end.
            Err(_) => {
                return processes()
                    .iter()
                    .all(|pid| test_kill_process(*pid).is_err() || is_kernel_thread(*pid));
            }
        }
    }
}

/// Kernel threads have no memory of their own, so no command line.
fn is_kernel_thread(pid: rustix::process::Pid) -> bool {
    let path = format!("/proc/{}/cmdline", pid.as_raw_nonzero());
    std::fs::read(path).is_ok_and(|line| line.is_empty())
}

/// Unmounts what can be, newest first, and makes the rest read-only. Returns what did not work.
fn release_file_systems() -> Vec<String> {
    rustix::fs::sync();
    let text = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let mut problems = Vec::new();
    for place in real_mounts(&text) {
        if unmount(&place, UnmountFlags::empty()).is_ok() {
            continue;
        }
        if let Err(error) = mount_remount(&place, MountFlags::RDONLY, c"") {
            problems.push(format!(
                "{place}: neither unmounted nor read-only: {}",
                std::io::Error::from(error)
            ));
        }
    }
    rustix::fs::sync();
    problems
}

/// Places of mounts that hold data, newest first, from the text of `/proc/self/mounts` (fstab(5) with octal escapes).
/// tmpfs is left to the kernel: nothing of it is to be written, and our own socket may be on it.
fn real_mounts(text: &str) -> Vec<String> {
    let mounts = text.lines().filter_map(|line| {
        let mut words = line.split(' ');
        let (_, place, kind) = (words.next()?, words.next()?, words.next()?);
        let real = !VIRTUAL.contains(&kind) && kind != "tmpfs";
        real.then(|| unescape(place))
    });
    let mut mounts: Vec<String> = mounts.collect();
    mounts.reverse();
    mounts
}

/// The path that is meant: `/proc` writes blanks and the like in octal (fstab(5)).
pub(crate) fn unescape(place: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(place.to_owned(), |place, (escape, character)| {
            place.replace(escape, character)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_mounts_with_data_are_released_newest_first() {
        let text = "rootfs / rootfs rw 0 0\nproc /proc proc rw 0 0\n/dev/vda /var/cache ext4 rw 0 0\n\
                    tmpfs /run tmpfs rw 0 0\n/dev/vdb /mnt/a\\040b xfs rw 0 0\nbroken\n";
        assert_eq!(real_mounts(text), ["/mnt/a b", "/var/cache"]);
    }
}
