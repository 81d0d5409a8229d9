//! Loading another kernel to go on with (kexec_file_load(2)).

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};

/// `KEXEC_FILE_NO_INITRAMFS` (linux/kexec.h).
const NO_INITRAMFS: libc::c_ulong = 4;

/// Loads a kernel; `reboot(2)` with `Kexec` starts it. Replaces one that was loaded before.
///
/// # Errors
/// `ENOEXEC` when it is no kernel for this machine, `EPERM` without `CAP_SYS_BOOT` or when the running kernel was locked
/// down, `ENOSYS` when it was built without, `EKEYREJECTED` and the like when it wants a signature, or whatever else the
/// system says.
pub fn load(kernel: BorrowedFd<'_>, initrd: Option<BorrowedFd<'_>>, command_line: &CStr) -> io::Result<()> {
    let flags = if initrd.is_none() { NO_INITRAMFS } else { 0 };
    let initrd = initrd.map_or(-1, |initrd| initrd.as_raw_fd());
    let length = command_line.to_bytes_with_nul().len();
    // SAFETY: the command line has the length that is given, with its NUL, and outlives the call; the rest are numbers.
    let done = unsafe {
        libc::syscall(
            libc::SYS_kexec_file_load,
            kernel.as_raw_fd(),
            initrd,
            length,
            command_line.as_ptr(),
            flags,
        )
    };
    match done {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd as _;

    #[test]
    fn what_is_no_kernel_is_not_loaded() {
        let file = tempfile::tempfile().unwrap();
        assert!(load(file.as_fd(), None, c"quiet").is_err());
    }
}
