//! Who is at the other end of a local socket.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _};

/// The user id of the process that connected (`SO_PEERCRED`, unix(7)).
///
/// Not taken from rustix: it also hands out the process id as a number that is never zero, and the kernel reports zero
/// for a process outside our process namespace.
///
/// # Errors
/// Whatever the system says; `ENOTSOCK`, say.
pub fn user(socket: impl AsFd) -> io::Result<u32> {
    let mut credentials = libc::ucred {
        pid: 0,
        uid: u32::MAX,
        gid: u32::MAX,
    };
    let mut length = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: the pointer and length describe `credentials`, which outlives the call; the kernel writes no more.
    let status = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut credentials).cast(),
            &raw mut length,
        )
    };
    if status == 0 {
        Ok(credentials.uid)
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_socket_is_ours() {
        let (one, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        assert_eq!(user(&one).unwrap(), rustix::process::getuid().as_raw());
        let file = std::fs::File::open("/dev/null").unwrap();
        assert_eq!(user(&file).unwrap_err().raw_os_error(), Some(libc::ENOTSOCK));
    }
}
