//! An IPv4 address with the length of its network's prefix.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

/// Bits in an IPv4 address.
pub const ADDRESS_BITS: u8 = 32;

/// An address and a prefix length of at most 32, written `10.0.2.15/24`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Ipv4Prefix {
    address: Ipv4Addr,
    length: u8,
}

impl Ipv4Prefix {
    /// All of IPv4: the destination of a default route.
    pub const ALL: Self = Self {
        address: Ipv4Addr::UNSPECIFIED,
        length: 0,
    };

    /// `None` when the length is over 32.
    pub fn new(address: Ipv4Addr, length: u8) -> Option<Self> {
        (length <= ADDRESS_BITS).then_some(Self { address, length })
    }

    /// From a netmask such as 255.255.255.0; `None` when its one bits do not all come first.
    pub fn with_mask(address: Ipv4Addr, mask: Ipv4Addr) -> Option<Self> {
        let length = mask_length(mask)?;
        Some(Self { address, length })
    }

    /// The address, host bits included.
    pub fn address(self) -> Ipv4Addr {
        self.address
    }

    /// The length of the prefix in bits, 0 to 32.
    pub fn length(self) -> u8 {
        self.length
    }

    /// The netmask.
    pub fn mask(self) -> Ipv4Addr {
        let host_bits = u32::from(ADDRESS_BITS - self.length);
        Ipv4Addr::from_bits(u32::MAX.checked_shl(host_bits).unwrap_or(0))
    }

    /// The broadcast address of the network.
    pub fn broadcast(self) -> Ipv4Addr {
        self.address | !self.mask()
    }

    /// Whether an address belongs to the network.
    pub fn contains(self, other: Ipv4Addr) -> bool {
        self.address & self.mask() == other & self.mask()
    }
}

/// The length of a netmask's prefix; `None` when it has holes.
pub fn mask_length(mask: Ipv4Addr) -> Option<u8> {
    let bits = mask.to_bits();
    (bits.leading_ones() + bits.trailing_zeros() >= 32).then(|| bits.leading_ones() as u8)
}

impl fmt::Display for Ipv4Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

/// What is wrong with the text of an [`Ipv4Prefix`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an IPv4 address with a prefix length, such as 10.0.0.5/24")]
pub struct PrefixError(String);

impl FromStr for Ipv4Prefix {
    type Err = PrefixError;

    fn from_str(text: &str) -> Result<Self, PrefixError> {
        let parse = || {
            let (address, length) = text.split_once('/')?;
            Self::new(address.parse().ok()?, length.parse().ok()?)
        };
        parse().ok_or_else(|| PrefixError(text.to_owned()))
    }
}

impl TryFrom<String> for Ipv4Prefix {
    type Error = PrefixError;

    fn try_from(text: String) -> Result<Self, PrefixError> {
        text.parse()
    }
}

impl From<Ipv4Prefix> for String {
    fn from(prefix: Ipv4Prefix) -> Self {
        prefix.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> Ipv4Prefix {
        text.parse().unwrap()
    }

    #[test]
    fn masks_and_broadcast() {
        for (text, mask, broadcast) in [
            ("10.0.2.15/24", "255.255.255.0", "10.0.2.255"),
            ("10.0.2.15/32", "255.255.255.255", "10.0.2.15"),
            ("10.0.2.15/0", "0.0.0.0", "255.255.255.255"),
            ("172.16.5.1/20", "255.255.240.0", "172.16.15.255"),
        ] {
            let parsed = prefix(text);
            assert_eq!(parsed.mask().to_string(), mask, "{text}");
            assert_eq!(parsed.broadcast().to_string(), broadcast, "{text}");
            assert_eq!(Ipv4Prefix::with_mask(parsed.address(), parsed.mask()), Some(parsed));
            assert_eq!(parsed.to_string(), text);
        }
    }

    #[test]
    fn membership() {
        assert!(prefix("10.0.2.15/24").contains(Ipv4Addr::new(10, 0, 2, 2)));
        assert!(!prefix("10.0.2.15/24").contains(Ipv4Addr::new(10, 0, 3, 2)));
        assert!(Ipv4Prefix::ALL.contains(Ipv4Addr::BROADCAST));
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "10.0.2.15",
            "10.0.2.15/33",
            "10.0.2/24",
            "/24",
            "10.0.2.15/-1",
            "10.0.2.15/",
        ] {
            assert!(text.parse::<Ipv4Prefix>().is_err(), "{text}");
        }
        assert_eq!(mask_length(Ipv4Addr::new(255, 0, 255, 0)), None);
        assert_eq!(mask_length(Ipv4Addr::UNSPECIFIED), Some(0));
    }
}
