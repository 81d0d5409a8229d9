//! An archive to a tree, as the kernel would unpack it.

use std::collections::BTreeMap;

use super::{CpioError, HEADER_LENGTH, MAGIC, PATH_MAX, TRAILER, file_type, padding};
use crate::{Inode, InodeId, Kind, Metadata, Timestamp, Tree};

/// Reads one archive, or several one after the other: later ones add to and replace what earlier ones brought, as
/// with several initramfs images. Zeros between and after archives are skipped. The tree's content is in memory and
/// never larger than `bytes`.
///
/// # Errors
/// [`CpioError::Damaged`] with the offset, [`CpioError::Tree`] for a name that would leave the tree.
pub fn read(bytes: &[u8]) -> Result<Tree, CpioError> {
    let mut reader = Reader {
        bytes,
        position: 0,
        tree: Tree::default(),
        links: BTreeMap::new(),
        ended: false,
    };
    while reader.skip_zeros() {
        reader.entry()?;
    }
    if reader.ended {
        Ok(reader.tree)
    } else {
        Err(CpioError::Damaged {
            offset: bytes.len(),
            problem: "the archive ends without a trailer: it is cut off",
        })
    }
}

struct Reader<'b> {
    bytes: &'b [u8],
    position: usize,
    tree: Tree,
    /// Names of the current archive that may get more links: device and inode number, and file type.
    links: BTreeMap<([u32; 3], u32), InodeId>,
    /// The last entry was a trailer.
    ended: bool,
}

/// The numbers of a header, in the order of the format, without the magic.
struct Header([u32; 13]);

impl Header {
    const CHECKSUM_FREE: usize = 13;

    fn parse(bytes: &[u8], offset: usize) -> Result<Self, CpioError> {
        let damaged = |problem| CpioError::Damaged { offset, problem };
        let digits = bytes
            .strip_prefix(MAGIC)
            .ok_or_else(|| damaged("an entry does not begin with 070701"))?;
        let mut numbers = [0; Self::CHECKSUM_FREE];
        for (number, digits) in numbers.iter_mut().zip(digits.chunks_exact(8)) {
            let valid = digits.iter().all(u8::is_ascii_hexdigit);
            let text = std::str::from_utf8(digits).ok().filter(|_| valid);
            *number = text
                .and_then(|text| u32::from_str_radix(text, 16).ok())
                .ok_or_else(|| damaged("a number of the header is not hexadecimal"))?;
        }
        Ok(Self(numbers))
    }

    fn mode(&self) -> u32 {
        self.0[1]
    }

    fn links(&self) -> u32 {
        self.0[4]
    }

    fn length(&self) -> usize {
        self.0[6] as usize
    }

    fn name_length(&self) -> usize {
        self.0[11] as usize
    }

    /// Device and inode number: what hard links share.
    fn identity(&self) -> [u32; 3] {
        [self.0[7], self.0[8], self.0[0]]
    }

    fn metadata(&self) -> Metadata {
        Metadata {
            mode: self.mode() & 0o7777,
            uid: self.0[2],
            gid: self.0[3],
            mtime: Timestamp {
                seconds: i64::from(self.0[5]),
                nanoseconds: 0,
            },
            xattrs: BTreeMap::new(),
        }
    }

    fn kind(&self, body: &[u8]) -> Option<Kind> {
        let (major, minor) = (self.0[9], self.0[10]);
        Some(match self.mode() & file_type::MASK {
            file_type::FILE => Kind::File(body.to_vec().into()),
            file_type::DIRECTORY => Kind::Directory(BTreeMap::new()),
            file_type::SYMLINK => Kind::Symlink(body.to_vec()),
            file_type::CHARACTER => Kind::CharacterDevice { major, minor },
            file_type::BLOCK => Kind::BlockDevice { major, minor },
            file_type::FIFO => Kind::Fifo,
            file_type::SOCKET => Kind::Socket,
            _ => return None,
        })
    }
}

impl<'b> Reader<'b> {
    /// Goes to the next entry; false at the end.
    fn skip_zeros(&mut self) -> bool {
        let zeros = self.bytes[self.position..]
            .iter()
            .take_while(|byte| **byte == 0)
            .count();
        self.position += zeros;
        self.position < self.bytes.len()
    }

    fn entry(&mut self) -> Result<(), CpioError> {
        let offset = self.position;
        let damaged = |problem| CpioError::Damaged { offset, problem };
        let header = Header::parse(self.take(HEADER_LENGTH)?, offset)?;
        if header.name_length() == 0 || header.name_length() > PATH_MAX {
            return Err(damaged("the length of a name is not between 1 and 4096"));
        }
        let name = self.take(header.name_length())?;
        let name = name
            .strip_suffix(&[0])
            .ok_or_else(|| damaged("a name does not end with NUL"))?;
        self.align(offset)?;
        let body = self.take(header.length())?;
        self.align(offset)?;
        self.ended = name == TRAILER;
        if self.ended {
            self.links.clear();
            return Ok(());
        }
        let kind = header
            .kind(body)
            .ok_or_else(|| damaged("a mode has no known file type"))?;
        self.insert(&header, name, kind)
            .map_err(|source| CpioError::Tree { offset, source })
    }

