//! A new config repository: a copy of `examples/quickstart`, which is therefore always one that is tested.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use mos_toml::Problems;

use crate::names::check_name;

/// Files of an example, by path.
macro_rules! files {
    ($folder:literal: $($path:literal),* $(,)?) => {
        &[$(($path, include_bytes!(concat!("../../../examples/", $folder, "/", $path)))),*]
    };
}

const FILES: &[(&str, &[u8])] = files!["quickstart":
    ".gitignore",
    "README.md",
    "access/developers.toml",
    "access/operators.toml",
    "components/node-metrics.toml",
    "components/web.toml",
    "environments/dev.toml",
    "environments/production.toml",
    "files/web/index.html",
    "files/web/web.toml",
    "image/files/etc/motd",
    "image/modules.conf",
    "image/packages.list",
    "mos.toml",
    "repos/node-metrics.bundle",
    "services/mosnet.service.toml",
    "services/node-metrics.service.toml",
    "services/ready.service.toml",
    "services/runtime-fetch.service.toml",
    "services/runtime-watch.service.toml",
    "services/state.service.toml",
    "services/web.service.toml",
];

/// The services that every image has: their paths in a config repository, and what they say.
pub const IMAGE_SERVICES: &[(&str, &[u8])] = files!["quickstart":
    "services/mosnet.service.toml",
    "services/ready.service.toml",
    "services/runtime-fetch.service.toml",
    "services/runtime-watch.service.toml",
    "services/state.service.toml",
];
/// The public keys with which Alpine signs its packages for x86_64: their paths in a config repository, and what they say.
pub const ALPINE_KEYS: &[(&str, &[u8])] = files!["alpine":
    "keys/alpine/alpine-devel@lists.alpinelinux.org-4a6a0840.rsa.pub",
    "keys/alpine/alpine-devel@lists.alpinelinux.org-5243ef4b.rsa.pub",
    "keys/alpine/alpine-devel@lists.alpinelinux.org-5261cecb.rsa.pub",
    "keys/alpine/alpine-devel@lists.alpinelinux.org-6165ee59.rsa.pub",
    "keys/alpine/alpine-devel@lists.alpinelinux.org-61666e3f.rsa.pub",
];
/// How `mos.toml` of the example names the project.
const EXAMPLE_NAME: &str = "name = \"quickstart\"";

/// Why a repository was not made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScaffoldError {
    /// Something is there already.
    #[error("{0}: not empty\n  hint: choose a new directory")]
    NotEmpty(PathBuf),
    /// A file that would be written.
    #[error("{0}: there already")]
    Exists(PathBuf),
    /// The project's name.
    #[error("{0}")]
    Name(String),
    /// A file.
    #[error("{path}: {source}")]
    Io {
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Writes a new config repository into a directory that is empty or missing. Returns the paths written, relative to
/// it. A crash half-way leaves the files written so far.
///
/// # Errors
/// [`ScaffoldError`].
pub fn scaffold(directory: &Path, name: &str) -> Result<Vec<&'static str>, ScaffoldError> {
    let problems = Problems::default();
    check_name(&problems, "a project", name, None);
    if problems.any_error() {
        return Err(ScaffoldError::Name(problems.to_string()));
    }
    if !is_vacant(directory).map_err(at(directory))? {
        return Err(ScaffoldError::NotEmpty(directory.to_owned()));
    }
    for (path, content) in FILES {
        let target = directory.join(path);
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent).map_err(at(parent))?;
        }
        if *path == "mos.toml" {
            let text = String::from_utf8_lossy(content).replacen(EXAMPLE_NAME, &format!("name = \"{name}\""), 1);
            fs::write(&target, text).map_err(at(&target))?;
        } else {
            fs::write(&target, content).map_err(at(&target))?;
        }
    }
    Ok(FILES.iter().map(|(path, _)| *path).collect())
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> ScaffoldError + use<> {
    let path = path.to_owned();
    move |source| ScaffoldError::Io { path, source }
}

fn is_vacant(directory: &Path) -> io::Result<bool> {
    match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        entries => Ok(entries?.next().is_none()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_repository_is_valid_and_carries_its_name() {
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("lab");
        let written = scaffold(&directory, "lab").unwrap();
        assert!(written.contains(&"mos.toml"));
        let repository = crate::load(&directory).unwrap().valid(None).unwrap();
        assert_eq!(repository.project.name.value, "lab");
    }

    #[test]
    fn nothing_is_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("note"), "mine").unwrap();
        assert!(matches!(
            scaffold(directory.path(), "lab"),
            Err(ScaffoldError::NotEmpty(_))
        ));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        assert!(matches!(
            scaffold(directory.path(), "../x"),
            Err(ScaffoldError::Name(_))
        ));
    }

    #[test]
    fn the_copy_is_complete() {
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/quickstart");
        let mut found = Vec::new();
        collect(&example, &example, &mut found);
        found.sort();
        let ours: Vec<String> = FILES.iter().map(|(path, _)| (*path).to_owned()).collect();
        assert_eq!(found, ours);
    }

    /// Files of the example that belong to it: not keys, locks or outputs that somebody made while trying it.
    fn collect(root: &Path, directory: &Path, found: &mut Vec<String>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            if path.is_dir() {
                if !["keys", "dist"].contains(&name.as_str()) {
                    collect(root, &path, found);
                }
            } else if name != crate::LOCK_FILE {
                found.push(name);
            }
        }
    }
}
