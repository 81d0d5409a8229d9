//! When PID 1 itself fails: it says so and stays, because the kernel panics when it ends.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::time::Duration;

use mos_sys::spawn::{Spawn, spawn};
use rustix::process::{Pid, WaitOptions, waitpid};

use crate::services::{PATH, c_string};

/// Before the next shell, so that one that cannot start does not fill the console.
const PAUSE: Duration = Duration::from_secs(5);
const SHELL: &str = "/bin/sh";
const CONSOLE: &str = "/dev/console";

/// Makes a panic end in [`stay`] instead of the end of PID 1.
pub fn install() {
    std::panic::set_hook(Box::new(|panic| stay(&format!("panic: {panic}"))));
}

/// Says what happened on the console and in the kernel's log, then keeps an emergency shell on the console for ever.
/// Services that run go on, unsupervised.
pub fn stay(what: &str) -> ! {
    for place in [CONSOLE, "/dev/kmsg"] {
        if let Ok(mut file) = OpenOptions::new().append(true).open(place) {
            let _ = writeln!(
                file,
                "my_init: fatal: {}; services are no longer supervised",
                what.replace('\n', " ")
            );
        }
    }
    loop {
        if Path::new(SHELL).exists()
            && let Some(pid) = shell()
        {
            wait_for(pid);
        }
        std::thread::sleep(PAUSE);
        reap();
    }
}

fn shell() -> Option<u32> {
    let console = File::options().read(true).write(true).open(CONSOLE).ok()?;
    let what = Spawn {
        program: &c_string(SHELL),
        arguments: &[c_string("sh"), c_string("-i")],
        environment: &[
            c_string(&format!("PATH={PATH}")),
            c_string("HOME=/"),
            c_string("TERM=linux"),
        ],
        directory: c"/",
        input: console.as_fd(),
        output: console.as_fd(),
        identity: None,
        open_files: None,
        cgroup: None,
        terminal: true,
    };
    spawn(&what).ok()
}

/// Waits for the shell and takes in whoever else ends.
fn wait_for(pid: u32) {
    let shell = i32::try_from(pid).ok().and_then(Pid::from_raw);
    while let Ok(Some((ended, _))) = rustix::process::wait(WaitOptions::empty()) {
        if Some(ended) == shell {
            return;
        }
    }
}

fn reap() {
    while let Ok(Some(_)) = waitpid(None, WaitOptions::NOHANG) {}
}
