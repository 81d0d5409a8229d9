//! The DHCP packet: RFC 2131 section 2, options by RFC 2132, 3396 (long options) and 3442 (classless routes).
//!
//! Reading is bounded by the packet it is given, checks every length, and keeps only the options this client uses.

use crate::configuration::Route;
use crate::link::Mac;
use crate::prefix::{self, Ipv4Prefix};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// UDP port of clients.
pub const CLIENT_PORT: u16 = 68;
/// UDP port of servers.
pub const SERVER_PORT: u16 = 67;

/// Bytes of the fixed part with the magic cookie, before the options.
const FIXED_LENGTH: usize = 240;
const SNAME: std::ops::Range<usize> = 44..108;
const FILE: std::ops::Range<usize> = 108..236;
const COOKIE: [u8; 4] = [99, 130, 83, 99];
const BOOTREQUEST: u8 = 1;
const BOOTREPLY: u8 = 2;
/// Hardware type of Ethernet and its address length (RFC 1700).
const ETHERNET: [u8; 2] = [1, 6];
/// "Answer by broadcast": we have no address yet that a unicast could be sent to.
const FLAG_BROADCAST: u16 = 0x8000;
/// Relays and servers of BOOTP heritage drop anything shorter (RFC 1542 section 2.1).
const MINIMUM_LENGTH: usize = 300;
/// Bytes we are ready to receive in one packet, UDP and IP headers included: what Ethernet carries unfragmented.
pub const MAXIMUM_LENGTH: u16 = 1500;

/// Option codes of RFC 2132, and 121 of RFC 3442.
mod code {
    pub const PAD: u8 = 0;
    pub const SUBNET_MASK: u8 = 1;
    pub const ROUTER: u8 = 3;
    pub const DNS: u8 = 6;
    pub const HOST_NAME: u8 = 12;
    pub const DOMAIN_NAME: u8 = 15;
    pub const MTU: u8 = 26;
    pub const REQUESTED_ADDRESS: u8 = 50;
    pub const LEASE_TIME: u8 = 51;
    pub const OVERLOAD: u8 = 52;
    pub const MESSAGE_TYPE: u8 = 53;
    pub const SERVER_ID: u8 = 54;
    pub const PARAMETERS: u8 = 55;
    pub const MESSAGE: u8 = 56;
    pub const MAXIMUM_SIZE: u8 = 57;
    pub const RENEWAL_TIME: u8 = 58;
    pub const REBINDING_TIME: u8 = 59;
    pub const CLIENT_ID: u8 = 61;
    pub const CLASSLESS_ROUTES: u8 = 121;
    pub const END: u8 = 255;
}

/// What we ask servers for. Classless routes come before the router, as RFC 3442 demands.
const PARAMETERS: [u8; 9] = [
    code::SUBNET_MASK,
    code::CLASSLESS_ROUTES,
    code::ROUTER,
    code::DNS,
    code::HOST_NAME,
    code::DOMAIN_NAME,
    code::MTU,
    code::RENEWAL_TIME,
    code::REBINDING_TIME,
];

/// Option 53.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum MessageType {
    /// Client: who is there?
    Discover = 1,
    /// Server: have this.
    Offer = 2,
    /// Client: I take it, or keep it.
    Request = 3,
    /// Server: granted.
    Ack = 5,
    /// Server: no longer.
    Nak = 6,
}

impl MessageType {
    fn from_byte(byte: u8) -> Option<Self> {
        [Self::Discover, Self::Offer, Self::Request, Self::Ack, Self::Nak]
            .into_iter()
            .find(|&kind| kind as u8 == byte)
    }
}

/// A DHCP packet, as far as this client uses it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// What it is.
    pub kind: MessageType,
    /// Sent by a server (`BOOTREPLY`).
    pub reply: bool,
    /// Ties answers to questions.
    pub transaction: u32,
    /// Seconds since the client began.
    pub seconds: u16,
    /// The client asks for answers by broadcast.
    pub broadcast: bool,
    /// The address that the client already uses, else 0.0.0.0.
    pub client_address: Ipv4Addr,
    /// The address that the server gives.
    pub your_address: Ipv4Addr,
    /// The client's hardware address.
    pub mac: Mac,
    /// The options.
    pub options: Options,
}

