//! What a server granted.

use super::message::Message;
use crate::configuration::{Configuration, Route, Source};
use crate::prefix::{ADDRESS_BITS, Ipv4Prefix};
use std::net::Ipv4Addr;
use std::time::Duration;

/// A lease that never ends (RFC 2131 section 3.3).
const INFINITY: u32 = u32::MAX;
/// RFC 1191: no IPv4 link carries less; a smaller MTU is a server's mistake.
const MINIMUM_MTU: u16 = 576;

/// An address on loan with all that goes with it. Times count from the moment at which it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// What the link shall have.
    pub configuration: Configuration,
    /// The server to ask for more time.
    pub server: Ipv4Addr,
    /// The name that the server has for us; used only when the settings say so.
    pub host_name: Option<String>,
    /// When the lease ends; `None` for never.
    pub duration: Option<Duration>,
    /// T1: when to ask the server for more time.
    pub renewal: Duration,
    /// T2: when to ask any server.
    pub rebinding: Duration,
}

impl Lease {
    /// The lease that an OFFER or ACK describes; `None` when it lacks what a lease needs.
    pub fn from_message(message: &Message) -> Option<Self> {
        let options = &message.options;
        let address = Some(message.your_address).filter(|address| is_host(*address))?;
        let lease_seconds = options.lease_seconds.filter(|&seconds| seconds > 0)?;
        let (renewal, rebinding) = timers(lease_seconds, options.renewal_seconds, options.rebinding_seconds);
        Some(Self {
            configuration: Configuration {
                address: Ipv4Prefix::new(address, options.prefix_length.unwrap_or_else(|| class_length(address)))?,
                routes: routes(message),
                dns: options.dns.iter().copied().filter(|&server| is_host(server)).collect(),
                domain: options.domain.clone(),
                mtu: options.mtu.filter(|&mtu| mtu >= MINIMUM_MTU),
                source: Source::Dhcp,
            },
            server: options.server?,
            host_name: options.host_name.clone(),
            duration: (lease_seconds != INFINITY).then(|| seconds(lease_seconds)),
            renewal,
            rebinding,
        })
    }
}

/// T1 and T2: the server's if they make sense, else a half and seven eighths (RFC 2131 section 4.4.5).
fn timers(lease: u32, renewal: Option<u32>, rebinding: Option<u32>) -> (Duration, Duration) {
    let default_rebinding = lease - lease / 8;
    let rebinding = rebinding.filter(|&t2| t2 < lease).unwrap_or(default_rebinding);
    let default_renewal = rebinding.min(lease / 2);
    let renewal = renewal
        .filter(|&t1| t1 > 0 && t1 <= rebinding)
        .unwrap_or(default_renewal);
    (seconds(renewal), seconds(rebinding))
}

fn seconds(seconds: u32) -> Duration {
    Duration::from_secs(seconds.into())
}

/// Classless routes stand instead of the router (RFC 3442); on-link ones first, since gateways depend on them.
fn routes(message: &Message) -> Vec<Route> {
    let mut routes = message.options.routes.clone();
    if routes.is_empty() {
        let router = message.options.routers.iter().copied().find(|&router| is_host(router));
        routes.extend(router.map(|router| Route {
            destination: Ipv4Prefix::ALL,
            gateway: Some(router),
        }));
    }
    routes.sort_by_key(|route| route.gateway.is_some());
    routes
}

fn is_host(address: Ipv4Addr) -> bool {
    !(address.is_unspecified() || address.is_broadcast() || address.is_multicast() || address.is_loopback())
}

/// A server without a netmask means the old address classes (RFC 950).
fn class_length(address: Ipv4Addr) -> u8 {
    match address.octets()[0] {
        0..=127 => 8,
        128..=191 => 16,
        192..=223 => 24,
        _ => ADDRESS_BITS,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dhcp::message::{MessageType, Options};

    fn ack(options: Options) -> Message {
        Message {
            kind: MessageType::Ack,
            reply: true,
            transaction: 1,
            seconds: 0,
            broadcast: true,
            client_address: Ipv4Addr::UNSPECIFIED,
            your_address: Ipv4Addr::new(192, 168, 1, 20),
            mac: [2; 6],
            options,
        }
    }

    fn minimal() -> Options {
        Options {
            server: Some(Ipv4Addr::new(192, 168, 1, 1)),
            lease_seconds: Some(800),
            ..Options::default()
        }
    }

    #[test]
    fn defaults_follow_the_rfc() {
        let lease = Lease::from_message(&ack(minimal())).unwrap();
        assert_eq!(lease.renewal.as_secs(), 400);
        assert_eq!(lease.rebinding.as_secs(), 700);
        assert_eq!(lease.duration, Some(Duration::from_secs(800)));
        assert_eq!(lease.configuration.address.to_string(), "192.168.1.20/24");
        assert_eq!(lease.configuration.gateway(), None);
    }

    #[test]
    fn senseless_timers_are_replaced_and_infinity_is_for_ever() {
        assert_eq!(timers(800, Some(900), Some(1000)), (seconds(400), seconds(700)));
        assert_eq!(timers(800, Some(3), Some(6)), (seconds(3), seconds(6)));
        assert_eq!(timers(1, None, None), (seconds(0), seconds(1)));
        let options = Options {
            lease_seconds: Some(INFINITY),
            ..minimal()
        };
        assert_eq!(Lease::from_message(&ack(options)).unwrap().duration, None);
    }

    #[test]
    fn classless_routes_replace_the_router_and_on_link_comes_first() {
        let gateway = Ipv4Addr::new(10, 128, 0, 1);
        let default = Route {
            destination: Ipv4Prefix::ALL,
            gateway: Some(gateway),
        };
        let on_link = Route {
            destination: "10.128.0.1/32".parse().unwrap(),
            gateway: None,
        };
        let options = Options {
            routers: vec![Ipv4Addr::new(192, 168, 1, 1)],
            routes: vec![default, on_link],
            ..minimal()
        };
        let lease = Lease::from_message(&ack(options)).unwrap();
        assert_eq!(lease.configuration.routes, [on_link, default]);
        assert_eq!(lease.configuration.gateway(), Some(gateway));
    }

    #[test]
    fn an_answer_without_the_needed_is_no_lease() {
        let no_server = Options {
            server: None,
            ..minimal()
        };
        let no_time = Options {
            lease_seconds: None,
            ..minimal()
        };
        let zero_time = Options {
            lease_seconds: Some(0),
            ..minimal()
        };
        for options in [no_server, no_time, zero_time] {
            assert_eq!(Lease::from_message(&ack(options)), None);
        }
        let mut nobody = ack(minimal());
        nobody.your_address = Ipv4Addr::BROADCAST;
        assert_eq!(Lease::from_message(&nobody), None);
    }
}
