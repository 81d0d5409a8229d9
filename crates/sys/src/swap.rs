//! Swap, as far as a machine that goes down needs it.

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// Stops using a file or device as swap (swapoff(2)): brings back what is there, so it may take long.
///
/// # Errors
/// `EINVAL` when it is not used as swap, `ENOMEM` when there is no room for what it holds, or whatever else the system says.
pub fn off(path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: the path ends in NUL and outlives the call.
    match unsafe { libc::swapoff(path.as_ptr()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_swap_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = off(file.path()).unwrap_err();
        assert!(
            matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EPERM)),
            "{error}"
        );
        assert_eq!(off(Path::new("a\0b")).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}
