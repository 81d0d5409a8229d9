//! Early user space: what a fresh kernel lacks before services can run. Everything here may be done twice, and what
//! fails is told and passed over.
//!
//! | file | concern |
//! |---|---|
//! | `command_line` | the kernel command line |
//! | `mounts` | the file systems of the kernel |
//! | `groups` | control groups |
//! | `open_files` | how many files may be open |
//! | `fragments`, `glob`, `accounts` | directories of configuration, patterns, users and groups |
//! | `sysctl`, `tmpfiles` | what these directories ask for |
//! | `machine_id`, `seed` | who this machine is, and what its random numbers begin with |
//! | `target` | a boot of less than everything |
//! | `switch_root` | from the initial file system to one on a disk |
//! | `plug` | the process that brings devices up to what the kernel says |
//! | `requests` | the process that loads what the kernel asks for by itself |
//! | `modules`, `modprobe`, `nodes` | modules, what is set for them, and device nodes |

pub mod accounts;
pub mod command_line;
pub mod fragments;
pub mod glob;
pub mod groups;
pub mod machine_id;
pub mod modprobe;
pub mod modules;
mod mounts;
pub mod nodes;
pub mod open_files;
pub mod plug;
pub mod requests;
pub mod seed;
pub mod switch_root;
pub mod sysctl;
pub mod target;
pub mod tmpfiles;

use std::fs;
use std::io;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use command_line::CommandLine;
use mos_service::yaml::Stage;

use crate::conf;
use crate::options::SERVICES;

/// What early user space found.
#[derive(Debug)]
pub struct Ground {
    /// What did not work, for the console.
    pub problems: Vec<String>,
    /// The kernel command line, completed by `my_init.conf`.
    pub command_line: CommandLine,
    /// Where the groups of services go.
    pub cgroups: Option<PathBuf>,
}

/// Does all of it but [`settle`]. The console can be opened afterwards.
pub fn prepare() -> Ground {
    let mut problems: Vec<String> = mounts::mount_all();
    let mut note =
        |what: &str, done: io::Result<()>| problems.extend(done.err().map(|error| format!("{what}: {error}")));
    note("/dev/null", keep_standard_descriptors());
    let (conf, told) = conf::begin(Path::new(SERVICES[0]));
    if conf.has(Stage::Networking) {
        note("host name", host_name());
        note("loopback", mos_sys::link::set_up("lo"));
    }
    if conf.has(Stage::LoadModules) {
        note("modules on request", requests::answer());
    }
    problems.extend(told);
    Ground { problems, ..ground() }
}

/// What takes time, or may say much: modules and device nodes, kernel settings, files, the machine's id and its seed.
/// Returns what went wrong.
pub fn settle(command_line: &CommandLine) -> Vec<String> {
    let root = Path::new("/");
    let mut problems = Vec::new();
    match plug::is_needed() {
        true => problems.extend(plug::run(plug::LIMIT)),
        false => nodes::settle(
            Path::new("/dev"),
            Path::new("/sys/class/block"),
            &accounts::Accounts::read(root),
        ),
    }
    if let Some(root) = command_line.root.as_ref().filter(|_| switch_root::is_initial()) {
        problems.push(switch_root::switch(root));
    }
    problems.extend(sysctl::apply(root, Path::new("/proc/sys")));
    let id = machine_id::ensure(root, command_line.machine_id.as_deref());
    problems.extend(id.err().map(|error| format!("machine id: {error}")));
    problems.extend(tmpfiles::apply(root));
    problems.extend(seed::use_once());
    problems
}

/// What is there, once it has been prepared.
pub fn ground() -> Ground {
    let text = crate::lossy::read("/proc/cmdline").unwrap_or_default();
    let mut command_line = CommandLine::parse(&text);
    command_line.complete(&conf::read(Path::new(SERVICES[0])).0);
    Ground {
        problems: Vec::new(),
        command_line,
        cgroups: groups::prepare(),
    }
}

/// Descriptors 0 to 2 have to be taken, or the next files that are opened become somebody's standard output. The kernel
/// leaves them closed when it found no console.
fn keep_standard_descriptors() -> io::Result<()> {
    loop {
        let null = fs::File::options().read(true).write(true).open("/dev/null")?;
        if std::os::fd::AsRawFd::as_raw_fd(&null.as_fd()) > 2 {
            return Ok(());
        }
        std::mem::forget(null);
    }
}

fn host_name() -> io::Result<()> {
    let text = match fs::read_to_string("/etc/hostname") {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    match text
        .lines()
        .map(str::trim)
        .find(|line| !line.is_empty() && !line.starts_with('#'))
    {
        Some(name) => Ok(rustix::system::sethostname(name.as_bytes())?),
        None => Ok(()),
    }
}
