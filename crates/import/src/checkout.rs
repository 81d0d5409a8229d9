//! Reading a checkout: the only step that touches the disk.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// The folders whose files are read, and the file with the build functions. The last one is made by a build: the public keys
/// that packages were checked with.
const PLACES: [&str; 4] = ["config", "configs", crate::FUNCTIONS, crate::BUILT_KEYS];
/// No file of a configuration is larger, in bytes.
const MAXIMUM_FILE: u64 = 4 << 20;
/// No configuration has more files.
const MAXIMUM_FILES: usize = 4096;
/// Nor more folders inside each other.
const MAXIMUM_DEPTH: usize = 8;

/// The files of a checkout that say what is built.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Checkout {
    /// Name of the folder, for a project that is called nothing else.
    pub name: String,
    /// By their paths in the checkout.
    pub files: BTreeMap<String, File>,
}

/// A file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// What is in it.
    pub bytes: Vec<u8>,
    /// Whether its owner may execute it.
    pub executable: bool,
}

/// Why a checkout could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckoutError {
    /// It is something else.
    #[error("{0}: no checkout of mos_builder: it has neither config/packages.list nor config/sources.conf")]
    None(PathBuf),
    /// More, or more of it, than any configuration has.
    #[error("{path}: {reason}")]
    TooMuch {
        /// Where.
        path: PathBuf,
        /// What of.
        reason: &'static str,
    },
    /// A file.
    #[error("{path}: {source}")]
    Io {
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl Checkout {
    /// Reads what counts of a checkout. Symbolic links and what is neither file nor folder are passed over.
    ///
    /// # Errors
    /// [`CheckoutError`].
    pub fn read(directory: &Path) -> Result<Self, CheckoutError> {
        let absolute = directory.canonicalize().map_err(at(directory))?;
        let name = absolute.file_name().map(|name| name.to_string_lossy().into_owned());
        let mut checkout = Self {
            name: name.unwrap_or_default(),
            files: BTreeMap::new(),
        };
        for place in PLACES {
            checkout.add(directory, place, 0)?;
        }
        match checkout.text(crate::PACKAGES).is_some() || checkout.text(crate::SOURCES).is_some() {
            true => Ok(checkout),
            false => Err(CheckoutError::None(directory.to_owned())),
        }
    }

    /// The text of a file; bytes that are no UTF-8 are replaced.
    pub(crate) fn text(&self, path: &str) -> Option<String> {
        let file = self.files.get(path)?;
        Some(String::from_utf8_lossy(&file.bytes).into_owned())
    }

    fn add(&mut self, directory: &Path, place: &str, depth: usize) -> Result<(), CheckoutError> {
        let path = directory.join(place);
        let found = match fs::symlink_metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            found => found.map_err(at(&path))?,
        };
        if found.is_file() {
            let executable = found.permissions().mode() & 0o100 != 0;
            let bytes = read(&path)?;
            self.files.insert(place.to_owned(), File { bytes, executable });
        } else if found.is_dir() {
            for entry in fs::read_dir(&path).map_err(at(&path))? {
                let name = entry.map_err(at(&path))?.file_name();
                if let Some(name) = name.to_str().filter(|name| *name != ".git") {
                    self.add(directory, &format!("{place}/{name}"), depth + 1)?;
                }
            }
        }
        let reason = match (self.files.len() > MAXIMUM_FILES, depth > MAXIMUM_DEPTH) {
            (true, _) => "more than 4096 files, which no configuration has",
            (_, true) => "more than 8 folders inside each other",
            _ => return Ok(()),
        };
        Err(CheckoutError::TooMuch { path, reason })
    }
}

fn read(path: &Path) -> Result<Vec<u8>, CheckoutError> {
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(at(path))?;
    file.take(MAXIMUM_FILE + 1).read_to_end(&mut bytes).map_err(at(path))?;
    match bytes.len() as u64 > MAXIMUM_FILE {
        false => Ok(bytes),
        true => Err(CheckoutError::TooMuch {
            path: path.to_owned(),
            reason: "larger than 4 MiB, which no configuration is",
        }),
    }
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> CheckoutError + use<> {
    let path = path.to_owned();
    move |source| CheckoutError::Io { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_counts_is_read_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("mos_builder");
        assert!(matches!(Checkout::read(&root), Err(CheckoutError::Io { .. })));
        for (path, text) in [
            ("config/my_init/init/a.sh", "#!/bin/sh\n"),
            ("scripts/lib/components.sh", "f() {\n}\n"),
            ("scripts/build.sh", "x"),
            ("dist/vmlinuz.efi", "x"),
        ] {
            fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
            fs::write(root.join(path), text).unwrap();
        }
        fs::set_permissions(root.join("config/my_init/init/a.sh"), fs::Permissions::from_mode(0o755)).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", root.join("config/link")).unwrap();
        assert!(matches!(Checkout::read(&root), Err(CheckoutError::None(_))));
        fs::write(root.join("config/packages.list"), "busybox\n").unwrap();
        let checkout = Checkout::read(&root).unwrap();
        assert_eq!(checkout.name, "mos_builder");
        let paths: Vec<&str> = checkout.files.keys().map(String::as_str).collect();
        assert_eq!(
            paths,
            [
                "config/my_init/init/a.sh",
                "config/packages.list",
                "scripts/lib/components.sh"
            ]
        );
        assert!(checkout.files["config/my_init/init/a.sh"].executable);
        fs::write(root.join("config/packages.list"), vec![b'a'; 5 << 20]).unwrap();
        assert!(matches!(Checkout::read(&root), Err(CheckoutError::TooMuch { .. })));
    }
}
