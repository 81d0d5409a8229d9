//! Taking the machine down once the services are: kill, swap off, unmount, sync, reboot(2).
//!
//! | file | concern |
//! |---|---|
//! | `processes` | ending what still runs, and naming what would not |
//! | `file_systems` | swap, mounts, and the block devices below them |
//!
//! A file system on a dead disk can hold `umount` and `sync` for ever. They therefore run on a thread of their own, and
//! the machine goes down without them when their time is over.

mod file_systems;
mod processes;

use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::system::{RebootCommand, reboot};

use crate::clock;
use crate::console::Console;
use crate::supervisor::Goal;
use crate::watchdog;
pub(crate) use file_systems::unescape;

/// For unmounting and writing back.
const SYNC_LIMIT: Duration = Duration::from_secs(30);
/// Between two looks at what is left.
const STEP: Duration = Duration::from_millis(10);
/// For the console's last lines.
const CONSOLE_LIMIT: Duration = Duration::from_secs(1);

/// Takes the machine down. Returns only when even reboot(2) fails, with the reason.
pub fn take_down(goal: Goal, console: &mut Console) -> String {
    // Each step below ends before it wants to be fed again.
    let mut watchdog = watchdog::inherited(clock::now());
    let mut feed = || watchdog.as_mut().map_or(Ok(()), |watchdog| watchdog.feed(clock::now()));
    let _ = feed();
    say(console, "stopping every process");
    for problem in processes::end_all() {
        say(console, &problem);
    }
    let _ = feed();
    say(console, "unmounting file systems");
    let (told, telling) = mpsc::channel();
    let release = move || {
        for problem in file_systems::release() {
            let _ = told.send(problem);
        }
    };
    match std::thread::Builder::new().spawn(release) {
        Ok(_) => report(&telling, console),
        // No memory for a thread: what is not unmounted is at least written, as far as that ends.
        Err(error) => {
            say(console, &format!("file systems are not unmounted: {error}"));
            rustix::fs::sync();
        }
    }
    if let Some(watchdog) = watchdog {
        watchdog.leave(goal);
    }
    end(goal, console)
}

fn end(goal: Goal, console: &mut Console) -> String {
    say(console, goal.word());
    let deadline = Instant::now() + CONSOLE_LIMIT;
    while console.is_behind() && Instant::now() < deadline {
        console.flush();
        std::thread::sleep(STEP);
    }
    let mut problems = Vec::new();
    for command in commands(goal) {
        match reboot(*command) {
            Ok(()) => problems.push("the kernel let us go on".to_owned()),
            Err(error) => problems.push(std::io::Error::from(error).to_string()),
        }
    }
    format!("{}: {}", goal.word(), problems.join("; "))
}

/// What the kernel is told, one after the other as long as it lets us go on: a machine that is to run again starts anew
/// when it has no other kernel, and one that cannot be switched off stops.
fn commands(goal: Goal) -> &'static [RebootCommand] {
    match goal {
        Goal::Poweroff => &[RebootCommand::PowerOff, RebootCommand::Halt],
        Goal::Reboot => &[RebootCommand::Restart],
        Goal::Halt => &[RebootCommand::Halt],
        Goal::Kexec => &[RebootCommand::Kexec, RebootCommand::Restart],
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
