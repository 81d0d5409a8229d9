//! Adding to the kernel's random numbers (random(4)).

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;

/// `RNDADDENTROPY`: `_IOW('R', 3, int[2])` (linux/random.h).
const ADD: libc::c_ulong = 0x4008_5203;
/// The most that is taken, in bytes.
const MAX: usize = 512;

/// `struct rand_pool_info`, with room.
#[repr(C)]
struct Pool {
    bits: libc::c_int,
    bytes: libc::c_int,
    content: [u8; MAX],
}

/// Adds these bytes to the kernel's pool, and has it count all their bits as unknown to everybody.
///
/// # Errors
/// `EPERM` without `CAP_SYS_ADMIN`, `InvalidInput` for more than 512 bytes.
pub fn credit(bytes: &[u8]) -> io::Result<()> {
    let mut pool = Pool {
        bits: libc::c_int::try_from(bytes.len() * 8).map_err(io::Error::other)?,
        bytes: libc::c_int::try_from(bytes.len()).map_err(io::Error::other)?,
        content: [0; MAX],
    };
    let room = pool.content.get_mut(..bytes.len()).ok_or(io::ErrorKind::InvalidInput)?;
    room.copy_from_slice(bytes);
    let device = File::options().write(true).open("/dev/urandom")?;
    // SAFETY: the request reads a `struct rand_pool_info` with as many bytes of content as it says, all of which are here.
    match unsafe { libc::ioctl(device.as_raw_fd(), ADD as _, &raw const pool) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_much_is_refused() {
        assert_eq!(credit(&[0; MAX + 1]).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn nothing_is_credited_for_nothing() {
        match credit(&[]) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => println!("SKIPPED: needs root"),
            other => other.unwrap(),
        }
    }
}
