//! Swap, mounts, and the block devices below them.
//!
//! Unmounting one may free another: a file system on a loop device on a file system. So everything is tried again as long
//! as anything was released; what stays is made read-only. RAID arrays (`md`) are stopped by the kernel itself when it
//! goes down.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use crate::boot::seed;
use rustix::mount::{MountFlags, UnmountFlags, mount_remount, unmount};

/// File systems of the kernel, with nothing to write back.
const VIRTUAL: [&str; 13] = [
    "autofs",
    "bpf",
    "cgroup",
    "cgroup2",
    "debugfs",
    "devpts",
    "devtmpfs",
    "proc",
    "pstore",
    "ramfs",
    "rootfs",
    "securityfs",
    "sysfs",
];
/// File systems whose other end may not answer any more: what waits for it is given up (`MNT_FORCE`, umount(2)).
const REMOTE: [&str; 6] = ["9p", "ceph", "cifs", "fuse", "nfs", "smb3"];
/// So often everything is tried: deeper than anybody stacks file systems.
const ROUNDS: usize = 16;

/// Something mounted that holds data.
#[derive(Debug, PartialEq, Eq)]
struct Mount {
    place: PathBuf,
    remote: bool,
}

/// Releases what can be, newest first, and makes the rest read-only. Returns what did not work.
pub(super) fn release() -> Vec<String> {
    // What hangs below must not keep from the disks that do answer what is theirs.
    let _ = std::thread::Builder::new().spawn(rustix::fs::sync);
    let _ = seed::renew(Path::new(seed::PLACE));
    let machine = crate::container::is_first_namespace();
    let mut problems = if machine { swap_off() } else { Vec::new() };
    for _ in 0..ROUNDS {
        // Mounts are ours alone; block devices and swap are those of the machine.
        let below = || detach_loops() + remove_mappings();
        let released = unmount_all() + if machine { below() } else { 0 };
        if released == 0 {
            break;
        }
    }
    problems.extend(mounted().iter().filter_map(|mount| make_read_only(mount, machine)));
    rustix::fs::sync();
    problems
}

fn mounted() -> Vec<Mount> {
    real_mounts(&fs::read("/proc/self/mounts").unwrap_or_default())
}

fn unmount_all() -> usize {
    mounted().iter().filter(|mount| release_one(mount).is_ok()).count()
}

fn release_one(mount: &Mount) -> rustix::io::Result<()> {
    let flags = UnmountFlags::NOFOLLOW;
    match mount.remote {
        true => unmount(&mount.place, flags | UnmountFlags::FORCE),
        false => unmount(&mount.place, flags),
    }
}

fn make_read_only(mount: &Mount, machine: bool) -> Option<String> {
    // In a namespace only what is seen here: the file system itself is somebody else's too.
    let flags = match machine {
        true => MountFlags::RDONLY,
        false => MountFlags::RDONLY | MountFlags::BIND,
    };
    let error = mount_remount(&mount.place, flags, c"").err()?;
    let error = io::Error::from(error);
    Some(format!(
        "{}: neither unmounted nor read-only: {error}",
        mount.place.display()
    ))
}

fn swap_off() -> Vec<String> {
    let text = fs::read("/proc/swaps").unwrap_or_default();
    let off = |place: PathBuf| {
        let error = mos_sys::swap::off(&place).err()?;
        Some(format!("{}: still used as swap: {error}", place.display()))
    };
    swaps(&text).into_iter().filter_map(off).collect()
}

/// The places of `/proc/swaps`, below its heading (proc(5)).
fn swaps(text: &[u8]) -> Vec<PathBuf> {
    let lines = text.split(|byte| *byte == b'\n').skip(1);
    let places = lines.filter_map(|line| line.split(|byte| b" \t".contains(byte)).next());
    places.filter(|place| !place.is_empty()).map(unescape).collect()
}

/// The names of block devices below which this exists.
fn block_devices(below: &str) -> Vec<String> {
    let Ok(entries) = fs::read_dir("/sys/block") else {
        return Vec::new();
    };
    let with = entries.flatten().filter(|entry| entry.path().join(below).exists());
    with.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

fn detach_loops() -> usize {
    let devices = block_devices("loop/backing_file");
    let detach = |name: &&String| mos_sys::loop_device::detach(&Path::new("/dev").join(name)).is_ok();
    devices.iter().filter(detach).count()
}

fn remove_mappings() -> usize {
    let devices = block_devices("dm/name");
    let names = devices
        .iter()
        .filter_map(|device| fs::read_to_string(format!("/sys/block/{device}/dm/name")).ok());
    names
        .filter(|name| mos_sys::device_mapper::remove(name.trim_end()).is_ok())
        .count()
}

/// What of the text of `/proc/self/mounts` (fstab(5) with octal escapes) holds data, newest first. tmpfs is left to the
/// kernel: nothing of it is to be written, and our own socket may be on it.
fn real_mounts(text: &[u8]) -> Vec<Mount> {
    let mounts = text.split(|byte| *byte == b'\n').filter_map(|line| {
        let mut words = line.split(|byte| *byte == b' ');
        let (_, place, kind) = (words.next()?, words.next()?, words.next()?);
        let real = !VIRTUAL.iter().any(|one| one.as_bytes() == kind) && kind != b"tmpfs";
        real.then(|| Mount {
            place: unescape(place),
            remote: REMOTE.iter().any(|remote| kind.starts_with(remote.as_bytes())),
        })
    });
    let mut mounts: Vec<Mount> = mounts.collect();
    mounts.reverse();
    mounts
}

/// The path that is meant: `/proc` writes blanks and the like in octal (fstab(5)). Bytes, because whoever may mount
/// something chooses its name, and one that is not UTF-8 must not keep the others from being found.
pub(crate) fn unescape(place: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(place.len());
    let mut rest = place;
    while let Some((first, after)) = rest.split_first() {
        let code = after.get(..3).filter(|_| *first == b'\\').and_then(octal);
        bytes.push(code.unwrap_or(*first));
        rest = if code.is_some() { &after[3..] } else { after };
    }
    PathBuf::from(OsString::from_vec(bytes))
}

fn octal(digits: &[u8]) -> Option<u8> {
    u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt as _;

    use super::*;

    #[test]
    fn only_mounts_with_data_are_released_newest_first() {
        let text = b"rootfs / rootfs rw 0 0\nproc /proc proc rw 0 0\n/dev/vda /var/cache ext4 rw 0 0\n\
                    tmpfs /run tmpfs rw 0 0\nhost:/x /mnt/a\\040b nfs4 rw 0 0\nbroken\n\
                    me /home/me/\xff\\043 fuse.x rw 0 0\n";
        let expected: [(&[u8], bool); 3] = [
            // Anybody may have made a name that is not UTF-8.
            (b"/home/me/\xff#", true),
            (b"/mnt/a b", true),
            (b"/var/cache", false),
        ];
        let mounts = real_mounts(text);
        let shown: Vec<(&[u8], bool)> = mounts
            .iter()
            .map(|one| (one.place.as_os_str().as_bytes(), one.remote))
            .collect();
        assert_eq!(shown, expected);
    }

    #[test]
    fn swap_is_found_below_the_heading() {
        let text = b"Filename\tType\tSize\n/dev/vda2   partition 1 0 -2\n/var/swap\\040file file 1 0 -3\n";
        assert_eq!(swaps(text), [Path::new("/dev/vda2"), Path::new("/var/swap file")]);
        assert_eq!(swaps(b""), Vec::<PathBuf>::new());
    }
}
