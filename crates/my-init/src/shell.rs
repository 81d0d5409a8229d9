//! A root shell on the console.

use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;

use mos_sys::spawn::{Conditions, Spawn, spawn};

use crate::services::{PATH, c_string};

const SHELL: &str = "/bin/sh";
const CONSOLE: &str = "/dev/console";

/// Starts an interactive shell that has the console as its controlling terminal, so that Ctrl-C and job control work;
/// returns its process id. `sibling`: as a child of our parent.
///
/// # Errors
/// When the console cannot be opened, or the shell does not start.
pub fn start(sibling: bool) -> io::Result<u32> {
    let console = File::options().read(true).write(true).open(CONSOLE)?;
    let what = Spawn {
        program: &c_string(SHELL),
        arguments: &[c_string("sh"), c_string("-i")],
        environment: &[
            c_string(&format!("PATH={PATH}")),
            c_string("HOME=/"),
            c_string("TERM=linux"),
            c_string("MY_INIT_OPERATOR=1"),
        ],
        directory: c"/",
        input: console.as_fd(),
        output: console.as_fd(),
        descriptors: &[],
        conditions: Conditions::default(),
        cgroup: None,
        terminal: true,
        sibling,
        announced: None,
        dies_with_parent: false,
    };
    spawn(&what).map_err(|error| io::Error::other(error.to_string()))
}
