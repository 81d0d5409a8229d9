//! A FUSE daemon's connection to the kernel.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::Path;

use fuser::{BackgroundSession, Config, MountOption, Session, SessionACL};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags};

use crate::error::MountError;
use crate::fuse::ImageFs;
use crate::options::MountOptions;

/// The device of FUSE.
pub(crate) const DEVICE: &str = "/dev/fuse";
/// The kind of file system in the mount table, after `fuse.`.
const SUBTYPE: &str = "mos";
/// How far the kernel reads ahead of a sequential reader, in KiB: as much as one request can carry.
const READ_AHEAD: &str = "1024";

/// Mounts a filesystem at a directory and starts to answer for it. When this returns, the mount is there and answers.
pub(crate) fn start(
    filesystem: ImageFs,
    place: &Path,
    source: &str,
    options: &MountOptions,
    root: bool,
) -> Result<BackgroundSession, MountError> {
    let mut config = Config::default();
    config.acl = match options.allow_other {
        true => SessionACL::All,
        false => SessionACL::Owner,
    };
    config.n_threads = Some(options.threads.max(1));
    config.clone_fd = true;
    match root {
        true => by_ourselves(filesystem, place, source, config),
        false => by_helper(filesystem, place, source, config),
    }
}

/// As root: the mount gets its place only when it answers.
fn by_ourselves(
    filesystem: ImageFs,
    place: &Path,
    source: &str,
    config: Config,
) -> Result<BackgroundSession, MountError> {
    let device = rustix::fs::open(DEVICE, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty());
    let device = device.map_err(MountError::io("open", Path::new(DEVICE)))?;
    let acl = config.acl;
    let mount = detached(&device, source, acl).map_err(MountError::io("mount FUSE for", place))?;
    let session = Session::from_fd(filesystem, device, acl, config).map_err(MountError::io("start FUSE for", place))?;
    let background = session.spawn().map_err(MountError::io("start threads for", place))?;
    let root = rustix::fs::fstat(&mount).map_err(MountError::io("look into the new mount for", place))?;
    read_ahead(root.st_dev);
    rustix::mount::move_mount(&mount, "", CWD, place, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .map_err(MountError::io("mount on", place))?;
    Ok(background)
}

/// A mount without a place.
fn detached(device: &OwnedFd, source: &str, acl: SessionACL) -> io::Result<OwnedFd> {
    use rustix::mount::{fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen};
    let context = fsopen("fuse", FsOpenFlags::FSOPEN_CLOEXEC)?;
    let ids = [rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw()];
    let text = [
        ("source", source.to_owned()),
        ("subtype", SUBTYPE.to_owned()),
        ("fd", device.as_raw_fd().to_string()),
        ("rootmode", "40000".to_owned()),
        ("user_id", ids[0].to_string()),
        ("group_id", ids[1].to_string()),
    ];
    for (key, value) in text {
        fsconfig_set_string(&context, key, value)?;
    }
    fsconfig_set_flag(&context, "default_permissions")?;
    if acl == SessionACL::All {
        fsconfig_set_flag(&context, "allow_other")?;
    }
    fsconfig_set_flag(&context, "ro")?;
    fsconfig_create(&context)?;
    let flags = MountAttrFlags::MOUNT_ATTR_RDONLY;
    Ok(fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, flags)?)
}

/// As an ordinary user, through fusermount3.
fn by_helper(
    filesystem: ImageFs,
    place: &Path,
    source: &str,
    mut config: Config,
) -> Result<BackgroundSession, MountError> {
    config.mount_options = vec![
        MountOption::FSName(source.to_owned()),
        MountOption::Subtype(SUBTYPE.to_owned()),
        MountOption::RO,
        MountOption::DefaultPermissions,
    ];
    let session = Session::new(filesystem, place, &config).map_err(|error| MountError::Impossible {
        way: "fuse",
        why: format!("{error}; an ordinary user needs fusermount3 (Debian: package fuse3)"),
    })?;
    session.spawn().map_err(MountError::io("start threads for", place))
}

/// Lets the kernel read ahead as much as one request carries; its default is an eighth of that. Only speed depends on
/// it.
fn read_ahead(device: u64) {
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let _ = fs::write(format!("/sys/class/bdi/{major}:{minor}/read_ahead_kb"), READ_AHEAD);
}
