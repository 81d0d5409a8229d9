//! The host's directory to a tree.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags};
use rustix::io::Errno;

use super::{DirectoryError, Options, ReadError};
use crate::{Content, Inode, InodeId, Kind, Metadata, Timestamp, Tree};

/// The largest value and list of extended attributes that Linux has (`XATTR_SIZE_MAX`, `XATTR_LIST_MAX`).
const XATTR_MAX: usize = 64 * 1024;

/// Room for the names that most files have, if any: the kernel takes as much memory for each call as it is offered.
const FEW_NAMES: usize = 512;
/// Everybody may read. Where a list of access rights says something else to somebody, reading says so, too.
const ALL_READ: u32 = 0o444;

/// Decides what of a directory is left out of the tree.
pub trait Filter {
    /// Called before a directory is listed: `host` is where it is, `path` where it stands in the tree.
    ///
    /// # Errors
    /// What keeps the directory from being read, such as rules in it that make no sense.
    fn enter(&mut self, host: &Path, path: &[u8]) -> io::Result<()>;

    /// True for what is left out; of a directory that is, nothing below is looked at.
    fn leaves_out(&self, path: &[u8], is_directory: bool) -> bool;

    /// False when a directory of another file system than the root's is not to be listed: it is then an empty one.
    fn crosses(&self) -> bool {
        true
    }
}

/// The filter that leaves nothing out.
struct All;

impl Filter for All {
    fn enter(&mut self, _: &Path, _: &[u8]) -> io::Result<()> {
        Ok(())
    }

    fn leaves_out(&self, _: &[u8], _: bool) -> bool {
        false
    }
}

/// Reads a directory with all below it. Symbolic links are kept, never followed (but for `root` itself); the content
/// of files is referred to, so the directory must not change while the tree lives. What vanishes before it is looked at is
/// left out.
///
/// # Errors
/// [`ReadError`]: everything that may not be read, or the first thing that cannot be.
pub fn read(root: &Path, options: Options) -> Result<Tree, ReadError> {
    read_filtered(root, options, &mut All)
}

/// The same without what a filter leaves out, which is neither read nor opened.
///
/// # Errors
/// As [`read`].
pub fn read_filtered(root: &Path, options: Options, filter: &mut dyn Filter) -> Result<Tree, ReadError> {
    let metadata = fs::metadata(root).map_err(failed(root, "read"))?;
    let mut buffers = Buffers::new();
    let tree = Tree::new(self::metadata(root, &metadata, options, &mut buffers)?);
    let mut walk = Walk {
        options,
        filter,
        buffers,
        tree,
        known: HashMap::new(),
        device: metadata.dev(),
        pending: vec![(root.to_owned(), Vec::new())],
        denied: Vec::new(),
    };
    while let Some((host, path)) = walk.pending.pop() {
        let listed = walk.list(&host, &path);
        walk.unless_denied(listed, &path)?;
    }
    walk.finish()
}

struct Walk<'f> {
    options: Options,
    filter: &'f mut dyn Filter,
    buffers: Buffers,
    tree: Tree,
    /// Inodes with several names.
    known: HashMap<(u64, u64), InodeId>,
    /// Of the root.
    device: u64,
    pending: Vec<(PathBuf, Vec<u8>)>,
    denied: Vec<DirectoryError>,
}

impl Walk<'_> {
    fn list(&mut self, directory: &Path, prefix: &[u8]) -> Result<(), DirectoryError> {
        self.filter
            .enter(directory, prefix)
            .map_err(failed(directory, "list"))?;
        for entry in fs::read_dir(directory).map_err(failed(directory, "list"))? {
            let entry = entry.map_err(failed(directory, "list"))?;
            let path = join(prefix, entry.file_name().as_bytes());
            let taken = self.take(&entry, path.clone());
            self.unless_denied(taken, &path)?;
        }
        Ok(())
    }

    fn take(&mut self, entry: &fs::DirEntry, path: Vec<u8>) -> Result<(), DirectoryError> {
        let host = entry.path();
        let file_type = entry.file_type().map_err(failed(&host, "read"))?;
        if self.filter.leaves_out(&path, file_type.is_dir()) {
            return Ok(());
        }
        let metadata = entry.metadata().map_err(failed(&host, "read"))?;
        let has_names = !metadata.is_dir() && metadata.nlink() > 1;
        let identity = has_names.then(|| (metadata.dev(), metadata.ino()));
        let inserted = match identity.and_then(|identity| self.known.get(&identity)) {
            Some(id) => self.tree.link(&path, *id).map(|()| *id),
            None => {
                let inode = inode(&host, &metadata, self.options, &mut self.buffers)?;
                self.tree.insert(&path, inode)
            }
        };
        let id = inserted.map_err(|error| failed(&host, "take")(io::Error::other(error)))?;
        self.known.extend(identity.map(|identity| (identity, id)));
        if metadata.is_dir() && (metadata.dev() == self.device || self.filter.crosses()) {
            self.pending.push((host, path));
        }
        Ok(())
    }

    /// Keeps what is denied for later, so that it is all told at once, and forgets what has vanished.
    fn unless_denied(&mut self, result: Result<(), DirectoryError>, path: &[u8]) -> Result<(), DirectoryError> {
        match result {
            Err(error) if error.source.kind() == io::ErrorKind::PermissionDenied => {
                self.denied.push(error);
                Ok(())
            }
            Err(error) if has_vanished(&error) && !path.is_empty() => {
                // A directory that could not be listed is in the tree already, and another file may get its number.
                if let Some(id) = self.tree.find(path) {
                    self.known.retain(|_, known| *known != id);
                    let _ = self.tree.remove(path);
                }
                Ok(())
            }
            other => other,
        }
    }

    fn finish(mut self) -> Result<Tree, ReadError> {
        if self.denied.is_empty() {
            return Ok(self.tree);
        }
        self.denied.sort_by(|a, b| a.path.cmp(&b.path));
        Err(ReadError::Denied(self.denied))
    }
}

