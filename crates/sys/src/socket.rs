//! Socket options that rustix lacks.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _};

/// Restricts a socket to one network interface (`SO_BINDTODEVICE`, socket(7)).
///
/// A socket that is bound so can send to 255.255.255.255 although no route exists yet.
///
/// # Errors
/// Whatever the system says: `ENODEV` for an unknown interface, `EPERM` without `CAP_NET_RAW`.
pub fn bind_to_device(socket: impl AsFd, interface: &str) -> io::Result<()> {
    let length =
        libc::socklen_t::try_from(interface.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    // SAFETY: the pointer and length describe `interface`, which outlives the call; the kernel only reads it.
    let status = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_BINDTODEVICE,
            interface.as_ptr().cast(),
            length,
        )
    };
    if status == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;

    #[test]
    fn unknown_interface_is_an_error() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let error = bind_to_device(&socket, "no-such-nic").unwrap_err();
        // Without CAP_NET_RAW the kernel may refuse before it looks for the name.
        assert!(
            matches!(error.raw_os_error(), Some(libc::ENODEV | libc::EPERM)),
            "{error}"
        );
    }

    #[test]
    fn loopback_can_be_bound() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        bind_to_device(&socket, "lo").unwrap();
        let address = socket.local_addr().unwrap();
        socket.send_to(b"x", address).unwrap();
        let mut buffer = [0; 4];
        assert_eq!(socket.recv(&mut buffer).unwrap(), 1);
    }
}
