//! The host's directory to a tree.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use super::{DirectoryError, Options};
use crate::{Content, Inode, InodeId, Kind, Metadata, Timestamp, Tree};

/// The largest value and list of extended attributes that Linux has (`XATTR_SIZE_MAX`, `XATTR_LIST_MAX`).
const XATTR_MAX: usize = 64 * 1024;

/// Reads a directory with all below it. Symbolic links are kept, never followed (but for `root` itself); the content
/// of files is referred to, so the directory must not change while the tree lives.
///
/// # Errors
/// [`DirectoryError`] for what cannot be read.
pub fn read(root: &Path, options: Options) -> Result<Tree, DirectoryError> {
    let metadata = fs::metadata(root).map_err(failed(root, "read"))?;
    let mut buffers = Buffers::new();
    let mut tree = Tree::new(self::metadata(root, &metadata, options, &mut buffers)?);
    let mut known: HashMap<(u64, u64), InodeId> = HashMap::new();
    let mut pending = vec![(root.to_owned(), Vec::new())];
    while let Some((directory, prefix)) = pending.pop() {
        for entry in fs::read_dir(&directory).map_err(failed(&directory, "list"))? {
            let entry = entry.map_err(failed(&directory, "list"))?;
            let (host, path) = (entry.path(), join(&prefix, entry.file_name().as_bytes()));
            let metadata = fs::symlink_metadata(&host).map_err(failed(&host, "read"))?;
            let identity = (metadata.dev(), metadata.ino());
            let inserted = match known.get(&identity).filter(|_| !metadata.is_dir()) {
                Some(id) => tree.link(&path, *id).map(|()| *id),
                None => tree.insert(&path, inode(&host, &metadata, options, &mut buffers)?),
            };
            let id = inserted.map_err(|error| failed(&host, "take")(io::Error::other(error)))?;
            known.insert(identity, id);
            if metadata.is_dir() {
                pending.push((host, path));
            }
        }
    }
    Ok(tree)
}

fn join(prefix: &[u8], name: &[u8]) -> Vec<u8> {
    if prefix.is_empty() {
        return name.to_vec();
    }
    [prefix, b"/", name].concat()
}

/// Room for the attributes of one file after the other: clearing it anew for each would take most of the time.
struct Buffers {
    names: Vec<u8>,
    value: Vec<u8>,
}

impl Buffers {
    fn new() -> Self {
        Self {
            names: vec![0; XATTR_MAX],
            value: vec![0; XATTR_MAX],
        }
    }
}

fn inode(host: &Path, found: &fs::Metadata, options: Options, buffers: &mut Buffers) -> Result<Inode, DirectoryError> {
    Ok(Inode {
        metadata: metadata(host, found, options, buffers)?,
        kind: kind(host, found).map_err(failed(host, "read"))?,
    })
}

fn kind(host: &Path, found: &fs::Metadata) -> io::Result<Kind> {
    let file_type = found.file_type();
    let (major, minor) = (rustix::fs::major(found.rdev()), rustix::fs::minor(found.rdev()));
    Ok(if file_type.is_dir() {
        Kind::Directory(BTreeMap::new())
    } else if file_type.is_symlink() {
        Kind::Symlink(fs::read_link(host)?.into_os_string().into_vec())
    } else if file_type.is_char_device() {
        Kind::CharacterDevice { major, minor }
    } else if file_type.is_block_device() {
        Kind::BlockDevice { major, minor }
    } else if file_type.is_fifo() {
        Kind::Fifo
    } else if file_type.is_socket() {
        Kind::Socket
    } else {
        Kind::File(Content::of_metadata(host, found))
    })
}

fn metadata(
    host: &Path,
    found: &fs::Metadata,
    options: Options,
    buffers: &mut Buffers,
) -> Result<Metadata, DirectoryError> {
    let (uid, gid) = if options.owners {
        (found.uid(), found.gid())
    } else {
        (0, 0)
    };
    let xattrs = if options.xattrs {
        xattrs(host, buffers).map_err(failed(host, "read the extended attributes"))?
    } else {
        BTreeMap::new()
    };
    Ok(Metadata {
        mode: found.mode() & 0o7777,
        uid,
        gid,
        mtime: Timestamp {
            seconds: found.mtime(),
            nanoseconds: u32::try_from(found.mtime_nsec()).unwrap_or(0),
        },
        xattrs,
    })
}

fn xattrs(host: &Path, buffers: &mut Buffers) -> io::Result<BTreeMap<Vec<u8>, Vec<u8>>> {
    let length = match rustix::fs::llistxattr(host, &mut buffers.names[..]) {
        Err(rustix::io::Errno::OPNOTSUPP) => return Ok(BTreeMap::new()),
        other => other?,
    };
    let names = buffers.names[..length]
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty());
    let mut found = BTreeMap::new();
    for name in names {
        let length = rustix::fs::lgetxattr(host, name, &mut buffers.value[..])?;
        found.insert(name.to_vec(), buffers.value[..length].to_vec());
    }
    Ok(found)
}

fn failed(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> DirectoryError {
    let path = path.to_owned();
    move |source| DirectoryError { path, action, source }
}
