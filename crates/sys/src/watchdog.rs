//! Hardware watchdogs: devices that start the machine anew when nobody writes to them (watchdog-api of the kernel).

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;

/// `WDIOC_SETTIMEOUT`: `_IOWR('W', 6, int)`, and `WDIOC_GETTIMEOUT`: `_IOR('W', 7, int)` (linux/watchdog.h).
const SET_TIMEOUT: libc::c_ulong = 0xC004_5706;
const GET_TIMEOUT: libc::c_ulong = 0x8004_5707;
/// `WDIOC_GETBOOTSTATUS`: `_IOR('W', 2, int)`, and its bit `WDIOF_CARDRESET` (linux/watchdog.h).
const GET_BOOT_STATUS: libc::c_ulong = 0x8004_5702;
const CARD_RESET: libc::c_int = 0x20;

/// Asks for a time in seconds after which the device acts, and returns what it made of that. A device with a fixed time
/// says it.
///
/// # Errors
/// `ENOTTY` when it is no watchdog, `EINVAL` for a time that it cannot count, or whatever else the system says.
pub fn set_timeout(device: &File, seconds: u32) -> io::Result<u32> {
    let mut value = libc::c_int::try_from(seconds).map_err(|_| io::ErrorKind::InvalidInput)?;
    let done = request(device, SET_TIMEOUT, &mut value);
    if done
        .as_ref()
        .is_err_and(|error| error.raw_os_error() == Some(libc::EOPNOTSUPP))
    {
        request(device, GET_TIMEOUT, &mut value)?;
    } else {
        done?;
    }
    u32::try_from(value).map_err(io::Error::other)
}

/// True when this device is why the machine was started anew, as far as it can tell.
///
/// # Errors
/// `ENOTTY` when it is no watchdog, or whatever else the system says.
pub fn has_acted(device: &File) -> io::Result<bool> {
    let mut status = 0;
    request(device, GET_BOOT_STATUS, &mut status)?;
    Ok(status & CARD_RESET != 0)
}

fn request(device: &File, code: libc::c_ulong, value: &mut libc::c_int) -> io::Result<()> {
    // SAFETY: all requests read or write one integer, which this is.
    match unsafe { libc::ioctl(device.as_raw_fd(), code as _, std::ptr::from_mut(value)) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_no_watchdog() {
        let file = tempfile::tempfile().unwrap();
        assert_eq!(set_timeout(&file, 10).unwrap_err().raw_os_error(), Some(libc::ENOTTY));
        assert_eq!(has_acted(&file).unwrap_err().raw_os_error(), Some(libc::ENOTTY));
        assert_eq!(
            set_timeout(&file, u32::MAX).unwrap_err().kind(),
            io::ErrorKind::InvalidInput
        );
    }
}
