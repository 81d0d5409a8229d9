//! What the kernel has said lately.

use std::io;

/// Reads all messages without removing any (`SYSLOG_ACTION_READ_ALL`, syslog(2)).
const READ_ALL: libc::c_int = 3;

/// Fills the buffer with the last of what the kernel has said, and returns how much that is. Each line begins with its
/// level, as `<6>`, and usually with the time since the kernel started, as `[   12.345678]`.
///
/// # Errors
/// `PermissionDenied` without `CAP_SYSLOG`, where the kernel says so.
pub fn tail(buffer: &mut [u8]) -> io::Result<usize> {
    let length = libc::c_int::try_from(buffer.len()).unwrap_or(libc::c_int::MAX);
    // SAFETY: writes at most `length` bytes to the buffer, which is that long.
    let count = unsafe { libc::syscall(libc::SYS_syslog, READ_ALL, buffer.as_mut_ptr(), length) };
    usize::try_from(count).map_err(|_| io::Error::last_os_error())
}

#[cfg(test)]
mod tests {
    use super::tail;

    #[test]
    fn the_kernel_has_said_something() {
        let mut buffer = vec![0; 4096];
        match tail(&mut buffer) {
            Ok(count) => assert!(count <= buffer.len()),
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied),
        }
    }
}
