//! Is what stands at a name already what the image says?

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::os::fd::OwnedFd;

use rustix::fs::{self, AtFlags, FileType, Stat};

use super::disk::{attributes, base_name, by_descriptor};
use crate::error::ReadError;
use crate::flist::{Entry, EntryKind};
use crate::image::Image;
use crate::verity::ObjectDigest;

/// Bytes compared at a time.
const WINDOW: usize = 64 << 10;

/// True when kind, size, time, mode, target, numbers, and with privilege owner and attributes are an entry's. Its
/// content is not looked at.
pub(super) fn is_same(parent: &OwnedFd, entry: &Entry<'_>, privileged: bool) -> bool {
    let name = base_name(&entry.path);
    fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|is| has_metadata(&is, entry, privileged) && has_kind(&is, parent, name, entry))
        && has_attributes(parent, name, entry, privileged)
}

fn has_metadata(is: &Stat, entry: &Entry<'_>, privileged: bool) -> bool {
    let metadata = entry.metadata;
    let time = (is.st_mtime, is.st_mtime_nsec as u32) == (metadata.mtime.seconds, metadata.mtime.nanoseconds);
    let owner = !privileged || (is.st_uid, is.st_gid) == (metadata.uid, metadata.gid);
    let mode = is.st_mode & 0o7777 == metadata.mode || matches!(entry.kind, EntryKind::Symlink(_));
    // A file with names elsewhere may be changed there.
    let alone = entry.links > 1 || is.st_nlink == 1;
    time && owner && mode && alone
}

fn has_kind(is: &Stat, parent: &OwnedFd, name: &OsStr, entry: &Entry<'_>) -> bool {
    let device = |major, minor| is.st_rdev == fs::makedev(major, minor);
    match (entry.kind, FileType::from_raw_mode(is.st_mode)) {
        (EntryKind::File { size, .. }, FileType::RegularFile) => u64::try_from(is.st_size) == Ok(size),
        (EntryKind::Symlink(target), FileType::Symlink) => {
            fs::readlinkat(parent, name, Vec::new()).is_ok_and(|found| found.to_bytes() == target)
        }
        (EntryKind::CharacterDevice { major, minor }, FileType::CharacterDevice)
        | (EntryKind::BlockDevice { major, minor }, FileType::BlockDevice) => device(major, minor),
        (EntryKind::Fifo, FileType::Fifo) | (EntryKind::Socket, FileType::Socket) => true,
        _ => false,
    }
}

fn has_attributes(parent: &OwnedFd, name: &OsStr, entry: &Entry<'_>, privileged: bool) -> bool {
    let mut wanted = attributes(entry.metadata, privileged).peekable();
    if wanted.peek().is_none() {
        return true;
    }
    let path = by_descriptor(parent, name);
    wanted.all(|(attribute, value)| {
        // One byte more, so that a longer value is not taken for this one.
        let mut found = vec![0; value.len() + 1];
        let length = fs::lgetxattr(&path, attribute.as_slice(), &mut found[..]);
        length.is_ok_and(|length| found[..length] == value[..])
    })
}

/// True when both names lead to one file.
pub(super) fn is_linked(first: (&OwnedFd, &OsStr), second: (&OwnedFd, &OsStr)) -> bool {
    let look = |(parent, name): (&OwnedFd, &OsStr)| fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW);
    match (look(first), look(second)) {
        (Ok(first), Ok(second)) => (first.st_dev, first.st_ino) == (second.st_dev, second.st_ino),
        _ => false,
    }
}

/// True when a file has the content of an entry: by digest, or read from the image where there is none. The outer error
/// is the disk's.
pub(super) fn has_content(file: File, entry: &Entry<'_>, image: &dyn Image) -> io::Result<Result<bool, ReadError>> {
    let mut file = BufReader::with_capacity(WINDOW, file);
    if let Some(object) = entry.object() {
        return Ok(Ok(ObjectDigest::of_reader(&mut file)? == object));
    }
    let mut compare = Compare { file, differs: false };
    match image.read_file(entry, &mut compare) {
        Err(ReadError::Write { .. }) if compare.differs => Ok(Ok(false)),
        Err(ReadError::Write { source, .. }) => Err(source),
        other => Ok(other.map(|()| true)),
    }
}

/// Takes what a file holds, and fails at the first byte that is another.
struct Compare {
    file: BufReader<File>,
    differs: bool,
}

impl Write for Compare {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut found = [0; WINDOW];
        let found = &mut found[..bytes.len().min(WINDOW)];
        let read = self.file.read_exact(found);
        self.differs = match read {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => true,
            other => other.map(|()| *found != bytes[..found.len()])?,
        };
        match self.differs {
            true => Err(io::Error::other("another content")),
            false => Ok(found.len()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
