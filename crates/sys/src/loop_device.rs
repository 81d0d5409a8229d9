//! Loop devices: a file as a block device (loop(4)).

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};

/// `LOOP_CTL_GET_FREE` and `LOOP_CONFIGURE`, as the others, of Linux `include/uapi/linux/loop.h`.
const GET_FREE: libc::c_ulong = 0x4C82;
const CONFIGURE: libc::c_ulong = 0x4C0A;
/// `LOOP_CLR_FD`.
const CLEAR: libc::c_ulong = 0x4C01;
/// `LO_FLAGS_READ_ONLY` and `LO_FLAGS_AUTOCLEAR`: goes away with its last user.
const FLAGS: u32 = 1 | 4;
/// How often another program may take the free device before us.
const TRIES: u32 = 16;

/// `struct loop_info64`.
#[repr(C)]
struct Info {
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

/// `struct loop_config`.
#[repr(C)]
struct Configuration {
    fd: u32,
    block_size: u32,
    info: Info,
    reserved: [u64; 8],
}

/// A loop device for reading. It lives as long as this or something mounted from it.
#[derive(Debug)]
pub struct LoopDevice {
    path: PathBuf,
    _open: File,
}

impl LoopDevice {
    /// Its path, `/dev/loopN`.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Makes a file a block device, for reading only. Needs root.
///
/// # Errors
/// Whatever the system says; `NotFound` when the kernel has no loop devices.
pub fn attach(file: &File) -> io::Result<LoopDevice> {
    let control = File::options().read(true).write(true).open("/dev/loop-control")?;
    let mut tries = 0;
    loop {
        // SAFETY: this request takes no argument.
        let number = unsafe { libc::ioctl(control.as_raw_fd(), GET_FREE as _) };
        if number < 0 {
            return Err(io::Error::last_os_error());
        }
        let path = PathBuf::from(format!("/dev/loop{number}"));
        let device = File::open(&path)?;
        match configure(&device, file) {
            Ok(()) => return Ok(LoopDevice { path, _open: device }),
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) && tries < TRIES => tries += 1,
            Err(error) => return Err(error),
        }
    }
}

/// Takes the file away from a loop device. While something uses the device this only has the kernel do it afterwards.
///
/// # Errors
/// `ENXIO` when it has no file, or whatever else the system says.
pub fn detach(device: &Path) -> io::Result<()> {
    let device = File::open(device)?;
    // SAFETY: this request takes no argument.
    match unsafe { libc::ioctl(device.as_raw_fd(), CLEAR as _) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn configure(device: &File, file: &File) -> io::Result<()> {
    // SAFETY: the structure consists of integers and arrays of them, for which all zeros is a value.
    let mut configuration: Configuration = unsafe { std::mem::zeroed() };
    configuration.fd = u32::try_from(file.as_raw_fd()).map_err(io::Error::other)?;
    configuration.info.flags = FLAGS;
    // SAFETY: the request reads a `struct loop_config`, which this is, and keeps no pointer to it.
    let done = unsafe { libc::ioctl(device.as_raw_fd(), CONFIGURE as _, &raw const configuration) };
    if done < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    #[test]
    fn a_file_is_a_device_as_long_as_it_is_held() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("image");
        std::fs::write(&path, [7; 8192]).unwrap();
        let device = match attach(&File::open(&path).unwrap()) {
            Ok(device) => device,
            Err(error) => {
                eprintln!("SKIPPED: no loop devices here: {error}");
                return;
            }
        };
        let mut bytes = Vec::new();
        File::open(device.path()).unwrap().read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes, [7; 8192]);
        assert!(
            File::options()
                .write(true)
                .open(device.path())
                .and_then(|mut file| { std::io::Write::write_all(&mut file, b"x").and_then(|()| file.sync_all()) })
                .is_err()
        );
        let name = device.path().file_name().unwrap().to_string_lossy().into_owned();
        drop(device);
        let backing = format!("/sys/block/{name}/loop/backing_file");
        for _ in 0..100 {
            if !Path::new(&backing).exists() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        panic!("{backing} is still there");
    }
}