/// The options that this client writes or reads.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// 50: the address that the client would like.
    pub requested_address: Option<Ipv4Addr>,
    /// 54: which server is meant or speaks.
    pub server: Option<Ipv4Addr>,
    /// 1: length of the network's prefix.
    pub prefix_length: Option<u8>,
    /// 3: routers, best first.
    pub routers: Vec<Ipv4Addr>,
    /// 6: name servers, best first.
    pub dns: Vec<Ipv4Addr>,
    /// 12: a name for the client.
    pub host_name: Option<String>,
    /// 15: the domain for short names.
    pub domain: Option<String>,
    /// 26: bytes in the largest packet.
    pub mtu: Option<u16>,
    /// 51: seconds that the lease lasts.
    pub lease_seconds: Option<u32>,
    /// 58: seconds until the client asks its server again (T1).
    pub renewal_seconds: Option<u32>,
    /// 59: seconds until it asks any server (T2).
    pub rebinding_seconds: Option<u32>,
    /// 56: what the server says about a refusal.
    pub text: Option<String>,
    /// 121: routes that stand instead of option 3.
    pub routes: Vec<Route>,
}

/// Why bytes are not a DHCP packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// Ends before the options begin.
    #[error("shorter than a DHCP packet")]
    Short,
    /// No magic cookie: BOOTP, or something else.
    #[error("without the DHCP magic cookie")]
    Cookie,
    /// Not for Ethernet.
    #[error("not for Ethernet hardware")]
    Hardware,
    /// An option that runs past the end.
    #[error("option {0} runs past the end")]
    Truncated(u8),
    /// No or unknown message type.
    #[error("without a known message type")]
    Kind,
}

impl Message {
    /// Reads a packet, the payload of a UDP datagram.
    ///
    /// Options of a wrong length are left out, as if the server had not sent them.
    ///
    /// # Errors
    /// When the fixed part or an option's length is wrong, or the message type is missing.
    pub fn parse(bytes: &[u8]) -> Result<Self, MessageError> {
        let fixed: &[u8; FIXED_LENGTH] = bytes.first_chunk().ok_or(MessageError::Short)?;
        if fixed[FIXED_LENGTH - COOKIE.len()..] != COOKIE {
            return Err(MessageError::Cookie);
        }
        if fixed[1..3] != ETHERNET {
            return Err(MessageError::Hardware);
        }
        let raw = raw_options(bytes)?;
        Ok(Self {
            kind: raw
                .get(&code::MESSAGE_TYPE)
                .and_then(|value| one(value))
                .and_then(MessageType::from_byte)
                .ok_or(MessageError::Kind)?,
            reply: fixed[0] == BOOTREPLY,
            transaction: u32::from_be_bytes(at(fixed, 4)),
            seconds: u16::from_be_bytes(at(fixed, 8)),
            broadcast: u16::from_be_bytes(at(fixed, 10)) & FLAG_BROADCAST != 0,
            client_address: Ipv4Addr::from(at::<4>(fixed, 12)),
            your_address: Ipv4Addr::from(at::<4>(fixed, 16)),
            mac: at(fixed, 28),
            options: Options::from_raw(&raw),
        })
    }

    /// Writes the packet as a client sends it.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; FIXED_LENGTH];
        bytes[0] = if self.reply { BOOTREPLY } else { BOOTREQUEST };
        bytes[1..3].copy_from_slice(&ETHERNET);
        bytes[4..8].copy_from_slice(&self.transaction.to_be_bytes());
        bytes[8..10].copy_from_slice(&self.seconds.to_be_bytes());
        let flags = if self.broadcast { FLAG_BROADCAST } else { 0 };
        bytes[10..12].copy_from_slice(&flags.to_be_bytes());
        bytes[12..16].copy_from_slice(&self.client_address.octets());
        bytes[16..20].copy_from_slice(&self.your_address.octets());
        bytes[28..34].copy_from_slice(&self.mac);
        bytes[FIXED_LENGTH - COOKIE.len()..].copy_from_slice(&COOKIE);
        option(&mut bytes, code::MESSAGE_TYPE, &[self.kind as u8]);
        if !self.reply {
            self.client_options(&mut bytes);
        }
        self.options.write(&mut bytes);
        bytes.push(code::END);
        if bytes.len() < MINIMUM_LENGTH {
            bytes.resize(MINIMUM_LENGTH, code::PAD);
        }
        bytes
    }

    /// What every client packet carries.
    fn client_options(&self, bytes: &mut Vec<u8>) {
        let mut identifier = vec![ETHERNET[0]];
        identifier.extend(self.mac);
        option(bytes, code::CLIENT_ID, &identifier);
        option(bytes, code::MAXIMUM_SIZE, &MAXIMUM_LENGTH.to_be_bytes());
        option(bytes, code::PARAMETERS, &PARAMETERS);
    }
}

