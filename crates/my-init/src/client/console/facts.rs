//! What is known of the node itself.

use std::fs;

/// Of the node, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) name: String,
    pub(super) release: String,
    pub(super) addresses: Vec<String>,
}

impl Facts {
    /// As they are now.
    pub(super) fn look() -> Self {
        Self {
            name: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            release: release(&fs::read_to_string("/etc/os-release").unwrap_or_default()),
            addresses: addresses(),
        }
    }
}

/// `PRETTY_NAME` (os-release(5)).
fn release(text: &str) -> String {
    let name = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.unwrap_or_default().trim_matches(['"', '\'']).to_owned()
}

/// The node's own addresses, without those that every node has.
fn addresses() -> Vec<String> {
    let mut addresses = ipv4(&fs::read_to_string("/proc/net/fib_trie").unwrap_or_default());
    addresses.extend(ipv6(&fs::read_to_string("/proc/net/if_inet6").unwrap_or_default()));
    addresses
}

/// Leaves of the routing table that are the node itself: an address, and below it `/32 host LOCAL`.
fn ipv4(trie: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut last = "";
    for line in trie.lines() {
        if let Some((_, address)) = line.split_once("|-- ") {
            last = address.trim();
        } else if line.contains("/32 host LOCAL") && !last.starts_with("127.") && !found.iter().any(|one| one == last) {
            found.push(last.to_owned());
        }
    }
    found
}

/// Lines of `address index length scope flags name`; scope 00 is global (if_inet6).
fn ipv6(table: &str) -> Vec<String> {
    let address = |line: &str| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let global = fields.get(3) == Some(&"00");
        let number = u128::from_str_radix(fields.first()?, 16).ok().filter(|_| global)?;
        Some(std::net::Ipv6Addr::from(number).to_string())
    };
    table.lines().filter_map(address).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_those_of_the_node() {
        let trie = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 10.0.0.0\n        /24 link UNICAST\n     |-- 10.0.0.2\n        /32 host LOCAL\n     |-- 127.0.0.1\n        /32 host LOCAL\n     |-- 10.0.0.2\n        /32 host LOCAL\n";
        assert_eq!(ipv4(trie), ["10.0.0.2"]);
        let table =
            "fe800000000000000000000000000001 02 40 20 80 eth0\n20010db8000000000000000000000005 02 40 00 80 eth0\n";
        assert_eq!(ipv6(table), ["2001:db8::5"]);
        assert_eq!(release("NAME=x\nPRETTY_NAME=\"MOS 1\"\n"), "MOS 1");
    }
}
