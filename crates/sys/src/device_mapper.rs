//! Device mapper: removing what programs that are gone have left (`include/uapi/linux/dm-ioctl.h`).

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};

const CONTROL: &str = "/dev/mapper/control";
/// `DM_DEV_REMOVE`: `_IOWR(0xfd, 4, struct dm_ioctl)`.
const REMOVE: libc::c_ulong = 0xC138_FD04;
/// The interface that is spoken: 4.0, which every kernel since 2.6 understands.
const VERSION: [u32; 3] = [4, 0, 0];

/// `struct dm_ioctl`.
#[repr(C)]
struct Request {
    version: [u32; 3],
    data_size: u32,
    data_start: u32,
    target_count: u32,
    open_count: i32,
    flags: u32,
    event_number: u32,
    padding: u32,
    device: u64,
    name: [u8; 128],
    uuid: [u8; 129],
    data: [u8; 7],
}

/// Removes a mapping by its name (that of `/sys/block/dm-N/dm/name`).
///
/// # Errors
/// `EBUSY` while it is used, `ENXIO` when there is none of that name, `NotFound` when the kernel has no device mapper, or
/// whatever else the system says.
pub fn remove(name: &str) -> io::Result<()> {
    let control = File::options().read(true).write(true).open(CONTROL)?;
    let kind = control.metadata()?;
    if !kind.file_type().is_char_device() || kind.rdev() == 0 {
        return Err(io::Error::other(format!("{CONTROL} is not a device")));
    }
    let mut request = request(name)?;
    // SAFETY: the request reads and writes a `struct dm_ioctl` of the size that it names, which this is.
    match unsafe { libc::ioctl(control.as_raw_fd(), REMOVE as _, &raw mut request) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn request(name: &str) -> io::Result<Request> {
    // SAFETY: the structure consists of integers and arrays of them, for which all zeros is a value.
    let mut request: Request = unsafe { std::mem::zeroed() };
    // One byte stays zero, as the end of the name.
    if name.is_empty() || name.len() >= request.name.len() || name.bytes().any(|byte| byte == 0) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    request.version = VERSION;
    request.data_size = u32::try_from(size_of::<Request>()).map_err(io::Error::other)?;
    request.name[..name.len()].copy_from_slice(name.as_bytes());
    Ok(request)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_is_as_the_kernel_expects_it() {
        assert_eq!(size_of::<Request>(), 312);
        let request = request("data").unwrap();
        assert_eq!(
            (request.version, request.data_size, &request.name[..5]),
            (VERSION, 312, &b"data\0"[..])
        );
        assert!(super::request("").is_err() && super::request(&"x".repeat(128)).is_err());
    }

    #[test]
    fn what_is_not_there_is_not_removed() {
        match remove("no-such-mapping-here") {
            Err(error) if error.raw_os_error() == Some(libc::ENXIO) => {}
            Err(error) => eprintln!("SKIPPED: no device mapper here: {error}"),
            Ok(()) => panic!("it was removed"),
        }
    }
}
