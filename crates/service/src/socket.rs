//! Sockets that are open before their service runs.

use std::fmt;
use std::net::SocketAddr;

use crate::Account;

/// The sockets of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sockets {
    /// Where they listen; at least one.
    pub listen: Vec<Listen>,
    /// What the service knows them by, as many as there are sockets, or none.
    pub names: Vec<String>,
    /// The permissions of those that are files.
    pub mode: u32,
    /// Who owns those that are files; as the supervisor when absent.
    pub user: Option<Account>,
    /// Their group.
    pub group: Option<Account>,
    /// How many connections may wait, as far as the kernel allows.
    pub backlog: i32,
    /// The service is started by the first connection, not at once.
    pub on_demand: bool,
}

/// What stands before a service that cannot be handed its sockets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxy {
    /// The service behind it.
    pub service: String,
    /// Where that listens.
    pub backend: Listen,
}

/// Where a socket listens. Addresses are literal: PID 1 does not wait for a name server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// TCP.
    Tcp(SocketAddr),
    /// UDP.
    Udp(SocketAddr),
    /// A stream socket in the file system, by its absolute path.
    Unix(String),
}

/// A path has to fit into `sockaddr_un` (unix(7)), with its NUL.
const PATH_MAX: usize = 107;

impl Listen {
    /// Reads `127.0.0.1:80`, `[::]:80`, `localhost:80`, `udp:127.0.0.1:53` or `/run/web.sock`.
    pub fn parse(text: &str) -> Option<Self> {
        if text.starts_with('/') {
            let fits = text.len() <= PATH_MAX && !text.contains('\0') && !text.ends_with('/');
            return fits.then(|| Self::Unix(text.to_owned()));
        }
        let (udp, address) = match text.strip_prefix("udp:") {
            Some(address) => (true, address),
            None => (false, text.strip_prefix("tcp:").unwrap_or(text)),
        };
        let address = match address.strip_prefix("localhost:") {
            Some(port) => format!("127.0.0.1:{port}").parse(),
            None => address.parse::<SocketAddr>(),
        };
        let address = address.ok().filter(|address| address.port() != 0)?;
        Some(if udp { Self::Udp(address) } else { Self::Tcp(address) })
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Udp(address) => write!(f, "udp:{address}"),
            Self::Unix(path) => f.write_str(path),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_they_are_printed() {
        for (text, printed) in [
            ("127.0.0.1:80", "127.0.0.1:80"),
            ("tcp:[::]:80", "[::]:80"),
            ("localhost:80", "127.0.0.1:80"),
            ("udp:0.0.0.0:53", "udp:0.0.0.0:53"),
            ("/run/web.sock", "/run/web.sock"),
        ] {
            let listen = Listen::parse(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(listen.to_string(), printed);
            assert_eq!(Listen::parse(printed), Some(listen));
        }
        for text in [
            "",
            ":80",
            "127.0.0.1",
            "127.0.0.1:0",
            "example.com:80",
            "run/x",
            "/run/",
            "udp:/run/x",
        ] {
            assert_eq!(Listen::parse(text), None, "{text}");
        }
        assert_eq!(Listen::parse(&format!("/{}", "x".repeat(107))), None);
    }
}
