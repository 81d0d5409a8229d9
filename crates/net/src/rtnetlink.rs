//! Talks to the kernel about links, addresses and routes: a thin executor over [`netlink`].

use crate::configuration::{Change, Configuration};
use crate::error::NetError;
use crate::link::Link;
use crate::netlink::{self, Answer, Request};
use crate::prefix::Ipv4Prefix;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The kernel answers in datagrams of up to 32 KiB (`NLMSG_GOODSIZE` and the growth in `netlink_dump`).
const DATAGRAM: usize = 32 * 1024;
/// The kernel answers while it handles the request; longer than this means never.
const ANSWER_SECONDS: i64 = 5;
/// More datagrams than any list of links on a machine has; keeps a loop with an odd kernel finite.
const MOST_DATAGRAMS: usize = 4096;

/// A connection to the kernel's routing side.
#[derive(Debug)]
pub struct Rtnetlink {
    socket: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Rtnetlink {
    /// Connects.
    ///
    /// # Errors
    /// When the kernel has no netlink or the process no file descriptor left.
    pub fn open() -> Result<Self, NetError> {
        Ok(Self {
            socket: socket(0)?,
            sequence: 0,
            buffer: vec![0; DATAGRAM],
        })
    }

    /// All links.
    ///
    /// # Errors
    /// When the kernel refuses or answers nonsense.
    pub fn links(&mut self) -> Result<Vec<Link>, NetError> {
        let answers = self.ask(&netlink::list_links(), "list links")?;
        Ok(answers
            .into_iter()
            .filter_map(|answer| match answer {
                Answer::Link(link) => Some(link),
                _ => None,
            })
            .collect())
    }

    /// The IPv4 addresses of a link.
    ///
    /// # Errors
    /// When the kernel refuses or answers nonsense.
    pub fn addresses(&mut self, link: &Link) -> Result<Vec<Ipv4Prefix>, NetError> {
        let answers = self.ask(&netlink::list_addresses(), "list addresses")?;
        Ok(answers
            .into_iter()
            .filter_map(|answer| match answer {
                Answer::Address(index, prefix) if index == link.index => Some(prefix),
                _ => None,
            })
            .collect())
    }

    /// Sets a link up; its carrier follows when it follows.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn set_up(&mut self, link: &Link) -> Result<(), NetError> {
        self.ask(&netlink::set_up(link.index), &format!("set {} up", link.name))
            .map(drop)
    }

    /// Brings a link from what it has to this configuration.
    ///
    /// # Errors
    /// The first step that the kernel refuses; the steps before it stay.
    pub fn configure(&mut self, link: &Link, configuration: &Configuration) -> Result<(), NetError> {
        let present = self.addresses(link)?;
        configuration
            .plan(&present)
            .iter()
            .try_for_each(|change| self.apply(link, change))
    }

