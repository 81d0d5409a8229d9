//! How a driver is set up.

use std::path::PathBuf;

use crate::boot::command_line::CommandLine;
use crate::logs::Limits;
use crate::supervisor::Settings;

/// How a driver is set up.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Directories of service files, the most important first.
    pub services: Vec<PathBuf>,
    /// The one of them that holds what is added while we run, if any.
    pub state: Option<PathBuf>,
    /// Members of this group may do what root may, as far as the control socket goes.
    pub group: Option<u32>,
    /// Path of the control socket.
    pub socket: PathBuf,
    /// Times.
    pub settings: Settings,
    /// Where the cgroup v2 leaves are made, if anywhere.
    pub cgroups: Option<PathBuf>,
    /// The limit of open files that services get, soft and hard.
    pub open_files: Option<(u64, u64)>,
    /// Listen to the power button, and take every signal as PID 1 does.
    pub machine: bool,
    /// Print every action.
    pub debug: bool,
    /// What the kernel command line says.
    pub line: CommandLine,
    /// This program goes on where another one was.
    pub taken_over: bool,
    /// What all logs together may take.
    pub logs: Limits,
    /// Our own messages are printed on the console up to this level (RFC 5424 section 6.2.1).
    pub log_level: u32,
    /// Where programs say something to us, as to `/dev/log`.
    pub syslog: Option<PathBuf>,
}
