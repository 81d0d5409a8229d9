//! The file systems of the kernel, and memory to write to: what every program expects to be mounted.

use std::fs;
use std::io;
use std::path::Path;

use rustix::io::Errno;
use rustix::mount::MountFlags;

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
pub(super) const CGROUPS: &str = "/sys/fs/cgroup";

/// Mounts what is not mounted; returns what went wrong.
pub(super) fn mount_all() -> Vec<String> {
    MOUNTS.iter().filter_map(mount).collect()
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
}