    /// Removes all IPv4 addresses of a link, and with them its routes.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn flush(&mut self, link: &Link) -> Result<(), NetError> {
        let present = self.addresses(link)?;
        present
            .into_iter()
            .try_for_each(|address| self.apply(link, &Change::RemoveAddress(address)))
    }

    /// Does one step.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn apply(&mut self, link: &Link, change: &Change) -> Result<(), NetError> {
        let what = match change {
            Change::SetMtu(mtu) => format!("set the MTU of {} to {mtu}", link.name),
            Change::AddAddress(address) => format!("add {address} to {}", link.name),
            Change::RemoveAddress(address) => format!("remove {address} from {}", link.name),
            Change::ReplaceRoute { route, .. } => format!("set the route to {} on {}", route.destination, link.name),
        };
        self.ask(&netlink::change(link.index, change), &what).map(drop)
    }

    /// Sends a request and collects the answers up to the end of the list or the outcome.
    fn ask(&mut self, request: &Request, what: &str) -> Result<Vec<Answer>, NetError> {
        let refused = |source: io::Error| NetError::Netlink {
            what: what.to_owned(),
            source,
        };
        self.sequence = self.sequence.wrapping_add(1);
        let bytes = request.to_bytes(self.sequence);
        rustix::net::send(&self.socket, &bytes, SendFlags::empty()).map_err(|error| refused(error.into()))?;
        let mut answers = Vec::new();
        for _ in 0..MOST_DATAGRAMS {
            for answer in self.receive(what)? {
                match answer {
                    Answer::Done | Answer::Status(0) => return Ok(answers),
                    Answer::Status(number) => return Err(refused(io::Error::from_raw_os_error(number))),
                    answer => answers.push(answer),
                }
            }
        }
        Err(refused(io::Error::other("the answer does not end")))
    }

    fn receive(&mut self, what: &str) -> Result<Vec<Answer>, NetError> {
        let malformed = |reason| NetError::Malformed {
            what: what.to_owned(),
            reason,
        };
        let refused = |source: io::Error| NetError::Netlink {
            what: what.to_owned(),
            source,
        };
        wait_readable(&self.socket).map_err(refused)?;
        let received =
            rustix::io::retry_on_intr(|| rustix::net::recv(&self.socket, &mut self.buffer[..], RecvFlags::TRUNC));
        let (_, length) = received.map_err(|error| refused(error.into()))?;
        let datagram = self
            .buffer
            .get(..length)
            .ok_or(malformed("a datagram larger than 32 KiB"))?;
        netlink::parse(datagram, self.sequence).map_err(malformed)
    }
}

fn wait_readable(socket: &OwnedFd) -> io::Result<()> {
    let limit = Timespec {
        tv_sec: ANSWER_SECONDS,
        tv_nsec: 0,
    };
    let ready =
        rustix::io::retry_on_intr(|| rustix::event::poll(&mut [PollFd::new(socket, PollFlags::IN)], Some(&limit)))?;
    if ready == 0 {
        Err(io::ErrorKind::TimedOut.into())
    } else {
        Ok(())
    }
}

/// Becomes readable whenever a link comes, goes or changes. What changed is then asked of [`Rtnetlink`]: a message may
/// be lost when many come, the state cannot.
#[derive(Debug)]
pub struct LinkMonitor(OwnedFd);

impl LinkMonitor {
    /// Begins to listen.
    ///
    /// # Errors
    /// As [`Rtnetlink::open`].
    pub fn open() -> Result<Self, NetError> {
        socket(netlink::GROUP_LINK).map(Self)
    }

    /// Forgets the messages that wait.
    pub fn clear(&self) {
        let mut buffer = [0; 64];
        while rustix::net::recv(&self.0, &mut buffer[..], RecvFlags::DONTWAIT).is_ok() {}
    }
}

impl AsFd for LinkMonitor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Protocol number 0, which `None` stands for, is `NETLINK_ROUTE`.
fn socket(groups: u32) -> Result<OwnedFd, NetError> {
    let refused = |source: rustix::io::Errno| NetError::Netlink {
        what: "open a socket".to_owned(),
        source: source.into(),
    };
    let socket = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)
        .map_err(refused)?;
    rustix::net::bind(&socket, &SocketAddrNetlink::new(0, groups)).map_err(refused)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn loopback_is_listed_with_its_address() {
        let mut kernel = Rtnetlink::open().unwrap();
        let links = kernel.links().unwrap();
        let loopback = links.iter().find(|link| link.loopback).unwrap();
        assert_eq!(loopback.name, "lo");
        let addresses = kernel.addresses(loopback).unwrap();
        assert!(
            addresses.iter().any(|prefix| prefix.address() == Ipv4Addr::LOCALHOST),
            "{addresses:?}"
        );
    }

    #[test]
    fn refusals_name_the_step() {
        let mut kernel = Rtnetlink::open().unwrap();
        let nowhere = Link {
            index: 999_999,
            name: "eth9".to_owned(),
            mac: None,
            up: false,
            carrier: false,
            kind: None,
            master: None,
            loopback: false,
        };
        let error = kernel.set_up(&nowhere).unwrap_err().to_string();
        assert!(error.starts_with("rtnetlink: cannot set eth9 up: "), "{error}");
    }
}
