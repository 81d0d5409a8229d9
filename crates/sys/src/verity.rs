//! fs-verity: files whose content the kernel checks with every page that it reads (fs-verity in Linux
//! `Documentation/filesystems/fsverity.rst`). Such a file can still be removed and renamed, but never be written again.
//!
//! ext4 and f2fs have it when they were made with the feature `verity`, btrfs always.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// `FS_IOC_ENABLE_VERITY` and `FS_IOC_MEASURE_VERITY` of Linux `include/uapi/linux/fsverity.h`.
const ENABLE: libc::c_ulong = 0x4080_6685;
const MEASURE: libc::c_ulong = 0xC004_6686;
/// `FS_VERITY_HASH_ALG_SHA256`, and the length of its digests.
const SHA256: u16 = 1;
const DIGEST: usize = 32;
/// Bytes of a block of the Merkle tree: what the digests in flists are made with.
const BLOCK: u32 = 4096;

/// `struct fsverity_enable_arg`.
#[repr(C)]
struct EnableArgument {
    version: u32,
    hash_algorithm: u32,
    block_size: u32,
    salt_size: u32,
    salt: u64,
    signature_size: u32,
    reserved1: u32,
    signature: u64,
    reserved2: [u64; 11],
}

/// `struct fsverity_digest` with room for one digest.
#[repr(C)]
struct Measured {
    algorithm: u16,
    size: u16,
    digest: [u8; DIGEST],
}

/// Switches fs-verity on for the files of one file system, as long as that has it.
#[derive(Debug, Default)]
pub struct Verity {
    /// It was asked, and has not.
    lacking: AtomicBool,
}

impl Verity {
    /// True when it is known that there is no use in asking.
    pub fn is_lacking(&self) -> bool {
        self.lacking.load(Ordering::Relaxed)
    }

    /// Has the kernel protect a file, which is on the disk then, and which nobody may have open for writing. Gives its
    /// digest, SHA-256 over blocks of 4 KiB without salt; `None` where the file system, or the kernel, cannot.
    ///
    /// # Errors
    /// Whatever the system says otherwise. The file is as it was then, also after a crash.
    pub fn protect(&self, path: &Path) -> io::Result<Option<[u8; DIGEST]>> {
        if self.is_lacking() {
            return Ok(None);
        }
        let file = File::open(path)?;
        match enable(&file) {
            Ok(()) => measure(&file),
            Err(error) if is_lack(&error) => {
                self.lacking.store(true, Ordering::Relaxed);
                Ok(None)
            }
            // Another process that was just started from this one may have it open for a moment.
            Err(error) if error.raw_os_error() == Some(libc::ETXTBSY) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// The fs-verity digest of a file, if it has fs-verity.
///
/// # Errors
/// [`io::ErrorKind::Unsupported`] when the digest is not SHA-256; whatever the system says otherwise.
pub fn measure(file: &File) -> io::Result<Option<[u8; DIGEST]>> {
    let mut measured = Measured {
        algorithm: 0,
        size: DIGEST as u16,
        digest: [0; DIGEST],
    };
    // SAFETY: the request reads `size` and writes at most so many bytes behind the two numbers, all within `measured`.
    let done = unsafe { libc::ioctl(file.as_raw_fd(), MEASURE as _, &raw mut measured) };
    if done < 0 {
        let error = io::Error::last_os_error();
        let without = error.raw_os_error() == Some(libc::ENODATA) || is_lack(&error);
        return if without { Ok(None) } else { Err(error) };
    }
    match measured.algorithm == SHA256 && usize::from(measured.size) == DIGEST {
        true => Ok(Some(measured.digest)),
        false => Err(io::ErrorKind::Unsupported.into()),
    }
}

fn enable(file: &File) -> io::Result<()> {
    let argument = EnableArgument {
        version: 1,
        hash_algorithm: u32::from(SHA256),
        block_size: BLOCK,
        salt_size: 0,
        salt: 0,
        signature_size: 0,
        reserved1: 0,
        signature: 0,
        reserved2: [0; 11],
    };
    loop {
        // SAFETY: the request reads a `struct fsverity_enable_arg`, which this is; its two pointers are null with sizes 0.
        let done = unsafe { libc::ioctl(file.as_raw_fd(), ENABLE as _, &raw const argument) };
        let error = match done {
            0 => return Ok(()),
            _ => io::Error::last_os_error(),
        };
        match error.raw_os_error() {
            Some(libc::EEXIST) => return Ok(()),
            Some(libc::EINTR) => {}
            _ => return Err(error),
        }
    }
}

/// What file systems, and kernels, without fs-verity say; `EINVAL` when their blocks are of another size.
fn is_lack(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ENOTTY | libc::EOPNOTSUPP | libc::ENOSYS | libc::EINVAL | libc::EPERM | libc::EACCES)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_it_is_lacking_files_stay_as_they_are() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        std::fs::write(&path, [7; 10_000]).unwrap();
        let verity = Verity::default();
        let digest = verity.protect(&path).unwrap();
        assert_eq!(measure(&File::open(&path).unwrap()).unwrap(), digest);
        assert_eq!(verity.is_lacking(), digest.is_none());
        // A protected file cannot be written.
        let written = std::fs::write(&path, b"other");
        assert_eq!(written.is_err(), digest.is_some());
    }

    #[test]
    fn structures_have_the_sizes_of_the_requests() {
        assert_eq!(size_of::<EnableArgument>() as u64, (ENABLE >> 16) & 0x3fff);
        // The request counts the two numbers only.
        assert_eq!((size_of::<Measured>() - DIGEST) as u64, (MEASURE >> 16) & 0x3fff);
    }
}
