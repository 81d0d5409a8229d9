//! Room on a file system.

use std::io;
use std::path::Path;

/// Bytes that an ordinary user may still write to the file system that holds `path`, or would hold it once it exists.
/// `u64::MAX` for a file system without a limit of its own (ramfs), which reports no blocks at all.
///
/// # Errors
/// Whatever the system says.
pub fn free(path: &Path) -> io::Result<u64> {
    let mut place = path;
    loop {
        match rustix::fs::statvfs(place) {
            Err(rustix::io::Errno::NOENT) => place = place.parent().ok_or(rustix::io::Errno::NOENT)?,
            other => {
                return other
                    .map(|stat| room(stat.f_blocks, stat.f_bavail, stat.f_frsize))
                    .map_err(io::Error::from);
            }
        }
    }
}

/// From the fields of statvfs(3): blocks in all, blocks available, bytes per block.
fn room(blocks: u64, available: u64, size: u64) -> u64 {
    match blocks {
        0 => u64::MAX,
        _ => available.saturating_mul(size),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_is_not_there_yet_has_the_room_of_its_parent() {
        let directory = tempfile::tempdir().unwrap();
        assert!(free(directory.path()).unwrap() > 0);
        assert!(free(&directory.path().join("a/b")).unwrap() > 0);
    }

    #[test]
    fn a_file_system_without_blocks_has_no_limit() {
        // ramfs, which the root is when the kernel has no tmpfs, and sysfs, which every host has.
        assert_eq!(room(0, 0, 4096), u64::MAX);
        assert_eq!((room(10, 0, 4096), room(10, 2, 4096)), (0, 8192));
        assert_eq!(room(u64::MAX, u64::MAX, 4096), u64::MAX);
        assert_eq!(free(Path::new("/sys")).unwrap(), u64::MAX);
    }
}
