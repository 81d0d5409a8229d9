//! Carries DHCP packets: a UDP socket on port 68, bound to one link.
//!
//! A socket that is bound to its device may broadcast without a route and without an address, and receives broadcasts
//! the same way; the client asks for answers by broadcast until it has an address. The kernel's reverse path filter
//! (`rp_filter`) would drop those answers; it is off unless somebody switches it on.

use crate::dhcp::Message;
use crate::dhcp::message::{CLIENT_PORT, MAXIMUM_LENGTH, SERVER_PORT};
use crate::error::NetError;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};

/// Packets read in one go, so that a flood on one link cannot starve the clock.
const MOST_PACKETS: usize = 64;

/// A socket for the DHCP client of one link.
#[derive(Debug)]
pub struct DhcpSocket {
    socket: UdpSocket,
    link: String,
}

impl DhcpSocket {
    /// Opens the client's port on a link.
    ///
    /// # Errors
    /// Without `CAP_NET_RAW` and `CAP_NET_BIND_SERVICE`, when the link has gone, or when another client holds the port.
    pub fn open(link: &str) -> Result<Self, NetError> {
        let failed = |what: &'static str| {
            move |source: io::Error| NetError::Socket {
                link: link.to_owned(),
                what,
                source,
            }
        };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::DGRAM, flags, None)
            .map_err(|error| failed("open a socket for DHCP")(error.into()))?;
        mos_sys::socket::bind_to_device(&socket, link).map_err(failed("bind the DHCP socket to the link"))?;
        rustix::net::sockopt::set_socket_broadcast(&socket, true)
            .map_err(|error| failed("allow broadcasts")(error.into()))?;
        rustix::net::bind(&socket, &SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, CLIENT_PORT))
            .map_err(|error| failed("open UDP port 68 for DHCP")(error.into()))?;
        Ok(Self {
            socket: socket.into(),
            link: link.to_owned(),
        })
    }

    /// Sends a packet to the servers' port of an address.
    ///
    /// # Errors
    /// Whatever the system says, such as that the network is down; the client repeats the packet anyway.
    pub fn send(&self, message: &Message, to: Ipv4Addr) -> Result<(), NetError> {
        let sent = self.socket.send_to(&message.to_bytes(), (to, SERVER_PORT));
        sent.map(drop).map_err(|source| NetError::Socket {
            link: self.link.clone(),
            what: "send a DHCP packet",
            source,
        })
    }

    /// The packets that wait; what is not DHCP is passed over.
    pub fn receive(&self) -> Vec<Message> {
        let mut buffer = [0; MAXIMUM_LENGTH as usize];
        // An error here is "nothing more" or one that the next send reports as well.
        let datagrams = (0..MOST_PACKETS).map_while(|_| {
            let length = self.socket.recv(&mut buffer).ok()?;
            Some(Message::parse(&buffer[..length]).ok())
        });
        datagrams.flatten().collect()
    }
}

impl AsFd for DhcpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
