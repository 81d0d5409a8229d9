//! Turns at a config repository: one `mos` builds in it at a time, and the others wait and say for whom.

use std::fmt;
use std::fs::{File, TryLockError};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::context::Context;
use crate::error::{Result, io};

/// Locks the config repository until the file is dropped; the lock ends with the process, however that ends.
pub(crate) fn wait_for_turn(context: &Context, repository: &Path) -> Result<File> {
    let folder = File::open(repository).map_err(io(repository))?;
    match folder.try_lock() {
        Ok(()) => return Ok(folder),
        Err(TryLockError::WouldBlock) => {}
        Err(TryLockError::Error(error)) => return Err(io(repository)(error)),
    }
    let holder = Holder::of(&folder).map_or_else(|| "Another mos".to_owned(), |holder| holder.to_string());
    context
        .ui
        .line(format!("{holder} works on {}; waiting for it.", repository.display()));
    folder.lock().map_err(io(repository))?;
    Ok(folder)
}

/// Who has a lock.
#[derive(Debug, PartialEq, Eq)]
struct Holder {
    process: u32,
    /// As it was typed, when this user may see it.
    command: String,
}

impl Holder {
    /// The kernel's list of locks says it, but not across namespaces, and not on every file system.
    fn of(locked: &File) -> Option<Self> {
        let metadata = locked.metadata().ok()?;
        let locks = std::fs::read_to_string("/proc/locks").ok()?;
        let process = process_in(&locks, metadata.dev(), metadata.ino())?;
        let command = std::fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
        Some(Self {
            process,
            command: typed(&command),
        })
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.command.as_str() {
            "" => write!(f, "Process {}", self.process),
            command => write!(f, "Process {} (`{command}`)", self.process),
        }
    }
}

/// The process with an flock(2) on this file, in the text of `/proc/locks` (proc_locks(5)): lines of number, `FLOCK`,
/// `ADVISORY`, `WRITE`, process, `MAJOR:MINOR:INODE` with the device in hexadecimal, and the range. Those who wait have
/// `->` after the number.
fn process_in(locks: &str, device: u64, inode: u64) -> Option<u32> {
    let number = format!("{:02x}:{:02x}:{inode}", major(device), minor(device));
    let mut lines = locks.lines().map(|line| line.split_ascii_whitespace().skip(1));
    lines.find_map(|mut words| {
        let is_flock = words.next()? == "FLOCK";
        let process = words.nth(2)?.parse().ok()?;
        (is_flock && words.next()? == number && process > 0).then_some(process)
    })
}

/// Of a device number, as glibc's `gnu_dev_major` has it.
fn major(device: u64) -> u64 {
    ((device >> 8) & 0xfff) | ((device >> 32) & !0xfff)
}

fn minor(device: u64) -> u64 {
    (device & 0xff) | ((device >> 12) & !0xff)
}

/// A command line as its process has it, with NUL after each word; control characters are not passed on to a terminal.
fn typed(command: &[u8]) -> String {
    let words = command.split(|byte| *byte == 0).filter(|word| !word.is_empty());
    let words: Vec<_> = words.map(String::from_utf8_lossy).collect();
    words.join(" ").replace(char::is_control, "?")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_is_told_from_those_who_wait_and_from_other_locks() {
        let locks = "1: POSIX  ADVISORY  WRITE 7 fe:00:12 0 EOF\n\
                     2: FLOCK  ADVISORY  WRITE 8 fe:00:13 0 EOF\n\
                     3: FLOCK  ADVISORY  WRITE 41 fe:00:12 0 EOF\n\
                     3: -> FLOCK  ADVISORY  WRITE 9 fe:00:12 0 EOF\n";
        assert_eq!(process_in(locks, 0xfe00, 12), Some(41));
        assert_eq!(process_in(locks, 0xfe00, 14), None);
        assert_eq!(process_in("3: FLOCK", 0xfe00, 12), None);
        assert_eq!(
            process_in("3: FLOCK  ADVISORY  WRITE -1 fe:00:12 0 EOF", 0xfe00, 12),
            None
        );
    }

    #[test]
    fn a_lock_of_this_process_names_it() {
        // On some file systems (btrfs, overlayfs) the kernel names other devices than stat(2) does; not on tmpfs.
        let folder = tempfile::tempdir_in("/dev/shm").unwrap();
        let file = File::open(folder.path()).unwrap();
        assert_eq!(Holder::of(&file), None);
        file.lock().unwrap();
        let holder = Holder::of(&file).expect("a name");
        assert_eq!(holder.process, std::process::id());
        assert!(!holder.command.is_empty());
    }

    #[test]
    fn commands_are_shown_as_they_were_typed() {
        assert_eq!(typed(b"mos\0build\0--env\0dev\0"), "mos build --env dev");
        assert_eq!(typed(b"mos\0a\x1b[31m\0"), "mos a?[31m");
        let nobody = Holder {
            process: 7,
            command: typed(b""),
        };
        assert_eq!(nobody.to_string(), "Process 7");
    }
}
