//! A tree to an archive.

use std::collections::BTreeMap;
use std::io::{self, Read as _, Write};

use super::{CpioError, HEADER_LENGTH, MAGIC, PATH_MAX, TRAILER, file_type, padding};
use crate::{Content, Entry, InodeId, Kind, Tree};

/// Archives end at a multiple of this many bytes, as `cpio` writes them.
const BLOCK: usize = 512;

/// The link count that a directory shows; nobody uses it.
const DIRECTORY_LINKS: u32 = 2;

/// Writes the whole tree as one archive, root directory (`.`) first, then the trailer.
///
/// # Errors
/// What a cpio archive cannot hold (see the module's page), content that cannot be read, an output that cannot be
/// written. What was written until then is not an archive.
pub fn write(tree: &Tree, output: &mut dyn Write) -> Result<(), CpioError> {
    let mut writer = Writer {
        output,
        written: 0,
        links: links(tree),
    };
    for entry in tree.walk() {
        writer.entry(&entry)?;
    }
    writer.trailer().map_err(CpioError::Write)
}

/// What the writer knows of an inode with several names.
struct Links {
    number: u32,
    total: u32,
    remaining: u32,
}

/// Numbers the inodes in the order in which the walk meets them.
fn links(tree: &Tree) -> BTreeMap<InodeId, Links> {
    let mut links: BTreeMap<InodeId, Links> = BTreeMap::new();
    for entry in tree.walk() {
        let number = links.len() as u32 + 1;
        let known = links.entry(entry.id).or_insert(Links {
            number,
            total: 0,
            remaining: 0,
        });
        known.total += 1;
        known.remaining += 1;
    }
    links
}

struct Writer<'w> {
    output: &'w mut dyn Write,
    written: usize,
    links: BTreeMap<InodeId, Links>,
}

/// The numbers of a header that differ between entries.
#[derive(Default)]
struct Header {
    inode: u32,
    mode: u32,
    uid: u32,
    gid: u32,
    links: u32,
    mtime: u32,
    length: u32,
    major: u32,
    minor: u32,
}

impl Writer<'_> {
    fn entry(&mut self, entry: &Entry<'_>) -> Result<(), CpioError> {
        check(entry)?;
        let metadata = &entry.inode.metadata;
        let links = self
            .links
            .get_mut(&entry.id)
            .expect("every entry was numbered on a walk over the same tree");
        links.remaining -= 1;
        let mut header = Header {
            inode: links.number,
            uid: metadata.uid,
            gid: metadata.gid,
            links: links.total,
            mtime: seconds(entry)?,
            ..Header::default()
        };
        let body = body(entry, links.remaining == 0, &mut header)?;
        header.mode |= metadata.mode & 0o7777;
        let name = if entry.path.is_empty() {
            b".".as_slice()
        } else {
            &entry.path
        };
        self.header(&header, name).map_err(CpioError::Write)?;
        self.content(entry, body)
    }

    fn header(&mut self, header: &Header, name: &[u8]) -> io::Result<()> {
        let name_length = name.len() as u32 + 1;
        let numbers = [
            header.inode,
            header.mode,
            header.uid,
            header.gid,
            header.links,
            header.mtime,
            header.length,
            0,
            0,
            header.major,
            header.minor,
            name_length,
            0,
        ];
        let mut bytes = MAGIC.to_vec();
        for number in numbers {
            write!(bytes, "{number:08X}")?;
        }
        debug_assert_eq!(bytes.len(), HEADER_LENGTH);
        bytes.extend_from_slice(name);
        bytes.push(0);
        self.put(&bytes)?;
        self.pad(4)
    }

    fn content(&mut self, entry: &Entry<'_>, body: Option<Content>) -> Result<(), CpioError> {
        let Some(content) = body else { return Ok(()) };
        let unreadable = |source| CpioError::Content {
            path: shown(&entry.path),
            source,
        };
        let mut reader = content.open().map_err(unreadable)?;
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let count = reader.read(&mut buffer).map_err(unreadable)?;
            if count == 0 {
                return self.pad(4).map_err(CpioError::Write);
            }
            self.put(&buffer[..count]).map_err(CpioError::Write)?;
        }
    }

    fn trailer(&mut self) -> io::Result<()> {
        let header = Header {
            links: 1,
            ..Header::default()
        };
        self.header(&header, TRAILER)?;
        self.pad(BLOCK)?;
        self.output.flush()
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.written += bytes.len();
        self.output.write_all(bytes)
    }

    fn pad(&mut self, alignment: usize) -> io::Result<()> {
        let zeros = [0; BLOCK];
        self.put(&zeros[..padding(self.written, alignment)])
    }
}

