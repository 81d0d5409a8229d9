//! Links (network interfaces) and which of them may carry the node's network.

/// The MAC address of an Ethernet-like link.
pub type Mac = [u8; 6];

/// One link as the kernel lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The kernel's number for it.
    pub index: u32,
    /// Its name, `eth0`.
    pub name: String,
    /// Its hardware address; `None` for links that are not Ethernet-like.
    pub mac: Option<Mac>,
    /// Set up by software (`IFF_UP`).
    pub up: bool,
    /// Connected (`IFF_LOWER_UP`).
    pub carrier: bool,
    /// What made it, when that was not a hardware driver: `veth`, `bridge`, `dummy`.
    pub kind: Option<String>,
    /// The index of the bridge or bond that it belongs to.
    pub master: Option<u32>,
    /// A loopback link.
    pub loopback: bool,
}

impl Link {
    /// Made by a hardware driver, which includes virtio, and free to use.
    fn is_physical(&self) -> bool {
        self.mac.is_some() && !self.loopback && self.kind.is_none() && self.master.is_none()
    }
}

/// The links worth trying, in the order of their index: the wanted one alone if one is named, else all physical ones.
pub fn candidates<'l>(links: &'l [Link], wanted: Option<&str>) -> Vec<&'l Link> {
    let usable = |link: &&Link| match wanted {
        Some(name) => link.name == name && link.mac.is_some(),
        None => link.is_physical(),
    };
    let mut chosen: Vec<&Link> = links.iter().filter(usable).collect();
    chosen.sort_by_key(|link| link.index);
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(index: u32, name: &str) -> Link {
        Link {
            index,
            name: name.to_owned(),
            mac: Some([2, 0, 0, 0, 0, index as u8]),
            up: false,
            carrier: false,
            kind: None,
            master: None,
            loopback: false,
        }
    }

    #[test]
    fn only_free_physical_links_are_candidates() {
        let mut loopback = link(1, "lo");
        loopback.loopback = true;
        let mut bridge = link(4, "br0");
        bridge.kind = Some("bridge".to_owned());
        let mut enslaved = link(5, "eth2");
        enslaved.master = Some(4);
        let links = [link(3, "eth1"), loopback, bridge, enslaved, link(2, "eth0")];
        let names: Vec<&str> = candidates(&links, None).iter().map(|l| l.name.as_str()).collect();
        assert_eq!(names, ["eth0", "eth1"]);
    }

    #[test]
    fn a_named_link_may_be_of_any_kind() {
        let mut veth = link(7, "veth0");
        veth.kind = Some("veth".to_owned());
        let links = [link(2, "eth0"), veth];
        assert_eq!(candidates(&links, Some("veth0")).len(), 1);
        assert!(candidates(&links, Some("eth9")).is_empty());
    }
}