impl Options {
    fn from_raw(raw: &RawOptions) -> Self {
        let get = |code| raw.get(&code).map(Vec::as_slice);
        Self {
            requested_address: get(code::REQUESTED_ADDRESS).and_then(address),
            server: get(code::SERVER_ID).and_then(address),
            prefix_length: get(code::SUBNET_MASK).and_then(address).and_then(prefix::mask_length),
            routers: get(code::ROUTER).map(addresses).unwrap_or_default(),
            dns: get(code::DNS).map(addresses).unwrap_or_default(),
            host_name: get(code::HOST_NAME).and_then(name),
            domain: get(code::DOMAIN_NAME).and_then(name),
            mtu: get(code::MTU)
                .and_then(|value| value.try_into().ok())
                .map(u16::from_be_bytes),
            lease_seconds: get(code::LEASE_TIME).and_then(seconds),
            renewal_seconds: get(code::RENEWAL_TIME).and_then(seconds),
            rebinding_seconds: get(code::REBINDING_TIME).and_then(seconds),
            text: get(code::MESSAGE).map(printable),
            routes: get(code::CLASSLESS_ROUTES).and_then(routes).unwrap_or_default(),
        }
    }

    fn write(&self, bytes: &mut Vec<u8>) {
        let four = [
            (code::REQUESTED_ADDRESS, self.requested_address.map(|a| a.octets())),
            (code::SERVER_ID, self.server.map(|a| a.octets())),
            (code::SUBNET_MASK, self.prefix_length.and_then(mask)),
            (code::LEASE_TIME, self.lease_seconds.map(u32::to_be_bytes)),
            (code::RENEWAL_TIME, self.renewal_seconds.map(u32::to_be_bytes)),
            (code::REBINDING_TIME, self.rebinding_seconds.map(u32::to_be_bytes)),
        ];
        for (code, value) in four {
            if let Some(value) = value {
                option(bytes, code, &value);
            }
        }
        if let Some(mtu) = self.mtu {
            option(bytes, code::MTU, &mtu.to_be_bytes());
        }
        for (code, list) in [(code::ROUTER, &self.routers), (code::DNS, &self.dns)] {
            let octets: Vec<u8> = list.iter().flat_map(|address| address.octets()).collect();
            option(bytes, code, &octets);
        }
        for (code, text) in [
            (code::HOST_NAME, &self.host_name),
            (code::DOMAIN_NAME, &self.domain),
            (code::MESSAGE, &self.text),
        ] {
            option(bytes, code, text.as_deref().unwrap_or_default().as_bytes());
        }
        option(bytes, code::CLASSLESS_ROUTES, &routes_bytes(&self.routes));
    }
}

type RawOptions = BTreeMap<u8, Vec<u8>>;

/// All options, those of one code joined (RFC 3396), from the option field and the fields that it overloads.
fn raw_options(bytes: &[u8]) -> Result<RawOptions, MessageError> {
    let mut raw = RawOptions::new();
    collect(&bytes[FIXED_LENGTH..], &mut raw)?;
    let overload = raw.get(&code::OVERLOAD).and_then(|value| one(value)).unwrap_or(0);
    if overload & 1 != 0 {
        collect(&bytes[FILE], &mut raw)?;
    }
    if overload & 2 != 0 {
        collect(&bytes[SNAME], &mut raw)?;
    }
    Ok(raw)
}

fn collect(mut field: &[u8], raw: &mut RawOptions) -> Result<(), MessageError> {
    while let [code, rest @ ..] = field {
        match *code {
            code::PAD => field = rest,
            code::END => break,
            code => {
                let (&length, rest) = rest.split_first().ok_or(MessageError::Truncated(code))?;
                let (value, rest) = rest
                    .split_at_checked(length.into())
                    .ok_or(MessageError::Truncated(code))?;
                raw.entry(code).or_default().extend_from_slice(value);
                field = rest;
            }
        }
    }
    Ok(())
}

