//! Root shells on the consoles.

use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use mos_sys::shared_pid::SharedPid;
use mos_sys::spawn::{Conditions, Spawn, spawn};

use rustix::fs::OFlags;

use crate::services::{PATH, c_string};

const SHELL: &str = "/bin/sh";
const CONSOLE: &str = "/dev/console";
/// The kernel's list of consoles (ABI/testing/sysfs-tty).
const ACTIVE: &str = "/sys/class/tty/console/active";

/// The terminals of all consoles of the machine, screen and serial.
pub fn terminals() -> Vec<String> {
    let names = std::fs::read_to_string(ACTIVE).unwrap_or_default();
    let mut found: Vec<String> = names.split_whitespace().map(terminal).collect();
    found.retain(|path| Path::new(path).exists());
    if found.is_empty() {
        found.push(CONSOLE.to_owned());
    }
    found
}

/// `tty0` is whichever screen is shown; a shell needs one of its own.
fn terminal(name: &str) -> String {
    match name {
        "tty0" => "/dev/tty1".to_owned(),
        name => format!("/dev/{name}"),
    }
}

/// Starts an interactive shell that has this as its controlling terminal, so that Ctrl-C and job control work;
/// returns its process id. `sibling`: as a child of
/// our parent; a start has begun there.
///
/// # Errors
/// When the terminal cannot be opened, the image has no shell, or the shell does not start.
pub fn start(terminal: &str, sibling: Option<&SharedPid>) -> io::Result<u32> {
    if !Path::new(SHELL).exists() {
        return Err(io::Error::new(
            io::ErrorKind::NotFound,
            format!("there is no {SHELL} in this image"),
        ));
    }
    // Whoever opens a terminal first would have it as its own.
    let flags = i32::try_from(OFlags::NOCTTY.bits()).unwrap_or(0);
    let console = File::options()
        .read(true)
        .write(true)
        .custom_flags(flags)
        .open(terminal)?;
    let what = Spawn {
        tells_pid: false,
        program: &c_string(SHELL),
        arguments: &[c_string("sh"), c_string("-i")],
        environment: &[
            c_string(&format!("PATH={PATH}")),
            c_string("HOME=/"),
            c_string("TERM=linux"),
            c_string(&format!("MY_INIT_OPERATOR={terminal}")),
        ],
        directory: c"/",
        input: console.as_fd(),
        output: console.as_fd(),
        pad: None,
        descriptors: &[],
        conditions: Conditions::default(),
        cgroup: None,
        terminal: true,
        sibling,
        dies_with_parent: false,
    };
    spawn(&what).map_err(|error| io::Error::other(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_has_at_least_one_terminal() {
        assert!(!terminals().is_empty());
        assert_eq!(
            (terminal("tty0"), terminal("ttyS0")),
            ("/dev/tty1".to_owned(), "/dev/ttyS0".to_owned())
        );
    }
}
