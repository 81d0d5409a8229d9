//! Network links, as far as PID 1 needs them: the loopback.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType};

/// Sets a link up (`SIOCSIFFLAGS`, netdevice(7)); setting it twice does no harm.
///
/// # Errors
/// `ENODEV` for an unknown link, `EPERM` without `CAP_NET_ADMIN`, `EINVAL` for a name longer than 15 bytes.
pub fn set_up(name: &str) -> io::Result<()> {
    let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    let mut request = request(name)?;
    control(&socket, libc::SIOCGIFFLAGS, &mut request)?;
    // SAFETY: the kernel has just filled in this member of the union.
    let flags = unsafe { request.ifr_ifru.ifru_flags };
    request.ifr_ifru.ifru_flags = flags | libc::IFF_UP as libc::c_short;
    control(&socket, libc::SIOCSIFFLAGS, &mut request)
}

fn request(name: &str) -> io::Result<libc::ifreq> {
    // SAFETY: all members are integers or arrays of them, for which zero is valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // One byte stays zero, as the end of the name.
    if name.len() >= request.ifr_name.len() || name.bytes().any(|byte| byte == 0) {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    for (place, byte) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *place = byte as libc::c_char;
    }
    Ok(request)
}

fn control(socket: &OwnedFd, code: libc::c_ulong, request: &mut libc::ifreq) -> io::Result<()> {
    // SAFETY: `request` is a whole ifreq, which is what both codes read and write.
    let status = unsafe { libc::ioctl(socket.as_raw_fd(), code as _, std::ptr::from_mut(request)) };
    if status < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_is_set_up_and_strangers_are_refused() {
        match set_up("lo") {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => println!("skipped: needs root"),
            other => other.unwrap(),
        }
        assert_eq!(set_up("no-such-link").unwrap_err().raw_os_error(), Some(libc::ENODEV));
        assert_eq!(
            set_up("a-name-that-is-too-long").unwrap_err().kind(),
            io::ErrorKind::InvalidInput
        );
    }
}
