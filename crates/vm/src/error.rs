//! What can go wrong with a virtual machine.

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

/// Why a virtual machine could not be prepared, started, watched or stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VmError {
    /// A program or file of the host is missing.
    #[error("{what} is missing; install the Debian package {package}")]
    Missing {
        /// The program or file.
        what: String,
        /// What brings it.
        package: &'static str,
    },
    /// A program of the host that its distribution may not have is missing.
    #[error("{what} is missing; it is to be had from {from}")]
    NotPackaged {
        /// The program or file.
        what: &'static str,
        /// Where to get it.
        from: &'static str,
    },
    /// What this hypervisor cannot do.
    #[error("{hypervisor} cannot {what}")]
    Unsupported {
        /// The hypervisor.
        hypervisor: &'static str,
        /// What was asked for.
        what: &'static str,
    },
    /// A bridge of the host that is not there.
    #[error(
        "there is no bridge {bridge}; make one with an address for this host: \
         ip link add {bridge} type bridge && ip addr add 192.168.42.1/24 dev {bridge} && ip link set {bridge} up"
    )]
    NoBridge {
        /// Its name.
        bridge: String,
    },
    /// An interface on a bridge could not be made.
    #[error("no interface on the bridge {bridge}: {reason}")]
    Tap {
        /// The bridge.
        bridge: String,
        /// What `ip` said.
        reason: String,
    },
    /// A file of ours or the caller's.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A host port that cannot be forwarded.
    #[error("port {port} of 127.0.0.1 cannot be forwarded: {source}")]
    Port {
        /// The port.
        port: u16,
        /// What the system said.
        source: io::Error,
    },
    /// A tool that makes disks failed.
    #[error("{tool} failed on {}: {reason}", path.display())]
    Tool {
        /// The program.
        tool: &'static str,
        /// The disk.
        path: PathBuf,
        /// What it said.
        reason: String,
    },
    /// A file name that QEMU's virtual FAT disk cannot take.
    #[error("{}: QEMU cannot show a directory with a colon in its path as a disk; set TMPDIR to another place", path.display())]
    Colon {
        /// The directory.
        path: PathBuf,
    },
    /// QEMU itself did not start.
    #[error("cannot start {program}: {source}")]
    Start {
        /// The program.
        program: String,
        /// What the system said.
        source: io::Error,
    },
    /// A line did not come in time.
    #[error("`{pattern}` did not appear on the console within {} s\n{console}", limit.as_secs_f32())]
    Timeout {
        /// What was waited for.
        pattern: String,
        /// How long.
        limit: Duration,
        /// The last lines of the console.
        console: String,
    },
    /// The console said what it must never say.
    #[error("the console says `{line}`, which it must not\n{console}")]
    Unwanted {
        /// The line.
        line: String,
        /// The last lines of the console.
        console: String,
    },
    /// The machine ended before a line came.
    #[error("the machine ended ({status}) before `{pattern}` appeared on the console\n{console}")]
    Ended {
        /// What was waited for.
        pattern: String,
        /// How QEMU ended.
        status: ExitStatus,
        /// The last lines of the console, and what QEMU said.
        console: String,
    },
    /// The machine still runs.
    #[error("the machine still runs after {} s\n{console}", limit.as_secs_f32())]
    StillRuns {
        /// How long it was given.
        limit: Duration,
        /// The last lines of the console.
        console: String,
    },
    /// The hypervisor's own interface.
    #[error("{hypervisor} did not {what}: {reason}")]
    Monitor {
        /// Whose.
        hypervisor: &'static str,
        /// What it was asked to do.
        what: &'static str,
        /// Why not.
        reason: String,
    },
}

impl VmError {
    /// Adds the path to a file's error.
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }
}
