//! The network's state as a file, for other programs: `/run/mos/network.json`.
//!
//! Written after each change, removed when the network goes down; a reader sees the old or the new file, never half.

use crate::configuration::{Configuration, Source};
use crate::error::NetError;
use crate::prefix::Ipv4Prefix;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::fs;
use std::io::{self, Read as _};
use std::net::Ipv4Addr;
use std::path::Path;

/// Where the daemon keeps it unless told otherwise.
pub const PATH: &str = "/run/mos/network.json";
/// Bytes of the largest file that is read: the daemon writes a few hundred.
const MAXIMUM_LENGTH: u64 = 64 * 1024;
/// Everybody may read it.
const MODE: u32 = 0o644;

/// The network as it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The link's name.
    pub link: String,
    /// Its hardware address, `52:54:00:12:34:56`.
    pub mac: String,
    /// The node's address.
    pub address: Ipv4Prefix,
    /// The router of the default route.
    pub gateway: Option<Ipv4Addr>,
    /// Name servers, best first.
    pub dns: Vec<Ipv4Addr>,
    /// The domain of short names.
    pub domain: Option<String>,
    /// Where all this came from.
    pub source: Source,
    /// The DHCP server.
    pub server: Option<Ipv4Addr>,
    /// When the lease ends, in seconds since 1970 by the node's clock; `null` for never.
    pub lease_expires: Option<u64>,
}

impl Status {
    /// The state of a link with this configuration, without a lease.
    pub fn new(link: &str, mac: crate::link::Mac, configuration: &Configuration) -> Self {
        let octets = mac.map(|octet| format!("{octet:02x}"));
        Self {
            link: link.to_owned(),
            mac: octets.join(":"),
            address: configuration.address,
            gateway: configuration.gateway(),
            dns: configuration.dns.clone(),
            domain: configuration.domain.clone(),
            source: configuration.source,
            server: None,
            lease_expires: None,
        }
    }

    /// Reads the file; `None` when the network is down.
    ///
    /// # Errors
    /// When it cannot be read or is not what the daemon writes.
    pub fn read(path: &Path) -> Result<Option<Self>, NetError> {
        let file = match fs::File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(NetError::io(path))?,
        };
        let mut text = String::new();
        file.take(MAXIMUM_LENGTH)
            .read_to_string(&mut text)
            .map_err(NetError::io(path))?;
        let parsed = serde_json::from_str(&text);
        parsed.map(Some).map_err(|source| NetError::Status {
            path: path.to_owned(),
            source,
        })
    }

    /// Replaces the file, and makes its directory if that is missing.
    ///
    /// # Errors
    /// Whatever the system says; the old file then still stands.
    pub fn write(&self, path: &Path) -> Result<(), NetError> {
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory).map_err(NetError::io(directory))?;
        }
        let mut text = serde_json::to_string_pretty(self).map_err(|source| NetError::Status {
            path: path.to_owned(),
            source,
        })?;
        text.push('\n');
        mos_sys::durable::write(path, text.as_bytes(), MODE).map_err(NetError::io(path))
    }

    /// Removes the file: the network is down. A missing file is fine.
    ///
    /// # Errors
    /// Whatever else the system says.
    pub fn remove(path: &Path) -> Result<(), NetError> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(NetError::io(path)(error)),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let source = match (self.source, self.server) {
            (Source::Static, _) => "static".to_owned(),
            (Source::Dhcp, None) => "dhcp".to_owned(),
            (Source::Dhcp, Some(server)) => format!("dhcp from {server}"),
        };
        let dns: Vec<String> = self.dns.iter().map(ToString::to_string).collect();
        writeln!(f, "link     {} ({})", self.link, self.mac)?;
        writeln!(f, "address  {} ({source})", self.address)?;
        if let Some(gateway) = self.gateway {
            writeln!(f, "gateway  {gateway}")?;
        }
        write!(
            f,
            "dns      {}",
            if dns.is_empty() {
                "none".to_owned()
            } else {
                dns.join(" ")
            }
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status() -> Status {
        let configuration = Configuration {
            address: "10.0.2.15/24".parse().unwrap(),
            routes: Vec::new(),
            dns: vec![Ipv4Addr::new(10, 0, 2, 3)],
            domain: None,
            mtu: None,
            source: Source::Dhcp,
        };
        Status::new("eth0", [0x52, 0x54, 0, 0x12, 0x34, 0x56], &configuration)
    }

    #[test]
    fn written_and_read_back() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("mos/network.json");
        assert_eq!(Status::read(&path).unwrap(), None);
        status().write(&path).unwrap();
        assert_eq!(Status::read(&path).unwrap(), Some(status()));
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains("\"address\": \"10.0.2.15/24\""), "{text}");
        assert!(text.contains("\"mac\": \"52:54:00:12:34:56\""), "{text}");
        Status::remove(&path).unwrap();
        Status::remove(&path).unwrap();
        assert_eq!(Status::read(&path).unwrap(), None);
    }

    #[test]
    fn a_damaged_file_is_named_with_its_place() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("network.json");
        fs::write(&path, "{\"link\": 7}").unwrap();
        let error = Status::read(&path).unwrap_err().to_string();
        assert!(
            error.contains("network.json") && error.contains("line 1 column"),
            "{error}"
        );
    }

    #[test]
    fn for_people() {
        assert_eq!(
            status().to_string(),
            "link     eth0 (52:54:00:12:34:56)\naddress  10.0.2.15/24 (dhcp)\ndns      10.0.2.3"
        );
    }
}
