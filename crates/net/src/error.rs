//! What can go wrong with the network.

use std::io;
use std::path::PathBuf;

/// Why the network cannot be configured or its state not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetError {
    /// The kernel refused something over rtnetlink.
    #[error("rtnetlink: cannot {what}: {source}")]
    Netlink {
        /// What was asked, a phrase such as `set eth0 up`.
        what: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// The kernel's answer makes no sense.
    #[error("rtnetlink: cannot {what}: the kernel's answer is malformed ({reason})")]
    Malformed {
        /// What was asked.
        what: String,
        /// What is wrong with the answer.
        reason: &'static str,
    },
    /// A socket for DHCP.
    #[error("{link}: cannot {what}: {source}")]
    Socket {
        /// The link.
        link: String,
        /// What was tried.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// A file.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The state file is not what this program writes.
    #[error("{}: {source}", path.display())]
    Status {
        /// The file.
        path: PathBuf,
        /// Line, column and reason.
        source: serde_json::Error,
    },
}

impl NetError {
    /// Adds the path to a file's error.
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }
}
