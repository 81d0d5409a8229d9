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

/// A datagram and who sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// How many bytes of it are in the buffer.
    pub length: usize,
    /// The process that sent it; `None` when it is outside our process namespace, or nobody asked (`SO_PASSCRED`).
    pub process: Option<u32>,
}

/// Looks at the next datagram of a local socket, which stays there, and at who sent it (`SCM_CREDENTIALS`, unix(7)).
///
/// # Errors
/// `WouldBlock` when there is none, or whatever the system says.
pub fn peek(socket: impl AsFd, buffer: &mut [u8]) -> io::Result<Received> {
    let mut part = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    // Of u64, so that it is aligned as the headers in it have to be.
    let mut control = [0_u64; 16];
    // SAFETY: all fields are integers or pointers, for which zero means "none".
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = &raw mut part;
    header.msg_iovlen = 1;
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = size_of_val(&control) as _;
    let flags = libc::MSG_PEEK | libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC;
    // SAFETY: the header describes `buffer` and `control`, which outlive the call; the kernel writes no more than they hold.
    let length = unsafe { libc::recvmsg(socket.as_fd().as_raw_fd(), &raw mut header, flags) };
    let length = usize::try_from(length).map_err(|_| io::Error::last_os_error())?;
    let mut process = None;
    // SAFETY: the header is as the kernel left it.
    let mut message = unsafe { libc::CMSG_FIRSTHDR(&raw const header) };
    while !message.is_null() {
        // SAFETY: it points to a whole header within `control`, as the kernel wrote it.
        let (level, kind) = unsafe { ((*message).cmsg_level, (*message).cmsg_type) };
        if (level, kind) == (libc::SOL_SOCKET, libc::SCM_CREDENTIALS) {
            // SAFETY: what follows this header is a `ucred`, perhaps not aligned as one.
            let credentials = unsafe { libc::CMSG_DATA(message).cast::<libc::ucred>().read_unaligned() };
            process = u32::try_from(credentials.pid).ok().filter(|pid| *pid > 0);
        }
        if (level, kind) == (libc::SOL_SOCKET, libc::SCM_RIGHTS) {
            // SAFETY: what follows are as many descriptors as the length says, each of them new and nobody's.
            unsafe { close_all(message) };
        }
        // SAFETY: both are as the kernel left them.
        message = unsafe { libc::CMSG_NXTHDR(&raw const header, message) };
    }
    Ok(Received { length, process })
}

/// Closes descriptors that somebody sent unasked.
///
/// # Safety
/// The header is one of `SCM_RIGHTS` as the kernel wrote it, and nobody else owns what follows it.
#[allow(clippy::unnecessary_cast)] // not with every C library
unsafe fn close_all(message: *const libc::cmsghdr) {
    // SAFETY: as the caller promises.
    unsafe {
        let data = libc::CMSG_DATA(message).cast::<std::os::fd::RawFd>();
        let head = data as usize - message as usize;
        // A `size_t` for the kernel and glibc; musl has the half of it that counts.
        let length = (*message).cmsg_len as usize;
        let count = length.saturating_sub(head) / size_of::<std::os::fd::RawFd>();
        for index in 0..count {
            libc::close(data.add(index).read_unaligned());
        }
    }
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

    #[test]
    fn a_datagram_tells_who_sent_it_and_stays_until_it_is_received() {
        let (one, other) = std::os::unix::net::UnixDatagram::pair().unwrap();
        rustix::net::sockopt::set_socket_passcred(&one, true).unwrap();
        let mut buffer = [0; 3];
        let nothing = peek(&one, &mut buffer).unwrap_err();
        assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
        other.send(b"hello").unwrap();
        let expected = Received {
            length: 3,
            process: Some(std::process::id()),
        };
        assert_eq!(peek(&one, &mut buffer).unwrap(), expected);
        assert_eq!(&buffer, b"hel");
        // Descriptors that come along are not kept open, however often they are looked at.
        let count = || std::fs::read_dir("/proc/self/fd").unwrap().count();
        let before = count();
        let file = std::fs::File::open("/dev/null").unwrap();
        let files = [file.as_fd()];
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = rustix::net::SendAncillaryBuffer::new(&mut space);
        assert!(control.push(rustix::net::SendAncillaryMessage::ScmRights(&files)));
        one.recv(&mut buffer).unwrap();
        let part = [std::io::IoSlice::new(b"x")];
        rustix::net::sendmsg(&other, &part, &mut control, rustix::net::SendFlags::empty()).unwrap();
        drop(file);
        for _ in 0..100 {
            assert_eq!(peek(&one, &mut buffer).unwrap().length, 1);
        }
        assert!(count() < before + 50, "{before} and {}", count());
    }
}
