//! rtnetlink messages (rtnetlink(7), linux/netlink.h, linux/rtnetlink.h): writing requests, reading answers. Pure.
//!
//! Only what [`rtnetlink`](crate::rtnetlink) needs, 300 lines instead of the crates that know all of netlink. Numbers
//! are in the machine's own byte order, addresses in the network's. Reading checks every length.

use crate::configuration::Change;
use crate::link::Link;
use crate::prefix::Ipv4Prefix;
use std::net::Ipv4Addr;

/// Message types (linux/netlink.h, linux/rtnetlink.h).
mod kind {
    pub const ERROR: u16 = 2;
    pub const DONE: u16 = 3;
    pub const NEW_LINK: u16 = 16;
    pub const GET_LINK: u16 = 18;
    pub const NEW_ADDRESS: u16 = 20;
    pub const DELETE_ADDRESS: u16 = 21;
    pub const GET_ADDRESS: u16 = 22;
    pub const NEW_ROUTE: u16 = 24;
}

/// `NLM_F_*` (linux/netlink.h).
mod flag {
    pub const REQUEST: u16 = 0x1;
    pub const ACK: u16 = 0x4;
    pub const DUMP: u16 = 0x300;
    pub const REPLACE: u16 = 0x100;
    pub const CREATE: u16 = 0x400;
}

/// Attribute types: `IFLA_*` (linux/if_link.h), `IFA_*` (linux/if_addr.h), `RTA_*` (linux/rtnetlink.h).
mod attribute {
    pub const LINK_ADDRESS: u16 = 1;
    pub const LINK_NAME: u16 = 3;
    pub const LINK_MTU: u16 = 4;
    pub const LINK_MASTER: u16 = 10;
    pub const LINK_INFO: u16 = 18;
    pub const LINK_INFO_KIND: u16 = 1;
    pub const ADDRESS: u16 = 1;
    pub const ADDRESS_LOCAL: u16 = 2;
    pub const ADDRESS_BROADCAST: u16 = 4;
    pub const ROUTE_DESTINATION: u16 = 1;
    pub const ROUTE_LINK: u16 = 4;
    pub const ROUTE_GATEWAY: u16 = 5;
    pub const ROUTE_SOURCE: u16 = 7;
    /// The bits of an attribute's type that are its number; the others are flags.
    pub const NUMBER: u16 = 0x3fff;
}

const AF_INET: u8 = 2;
/// `IFF_*` (linux/if.h).
const IFF_UP: u32 = 0x1;
const IFF_LOOPBACK: u32 = 0x8;
const IFF_LOWER_UP: u32 = 0x1_0000;
/// `ARPHRD_ETHER` (linux/if_arp.h).
const HARDWARE_ETHERNET: u16 = 1;
/// `RT_TABLE_MAIN`, `RTPROT_DHCP`, `RTN_UNICAST`, `RT_SCOPE_UNIVERSE`, `RT_SCOPE_LINK`, `RTNH_F_ONLINK`.
const TABLE_MAIN: u8 = 254;
const PROTOCOL_DHCP: u8 = 16;
const UNICAST: u8 = 1;
const SCOPE_UNIVERSE: u8 = 0;
const SCOPE_LINK: u8 = 253;
const ON_LINK: u32 = 4;

const HEADER: usize = 16;
const LINK_HEADER: usize = 16;
const ADDRESS_HEADER: usize = 8;
const ALIGNMENT: usize = 4;

/// `RTMGRP_LINK`: the group that hears of every change of a link.
pub const GROUP_LINK: u32 = 1;

/// A request, ready to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request(Vec<u8>);

impl Request {
    fn new(kind: u16, flags: u16, header: &[u8]) -> Self {
        let mut bytes = vec![0; HEADER];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[6..8].copy_from_slice(&(flags | flag::REQUEST).to_ne_bytes());
        bytes.extend(header);
        Self(bytes)
    }

    fn with(mut self, attribute: u16, value: &[u8]) -> Self {
        let length = (ALIGNMENT + value.len()) as u16;
        self.0.extend(length.to_ne_bytes());
        self.0.extend(attribute.to_ne_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(ALIGNMENT), 0);
        self
    }

