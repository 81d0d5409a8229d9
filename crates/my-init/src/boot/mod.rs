//! Early user space: what a fresh kernel lacks before services can run. Everything here may be done twice, and what
//! fails is told and passed over.
//!
//! | file | concern |
//! |---|---|
//! | `command_line` | the kernel command line |
//! | `mounts` | the file systems of the kernel |
//! | `modules` | kernel modules, by name |
//! | `open_files` | how many files may be open |

pub mod command_line;
pub mod modules;
mod mounts;
pub mod open_files;

use std::fs;
use std::io;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use command_line::CommandLine;
use mounts::CGROUPS;

/// Below it, one group per service.
const SERVICES_GROUP: &str = "services";

/// What early user space found.
#[derive(Debug)]
pub struct Ground {
    /// What did not work, for the console.
    pub problems: Vec<String>,
    /// The kernel command line.
    pub command_line: CommandLine,
    /// Where the groups of services go.
    pub cgroups: Option<PathBuf>,
}

/// Does all of it. The console can be opened afterwards; modules are loaded by [`load_modules`], so that what they take
/// is seen.
pub fn prepare() -> Ground {
    let mut problems: Vec<String> = mounts::mount_all();
    problems.extend(
        keep_standard_descriptors()
            .err()
            .map(|error| format!("/dev/null: {error}")),
    );
    problems.extend(host_name().err().map(|error| format!("host name: {error}")));
    problems.extend(
        mos_sys::link::set_up("lo")
            .err()
            .map(|error| format!("loopback: {error}")),
    );
    ground(problems)
}

/// What is there, once it has been prepared.
pub fn ground(problems: Vec<String>) -> Ground {
    let text = fs::read_to_string("/proc/cmdline").unwrap_or_default();
    Ground {
        problems,
        command_line: CommandLine::parse(&text),
        cgroups: services_group(),
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

fn services_group() -> Option<PathBuf> {
    let group = Path::new(CGROUPS).join(SERVICES_GROUP);
    if !Path::new(CGROUPS).join("cgroup.procs").exists() {
        return None;
    }
    fs::create_dir_all(&group).ok()?;
    // What of these the kernel does not have is missed when a service asks for it.
    for controller in ["+cpu", "+io", "+memory", "+pids"] {
        for above in [Path::new(CGROUPS), &group] {
            let _ = fs::write(above.join("cgroup.subtree_control"), controller);
        }
    }
    Some(group)
}

/// Loads the modules that the image lists for the running kernel; returns what went wrong.
pub fn load_modules() -> Vec<String> {
    let version = rustix::system::uname().release().to_string_lossy().into_owned();
    modules::load_all(
        Path::new("/etc/modules-load.d"),
        &Path::new("/lib/modules").join(version),
    )
}
