//! What the kernel tells of devices that come and go: a socket of its own (`NETLINK_KOBJECT_UEVENT`, netlink(7)).

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::netlink::{KOBJECT_UEVENT, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recvfrom, socket_with};

use crate::boot::nodes::{Facts, facts};

/// The group to which the kernel itself speaks; udev speaks to another one.
const KERNEL: u32 = 1;
/// The longest message in bytes (`UEVENT_BUFFER_SIZE` of linux/kobject.h, and its heading).
const LONGEST: usize = 4096;

/// The socket. Never blocks.
#[derive(Debug)]
pub struct Uevents(OwnedFd);

/// What was heard.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    /// An event.
    Event(Facts),
    /// Somebody who is not the kernel.
    Stranger,
    /// There were more than fit: look for yourself.
    Lost,
    /// Nothing more now.
    Nothing,
}

impl Uevents {
    /// Listens from now on.
    ///
    /// # Errors
    /// Whatever the system says; `EPROTONOSUPPORT` from a kernel without such events.
    pub fn listen() -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::NETLINK, SocketType::DGRAM, flags, Some(KOBJECT_UEVENT))?;
        bind(&socket, &SocketAddrNetlink::new(0, KERNEL))?;
        Ok(Self(socket))
    }

    /// The next thing that was said.
    pub fn next(&self) -> Heard {
        let mut buffer = [0; LONGEST];
        match recvfrom(&self.0, &mut buffer[..], RecvFlags::empty()) {
            Ok((count, _, from)) => {
                let from = from.and_then(|from| SocketAddrNetlink::try_from(from).ok());
                match from.is_some_and(|from| from.pid() == 0) {
                    true => Heard::Event(facts(&String::from_utf8_lossy(&buffer[..count.min(LONGEST)]))),
                    false => Heard::Stranger,
                }
            }
            Err(rustix::io::Errno::NOBUFS) => Heard::Lost,
            Err(rustix::io::Errno::INTR) => Heard::Stranger,
            Err(_) => Heard::Nothing,
        }
    }
}

impl AsFd for Uevents {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_is_heard() {
        let uevents = match Uevents::listen() {
            Ok(uevents) => uevents,
            Err(error) => return println!("SKIPPED: no events here: {error}"),
        };
        // Writing to a device's file has the kernel tell of it again.
        if let Err(error) = std::fs::write("/sys/class/mem/null/uevent", "change") {
            return println!("SKIPPED: no event can be asked for: {error}");
        }
        let heard = std::iter::from_fn(|| Some(uevents.next())).find(|heard| {
            matches!(heard, Heard::Nothing)
                || matches!(heard, Heard::Event(facts) if facts.get("DEVNAME").is_some_and(|name| name == "null"))
        });
        match heard {
            Some(Heard::Event(facts)) => assert_eq!(facts["ACTION"], "change"),
            // A network namespace of another owner hears nothing (lib/kobject_uevent.c).
            other => println!("SKIPPED: the kernel does not speak to us: {other:?}"),
        }
    }
}
