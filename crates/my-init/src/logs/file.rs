//! A file on a disk that is begun anew when it is long: `web.log`, and what was there before as `web.log.1`, `web.log.2`.
//!
//! Whoever may write in its directory could put something else in its place, while we may write anywhere. So no symbolic
//! link is followed on the whole way, and what is written to is a plain file of ours that has one name.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;

use rustix::fs::{AtFlags, Mode, OFlags, mkdirat, open, openat, renameat, statat, unlinkat};
use rustix::io::Errno;

/// A directory that is made on the way.
const DIRECTORY_MODE: u32 = 0o755;
/// A log is for its owner and for a group that may read logs.
const FILE_MODE: u32 = 0o640;

/// The file and what was there before.
#[derive(Debug)]
pub struct Files {
    directory: OwnedFd,
    name: String,
    file: File,
    inode: u64,
    length: u64,
    /// Those before, the newest first: how long each is.
    before: Vec<u64>,
    /// How many there may be, the one that is written to included.
    count: u32,
}

impl Files {
    /// Opens the file, or makes it, with the directories on the way.
    ///
    /// # Errors
    /// Whatever the system says, or what is wrong with what is there.
    pub fn open(path: &str, count: u32) -> io::Result<Self> {
        let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
        let directory = walk(directory)?;
        let file = open_file(&directory, name)?;
        let metadata = file.metadata()?;
        let mut files = Self {
            directory,
            name: name.to_owned(),
            file,
            inode: metadata.ino(),
            length: metadata.len(),
            before: Vec::new(),
            count,
        };
        while let Ok(found) = statat(
            &files.directory,
            files.old(files.before.len() + 1),
            AtFlags::SYMLINK_NOFOLLOW,
        ) {
            files.before.push(u64::try_from(found.st_size).unwrap_or(0));
        }
        while files.before.len() >= count.max(1) as usize && files.drop_oldest()? {}
        Ok(files)
    }

    /// The inode of the one that is written to.
    pub fn inode(&self) -> u64 {
        self.inode
    }

    /// Somebody has removed the one that is written to.
    pub fn is_removed(&self) -> bool {
        self.file.metadata().is_ok_and(|metadata| metadata.nlink() == 0)
    }

    /// How long the one is that is written to, in bytes.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// How long all of them are together, in bytes.
    pub fn total(&self) -> u64 {
        self.length + self.before.iter().sum::<u64>()
    }

    /// Adds bytes; returns how many there was room for.
    ///
    /// # Errors
    /// Whatever the system says.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.length += count as u64;
        Ok(count)
    }

    /// Begins another one. Wherever this is cut off, the next one to open them finds them all.
    ///
    /// # Errors
    /// Whatever the system says; then the same one is written to as before.
    pub fn rotate(&mut self) -> io::Result<()> {
        while self.before.len() + 1 >= self.count.max(1) as usize && self.drop_oldest()? {}
        if self.count <= 1 {
            remove(&self.directory, &self.name)?;
        } else {
            for number in (1..=self.before.len()).rev() {
                renameat(&self.directory, self.old(number), &self.directory, self.old(number + 1))?;
            }
            renameat(&self.directory, &self.name, &self.directory, self.old(1))?;
            self.before.insert(0, self.length);
        }
        self.file = open_file(&self.directory, &self.name)?;
        (self.inode, self.length) = (self.file.metadata()?.ino(), 0);
        Ok(())
    }

    /// Removes the oldest one of those before; false when there is none.
    ///
    /// # Errors
    /// Whatever the system says.
    pub fn drop_oldest(&mut self) -> io::Result<bool> {
        if self.before.is_empty() {
            return Ok(false);
        }
        remove(&self.directory, &self.old(self.before.len()))?;
        self.before.pop();
        Ok(true)
    }

    /// Removes what is least worth keeping: the oldest one, or all that was written.
    ///
    /// # Errors
    /// Whatever the system says.
    pub fn make_room(&mut self) -> io::Result<()> {
        if self.drop_oldest()? {
            return Ok(());
        }
        self.rotate()?;
        self.drop_oldest().map(drop)
    }

    fn old(&self, number: usize) -> String {
        format!("{}.{number}", self.name)
    }
}