/// Whether something is gone, rather than a link of a kernel that leads nowhere.
fn has_vanished(error: &DirectoryError) -> bool {
    let gone = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
    gone(&error.source) && fs::symlink_metadata(&error.path).is_err_and(|error| gone(&error))
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
    if found.is_file() && found.mode() & ALL_READ != ALL_READ {
        // Asked now, so that a sink does not find out in the middle of its work.
        let may = rustix::fs::accessat(rustix::fs::CWD, host, Access::READ_OK, AtFlags::EACCESS);
        may.map_err(|errno| failed(host, "read its content")(errno.into()))?;
    }
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
    let listed = match rustix::fs::llistxattr(host, &mut buffers.names[..FEW_NAMES]) {
        Err(Errno::RANGE) => rustix::fs::llistxattr(host, &mut buffers.names[..]),
        other => other,
    };
    let length = match listed {
        Err(Errno::OPNOTSUPP) => return Ok(BTreeMap::new()),
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::process::Command;

    use super::*;

    struct Without(&'static [u8]);

    impl Filter for Without {
        fn enter(&mut self, host: &Path, path: &[u8]) -> io::Result<()> {
            assert!(host.as_os_str().as_bytes().ends_with(path));
            Ok(())
        }

        fn leaves_out(&self, path: &[u8], is_directory: bool) -> bool {
            is_directory && path == self.0
        }
    }

    /// Removes a folder when it is about to be listed.
    struct Vanishing;

    impl Filter for Vanishing {
        fn enter(&mut self, host: &Path, path: &[u8]) -> io::Result<()> {
            match path {
                b"gone" => fs::remove_dir(host),
                _ => Ok(()),
            }
        }

        fn leaves_out(&self, _: &[u8], _: bool) -> bool {
            false
        }
    }

    #[test]
    fn what_vanishes_is_left_out() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("gone")).unwrap();
        fs::write(directory.path().join("stays"), "").unwrap();
        let tree = read_filtered(directory.path(), Options::default(), &mut Vanishing).unwrap();
        let paths: Vec<_> = tree.walk().map(|entry| entry.path).collect();
        assert_eq!(paths, [&b""[..], b"stays"]);
        let missing = read(&directory.path().join("gone"), Options::default()).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn what_is_left_out_is_not_looked_at() {
        let directory = tempfile::tempdir().unwrap();
        let at = |path: &str| directory.path().join(path);
        fs::create_dir_all(at("keep/out")).unwrap();
        fs::create_dir_all(at("out")).unwrap();
        fs::write(at("out/file"), "x").unwrap();
        fs::write(at("keep/file"), "x").unwrap();
        let tree = read_filtered(directory.path(), Options::default(), &mut Without(b"out")).unwrap();
        let paths: Vec<_> = tree.walk().map(|entry| entry.path).collect();
        assert_eq!(paths, [&b""[..], b"keep", b"keep/file", b"keep/out"]);
    }

    #[test]
    fn a_file_with_more_attributes_than_most_keeps_them_all() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        fs::write(&file, "x").unwrap();
        let name = |number: usize| format!("user.{number:0>60}");
        for number in 0..20 {
            let set = rustix::fs::setxattr(&file, name(number), b"value", rustix::fs::XattrFlags::empty());
            if let Err(error) = set {
                eprintln!("SKIPPED: no extended attributes here: {error}");
                return;
            }
        }
        let options = Options {
            xattrs: true,
            ..Options::default()
        };
        let tree = read(directory.path(), options).unwrap();
        let found = &tree.get("file").unwrap().metadata.xattrs;
        let names: Vec<_> = found.keys().cloned().collect();
        assert_eq!(
            names,
            (0..20).map(|number| name(number).into_bytes()).collect::<Vec<_>>()
        );
    }

    /// Everything that `nobody` may not read, told by a process of theirs: rights are those of the whole process here.
    #[test]
    fn everything_that_is_denied_is_told_at_once() {
        const VARIABLE: &str = "MOS_TREE_TEST_DENIED";
        if let Some(directory) = std::env::var_os(VARIABLE) {
            let Err(ReadError::Denied(denied)) = read(Path::new(&directory), Options::default()) else {
                panic!("was let in");
            };
            let names: Vec<_> = denied.iter().map(|error| error.path.file_name().unwrap()).collect();
            assert_eq!(names, ["closed", "secret"]);
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let set = |path: &str, mode| fs::set_permissions(directory.path().join(path), fs::Permissions::from_mode(mode));
        fs::create_dir(directory.path().join("closed")).unwrap();
        fs::write(directory.path().join("open"), "x").unwrap();
        fs::write(directory.path().join("secret"), "x").unwrap();
        set("", 0o755).unwrap();
        set("closed", 0o700).unwrap();
        set("secret", 0o600).unwrap();
        if !rustix::process::geteuid().is_root() {
            eprintln!("SKIPPED: needs root");
            return;
        }
        let own = std::env::current_exe().unwrap();
        let copy = directory.path().join("open-test");
        fs::copy(own, &copy).unwrap();
        let status = Command::new("setpriv")
            .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
            .arg(copy)
            .args(["everything_that_is_denied_is_told_at_once", "--test-threads=1"])
            .env(VARIABLE, directory.path())
            .status();
        match status {
            Ok(status) => assert!(status.success()),
            Err(error) => eprintln!("SKIPPED: setpriv: {error}"),
        }
    }
}
