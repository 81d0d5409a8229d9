//! What the kernel is asked when it shall serve a mount by itself: the system calls, and which part they are about.

use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, OwnedFd};

use mos_sys::loop_device::{self, LoopDevice};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen,
};

/// A part of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Erofs,
    Overlay,
    /// Loop devices.
    Loop,
    /// Giving a mount its place.
    Place,
}

impl Part {
    /// What the kernel calls a file system.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Erofs => "erofs",
            Self::Overlay => "overlay",
            Self::Loop => "loop",
            Self::Place => "mount",
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Erofs => "EROFS",
            Self::Overlay => "overlayfs",
            Self::Loop => "loop devices",
            Self::Place => "the place of the mount",
        })
    }
}

/// A step that the kernel did not take.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) part: Part,
    /// The option that it was about, if it was one.
    pub(crate) option: Option<&'static str>,
    pub(crate) errno: Errno,
    /// What the kernel said about it.
    pub(crate) message: String,
}

impl Refusal {
    pub(crate) fn new(part: Part, errno: Errno) -> Self {
        Self {
            part,
            option: None,
            errno,
            message: String::new(),
        }
    }

    /// Of a system call that was made elsewhere.
    pub(crate) fn of(part: Part, error: &io::Error) -> Self {
        Self::new(part, Errno::from_io_error(error).unwrap_or(Errno::IO))
    }
}

/// The system calls. Tests have the kernel lack something by answering one of them in its place.
pub(crate) trait System {
    /// fsopen(2).
    fn open(&self, part: Part) -> rustix::io::Result<OwnedFd> {
        fsopen(part.name(), FsOpenFlags::FSOPEN_CLOEXEC)
    }

    /// fsconfig(2) with a text; without a value, a flag.
    fn set(&self, context: &Context<'_>, key: &'static str, value: Option<&OsStr>) -> rustix::io::Result<()> {
        match value {
            Some(value) => fsconfig_set_string(&context.fd, key, value),
            None => fsconfig_set_flag(&context.fd, key),
        }
    }

    /// fsconfig(2) that makes the file system of it.
    fn create(&self, context: &Context<'_>) -> rustix::io::Result<()> {
        fsconfig_create(&context.fd)
    }

    /// A file as a block device.
    fn loop_device(&self, file: &File) -> io::Result<LoopDevice> {
        loop_device::attach(file)
    }
}

/// The kernel that runs.
pub(crate) struct Linux;

impl System for Linux {}

/// A file system that is being set up.
pub(crate) struct Context<'a> {
    pub(crate) part: Part,
    fd: OwnedFd,
    system: &'a dyn System,
}

impl<'a> Context<'a> {
    pub(crate) fn open(system: &'a dyn System, part: Part) -> Result<Self, Refusal> {
        let fd = system.open(part).map_err(|errno| Refusal::new(part, errno))?;
        Ok(Self { part, fd, system })
    }

    pub(crate) fn set(&self, key: &'static str, value: impl AsRef<OsStr>) -> Result<(), Refusal> {
        let done = self.system.set(self, key, Some(value.as_ref()));
        done.map_err(|errno| self.refusal(Some(key), errno))
    }

    pub(crate) fn set_flag(&self, key: &'static str) -> Result<(), Refusal> {
        let done = self.system.set(self, key, None);
        done.map_err(|errno| self.refusal(Some(key), errno))
    }

    /// The mount, without a place.
    pub(crate) fn mount(&self, attributes: MountAttrFlags) -> Result<OwnedFd, Refusal> {
        let created = self.system.create(self);
        created.map_err(|errno| self.refusal(None, errno))?;
        let mount = fsmount(&self.fd, FsMountFlags::FSMOUNT_CLOEXEC, attributes);
        mount.map_err(|errno| self.refusal(None, errno))
    }

    /// With what the kernel has to say (the messages of a file system context).
    fn refusal(&self, option: Option<&'static str>, errno: Errno) -> Refusal {
        Refusal {
            option,
            message: self.message(),
            ..Refusal::new(self.part, errno)
        }
    }

    /// One message for each read; each begins with its level and a blank.
    fn message(&self) -> String {
        let Ok(fd) = self.fd.as_fd().try_clone_to_owned() else {
            return String::new();
        };
        let mut message = [0; 512];
        match File::from(fd).read(&mut message) {
            Ok(length) if length > 2 => String::from_utf8_lossy(&message[2..length]).trim().to_owned(),
            _ => String::new(),
        }
    }
}