    fn insert(&mut self, header: &Header, name: &[u8], kind: Kind) -> Result<(), crate::TreeError> {
        let inode = Inode {
            metadata: header.metadata(),
            kind,
        };
        let linkable = header.links() > 1 && !matches!(inode.kind, Kind::Directory(_) | Kind::Symlink(_));
        let identity = (header.identity(), header.mode() & file_type::MASK);
        match self.links.get(&identity).filter(|_| linkable) {
            Some(&first) => {
                self.tree.link(name, first)?;
                self.update(first, inode);
            }
            None => {
                let id = self.tree.insert(name, inode)?;
                if linkable {
                    self.links.insert(identity, id);
                }
            }
        }
        Ok(())
    }

    /// A further name of a file brings new metadata, and content when it has some.
    fn update(&mut self, id: InodeId, inode: Inode) {
        let known = self.tree.inode_mut(id);
        known.metadata = inode.metadata;
        if matches!(&inode.kind, Kind::File(content) if !content.is_empty()) {
            known.kind = inode.kind;
        }
    }

    fn take(&mut self, length: usize) -> Result<&'b [u8], CpioError> {
        let bytes: &'b [u8] = self.bytes;
        let rest = &bytes[self.position..];
        let taken = rest.get(..length).ok_or(CpioError::Damaged {
            offset: self.position,
            problem: "the archive ends inside an entry",
        })?;
        self.position += length;
        Ok(taken)
    }

    /// Skips the padding to 4 bytes, counted from where the entry begins; it may be missing at the very end.
    fn align(&mut self, entry: usize) -> Result<(), CpioError> {
        let rest = self.bytes.len() - self.position;
        self.take(padding(self.position - entry, 4).min(rest)).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpio::write;
    use proptest::prelude::*;

    fn archive(tree: &Tree) -> Vec<u8> {
        let mut bytes = Vec::new();
        write(tree, &mut bytes).unwrap();
        bytes
    }

    fn sample() -> Tree {
        let mut tree = Tree::new(Metadata::root(0o755));
        let id = tree.insert_file("bin/a", 0o4755, "content").unwrap();
        tree.link("bin/b", id).unwrap();
        tree.link("sbin/c", id).unwrap();
        tree.insert_symlink("sbin/link", "../bin/a").unwrap();
        for (path, kind) in [
            ("dev/console", Kind::CharacterDevice { major: 5, minor: 1 }),
            (
                "dev/vda",
                Kind::BlockDevice {
                    major: 254,
                    minor: 70_000,
                },
            ),
            ("run/pipe", Kind::Fifo),
            ("run/socket", Kind::Socket),
        ] {
            let metadata = Metadata {
                uid: 7,
                gid: 9,
                ..Metadata::root(0o600)
            };
            tree.insert(path, Inode { metadata, kind }).unwrap();
        }
        tree
    }

    #[test]
    fn reads_back_what_was_written() {
        let tree = sample();
        assert_eq!(read(&archive(&tree)).unwrap(), tree);
    }

    #[test]
    fn concatenated_archives_replace_and_do_not_share_inode_numbers() {
        let mut second = Tree::default();
        let id = second.insert_file("bin/a", 0o644, "new").unwrap();
        second.link("etc/new", id).unwrap();
        let bytes = [archive(&sample()), vec![0; 8], archive(&second)].concat();
        let read = read(&bytes).unwrap();
        let mut expected = sample();
        expected.overlay(&second).unwrap();
        assert_eq!(read, expected);
        assert_eq!(read.get("bin/b").unwrap().kind, Kind::File("content".into()));
    }

    #[test]
    fn names_outside_are_refused_with_their_offset() {
        let mut tree = Tree::default();
        tree.insert_file("ab/cd", 0o644, "").unwrap();
        let mut bytes = archive(&tree);
        let at = bytes.windows(5).position(|window| window == b"ab/cd").unwrap();
        bytes[at..at + 5].copy_from_slice(b"../cd");
        let error = read(&bytes).unwrap_err();
        assert!(matches!(error, CpioError::Tree { .. }), "{error}");
    }

    #[test]
    fn every_cut_is_noticed() {
        let bytes = archive(&sample());
        let mut trailers = bytes.windows(TRAILER.len());
        let trailer = trailers.position(|window| window == TRAILER).unwrap();
        for length in 0..=trailer {
            assert!(read(&bytes[..length]).is_err(), "cut at {length}");
        }
    }

    proptest! {
        #[test]
        fn any_files_survive(files in proptest::collection::btree_map("[a-z]{1,3}/[a-zA-Z .]{1,9}z", (any::<Vec<u8>>(), 0..0o7777u32), 0..12)) {
            let mut tree = Tree::default();
            for (path, (content, mode)) in files {
                tree.insert_file(path, mode, content).unwrap();
            }
            prop_assert_eq!(read(&archive(&tree)).unwrap(), tree);
        }

        #[test]
        fn damage_never_panics(position in 0..2000usize, value: u8, length in 0..2000usize) {
            let mut bytes = archive(&sample());
            let position = position % bytes.len();
            bytes[position] = value;
            let _ = read(&bytes[..length.min(bytes.len())]);
            let _ = read(&bytes);
        }
    }
}