    /// The bytes to send; the sequence number comes back in the answers.
    pub fn to_bytes(&self, sequence: u32) -> Vec<u8> {
        let mut bytes = self.0.clone();
        let length = bytes.len() as u32;
        bytes[..4].copy_from_slice(&length.to_ne_bytes());
        bytes[8..12].copy_from_slice(&sequence.to_ne_bytes());
        bytes
    }
}

/// Asks for all links.
pub fn list_links() -> Request {
    Request::new(kind::GET_LINK, flag::DUMP, &[0; LINK_HEADER])
}

/// Asks for all IPv4 addresses.
pub fn list_addresses() -> Request {
    Request::new(kind::GET_ADDRESS, flag::DUMP, &[AF_INET, 0, 0, 0, 0, 0, 0, 0])
}

/// Sets a link up.
pub fn set_up(link: u32) -> Request {
    Request::new(kind::NEW_LINK, flag::ACK, &link_header(link, IFF_UP))
}

/// One step of a plan on a link.
pub fn change(link: u32, change: &Change) -> Request {
    match change {
        Change::SetMtu(mtu) => Request::new(kind::NEW_LINK, flag::ACK, &link_header(link, 0))
            .with(attribute::LINK_MTU, &u32::from(*mtu).to_ne_bytes()),
        Change::AddAddress(address) => {
            let flags = flag::ACK | flag::CREATE | flag::REPLACE;
            address_request(kind::NEW_ADDRESS, flags, link, *address)
                .with(attribute::ADDRESS_BROADCAST, &address.broadcast().octets())
        }
        Change::RemoveAddress(address) => address_request(kind::DELETE_ADDRESS, flag::ACK, link, *address),
        Change::ReplaceRoute { route, source, on_link } => {
            let scope = if route.gateway.is_some() {
                SCOPE_UNIVERSE
            } else {
                SCOPE_LINK
            };
            let length = route.destination.length();
            let mut header = [
                AF_INET,
                length,
                0,
                0,
                TABLE_MAIN,
                PROTOCOL_DHCP,
                scope,
                UNICAST,
                0,
                0,
                0,
                0,
            ];
            if *on_link {
                header[8..].copy_from_slice(&ON_LINK.to_ne_bytes());
            }
            let mut request = Request::new(kind::NEW_ROUTE, flag::ACK | flag::CREATE | flag::REPLACE, &header)
                .with(attribute::ROUTE_LINK, &link.to_ne_bytes())
                .with(attribute::ROUTE_SOURCE, &source.octets());
            if length > 0 {
                let network = route.destination.address() & route.destination.mask();
                request = request.with(attribute::ROUTE_DESTINATION, &network.octets());
            }
            match route.gateway {
                Some(gateway) => request.with(attribute::ROUTE_GATEWAY, &gateway.octets()),
                None => request,
            }
        }
    }
}

/// `struct ifinfomsg`: sets these flags and leaves the others alone.
fn link_header(link: u32, flags: u32) -> [u8; LINK_HEADER] {
    let mut header = [0; LINK_HEADER];
    header[4..8].copy_from_slice(&link.to_ne_bytes());
    header[8..12].copy_from_slice(&flags.to_ne_bytes());
    header[12..].copy_from_slice(&flags.to_ne_bytes());
    header
}

fn address_request(kind: u16, flags: u16, link: u32, address: Ipv4Prefix) -> Request {
    let mut header = [AF_INET, address.length(), 0, SCOPE_UNIVERSE, 0, 0, 0, 0];
    header[4..].copy_from_slice(&link.to_ne_bytes());
    Request::new(kind, flags, &header)
        .with(attribute::ADDRESS_LOCAL, &address.address().octets())
        .with(attribute::ADDRESS, &address.address().octets())
}

/// One message of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// A link.
    Link(Link),
    /// An IPv4 address and the index of its link.
    Address(u32, Ipv4Prefix),
    /// The end of a list.
    Done,
    /// The outcome of a request: an error number, 0 for success.
    Status(i32),
    /// Something that was not asked for.
    Other,
}

