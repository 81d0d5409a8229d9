//! What a link shall have, and the steps from what it has to that.

use crate::prefix::Ipv4Prefix;
use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;

/// Where a configuration came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// A DHCP server.
    Dhcp,
    /// The kernel command line.
    Static,
}

/// One IPv4 route of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// The network it leads to.
    pub destination: Ipv4Prefix,
    /// The router; `None` for a network that is on the link itself.
    pub gateway: Option<Ipv4Addr>,
}

/// All that IPv4 needs on one link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Configuration {
    /// The node's address and its network.
    pub address: Ipv4Prefix,
    /// Routes beside the one to the address's own network; on-link routes first, so that gateways are reachable.
    pub routes: Vec<Route>,
    /// Name servers, best first.
    pub dns: Vec<Ipv4Addr>,
    /// The domain in which short names are looked up.
    pub domain: Option<String>,
    /// Bytes in the largest packet, when the network says so.
    pub mtu: Option<u16>,
    /// Where all this came from.
    pub source: Source,
}

impl Configuration {
    /// The router of the default route.
    pub fn gateway(&self) -> Option<Ipv4Addr> {
        self.routes
            .iter()
            .find(|route| route.destination.length() == 0)
            .and_then(|route| route.gateway)
    }

    /// The steps from a link's present addresses to this configuration.
    ///
    /// A renewed lease with the same address interrupts nothing. Other addresses go before the new one comes: the
    /// kernel makes a second address of one network the secondary of the first, and removes it together with that.
    /// Removing an address also drops the routes that name it as their source.
    pub fn plan(&self, present: &[Ipv4Prefix]) -> Vec<Change> {
        let mut changes: Vec<Change> = self.mtu.map(Change::SetMtu).into_iter().collect();
        let old = present.iter().filter(|&&address| address != self.address);
        changes.extend(old.map(|&address| Change::RemoveAddress(address)));
        if !present.contains(&self.address) {
            changes.push(Change::AddAddress(self.address));
        }
        changes.extend(self.routes.iter().map(|&route| Change::ReplaceRoute {
            route,
            source: self.address.address(),
            on_link: route.gateway.is_some_and(|gateway| !self.address.contains(gateway)),
        }));
        changes
    }

    /// The text of `/etc/resolv.conf` (resolv.conf(5)).
    pub fn resolv_conf(&self) -> String {
        let mut text = String::from("# Written by mosnet; changes are lost with the next lease.\n");
        if let Some(domain) = &self.domain {
            text.push_str(&format!("search {domain}\n"));
        }
        for server in self.dns.iter().take(RESOLVER_SERVERS) {
            text.push_str(&format!("nameserver {server}\n"));
        }
        text
    }
}

/// Name servers that a resolver reads (`MAXNS` in resolv.h).
const RESOLVER_SERVERS: usize = 3;

/// One step on a link, done by [`Rtnetlink::apply`](crate::rtnetlink::Rtnetlink::apply).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Sets the largest packet, in bytes.
    SetMtu(u16),
    /// Adds an address; the kernel adds the route to its network.
    AddAddress(Ipv4Prefix),
    /// Removes an address and the routes that depend on it.
    RemoveAddress(Ipv4Prefix),
    /// Adds a route, or replaces the one to the same destination.
    ReplaceRoute {
        /// The route.
        route: Route,
        /// The node's address that packets on this route carry.
        source: Ipv4Addr,
        /// The gateway is outside the link's network and reached directly all the same (clouds with /32 leases).
        on_link: bool,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configuration() -> Configuration {
        Configuration {
            address: "10.0.2.15/24".parse().unwrap(),
            routes: vec![Route {
                destination: Ipv4Prefix::ALL,
                gateway: Some(Ipv4Addr::new(10, 0, 2, 2)),
            }],
            dns: (1..=4).map(|last| Ipv4Addr::new(10, 0, 2, last)).collect(),
            domain: Some("lab.example".to_owned()),
            mtu: None,
            source: Source::Dhcp,
        }
    }

    #[test]
    fn fresh_link_gets_address_and_route() {
        let changes = configuration().plan(&[]);
        assert_eq!(changes.len(), 2);
        assert_eq!(changes[0], Change::AddAddress("10.0.2.15/24".parse().unwrap()));
        assert!(matches!(changes[1], Change::ReplaceRoute { on_link: false, .. }));
    }

    #[test]
    fn renewal_touches_no_address_and_an_old_one_goes_first() {
        let own = configuration().address;
        let renewal = configuration().plan(&[own]);
        assert!(matches!(renewal[..], [Change::ReplaceRoute { .. }]));
        let old: Ipv4Prefix = "192.168.1.4/24".parse().unwrap();
        let moved = configuration().plan(&[old]);
        assert_eq!(moved[..2], [Change::RemoveAddress(old), Change::AddAddress(own)]);
    }

    #[test]
    fn gateway_outside_the_network_is_on_link() {
        let mut wanted = configuration();
        wanted.address = "10.128.0.7/32".parse().unwrap();
        wanted.mtu = Some(1460);
        let changes = wanted.plan(&[]);
        assert_eq!(changes[0], Change::SetMtu(1460));
        assert!(matches!(changes[2], Change::ReplaceRoute { on_link: true, .. }));
    }

    #[test]
    fn resolver_file_names_three_servers() {
        assert_eq!(
            configuration().resolv_conf(),
            "# Written by mosnet; changes are lost with the next lease.\nsearch lab.example\n\
             nameserver 10.0.2.1\nnameserver 10.0.2.2\nnameserver 10.0.2.3\n"
        );
    }
}