fn remove(directory: &OwnedFd, name: &str) -> io::Result<()> {
    match unlinkat(directory, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// From the root, directory by directory, each of which is one.
fn walk(path: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut directory = open("/", flags, Mode::empty())?;
    for name in path.split('/').filter(|name| !name.is_empty()) {
        directory = match openat(&directory, name, flags, Mode::empty()) {
            Err(Errno::NOENT) => {
                match mkdirat(&directory, name, Mode::from_raw_mode(DIRECTORY_MODE)) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(error) => return Err(error.into()),
                }
                openat(&directory, name, flags, Mode::empty())
            }
            other => other,
        }
        .map_err(|error| named(error, name, "is no directory, and symbolic links are not followed"))?;
    }
    Ok(directory)
}

fn open_file(directory: &OwnedFd, name: &str) -> io::Result<File> {
    let flags =
        OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = openat(directory, name, flags, Mode::from_raw_mode(FILE_MODE))
        .map_err(|error| named(error, name, "is a symbolic link, which is not followed"))?;
    let file = File::from(file);
    let metadata = file.metadata()?;
    let ours = metadata.uid() == rustix::process::geteuid().as_raw();
    match metadata.is_file() && metadata.nlink() == 1 && ours {
        true => Ok(file),
        false => Err(io::Error::other(format!(
            "{name} is not a plain file of ours with one name"
        ))),
    }
}

fn named(error: Errno, name: &str, wrong: &str) -> io::Error {
    match error {
        Errno::LOOP | Errno::NOTDIR => io::Error::other(format!("{name} {wrong}")),
        error => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::Path;

    fn files(directory: &Path, count: u32) -> io::Result<Files> {
        Files::open(directory.join("a/b/web.log").to_str().expect("text"), count)
    }

    fn texts(directory: &Path) -> Vec<String> {
        let read = |name: &str| fs::read_to_string(directory.join("a/b").join(name)).unwrap_or_default();
        ["web.log", "web.log.1", "web.log.2", "web.log.3"].map(read).to_vec()
    }

    #[test]
    fn the_oldest_goes_when_there_are_too_many() {
        let root = tempfile::tempdir().expect("a directory");
        let mut one = files(root.path(), 3).expect("a file");
        for text in ["1", "22", "333", "4444"] {
            assert_eq!(one.write(text.as_bytes()).expect("room"), text.len());
            one.rotate().expect("another one");
        }
        assert_eq!(one.write(b"5").expect("room"), 1);
        assert_eq!(texts(root.path()), ["5", "4444", "333", ""]);
        assert_eq!((one.total(), one.length()), (8, 1));
        let mode = fs::metadata(root.path().join("a/b/web.log"))
            .expect("there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, FILE_MODE);
        drop(one);
        // Fewer are wanted now.
        let mut one = files(root.path(), 2).expect("a file");
        assert_eq!(texts(root.path()), ["5", "4444", "", ""]);
        one.make_room().expect("room");
        assert_eq!(texts(root.path()), ["5", "", "", ""]);
        one.make_room().expect("room");
        assert_eq!((texts(root.path()), one.total()), (vec![String::new(); 4], 0));
    }

    #[test]
    fn a_single_one_is_begun_anew() {
        let root = tempfile::tempdir().expect("a directory");
        let mut one = files(root.path(), 1).expect("a file");
        assert_eq!(one.write(b"1").expect("room"), 1);
        let inode = one.inode();
        one.rotate().expect("another one");
        assert_eq!(texts(root.path()), ["", "", "", ""]);
        assert_eq!((one.total(), one.inode() != inode), (0, true));
    }

    #[test]
    fn nothing_is_followed_and_only_a_plain_file_is_written_to() {
        let root = tempfile::tempdir().expect("a directory");
        fs::create_dir_all(root.path().join("a/b")).expect("room");
        let (log, other) = (root.path().join("a/b/web.log"), root.path().join("other"));
        fs::write(&other, "secret").expect("room");
        let refused = |why: &str| {
            let error = files(root.path(), 2).expect_err(why);
            assert!(error.to_string().contains(why), "{error}");
            assert_eq!(fs::read_to_string(&other).expect("there"), "secret");
        };
        std::os::unix::fs::symlink(&other, &log).expect("room");
        refused("web.log is a symbolic link");
        fs::remove_file(&log).expect("there");
        fs::hard_link(&other, &log).expect("room");
        refused("not a plain file of ours");
        fs::remove_file(&log).expect("there");
        fs::rename(root.path().join("a/b"), root.path().join("a/c")).expect("room");
        std::os::unix::fs::symlink("c", root.path().join("a/b")).expect("room");
        refused("b is no directory, and symbolic links are not followed");
    }
}