/// Reads one datagram: the answers whose sequence number is the given one.
///
/// # Errors
/// What is wrong, when a length leads outside the datagram.
pub fn parse(mut bytes: &[u8], sequence: u32) -> Result<Vec<Answer>, &'static str> {
    let mut answers = Vec::new();
    while !bytes.is_empty() {
        let header: &[u8; HEADER] = bytes.first_chunk().ok_or("a message without a header")?;
        let length = word(header, 0).ok_or("a message without a length")? as usize;
        let body = bytes.get(HEADER..length).ok_or("a message longer than the datagram")?;
        if word(header, 8) == Some(sequence) {
            answers.push(answer(half(header, 4).unwrap_or(0), body)?);
        }
        bytes = bytes.get(length.next_multiple_of(ALIGNMENT)..).unwrap_or_default();
    }
    Ok(answers)
}

fn answer(kind: u16, body: &[u8]) -> Result<Answer, &'static str> {
    match kind {
        kind::DONE => Ok(Answer::Done),
        kind::ERROR => {
            let number = word(body, 0).ok_or("an error without a number")?;
            Ok(Answer::Status((number as i32).wrapping_neg()))
        }
        kind::NEW_LINK => link(body).map(Answer::Link),
        kind::NEW_ADDRESS => address(body),
        _ => Ok(Answer::Other),
    }
}

fn link(body: &[u8]) -> Result<Link, &'static str> {
    let (header, rest) = body.split_at_checked(LINK_HEADER).ok_or("a link without its header")?;
    let flags = word(header, 8).unwrap_or(0);
    let ethernet = half(header, 2) == Some(HARDWARE_ETHERNET);
    let mut link = Link {
        index: word(header, 4).unwrap_or(0),
        name: String::new(),
        mac: None,
        up: flags & IFF_UP != 0,
        carrier: flags & IFF_LOWER_UP != 0,
        kind: None,
        master: None,
        loopback: flags & IFF_LOOPBACK != 0,
    };
    for attribute in Attributes(rest) {
        match attribute? {
            (attribute::LINK_NAME, value) => link.name = text(value),
            (attribute::LINK_ADDRESS, value) if ethernet => link.mac = value.try_into().ok(),
            (attribute::LINK_MASTER, value) => link.master = word(value, 0),
            (attribute::LINK_INFO, value) => link.kind = link_kind(value)?,
            _ => {}
        }
    }
    Ok(link)
}

fn link_kind(info: &[u8]) -> Result<Option<String>, &'static str> {
    for attribute in Attributes(info) {
        if let (attribute::LINK_INFO_KIND, value) = attribute? {
            return Ok(Some(text(value)));
        }
    }
    Ok(None)
}

fn address(body: &[u8]) -> Result<Answer, &'static str> {
    let (header, rest) = body
        .split_at_checked(ADDRESS_HEADER)
        .ok_or("an address without its header")?;
    let index = word(header, 4).unwrap_or(0);
    // On point-to-point links IFA_ADDRESS is the peer, so the local one is preferred whenever both are given.
    let (mut local, mut peer) = (None, None);
    for attribute in Attributes(rest) {
        match attribute? {
            (attribute::ADDRESS_LOCAL, value) => local = octets(value),
            (attribute::ADDRESS, value) => peer = octets(value),
            _ => {}
        }
    }
    let prefix = local.or(peer).and_then(|address| Ipv4Prefix::new(address, header[1]));
    match prefix {
        Some(prefix) if header[0] == AF_INET => Ok(Answer::Address(index, prefix)),
        _ => Ok(Answer::Other),
    }
}

/// Walks the attributes of a message: number and value.
struct Attributes<'b>(&'b [u8]);

impl<'b> Iterator for Attributes<'b> {
    type Item = Result<(u16, &'b [u8]), &'static str>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.len() < ALIGNMENT {
            return None;
        }
        let length = usize::from(half(self.0, 0)?);
        let number = half(self.0, 2)? & attribute::NUMBER;
        let Some(value) = self.0.get(ALIGNMENT..length) else {
            self.0 = &[];
            return Some(Err("an attribute longer than its message"));
        };
        self.0 = self.0.get(length.next_multiple_of(ALIGNMENT)..).unwrap_or_default();
        Some(Ok((number, value)))
    }
}

fn word(bytes: &[u8], offset: usize) -> Option<u32> {
    bytes.get(offset..)?.first_chunk().copied().map(u32::from_ne_bytes)
}

fn half(bytes: &[u8], offset: usize) -> Option<u16> {
    bytes.get(offset..)?.first_chunk().copied().map(u16::from_ne_bytes)
}

