//! Early user space: what a fresh kernel lacks before services can run. Everything here may be done twice, and what
//! fails is told and passed over.

use std::fs;
use std::io;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::mount::MountFlags;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::kernel::CommandLine;

/// A file system to mount: source and type, place, flags, options.
type Mount = (&'static str, &'static str, MountFlags, &'static std::ffi::CStr);

const PLAIN: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV);
const STRICT: MountFlags = PLAIN.union(MountFlags::NOEXEC);
const DEVICES: MountFlags = MountFlags::NOSUID.union(MountFlags::NOEXEC);

const MOUNTS: [Mount; 8] = [
    ("proc", "/proc", STRICT, c""),
    ("sysfs", "/sys", STRICT, c""),
    ("devtmpfs", "/dev", MountFlags::NOSUID, c"mode=0755"),
    ("devpts", "/dev/pts", DEVICES, c"mode=0620,gid=5,ptmxmode=0666"),
    ("tmpfs", "/dev/shm", PLAIN, c"mode=1777"),
    ("tmpfs", "/run", PLAIN, c"mode=0755"),
    ("tmpfs", "/tmp", PLAIN, c"mode=1777"),
    ("cgroup2", CGROUPS, STRICT, c""),
];

/// Where cgroup v2 is mounted.
const CGROUPS: &str = "/sys/fs/cgroup";
/// Below it, one group per service.
const SERVICES_GROUP: &str = "services";
/// What PID 1 may open: three descriptors per service for more services than a node will have.
const OPEN_FILES: u64 = 65_536;

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
    let mut problems: Vec<String> = MOUNTS.iter().filter_map(mount).collect();
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

fn mount(mount: &Mount) -> Option<String> {
    let (kind, place, flags, options) = *mount;
    // The place may be a directory of a read-only image: then the mount says what is wrong.
    let _ = fs::create_dir_all(place);
    if is_mounted(place) {
        return None;
    }
    match rustix::mount::mount(kind, place, kind, flags, options) {
        Ok(()) | Err(Errno::BUSY) => None,
        Err(error) => Some(format!("mount {kind} on {place}: {}", io::Error::from(error))),
    }
}

/// A place is mounted on when it is on another device than the directory above.
fn is_mounted(place: &str) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let device = |path: &Path| fs::metadata(path).map(|place| place.dev()).ok();
    let place = Path::new(place);
    let above = place.parent().and_then(device);
    above.is_some() && device(place) != above
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
    crate::modules::load_all(
        Path::new("/etc/modules-load.d"),
        &Path::new("/lib/modules").join(version),
    )
}

/// Raises our own limit of open files, and returns the one that services get: the old one.
pub fn raise_open_files() -> Option<(u64, u64)> {
    let old = getrlimit(Resource::Nofile);
    let (soft, hard) = (old.current?, old.maximum?);
    let wished = |maximum: u64| Rlimit {
        current: Some(maximum),
        maximum: Some(maximum),
    };
    // Only root may raise the hard limit; everybody else goes as far as it lets them.
    let raised = setrlimit(Resource::Nofile, wished(OPEN_FILES.max(hard)));
    raised.or_else(|_| setrlimit(Resource::Nofile, wished(hard))).ok()?;
    Some((soft, hard))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_mounted_is_not_mounted_again() {
        assert!(is_mounted("/proc"));
        assert!(!is_mounted("/proc/self"));
        assert!(!is_mounted("/no/such/place"));
        assert_eq!(mount(&MOUNTS[0]), None);
    }

    #[test]
    fn our_limit_rises_and_the_old_one_is_kept_for_services() {
        let before = getrlimit(Resource::Nofile);
        let (soft, hard) = raise_open_files().expect("a limit");
        assert_eq!((Some(soft), Some(hard)), (before.current, before.maximum));
        assert!(getrlimit(Resource::Nofile).current >= before.maximum);
    }
}
