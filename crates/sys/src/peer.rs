//! Who is at the other end of a local socket.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _};

/// Processes in more groups than this are not asked for; so many fit into a page.
const GROUPS_MAX: usize = 1024;

/// The user id of the process that connected (`SO_PEERCRED`, unix(7)).
///
/// Not taken from rustix: it also hands out the process id as a number that is never zero, and the kernel reports zero
/// for a process outside our process namespace.
///
/// # Errors
/// Whatever the system says; `ENOTSOCK`, say.
pub fn user(socket: impl AsFd) -> io::Result<u32> {
    Ok(credentials(socket)?.uid)
}

fn credentials(socket: impl AsFd) -> io::Result<libc::ucred> {
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
        Ok(credentials)
    } else {
        Err(io::Error::last_os_error())
    }
}

/// The groups of the process that connected: its own one (`SO_PEERCRED`) and those it has besides (`SO_PEERGROUPS`, since
/// Linux 4.13).
///
/// # Errors
/// Whatever the system says; `ERANGE` for a process in more than [`GROUPS_MAX`] groups.
pub fn groups(socket: impl AsFd) -> io::Result<Vec<u32>> {
    let mut groups = vec![0_u32; GROUPS_MAX];
    let mut length = (GROUPS_MAX * size_of::<u32>()) as libc::socklen_t;
    // SAFETY: the pointer and length describe the vector's elements, which outlive the call; the kernel writes no more.
    let status = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERGROUPS,
            groups.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if status != 0 {
        return Err(io::Error::last_os_error());
    }
    groups.truncate(length as usize / size_of::<u32>());
    groups.push(credentials(socket)?.gid);
    Ok(groups)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_socket_is_ours() {
        let (one, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        assert_eq!(user(&one).unwrap(), rustix::process::getuid().as_raw());
        assert!(groups(&one).unwrap().contains(&rustix::process::getgid().as_raw()));
        let file = std::fs::File::open("/dev/null").unwrap();
        assert_eq!(user(&file).unwrap_err().raw_os_error(), Some(libc::ENOTSOCK));
    }
}