/// Appends an option, in pieces when it is long (RFC 3396); an empty one is left out.
fn option(bytes: &mut Vec<u8>, code: u8, value: &[u8]) {
    for piece in value.chunks(u8::MAX.into()) {
        bytes.extend([code, piece.len() as u8]);
        bytes.extend(piece);
    }
}

/// `N` bytes of the fixed part. The offsets are constants of the format, all of them inside.
fn at<const N: usize>(fixed: &[u8; FIXED_LENGTH], offset: usize) -> [u8; N] {
    std::array::from_fn(|index| fixed[offset + index])
}

fn one(value: &[u8]) -> Option<u8> {
    match value {
        [byte] => Some(*byte),
        _ => None,
    }
}

fn address(value: &[u8]) -> Option<Ipv4Addr> {
    let octets: [u8; 4] = value.try_into().ok()?;
    Some(octets.into())
}

fn addresses(value: &[u8]) -> Vec<Ipv4Addr> {
    value.chunks_exact(4).filter_map(address).collect()
}

fn seconds(value: &[u8]) -> Option<u32> {
    value.try_into().ok().map(u32::from_be_bytes)
}

fn mask(length: u8) -> Option<[u8; 4]> {
    Ipv4Prefix::new(Ipv4Addr::UNSPECIFIED, length).map(|prefix| prefix.mask().octets())
}

/// A host or domain name; anything that could break a file or a terminal is no name.
fn name(value: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(value).ok()?.trim_end_matches('\0');
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    (!text.is_empty() && text.len() <= MAXIMUM_NAME && text.chars().all(allowed)).then(|| text.to_owned())
}

/// Bytes in the longest domain name (RFC 1035 section 2.3.4).
const MAXIMUM_NAME: usize = 253;

/// A server's words, safe to print on a console.
fn printable(value: &[u8]) -> String {
    let visible = |byte: &u8| byte.is_ascii_graphic() || *byte == b' ';
    value
        .iter()
        .filter(|byte| visible(byte))
        .map(|&byte| char::from(byte))
        .collect()
}

/// RFC 3442: each route is the prefix length, only the significant octets of the destination, and the router.
fn routes(mut value: &[u8]) -> Option<Vec<Route>> {
    let mut routes = Vec::new();
    while let [length, rest @ ..] = value {
        let (significant, rest) = rest.split_at_checked(significant_octets(*length))?;
        let (gateway, rest) = rest.split_at_checked(4)?;
        let mut octets = [0; 4];
        octets.get_mut(..significant.len())?.copy_from_slice(significant);
        routes.push(Route {
            destination: Ipv4Prefix::new(octets.into(), *length)?,
            gateway: address(gateway).filter(|gateway| !gateway.is_unspecified()),
        });
        value = rest;
    }
    Some(routes)
}

fn routes_bytes(routes: &[Route]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for route in routes {
        let length = route.destination.length();
        bytes.push(length);
        bytes.extend(&route.destination.address().octets()[..significant_octets(length)]);
        bytes.extend(route.gateway.unwrap_or(Ipv4Addr::UNSPECIFIED).octets());
    }
    bytes
}

