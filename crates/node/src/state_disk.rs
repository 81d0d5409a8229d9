//! `mos-node state`: mounts the disk that keeps the node's state.

use std::ffi::CStr;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::mount::MountFlags;

use crate::arguments::{Arguments, kernel_value};
use crate::exit::Exit;
use crate::superblock::{self, STATE_LABEL};

/// The help text.
pub const HELP: &str = "\
mos-node state: mounts the state disk

Mounts the first block device with an ext4 file system labelled `mosdata` on /var/cache. Without one the state is kept
in memory, which is fine. With mos.state=wait on the kernel command line it waits 10 seconds for the device.
";
/// How long mos.state=wait waits.
const WAIT: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_millis(200);
const MOUNT_POINT: &str = "/var/cache";
/// What `/var/cache/bin` is a link to: the programs of the generation that was verified since this boot, of no other.
const PROGRAMS: &str = "../../run/mos/current/bin";

/// Runs the verb.
pub fn run(arguments: &Arguments) -> Exit {
    let wait = kernel_value(&arguments.kernel_command_line(), "mos.state") == Some("wait");
    match find(if wait { WAIT } else { Duration::ZERO }) {
        None => println!("no state disk: state is kept in memory"),
        Some(device) => report_mount(&device, &arguments.below_root(MOUNT_POINT)),
    }
    match prepare(arguments) {
        Ok(()) => Exit::Fine,
        Err(error) => {
            eprintln!("state: {error}");
            Exit::Problem
        }
    }
}

/// A disk that cannot be mounted must not keep the node from starting, but nobody may overlook it.
fn report_mount(device: &Path, point: &Path) {
    match mount(device, point) {
        Ok(()) => println!("state disk {} is on {}", device.display(), point.display()),
        Err(error) => eprintln!(
            "state disk {} cannot be mounted: {error}; state is kept in memory; check the disk (e2fsck) or make a new one",
            device.display()
        ),
    }
}

fn find(wait: Duration) -> Option<PathBuf> {
    let started = Instant::now();
    loop {
        if let Some(device) = devices().into_iter().find(|device| has_label(device)) {
            return Some(device);
        }
        if started.elapsed() >= wait {
            return None;
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}

/// All block devices, disks before their partitions, in the order of their names.
fn devices() -> Vec<PathBuf> {
    let entries = fs::read_dir("/sys/class/block").into_iter().flatten().flatten();
    let mut names: Vec<_> = entries.map(|entry| entry.file_name()).collect();
    names.sort_by_key(|name| (name.len(), name.clone()));
    names.into_iter().map(|name| Path::new("/dev").join(name)).collect()
}

fn has_label(device: &Path) -> bool {
    let mut bytes = Vec::with_capacity(superblock::LENGTH);
    // A device that cannot be read (no medium) is not the state disk.
    let read = File::open(device).and_then(|file| file.take(superblock::LENGTH as u64).read_to_end(&mut bytes));
    read.is_ok() && superblock::ext4_label(&bytes).as_deref() == Some(STATE_LABEL)
}

fn mount(device: &Path, point: &Path) -> io::Result<()> {
    fs::create_dir_all(point)?;
    if is_mounted(device, point)? {
        return Ok(());
    }
    // Nothing of a release is set-uid or has capabilities: what is on the disk has them from somebody else.
    let flags = MountFlags::NOATIME | MountFlags::NODEV | MountFlags::NOSUID;
    let none: Option<&CStr> = None;
    Ok(rustix::mount::mount(device, point, c"ext4", flags, none)?)
}

/// The service may be started twice.
fn is_mounted(device: &Path, point: &Path) -> io::Result<bool> {
    let start = format!("{} {} ", device.display(), point.display());
    Ok(fs::read_to_string("/proc/mounts")?
        .lines()
        .any(|line| line.starts_with(&start)))
}

fn prepare(arguments: &Arguments) -> io::Result<()> {
    let named = |path: &Path, error: io::Error| io::Error::other(format!("cannot make {}: {error}", path.display()));
    let state = arguments.state();
    fs::create_dir_all(&state).map_err(|error| named(&state, error))?;
    let link = arguments.below_root("/var/cache/bin");
    match fs::read_link(&link) {
        Ok(target) if target == Path::new(PROGRAMS) => Ok(()),
        _ => mos_sys::durable::symlink(Path::new(PROGRAMS), &link).map_err(|error| named(&link, error)),
    }
}
