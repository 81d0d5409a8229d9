//! Health probes.

use std::fmt;

use crate::Command;

/// How a service's health is probed. All times in milliseconds.
#[derive(Debug, Clone, PartialEq)]
pub struct Health {
    /// What is tried.
    pub probe: Probe,
    /// Between two probes.
    pub interval_ms: u64,
    /// Until an unanswered probe has failed.
    pub timeout_ms: u64,
    /// Failures in a row before a restart.
    pub retries: u32,
    /// Before the first probe.
    pub start_period_ms: u64,
}

/// What a probe tries. Addresses are literal: PID 1 does not wait for a name server.
#[derive(Debug, Clone, PartialEq)]
pub enum Probe {
    /// A TCP connection is accepted.
    Tcp(std::net::SocketAddr),
    /// `GET path` is answered with this status.
    Http {
        /// Where to connect.
        address: std::net::SocketAddr,
        /// From the first slash on.
        path: String,
        /// The status that is good.
        status: u16,
    },
    /// A command ends with exit code 0.
    Exec(Command),
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "tcp {address}"),
            Self::Http { address, path, .. } => write!(f, "http {address}{path}"),
            Self::Exec(command) => write!(f, "exec {}", command.line()),
        }
    }
}

/// Splits `http://host:port/path`, `host:port/path` or `host:port`; a missing path is `/`.
pub(crate) fn http_target(text: &str) -> Option<(std::net::SocketAddr, String)> {
    let rest = text.strip_prefix("http://").unwrap_or(text);
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let plain = path.bytes().all(|byte| byte.is_ascii_graphic());
    let path = if path.is_empty() { "/" } else { path };
    let address = tcp_target(authority).or_else(|| tcp_target(&format!("{authority}:80")))?;
    plain.then(|| (address, path.to_owned()))
}

/// Reads `address:port`, with `localhost` for 127.0.0.1 and `:port` for it too.
pub(crate) fn tcp_target(text: &str) -> Option<std::net::SocketAddr> {
    let (host, port) = text.rsplit_once(':')?;
    match host {
        "" | "localhost" => format!("127.0.0.1:{port}").parse().ok(),
        _ => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_read_with_and_without_scheme_port_and_path() {
        let http = |text| http_target(text).map(|(address, path)| format!("{address} {path}"));
        assert_eq!(
            http("http://127.0.0.1:8080/health?x").as_deref(),
            Some("127.0.0.1:8080 /health?x")
        );
        assert_eq!(http("localhost:81").as_deref(), Some("127.0.0.1:81 /"));
        assert_eq!(http("10.0.0.1/a").as_deref(), Some("10.0.0.1:80 /a"));
        assert_eq!(http("[::1]:80/").as_deref(), Some("[::1]:80 /"));
        assert_eq!(http("127.0.0.1:80/a b\r\nHost: x"), None);
        assert_eq!(http("example.com:80/"), None);
        assert_eq!(tcp_target(":22"), "127.0.0.1:22".parse().ok());
        assert_eq!(tcp_target("127.0.0.1:99999"), None);
    }
}
