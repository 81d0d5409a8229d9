//! Health probes.

use std::fmt;
use std::net::SocketAddr;

use crate::Command;

/// How a service's health is probed. All times in milliseconds.
#[derive(Debug, Clone, PartialEq)]
pub struct Health {
    /// What is tried.
    pub probe: Probe,
    /// Between two probes, at most.
    pub interval_ms: u64,
    /// By how much a wait is shortened at random, at most, in percent: not everybody is to be asked at the same moment.
    pub jitter_percent: u32,
    /// Until an unanswered probe has failed.
    pub timeout_ms: u64,
    /// Failures in a row that make a healthy service unhealthy.
    pub retries: u32,
    /// Good answers in a row that make an unhealthy service healthy.
    pub successes: u32,
    /// What follows when it has become unhealthy.
    pub action: Unhealthy,
    /// Before the first probe.
    pub start_period_ms: u64,
}

/// What follows when a service has become unhealthy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unhealthy {
    /// It is restarted.
    Restart,
    /// It is degraded until it is healthy again.
    Mark,
    /// Only its status says so.
    Nothing,
}

/// What a probe tries. Addresses are literal: PID 1 does not wait for a name server.
#[derive(Debug, Clone, PartialEq)]
pub enum Probe {
    /// A connection is accepted.
    Tcp(Address),
    /// `GET path` is answered with this status.
    Http {
        /// Where to connect.
        address: Address,
        /// From the first slash on.
        path: String,
        /// The status that is good.
        status: u16,
    },
    /// A command ends with exit code 0.
    Exec(Command),
}

/// Where a probe connects to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// Over TCP.
    Tcp(SocketAddr),
    /// A unix socket, by its path.
    Unix(String),
}

/// The longest path of a unix socket, in bytes: one less than `sun_path` holds (unix(7)).
const SOCKET_PATH_MAX: usize = 107;
/// What begins the address of a unix socket.
const UNIX: &str = "unix:";

impl Address {
    /// Reads `address:port`, with `localhost` for 127.0.0.1 and `:port` for it too, or `unix:/path`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        match text.strip_prefix(UNIX) {
            Some(path) => unix_path(path).map(Self::Unix),
            None => tcp(text).map(Self::Tcp),
        }
    }

    /// Splits `http://host:port/path`, `host:port/path`, `host:port` or `unix:/socket:/path`, the scheme always optional;
    /// a missing path is `/`, a missing port 80.
    pub(crate) fn parse_http(text: &str) -> Option<(Self, String)> {
        let rest = text.strip_prefix("http://").unwrap_or(text);
        let (address, path) = match rest.strip_prefix(UNIX) {
            Some(rest) => {
                let (socket, path) = rest.split_once(":/").unwrap_or((rest, ""));
                (unix_path(socket).map(Self::Unix), path)
            }
            None => {
                let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
                let address = tcp(authority).or_else(|| tcp(&format!("{authority}:80")));
                (address.map(Self::Tcp), path)
            }
        };
        let plain = path.bytes().all(|byte| byte.is_ascii_graphic());
        address.filter(|_| plain).map(|address| (address, format!("/{path}")))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "{UNIX}{path}"),
        }
    }
}

fn tcp(text: &str) -> Option<SocketAddr> {
    let (host, port) = text.rsplit_once(':')?;
    match host {
        "" | "localhost" => format!("127.0.0.1:{port}").parse().ok(),
        _ => text.parse().ok(),
    }
}

fn unix_path(path: &str) -> Option<String> {
    let good = path.starts_with('/') && path.len() <= SOCKET_PATH_MAX && !path.contains('\0');
    good.then(|| path.to_owned())
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => match address {
                Address::Tcp(address) => write!(f, "tcp {address}"),
                Address::Unix(_) => address.fmt(f),
            },
            Self::Http { address, path, .. } => match address {
                Address::Tcp(address) => write!(f, "http {address}{path}"),
                Address::Unix(_) => write!(f, "http {address}:{path}"),
            },
            Self::Exec(command) => write!(f, "exec {}", command.line()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_read_with_and_without_scheme_port_and_path() {
        let http = |text| Address::parse_http(text).map(|(address, path)| format!("{address} {path}"));
        assert_eq!(
            http("http://127.0.0.1:8080/health?x").as_deref(),
            Some("127.0.0.1:8080 /health?x")
        );
        assert_eq!(http("localhost:81").as_deref(), Some("127.0.0.1:81 /"));
        assert_eq!(http("10.0.0.1/a").as_deref(), Some("10.0.0.1:80 /a"));
        assert_eq!(http("[::1]:80/").as_deref(), Some("[::1]:80 /"));
        assert_eq!(http("127.0.0.1:80/a b\r\nHost: x"), None);
        assert_eq!(http("example.com:80/"), None);
        assert_eq!(Address::parse(":22"), tcp("127.0.0.1:22").map(Address::Tcp));
        assert_eq!(Address::parse("127.0.0.1:99999"), None);
    }

    #[test]
    fn unix_sockets_are_named_by_their_path() {
        let http = |text| Address::parse_http(text).map(|(address, path)| format!("{address} {path}"));
        assert_eq!(
            http("unix:/run/a.sock:/health").as_deref(),
            Some("unix:/run/a.sock /health")
        );
        assert_eq!(http("http://unix:/run/a.sock").as_deref(), Some("unix:/run/a.sock /"));
        assert_eq!(http("unix:run/a.sock:/"), None);
        let shown = |text| Address::parse(text).map(|address| Probe::Tcp(address).to_string());
        assert_eq!(shown("unix:/run/a.sock").as_deref(), Some("unix:/run/a.sock"));
        assert_eq!(shown(&format!("unix:/{}", "a".repeat(SOCKET_PATH_MAX))), None);
    }
}
