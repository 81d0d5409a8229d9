//! Where a packer writes to: whether it can, and whether that lies in what it packs.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use crate::error::{CliError, Result, io};

/// Sees whether a file can be written, before hours of work are lost because it cannot.
pub(super) fn check_output(path: &Path) -> Result<()> {
    if path.is_dir() {
        let message = format!("{}: a folder; the flist needs a name in it", path.display());
        return Err(CliError::usage(message));
    }
    access(folder_of(path), Access::WRITE_OK | Access::EXEC_OK).map_err(|error| io(path)(error.into()))
}

/// The paths in the tree of a folder that these files and folders have, if they are there already: a tree that held the
/// store that it is packed into would never come out the same again.
pub(super) fn within(folder: &Path, written: impl Iterator<Item = PathBuf>) -> Vec<Vec<u8>> {
    let Ok(folder) = fs::canonicalize(folder) else {
        return Vec::new();
    };
    let path = |written: PathBuf| {
        let there = real(&written).filter(|path| path.symlink_metadata().is_ok())?;
        let path = there.strip_prefix(&folder).ok()?.as_os_str().as_bytes().to_owned();
        (!path.is_empty()).then_some(path)
    };
    let mut found: Vec<_> = written.filter_map(path).collect();
    found.sort_unstable();
    found.dedup();
    found
}

/// What to do about a path in the tree of a folder that makes trouble, when something else is mounted there: /proc and /sys
/// are never still, and some of what they show cannot be read.
pub(super) fn other_file_system(folder: &Path, path: &Path) -> Option<String> {
    let there = path.ancestors().find_map(|path| path.symlink_metadata().ok())?;
    let same = there.dev() == fs::metadata(folder).ok()?.dev();
    (!same).then(|| "another file system is mounted there: --one-file-system leaves it out".to_owned())
}

/// The path without symbolic links on the way; the last name is that which is replaced.
fn real(path: &Path) -> Option<PathBuf> {
    let folder = fs::canonicalize(folder_of(path)).ok()?;
    Some(folder.join(path.file_name()?))
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_in_the_folder_is_found_by_any_name() {
        let room = tempfile::tempdir().unwrap();
        let tree = room.path().join("tree");
        fs::create_dir_all(tree.join("deep/store")).unwrap();
        fs::write(tree.join("x.fl"), "").unwrap();
        std::os::unix::fs::symlink(&tree, room.path().join("link")).unwrap();
        let found = |written: &[&str]| within(&tree, written.iter().map(|name| room.path().join(name)));
        assert_eq!(
            found(&["link/x.fl", "tree/../tree/deep/store", "tree/x.fl"]),
            [&b"deep/store"[..], b"x.fl"]
        );
        assert!(found(&["tree", "other", "tree/absent", "nowhere/x"]).is_empty());
    }

    #[test]
    fn a_place_that_cannot_be_written_is_named() {
        let room = tempfile::tempdir().unwrap();
        assert!(check_output(&room.path().join("x.fl")).is_ok());
        assert!(check_output(room.path()).is_err());
        let error = check_output(&room.path().join("absent/x.fl")).unwrap_err();
        assert!(error.to_string().contains("absent/x.fl"), "{error}");
    }
}
