//! What the daemon tells: one line per change, for the console.

use crate::configuration::Configuration;
use crate::dhcp::client::Loss;
use std::fmt;
use std::net::Ipv4Addr;
use std::time::Duration;

/// Something a person at the console wants to know. `Display` gives the line.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// No link to use yet.
    WaitingForLink {
        /// The name that the settings demand.
        wanted: Option<String>,
        /// Time since the wait began.
        waited: Duration,
    },
    /// Links, but none is connected.
    WaitingForCarrier {
        /// Their names.
        links: Vec<String>,
        /// Time since the wait began.
        waited: Duration,
    },
    /// No DHCP server answered yet.
    WaitingForAnswer {
        /// Where we ask.
        link: String,
        /// Questions sent.
        tries: u32,
        /// Time since the wait began.
        waited: Duration,
    },
    /// The network is there, or has another configuration than before.
    Up {
        /// The link.
        link: String,
        /// What it has now.
        configuration: Configuration,
    },
    /// The cable is out, or what stands for it.
    CarrierLost {
        /// The link.
        link: String,
    },
    /// The cable is back; the lease is being confirmed.
    CarrierBack {
        /// The link.
        link: String,
    },
    /// The link itself has gone.
    LinkGone {
        /// The link.
        link: String,
    },
    /// The lease is over.
    LeaseLost {
        /// The link.
        link: String,
        /// The address that is no longer ours.
        address: Ipv4Addr,
        /// Why.
        loss: Loss,
    },
    /// Something failed that will be tried again.
    Trouble {
        /// The error's text.
        message: String,
    },
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WaitingForLink { wanted, waited } => {
                let what = wanted.as_deref().unwrap_or("a network link");
                write!(f, "waiting for {what} to appear ({} s)", waited.as_secs())
            }
            Self::WaitingForCarrier { links, waited } => {
                write!(
                    f,
                    "waiting for a carrier on {} ({} s)",
                    links.join(", "),
                    waited.as_secs()
                )
            }
            Self::WaitingForAnswer { link, tries, waited } => {
                write!(
                    f,
                    "waiting for a DHCP answer on {link} (try {tries}, {} s)",
                    waited.as_secs()
                )
            }
            Self::Up { link, configuration } => {
                write!(f, "network up: {link} {}", configuration.address)?;
                match configuration.gateway() {
                    Some(gateway) => write!(f, " via {gateway}"),
                    None => f.write_str(", no default route"),
                }
            }
            Self::CarrierLost { link } => write!(f, "{link} lost its carrier, keeping the address"),
            Self::CarrierBack { link } => write!(f, "{link} has its carrier back"),
            Self::LinkGone { link } => write!(f, "network down: {link} has gone"),
            Self::LeaseLost { link, address, loss } => match loss {
                Loss::Expired => write!(
                    f,
                    "network down: {link} {address}: the lease ended and no server renewed it"
                ),
                Loss::Refused(text) if text.is_empty() => {
                    write!(f, "network down: {link} {address}: a DHCP server refused to renew")
                }
                Loss::Refused(text) => write!(f, "network down: {link} {address}: a DHCP server refused: {text}"),
            },
            Self::Trouble { message } => f.write_str(message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_for_the_console() {
        let waited = Duration::from_millis(8_900);
        let link = || "eth0".to_owned();
        let address = Ipv4Addr::new(10, 0, 2, 15);
        for (event, line) in [
            (
                Event::WaitingForLink { wanted: None, waited },
                "waiting for a network link to appear (8 s)",
            ),
            (
                Event::WaitingForLink {
                    wanted: Some(link()),
                    waited,
                },
                "waiting for eth0 to appear (8 s)",
            ),
            (
                Event::WaitingForAnswer {
                    link: link(),
                    tries: 3,
                    waited,
                },
                "waiting for a DHCP answer on eth0 (try 3, 8 s)",
            ),
            (
                Event::LeaseLost {
                    link: link(),
                    address,
                    loss: Loss::Refused("no lease".to_owned()),
                },
                "network down: eth0 10.0.2.15: a DHCP server refused: no lease",
            ),
        ] {
            assert_eq!(event.to_string(), line);
        }
    }
}