/// Fills in what depends on the kind of the file; gives the content that follows the header, if any does.
fn body(entry: &Entry<'_>, last_link: bool, header: &mut Header) -> Result<Option<Content>, CpioError> {
    let mut body = None;
    let kind = match &entry.inode.kind {
        Kind::Directory(_) => {
            header.links = DIRECTORY_LINKS;
            file_type::DIRECTORY
        }
        Kind::File(content) => {
            let length = length(entry, content)?;
            if last_link {
                header.length = length;
                body = Some(content.clone());
            }
            file_type::FILE
        }
        Kind::Symlink(target) => {
            header.length = target.len() as u32;
            body = Some(Content::from(target.clone()));
            file_type::SYMLINK
        }
        Kind::CharacterDevice { major, minor } => {
            (header.major, header.minor) = (*major, *minor);
            file_type::CHARACTER
        }
        Kind::BlockDevice { major, minor } => {
            (header.major, header.minor) = (*major, *minor);
            file_type::BLOCK
        }
        Kind::Fifo => file_type::FIFO,
        Kind::Socket => file_type::SOCKET,
    };
    header.mode = kind;
    Ok(body)
}

fn length(entry: &Entry<'_>, content: &Content) -> Result<u32, CpioError> {
    u32::try_from(content.len()).map_err(|_| CpioError::TooLong {
        path: shown(&entry.path),
        length: content.len(),
    })
}

fn seconds(entry: &Entry<'_>) -> Result<u32, CpioError> {
    let seconds = entry.inode.metadata.mtime.seconds;
    u32::try_from(seconds).map_err(|_| CpioError::Time {
        path: shown(&entry.path),
        seconds,
    })
}

/// Refuses what the format, or the kernel's reader of it, cannot carry.
fn check(entry: &Entry<'_>) -> Result<(), CpioError> {
    if entry.path == TRAILER {
        return Err(CpioError::Reserved);
    }
    let target_length = match &entry.inode.kind {
        Kind::Symlink(target) => target.len(),
        _ => 0,
    };
    if entry.path.len() >= PATH_MAX || target_length >= PATH_MAX {
        return Err(CpioError::NameTooLong {
            path: shown(&entry.path),
        });
    }
    match entry.inode.metadata.xattrs.keys().next() {
        None => Ok(()),
        Some(name) => Err(CpioError::ExtendedAttribute {
            path: shown(&entry.path),
            name: shown(name),
        }),
    }
}

fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Inode, Metadata, Timestamp};

    fn archive(tree: &Tree) -> Result<Vec<u8>, CpioError> {
        let mut bytes = Vec::new();
        write(tree, &mut bytes).map(|()| bytes)
    }

    #[test]
    fn empty_tree_is_a_root_and_a_trailer_in_one_block() {
        let bytes = archive(&Tree::default()).unwrap();
        assert_eq!(bytes.len(), BLOCK);
        assert!(bytes.starts_with(b"07070100000001000041ED"));
        assert_eq!(
            bytes.windows(TRAILER.len()).filter(|window| *window == TRAILER).count(),
            1
        );
    }

    #[test]
    fn what_newc_cannot_hold_is_refused() {
        let mut tree = Tree::default();
        let id = tree.insert_file("bin/ping", 0o755, "x").unwrap();
        tree.inode_mut(id)
            .metadata
            .xattrs
            .insert(b"security.capability".to_vec(), vec![1]);
        assert_eq!(
            archive(&tree).unwrap_err().to_string(),
            "bin/ping: a cpio archive cannot carry the extended attribute `security.capability`; remove it from the file"
        );
        tree.inode_mut(id).metadata = Metadata::root(0o755);
        tree.inode_mut(id).metadata.mtime = Timestamp {
            seconds: -1,
            nanoseconds: 0,
        };
        assert!(matches!(archive(&tree), Err(CpioError::Time { seconds: -1, .. })));

        let mut tree = Tree::default();
        tree.insert_file("TRAILER!!!", 0o644, "").unwrap();
        assert!(matches!(archive(&tree), Err(CpioError::Reserved)));

        let mut tree = Tree::default();
        tree.insert_symlink("l", vec![b'x'; PATH_MAX]).unwrap();
        assert!(matches!(archive(&tree), Err(CpioError::NameTooLong { .. })));

        let mut tree = Tree::default();
        let kind = Kind::File(Content::Range {
            path: std::sync::Arc::new("/dev/zero".into()),
            offset: 0,
            length: 1 << 32,
            stamp: None,
        });
        let metadata = Metadata::root(0o644);
        tree.insert("big", Inode { metadata, kind }).unwrap();
        assert!(matches!(
            archive(&tree),
            Err(CpioError::TooLong {
                length: 4_294_967_296,
                ..
            })
        ));
    }
}
