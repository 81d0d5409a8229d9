//! Room on a file system.

use std::io;
use std::path::Path;

/// Bytes that an ordinary user may still write to the file system that holds `path`, or would hold it once it exists.
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
                    .map(|stat| stat.f_bavail.saturating_mul(stat.f_frsize))
                    .map_err(io::Error::from);
            }
        }
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
}
