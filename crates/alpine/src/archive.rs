//! tar archives as Alpine packages hold them. Not [`mos_tree::tarball`]: those of packages carry names of owners and
//! checksums (`APK-TOOLS.checksum.SHA1`), and end without the two empty blocks.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io::{self, Read};
use std::rc::Rc;

use mos_tree::{Metadata, Timestamp};
use tar::{Archive, EntryType};

use crate::Checksum;

/// How a pax record names an extended attribute.
const PAX_XATTR: &str = "SCHILY.xattr.";
/// How pax records name the checksum of a file, or of a symbolic link's target.
const PAX_SHA1: &str = "APK-TOOLS.checksum.SHA1";
/// As [`PAX_SHA1`].
const PAX_SHA256: &str = "APK-TOOLS.checksum.SHA256";
/// Most bytes of names, attributes and padding before the content of an entry.
const HEADERS_MAX: u64 = 4 << 20;
/// Longest path in bytes: what Linux lets a program name at once (`PATH_MAX`).
const PATH_MAX: usize = 4096;
/// Most entries; Alpine's largest package has 40,000.
const ENTRIES_MAX: usize = 1 << 22;

/// What an archive may take in memory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Bytes of content in all.
    content: u64,
}

impl Limits {
    pub(crate) fn content(content: u64) -> Self {
        Self { content }
    }
}

/// One entry.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// As it stands in the archive, but without a slash at the end.
    pub(crate) path: Vec<u8>,
    pub(crate) kind: EntryType,
    pub(crate) metadata: Metadata,
    /// Names of user and group, where the archive has them.
    pub(crate) owners: (String, String),
    /// Target of a link of either sort.
    pub(crate) link: Vec<u8>,
    pub(crate) content: Vec<u8>,
    pub(crate) checksum: Option<Checksum>,
    /// Major and minor number of a device node.
    pub(crate) device: (u32, u32),
}

/// Hands over entry by entry, and stops at the first that is refused.
///
/// # Errors
/// What is wrong with the archive, or what `take` says.
pub(crate) fn each(
    reader: impl Read,
    limits: Limits,
    mut take: impl FnMut(Entry) -> Result<(), String>,
) -> Result<(), String> {
    let headers = Rc::new(Cell::new(HEADERS_MAX));
    let metered = Metered {
        reader,
        left: Rc::clone(&headers),
    };
    let damaged = |error: io::Error| format!("damaged tar archive: {error}");
    let mut archive = Archive::new(metered);
    let mut content_left = limits.content;
    for (count, entry) in archive.entries().map_err(damaged)?.enumerate() {
        let mut entry = entry.map_err(damaged)?;
        if count >= ENTRIES_MAX {
            return Err(format!("more than {ENTRIES_MAX} entries"));
        }
        let mut read = head(&mut entry).map_err(damaged)?;
        if read.path.len() > PATH_MAX {
            return Err(format!("a path of {} bytes; {PATH_MAX} are allowed", read.path.len()));
        }
        let length = entry.size();
        content_left = content_left.checked_sub(length).ok_or_else(|| {
            let path = String::from_utf8_lossy(&read.path);
            format!(
                "{}: more than {} bytes of content in all",
                path.escape_debug(),
                limits.content
            )
        })?;
        headers.set(length.saturating_add(HEADERS_MAX));
        entry.read_to_end(&mut read.content).map_err(damaged)?;
        if read.content.len() as u64 != length {
            return Err(damaged(io::ErrorKind::UnexpectedEof.into()));
        }
        take(read)?;
        headers.set(HEADERS_MAX);
    }
    Ok(())
}

fn head<R: Read>(entry: &mut tar::Entry<'_, R>) -> io::Result<Entry> {
    let mut path = entry.path_bytes().into_owned();
    while path.len() > 1 && path.ends_with(b"/") {
        path.pop();
    }
    let (xattrs, checksum) = records(entry)?;
    let header = entry.header();
    let owner = |name: Option<&str>| name.unwrap_or_default().to_owned();
    Ok(Entry {
        path,
        kind: header.entry_type(),
        metadata: Metadata {
            mode: header.mode()? & 0o7777,
            uid: id(header.uid()?)?,
            gid: id(header.gid()?)?,
            mtime: Timestamp {
                seconds: header.mtime()?.cast_signed(),
                nanoseconds: 0,
            },
            xattrs,
        },
        owners: (
            owner(header.username().ok().flatten()),
            owner(header.groupname().ok().flatten()),
        ),
        link: entry.link_name_bytes().unwrap_or_default().into_owned(),
        content: Vec::new(),
        checksum,
        device: (
            header.device_major().ok().flatten().unwrap_or(0),
            header.device_minor().ok().flatten().unwrap_or(0),
        ),
    })
}

type Records = (BTreeMap<Vec<u8>, Vec<u8>>, Option<Checksum>);

fn records<R: Read>(entry: &mut tar::Entry<'_, R>) -> io::Result<Records> {
    let (mut xattrs, mut checksum) = (BTreeMap::new(), None);
    for record in entry.pax_extensions()?.into_iter().flatten() {
        let record = record?;
        let key = String::from_utf8_lossy(record.key_bytes());
        let value = record.value_bytes();
        if let Some(name) = key.strip_prefix(PAX_XATTR) {
            xattrs.insert(name.as_bytes().to_vec(), value.to_vec());
        } else if key == PAX_SHA1 {
            checksum = Some(Checksum::Sha1(digest(value)?));
        } else if key == PAX_SHA256 {
            checksum = Some(Checksum::Sha256(digest(value)?));
        }
    }
    Ok((xattrs, checksum))
}

fn digest<const N: usize>(value: &[u8]) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    hex::decode_to_slice(value, &mut bytes).map_err(|_| io::Error::other("a checksum that is none"))?;
    Ok(bytes)
}

fn id(value: u64) -> io::Result<u32> {
    u32::try_from(value).map_err(|_| io::Error::other(format!("{value} is no user or group")))
}

/// Reads no more than what is left: the `tar` crate takes long names and pax records into memory whatever their length.
struct Metered<R> {
    reader: R,
    left: Rc<Cell<u64>>,
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        let left = self.left.get().checked_sub(count as u64);
        self.left.set(left.ok_or_else(|| {
            io::Error::other(format!(
                "more than {HEADERS_MAX} bytes of names and attributes before an entry"
            ))
        })?);
        Ok(count)
    }
}
