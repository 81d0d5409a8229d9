//! From the initial file system to one on a disk, for a system that is installed there (`my_init.root=`).
//!
//! Without that word nothing is switched and nothing is copied: the initial file system is the root for good.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_move, unmount};

use super::nodes::facts;
use super::requests;
use super::seed;
use crate::services::c_string;
use crate::uevent::{Heard, Uevents};

/// What is to be the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    /// `UUID=`, `LABEL=`, `PARTUUID=`, `PARTLABEL=` or the path of a device.
    pub device: String,
    /// Its file system; what of the kernel's list fits, when nobody says.
    pub kind: Option<String>,
    /// Mount options.
    pub options: String,
    /// It is mounted for writing.
    pub writable: bool,
    /// What is executed there.
    pub init: String,
}

/// So long the device may take to appear.
const LIMIT: Duration = Duration::from_secs(30);
/// Where it is mounted before it is the root.
const PLACE: &str = "/sysroot";
/// Mounts that move with us.
const KEPT: [&str; 4] = ["/dev", "/proc", "/sys", "/run"];

/// Where a file system has its mark, its id and its label.
struct Format {
    kind: &'static str,
    mark: (u64, &'static [u8]),
    id: u64,
    label: (u64, usize),
}

/// From the formats' own documentation: ext4 (kernel documentation, ext4/super.rst), XFS (xfs_format.h), btrfs
/// (uapi/linux/btrfs_tree.h), EROFS (erofs_fs.h).
const FORMATS: [Format; 4] = [
    Format {
        kind: "ext4",
        mark: (0x438, &[0x53, 0xEF]),
        id: 0x468,
        label: (0x478, 16),
    },
    Format {
        kind: "xfs",
        mark: (0, b"XFSB"),
        id: 0x20,
        label: (0x6C, 12),
    },
    Format {
        kind: "btrfs",
        mark: (0x1_0040, b"_BHRfS_M"),
        id: 0x1_0020,
        label: (0x1_012B, 256),
    },
    Format {
        kind: "erofs",
        mark: (0x400, &[0xE2, 0xE1, 0xF5, 0xE0]),
        id: 0x430,
        label: (0x440, 16),
    },
];

/// What a device says of the file system on it.
#[derive(Debug, PartialEq, Eq)]
struct Content {
    kind: &'static str,
    id: String,
    label: String,
}

/// True when the root is memory: what may be switched from, and emptied.
pub fn is_initial() -> bool {
    seed::is_forgetful(Path::new("/"))
}

/// Mounts the root and executes its init. Returns only when that fails, with the reason.
pub fn switch(root: &Root) -> String {
    let attempt = || -> Result<std::convert::Infallible, String> {
        let (device, kind) = find(root)?;
        let named = |what: &str, error: io::Error| format!("{what}: {error}");
        mount_root(root, &device, kind)?;
        let init = Path::new(PLACE).join(root.init.trim_start_matches('/'));
        if fs::symlink_metadata(&init).is_err() {
            let _ = unmount(PLACE, UnmountFlags::DETACH);
            return Err(format!("{} has no {}", device.display(), root.init));
        }
        let old = rustix::fs::open("/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|error| named("/", error.into()))?;
        requests::leave();
        enter().map_err(|error| {
            let _ = requests::answer();
            named(PLACE, error)
        })?;
        empty(&old.as_fd());
        let error = mos_sys::spawn::replace(&c_string(&root.init), &[c_string(&root.init)]);
        Err(named(&root.init, error))
    };
    match attempt() {
        Ok(never) => match never {},
        Err(error) => format!("my_init.root={}: {error}", root.device),
    }
}

/// The device and, if it can be told, its file system. Waits for it as long as the kernel tells of devices.
fn find(root: &Root) -> Result<(PathBuf, Option<&'static str>), String> {
    let uevents = Uevents::listen().map_err(|error| error.to_string())?;
    let deadline = Instant::now() + LIMIT;
    loop {
        if let Some(found) = look(&root.device) {
            return Ok(found);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(format!("no such device within {} s", LIMIT.as_secs()));
        }
        let wait = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(left.subsec_nanos()),
        };
        let _ = poll(&mut [PollFd::new(&uevents, PollFlags::IN)], Some(&wait));
        while uevents.next() != Heard::Nothing {}
    }
}

fn look(asked: &str) -> Option<(PathBuf, Option<&'static str>)> {
    let Some((what, value)) = asked.split_once('=') else {
        let path = PathBuf::from(asked);
        let content = content(&File::open(&path).ok()?);
        return Some((path, content.map(|content| content.kind)));
    };
    let entries = fs::read_dir("/sys/class/block").ok()?.flatten();
    let mut names: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    names.sort();
    names.iter().find_map(|entry| {
        let facts = facts(&fs::read_to_string(entry.join("uevent")).ok()?);
        let path = Path::new("/dev").join(facts.get("DEVNAME")?);
        let content = content(&File::open(&path).ok()?);
        let found = match what {
            "UUID" => content
                .as_ref()
                .is_some_and(|content| content.id.eq_ignore_ascii_case(value)),
            "LABEL" => content.as_ref().is_some_and(|content| content.label == value),
            "PARTUUID" => facts.get("PARTUUID").is_some_and(|id| id.eq_ignore_ascii_case(value)),
            "PARTLABEL" => facts.get("PARTNAME").is_some_and(|label| label == value),
            _ => false,
        };
        found.then_some((path, content.map(|content| content.kind)))
    })
}

fn content(device: &File) -> Option<Content> {
    let read = |at: u64, length: usize| {
        let mut bytes = vec![0; length];
        device.read_exact_at(&mut bytes, at).ok().map(|()| bytes)
    };
    FORMATS.iter().find_map(|format| {
        let (at, mark) = format.mark;
        if read(at, mark.len())? != mark {
            return None;
        }
        let label = read(format.label.0, format.label.1)?;
        let label = label.split(|byte| *byte == 0).next().unwrap_or_default();
        Some(Content {
            kind: format.kind,
            id: written(&read(format.id, 16)?),
            label: String::from_utf8_lossy(label).into_owned(),
        })
    })
}

/// A UUID as it is written (RFC 9562).
fn written(id: &[u8]) -> String {
    let mut text = String::new();
    for (index, byte) in id.iter().enumerate() {
        if [4, 6, 8, 10].contains(&index) {
            text.push('-');
        }
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

fn mount_root(root: &Root, device: &Path, found: Option<&'static str>) -> Result<(), String> {
    fs::create_dir_all(PLACE).map_err(|error| format!("{PLACE}: {error}"))?;
    let flags = if root.writable {
        MountFlags::empty()
    } else {
        MountFlags::RDONLY
    };
    let kind = root.kind.as_deref().or(found);
    let kind = kind.ok_or_else(|| {
        format!(
            "{}: what file system it has nobody knows: my_init.rootfstype= says it",
            device.display()
        )
    })?;
    let options = c_string(&root.options);
    mount(device, PLACE, kind, flags, options.as_c_str())
        .map_err(|error| format!("{} as {kind}: {}", device.display(), io::Error::from(error)))
}

/// Takes the kernel's mounts along and makes the place the root (switch_root(8) of util-linux does the same).
fn enter() -> io::Result<()> {
    for kept in KEPT {
        let place = format!("{PLACE}{kept}");
        // A root without such a directory lacks it, not us.
        if !Path::new(&place).is_dir() || mount_move(kept, &place).is_err() {
            let _ = unmount(kept, UnmountFlags::DETACH);
        }
    }
    let _ = unmount("/tmp", UnmountFlags::DETACH);
    rustix::process::chdir(PLACE)?;
    mount_move(".", "/")?;
    rustix::process::chroot(".")?;
    Ok(rustix::process::chdir("/")?)
}

/// Gives the memory of the initial file system back: everything on it, and nothing that is mounted there.
fn empty(old: &impl std::os::fd::AsRawFd) {
    let old = PathBuf::from(format!("/proc/self/fd/{}", old.as_raw_fd()));
    if let Ok(device) = fs::metadata(&old)
        .map(|root| root.dev())
        .and_then(|device| match seed::is_forgetful(&old) {
            true => Ok(device),
            false => Err(io::ErrorKind::Unsupported.into()),
        })
    {
        remove_below(&old, device);
    }
}

fn remove_below(directory: &Path, device: u64) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        match fs::symlink_metadata(&path) {
            Ok(kind) if kind.dev() != device => {}
            Ok(kind) if kind.is_dir() => {
                remove_below(&path, device);
                let _ = fs::remove_dir(&path);
            }
            _ => drop(fs::remove_file(&path)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn file_systems_are_recognised_as_their_own_tools_make_them() {
        const ID: &str = "12345678-9abc-4def-8123-456789abcdef";
        let directory = tempfile::tempdir().unwrap();
        for (tool, arguments, kind) in [
            (
                "mke2fs",
                &["-q", "-F", "-t", "ext4", "-U", ID, "-L", "mosroot"][..],
                "ext4",
            ),
            ("mkfs.btrfs", &["-q", "-U", ID, "-L", "mosroot"], "btrfs"),
            (
                "mkfs.xfs",
                &["-q", "-m", "uuid=12345678-9abc-4def-8123-456789abcdef", "-L", "mosroot"],
                "xfs",
            ),
        ] {
            let path = directory.path().join(kind);
            File::create(&path).unwrap().set_len(320 << 20).unwrap();
            match Command::new(tool).args(arguments).arg(&path).output() {
                Err(error) => println!("SKIPPED: {tool}: {error}"),
                Ok(output) => {
                    assert!(output.status.success(), "{output:?}");
                    let found = content(&File::open(&path).unwrap());
                    let expected = Content {
                        kind,
                        id: ID.to_owned(),
                        label: "mosroot".to_owned(),
                    };
                    assert_eq!(found, Some(expected));
                }
            }
        }
        assert_eq!(content(&File::open("/dev/zero").unwrap()), None);
        assert_eq!(look("/no/such/device"), None);
    }

    #[test]
    fn only_what_is_on_the_same_file_system_is_removed() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir_all(directory.path().join("a/b")).unwrap();
        fs::write(directory.path().join("a/b/c"), "").unwrap();
        std::os::unix::fs::symlink("/etc", directory.path().join("a/etc")).unwrap();
        let device = fs::metadata(directory.path()).unwrap().dev();
        remove_below(directory.path(), device + 1);
        assert!(directory.path().join("a/b/c").exists());
        remove_below(directory.path(), device);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
        assert!(Path::new("/etc").exists());
    }
}