fn octets(value: &[u8]) -> Option<Ipv4Addr> {
    <[u8; 4]>::try_from(value).ok().map(Ipv4Addr::from)
}

fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value).trim_end_matches('\0').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::configuration::Route;
    use proptest::prelude::*;

    fn link_message() -> Vec<u8> {
        let mut header = link_header(2, IFF_UP | IFF_LOWER_UP);
        header[2] = HARDWARE_ETHERNET as u8;
        let kind = Request(Vec::new()).with(attribute::LINK_INFO_KIND, b"veth\0").0;
        Request::new(kind::NEW_LINK, 0, &header)
            .with(attribute::LINK_NAME, b"eth0\0")
            .with(attribute::LINK_ADDRESS, &[2, 0, 0, 0, 0, 1])
            .with(attribute::LINK_MASTER, &7u32.to_ne_bytes())
            .with(attribute::LINK_INFO | 0x8000, &kind)
            .to_bytes(5)
    }

    #[test]
    fn a_link_is_read() {
        let expected = Link {
            index: 2,
            name: "eth0".to_owned(),
            mac: Some([2, 0, 0, 0, 0, 1]),
            up: true,
            carrier: true,
            kind: Some("veth".to_owned()),
            master: Some(7),
            loopback: false,
        };
        assert_eq!(parse(&link_message(), 5).unwrap(), [Answer::Link(expected)]);
        assert_eq!(parse(&link_message(), 6).unwrap(), []);
    }

    #[test]
    fn address_requests_read_back() {
        let wanted: Ipv4Prefix = "10.0.2.15/24".parse().unwrap();
        let bytes = change(3, &Change::AddAddress(wanted)).to_bytes(1);
        assert_eq!(parse(&bytes, 1).unwrap(), [Answer::Address(3, wanted)]);
    }

    #[test]
    fn a_default_route_has_no_destination() {
        let request = change(
            3,
            &Change::ReplaceRoute {
                route: Route {
                    destination: Ipv4Prefix::ALL,
                    gateway: Some(Ipv4Addr::new(10, 0, 2, 2)),
                },
                source: Ipv4Addr::new(10, 0, 2, 15),
                on_link: true,
            },
        );
        let body = &request.0[HEADER..];
        assert_eq!(
            body[..8],
            [AF_INET, 0, 0, 0, TABLE_MAIN, PROTOCOL_DHCP, SCOPE_UNIVERSE, UNICAST]
        );
        assert_eq!(word(body, 8), Some(ON_LINK));
        let numbers: Vec<u16> = Attributes(&body[12..]).map(|attribute| attribute.unwrap().0).collect();
        assert_eq!(
            numbers,
            [attribute::ROUTE_LINK, attribute::ROUTE_SOURCE, attribute::ROUTE_GATEWAY]
        );
    }

    #[test]
    fn errors_carry_their_number() {
        let bytes = Request::new(kind::ERROR, 0, &(-17i32).to_ne_bytes()).to_bytes(1);
        assert_eq!(parse(&bytes, 1).unwrap(), [Answer::Status(17)]);
    }

    #[test]
    fn wrong_lengths_are_errors() {
        let mut bytes = link_message();
        bytes[0] = 255;
        assert_eq!(parse(&bytes, 5), Err("a message longer than the datagram"));
        let mut bytes = link_message();
        bytes[0] = 4;
        assert_eq!(parse(&bytes, 5), Err("a message longer than the datagram"));
        let mut bytes = link_message();
        bytes[HEADER + LINK_HEADER] = 255;
        assert_eq!(parse(&bytes, 5), Err("an attribute longer than its message"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(mut bytes in link_message_damaged(), sequence in 4u32..6) {
            let _ = parse(&bytes, sequence);
            bytes.truncate(bytes.len() / 2);
            let _ = parse(&bytes, sequence);
        }
    }

    fn link_message_damaged() -> impl Strategy<Value = Vec<u8>> {
        let length = link_message().len();
        proptest::collection::vec((0..length, any::<u8>()), 0..6).prop_map(|damage| {
            let mut bytes = link_message();
            for (place, value) in damage {
                bytes[place] = value;
            }
            bytes
        })
    }
}
