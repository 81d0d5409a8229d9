//! The digest of a folder's content.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use mos_cache::Inputs;
use mos_store::Digest;

use crate::error::ComponentError;

/// Marks folders that can be made again, such as cargo's output (bford.info/cachedir).
const CACHE_TAG: &str = "CACHEDIR.TAG";
/// Folders within folders; deeper is a loop or a mistake.
const MAXIMUM_DEPTH: usize = 64;

/// The folder whose content decides what is built: that of the cargo workspace, when the folder is part of one.
pub(crate) fn root(path: &Path) -> PathBuf {
    let is_workspace = |folder: &&Path| {
        let manifest = fs::read_to_string(folder.join("Cargo.toml")).unwrap_or_default();
        manifest.lines().any(|line| line.trim_start().starts_with("[workspace"))
    };
    path.ancestors().find(is_workspace).unwrap_or(path).to_owned()
}

/// Names, execute permission and content of all files below a folder, without version control and without folders that are marked
/// as caches.
pub(crate) fn digest(folder: &Path) -> Result<Digest, ComponentError> {
    Ok(add(Inputs::new("folder", 1), folder, "", 0)?.key())
}

fn add(mut inputs: Inputs, folder: &Path, prefix: &str, depth: usize) -> Result<Inputs, ComponentError> {
    if depth > MAXIMUM_DEPTH {
        let error = io::Error::other(format!("more than {MAXIMUM_DEPTH} folders deep"));
        return Err(ComponentError::at(folder)(error));
    }
    if depth > 0 && folder.join(CACHE_TAG).exists() {
        return Ok(inputs);
    }
    let mut entries = fs::read_dir(folder)
        .and_then(Iterator::collect::<io::Result<Vec<_>>>)
        .map_err(ComponentError::at(folder))?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let (path, name) = (entry.path(), entry.file_name());
        if name == ".git" {
            continue;
        }
        let name = format!("{prefix}{}", name.to_string_lossy());
        let kind = entry.file_type().map_err(ComponentError::at(&path))?;
        if kind.is_dir() {
            inputs = add(inputs, &path, &format!("{name}/"), depth + 1)?;
        } else if kind.is_symlink() {
            let target = fs::read_link(&path).map_err(ComponentError::at(&path))?;
            inputs = inputs.add(&format!("link {name}"), target.as_os_str().as_encoded_bytes());
        } else if kind.is_file() {
            let mode = entry
                .metadata()
                .map_err(ComponentError::at(&path))?
                .permissions()
                .mode();
            let kind = if mode & 0o111 == 0 { "file" } else { "program" };
            inputs = inputs.add_digest(&format!("{kind} {name}"), &file_digest(&path)?);
        }
    }
    Ok(inputs)
}

fn file_digest(path: &Path) -> Result<Digest, ComponentError> {
    Ok(Digest::of(&fs::read(path).map_err(ComponentError::at(path))?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_and_names_count_caches_and_history_do_not() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        fs::create_dir_all(root.join("src")).unwrap();
        fs::write(root.join("src/main.rs"), "fn main() {}").unwrap();
        let first = digest(root).unwrap();

        fs::create_dir_all(root.join("target/debug")).unwrap();
        fs::write(
            root.join("target").join(CACHE_TAG),
            "Signature: 8a477f597d28d172789f06886806bc55",
        )
        .unwrap();
        fs::create_dir_all(root.join(".git")).unwrap();
        fs::write(root.join(".git/HEAD"), "ref").unwrap();
        assert_eq!(digest(root).unwrap(), first);

        fs::rename(root.join("src/main.rs"), root.join("src/lib.rs")).unwrap();
        let renamed = digest(root).unwrap();
        assert_ne!(renamed, first);
        fs::write(root.join("src/lib.rs"), "fn main() { }").unwrap();
        assert_ne!(digest(root).unwrap(), renamed);
    }

    #[test]
    fn a_member_counts_with_its_workspace() {
        let directory = tempfile::tempdir().unwrap();
        let member = directory.path().join("crates/a");
        fs::create_dir_all(&member).unwrap();
        fs::write(member.join("Cargo.toml"), "[package]\nname = \"a\"\n").unwrap();
        assert_eq!(root(&member), member);
        fs::write(directory.path().join("Cargo.toml"), "[workspace]\n").unwrap();
        assert_eq!(root(&member), directory.path());
    }
}
