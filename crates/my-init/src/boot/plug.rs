//! Devices and their modules, brought up to what sysfs says: at boot, and whenever the kernel tells of a new device.
//!
//! Loading a module can take seconds, or never end. So a process of its own does it (`my_init --plug`), which may be run
//! at any time: it looks at what is there and does what is missing. Modules are loaded in parallel.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use mos_service::yaml::Stage;
use mos_sys::shared_pid::SharedPid;
use mos_sys::spawn::{Conditions, Spawn, spawn};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, WaitOptions, pidfd_open, waitpid};

use super::accounts::Accounts;
use super::fragments;
use super::modules::Library;
use super::nodes;
use super::seed;
use crate::clock;
use crate::conf;
use crate::console::Console;
use crate::options::SERVICES;
use crate::services::c_string;

/// The option by which this program is that process.
pub const OPTION: &str = "--plug";
/// At boot, what is not loaded by then is not waited for.
pub const LIMIT: Duration = Duration::from_secs(10);
/// A driver that is loaded finds devices that need others; so often is looked again.
const ROUNDS: usize = 8;
/// So many modules are loaded at a time, at most.
const THREADS: usize = 8;

/// True when there is anything that could be loaded.
pub fn is_needed() -> bool {
    library_directory().join("modules.dep").exists()
}

pub(super) fn library_directory() -> PathBuf {
    let version = rustix::system::uname().release().to_string_lossy().into_owned();
    Path::new("/lib/modules").join(version)
}

/// Starts the process; `sibling`: as a child of our parent.
///
/// # Errors
/// When it cannot be started.
pub fn start(sibling: Option<&SharedPid>) -> io::Result<u32> {
    let null = fs::File::options().read(true).write(true).open("/dev/null")?;
    let what = Spawn {
        tells_pid: false,
        program: c"/proc/self/exe",
        arguments: &[c_string("my_init"), c_string(OPTION)],
        environment: &[],
        directory: c"/",
        input: null.as_fd(),
        output: null.as_fd(),
        pad: None,
        conditions: Conditions::default(),
        descriptors: &[],
        cgroup: None,
        terminal: false,
        sibling,
        dies_with_parent: false,
    };
    spawn(&what).map_err(|error| io::Error::other(error.to_string()))
}

/// Starts it as a child and waits, but not for ever. Returns what people should know.
pub fn run(limit: Duration) -> Option<String> {
    let started = start(None).and_then(|pid| {
        let pid = i32::try_from(pid)
            .ok()
            .and_then(Pid::from_raw)
            .ok_or(io::ErrorKind::Other)?;
        let ended = wait(pid, limit)?;
        Ok(ended)
    });
    match started {
        Ok(true) => None,
        Ok(false) => Some(format!(
            "modules are still being loaded after {} s: going on",
            limit.as_secs()
        )),
        Err(error) => Some(format!("no modules are loaded: {error}")),
    }
}

fn wait(pid: Pid, limit: Duration) -> io::Result<bool> {
    let process = pidfd_open(pid, PidfdFlags::empty())?;
    let limit = Timespec {
        tv_sec: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(limit.subsec_nanos()),
    };
    let ended = rustix::io::retry_on_intr(|| poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&limit)))? > 0;
    if ended {
        waitpid(Some(pid), WaitOptions::NOHANG)?;
    }
    Ok(ended)
}

/// The life of that process.
pub fn work() {
    let root = Path::new("/");
    nodes::settle(Path::new("/dev"), Path::new("/sys/class/block"), &Accounts::read(root));
    let command_line = crate::lossy::read("/proc/cmdline").unwrap_or_default();
    let (conf, _) = conf::read(Path::new(SERVICES[0]));
    let mut problems = match Library::read(&library_directory(), root, &command_line) {
        _ if !conf.has(Stage::LoadModules) => Vec::new(),
        Ok(library) => load(&library, root, Path::new("/sys")),
        Err(error) if is_needed() => vec![error],
        Err(_) => Vec::new(),
    };
    problems.extend(seed::use_once());
    if let Ok(mut console) = Console::machine() {
        problems.iter().for_each(|problem| console.say(clock::now(), problem));
    }
    nodes::settle(Path::new("/dev"), Path::new("/sys/class/block"), &Accounts::read(root));
}

fn load(library: &Library, root: &Path, sys: &Path) -> Vec<String> {
    let (fragments, mut problems) = fragments::read(root, "modules-load.d");
    let lines = fragments.iter().flat_map(fragments::Fragment::lines);
    let mut wanted: BTreeSet<String> = lines.map(|(_, name)| name.to_owned()).collect();
    let (mut seen, mut tried) = (BTreeSet::new(), BTreeSet::new());
    for _ in 0..ROUNDS {
        let new: BTreeSet<String> = devices(sys).difference(&seen).cloned().collect();
        wanted.extend(library.for_devices(&new));
        seen.extend(new);
        wanted.retain(|name| tried.insert(name.clone()));
        if wanted.is_empty() {
            break;
        }
        problems.extend(load_all(library, std::mem::take(&mut wanted)));
    }
    problems
}

/// The identities of devices that no driver has taken. Keys and buttons are on no bus; what makes them readable takes them
/// all.
fn devices(sys: &Path) -> BTreeSet<String> {
    let buses = fs::read_dir(sys.join("bus")).into_iter().flatten().flatten();
    let folders = buses.map(|bus| bus.path().join("devices"));
    let mut found = BTreeSet::new();
    for folder in folders.chain([sys.join("class/input")]) {
        for device in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = device.path();
            if path.join("driver").symlink_metadata().is_err()
                && let Ok(identity) = fs::read_to_string(path.join("modalias"))
            {
                found.insert(identity.trim_end().to_owned());
            }
        }
    }
    found
}

fn load_all(library: &Library, names: BTreeSet<String>) -> Vec<String> {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = processors.min(THREADS).min(names.len());
    let (queue, problems) = (Mutex::new(names), Mutex::new(Vec::new()));
    let worker = || {
        loop {
            let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop_first();
            let Some(name) = next else { return };
            if let Err(error) = library.load(&name) {
                let problem = format!("module {name}: {error}");
                problems.lock().unwrap_or_else(PoisonError::into_inner).push(problem);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads {
            // One that cannot be made leaves its work to the others.
            let _ = std::thread::Builder::new().spawn_scoped(scope, worker);
        }
        worker();
    });
    problems.into_inner().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_without_a_driver_are_found_and_what_fails_is_named_once() {
        let root = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("bus/pci/devices/1/modalias", "pci:a\n");
        write("bus/pci/devices/2/modalias", "pci:b\n");
        write("bus/usb/devices/3/modalias", "usb:c\n");
        write("bus/pci/devices/2/driver", "");
        write("lib/modules.dep", "kernel/net.ko:\nkernel/disk.ko:\n");
        write("lib/modules.alias", "alias pci:a net\nalias pci:b disk\n");
        write("etc/modules-load.d/a.conf", "# these\ndisk\nnone\n");
        write("class/input/input0/modalias", "input:d\n");
        assert_eq!(
            devices(root.path()),
            BTreeSet::from(["input:d", "pci:a", "usb:c"].map(str::to_owned))
        );
        let library = Library::read(&root.path().join("lib"), root.path(), "").unwrap();
        let mut problems = load(&library, root.path(), root.path());
        problems.sort();
        let named: Vec<&str> = problems
            .iter()
            .filter_map(|problem| problem.split(": ").next())
            .collect();
        assert_eq!(named, ["module disk", "module net", "module none"]);
    }
}
