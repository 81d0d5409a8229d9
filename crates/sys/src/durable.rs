//! Files that are either the old or the new one after a power cut, never half of each.
//!
//! A write goes to a temporary name in the same directory, is synced, renamed over the final name, and then the
//! directory itself is synced: without that last step the *name* may be lost although the content is safe. A crash
//! before the rename leaves a file whose name starts with [`TEMPORARY_PREFIX`]; [`sweep`] removes those.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// What the names of unfinished files begin with.
pub const TEMPORARY_PREFIX: &str = ".tmp-";

/// Replaces `path` by a file with this content and mode (permission bits), durably.
///
/// # Errors
/// Whatever the system says; the old file, if any, is then untouched and the temporary one removed.
pub fn write(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    write_with(path, mode, |file| file.write_all(content))
}

/// As [`write`], for content that is produced piece by piece.
///
/// # Errors
/// Whatever `fill` or the system says; the old file, if any, is then untouched and the temporary one removed.
pub fn write_with(path: &Path, mode: u32, fill: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let temporary = temporary_beside(path)?;
    let written = (|| {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&temporary)?;
        fill(&mut file)?;
        file.sync_all()?;
        rename(&temporary, path)
    })();
    if written.is_err() {
        // The first error is the one to report; a leftover is swept later.
        let _ = fs::remove_file(&temporary);
    }
    written
}

/// Renames within one file system and syncs the directory of the new name.
///
/// # Errors
/// Whatever the system says.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    sync_directory(parent(to))
}

/// Points the symbolic link `path` at `target`, replacing an older link in one step, durably.
///
/// # Errors
/// Whatever the system says; the old link, if any, then still stands.
pub fn symlink(target: &Path, path: &Path) -> io::Result<()> {
    let temporary = temporary_beside(path)?;
    std::os::unix::fs::symlink(target, &temporary)?;
    let renamed = rename(&temporary, path);
    if renamed.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    renamed
}

/// Makes the names in a directory durable.
///
/// # Errors
/// Whatever the system says.
pub fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Removes what a crash left unfinished in a directory (not below it); returns how many files that were.
///
/// # Errors
/// Whatever the system says; a missing directory holds nothing to sweep.
pub fn sweep(directory: &Path) -> io::Result<usize> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        other => other?,
    };
    let mut swept = 0;
    for entry in entries {
        let entry = entry?;
        if entry
            .file_name()
            .as_encoded_bytes()
            .starts_with(TEMPORARY_PREFIX.as_bytes())
        {
            if entry.file_type()?.is_dir() {
                fs::remove_dir_all(entry.path())?
            } else {
                fs::remove_file(entry.path())?
            }
            swept += 1;
        }
    }
    Ok(swept)
}

/// A fresh name in the directory of `path`, unique within this machine's running processes.
///
/// # Errors
/// When `path` has no file name.
pub fn temporary_beside(path: &Path) -> io::Result<PathBuf> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let Some(name) = path.file_name() else {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{} has no file name", path.display()),
        ));
    };
    let count = COUNTER.fetch_add(1, Ordering::Relaxed);
    let temporary = format!(
        "{TEMPORARY_PREFIX}{}-{count}-{}",
        std::process::id(),
        name.to_string_lossy()
    );
    Ok(parent(path).join(temporary))
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn write_replaces_and_leaves_nothing_behind() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state.json");
        write(&path, b"old", 0o600).unwrap();
        write(&path, b"new", 0o640).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn failed_write_keeps_the_old_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state.json");
        write(&path, b"old", 0o600).unwrap();
        let error = write_with(&path, 0o600, |file| {
            file.write_all(b"half")?;
            Err(io::Error::other("cut off"))
        });
        assert_eq!(error.unwrap_err().to_string(), "cut off");
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn sweep_removes_only_unfinished_files() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(".tmp-1-0-a"), b"").unwrap();
        fs::create_dir(directory.path().join(".tmp-1-1-b")).unwrap();
        fs::write(directory.path().join("a"), b"").unwrap();
        assert_eq!(sweep(directory.path()).unwrap(), 2);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        assert_eq!(sweep(&directory.path().join("missing")).unwrap(), 0);
    }

    #[test]
    fn symlink_is_replaced_in_one_step() {
        let directory = tempfile::tempdir().unwrap();
        let link = directory.path().join("current");
        symlink(Path::new("generations/1"), &link).unwrap();
        symlink(Path::new("generations/2"), &link).unwrap();
        assert_eq!(fs::read_link(&link).unwrap(), Path::new("generations/2"));
    }
}