fn significant_octets(prefix_length: u8) -> usize {
    usize::from(prefix_length).div_ceil(8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn offer() -> Message {
        Message {
            kind: MessageType::Offer,
            reply: true,
            transaction: 0xdead_beef,
            seconds: 3,
            broadcast: true,
            client_address: Ipv4Addr::UNSPECIFIED,
            your_address: Ipv4Addr::new(10, 0, 2, 15),
            mac: [0x52, 0x54, 0, 0x12, 0x34, 0x56],
            options: Options {
                server: Some(Ipv4Addr::new(10, 0, 2, 2)),
                prefix_length: Some(24),
                routers: vec![Ipv4Addr::new(10, 0, 2, 2)],
                dns: vec![Ipv4Addr::new(10, 0, 2, 3), Ipv4Addr::new(1, 1, 1, 1)],
                host_name: Some("node-7".to_owned()),
                domain: Some("lab.example".to_owned()),
                mtu: Some(1460),
                lease_seconds: Some(86_400),
                renewal_seconds: Some(43_200),
                rebinding_seconds: Some(75_600),
                text: Some("welcome".to_owned()),
                requested_address: None,
                routes: vec![
                    Route {
                        destination: "10.128.0.1/32".parse().unwrap(),
                        gateway: None,
                    },
                    Route {
                        destination: Ipv4Prefix::ALL,
                        gateway: Some(Ipv4Addr::new(10, 128, 0, 1)),
                    },
                ],
            },
        }
    }

    #[test]
    fn round_trip() {
        let message = offer();
        let bytes = message.to_bytes();
        assert!(bytes.len() >= MINIMUM_LENGTH);
        assert_eq!(Message::parse(&bytes), Ok(message));
    }

    #[test]
    fn routes_of_the_rfc_example() {
        // Three destinations of the table in RFC 3442, "Classless Route Option Format", all via 9.9.9.9.
        let bytes = [
            8, 10, 9, 9, 9, 9, 24, 10, 0, 0, 9, 9, 9, 9, 25, 10, 229, 0, 128, 9, 9, 9, 9,
        ];
        let parsed = routes(&bytes).unwrap();
        let shown: Vec<String> = parsed.iter().map(|route| route.destination.to_string()).collect();
        assert_eq!(shown, ["10.0.0.0/8", "10.0.0.0/24", "10.229.0.128/25"]);
        assert_eq!(routes_bytes(&parsed), bytes);
        assert_eq!(routes(&[33, 1, 1, 1, 1, 1, 9, 9, 9, 9]), None);
        assert_eq!(routes(&[255]), None);
    }

    #[test]
    fn options_in_the_file_and_name_fields_are_read() {
        let mut bytes = offer().to_bytes();
        bytes.truncate(FIXED_LENGTH);
        option(&mut bytes, code::OVERLOAD, &[3]);
        bytes[FILE][..4].copy_from_slice(&[code::MESSAGE_TYPE, 1, 5, code::END]);
        bytes[SNAME][..7].copy_from_slice(&[code::SERVER_ID, 4, 10, 0, 2, 2, code::END]);
        let message = Message::parse(&bytes).unwrap();
        assert_eq!(message.kind, MessageType::Ack);
        assert_eq!(message.options.server, Some(Ipv4Addr::new(10, 0, 2, 2)));
    }

    #[test]
    fn long_options_are_split_and_joined() {
        let mut bytes = Vec::new();
        let list: Vec<u8> = (0..80).flat_map(|last| [10, 0, 0, last]).collect();
        option(&mut bytes, code::DNS, &list);
        let mut raw = RawOptions::new();
        collect(&bytes, &mut raw).unwrap();
        assert_eq!(raw[&code::DNS], list);
    }

    #[test]
    fn damage_is_named() {
        let good = offer().to_bytes();
        assert_eq!(Message::parse(&good[..239]), Err(MessageError::Short));
        let mut bytes = good.clone();
        bytes[236] = 0;
        assert_eq!(Message::parse(&bytes), Err(MessageError::Cookie));
        let mut bytes = good.clone();
        bytes[1] = 6;
        assert_eq!(Message::parse(&bytes), Err(MessageError::Hardware));
        let mut bytes = good[..FIXED_LENGTH].to_vec();
        bytes.extend([code::DNS, 8, 1, 2]);
        assert_eq!(Message::parse(&bytes), Err(MessageError::Truncated(code::DNS)));
        let mut bytes = good;
        bytes[242] = 99;
        assert_eq!(Message::parse(&bytes), Err(MessageError::Kind));
    }

    #[test]
    fn names_cannot_smuggle_lines() {
        assert_eq!(name(b"lab.example\0"), Some("lab.example".to_owned()));
        assert_eq!(name(b"a\nnameserver 6.6.6.6"), None);
        assert_eq!(printable(b"no\x1b[2J lease"), "no[2J lease");
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(mut bytes in proptest::collection::vec(any::<u8>(), 0..700), valid_start: bool) {
            if valid_start && bytes.len() >= FIXED_LENGTH {
                bytes[..FIXED_LENGTH].copy_from_slice(&offer().to_bytes()[..FIXED_LENGTH]);
            }
            if let Ok(message) = Message::parse(&bytes) {
                prop_assert_eq!(Message::parse(&message.to_bytes()).unwrap().options.dns, message.options.dns);
            }
        }

        #[test]
        fn a_packet_cut_anywhere_never_panics(cut in 0usize..400, flip in 0usize..400, value: u8) {
            let mut bytes = offer().to_bytes();
            let length = bytes.len();
            bytes[flip % length] = value;
            let _ = Message::parse(&bytes[..cut.min(length)]);
        }
    }
}
