//! Routes and tags of a file.
//!
//! An edit reads the whole file, changes rows in memory, and writes all of it anew: SQLite would leave a removed
//! password in free pages. The old file stands until the new one is on the disk. Two edits at once: one after the other,
//! by a lock on the file.

use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use crate::catalogue::Rfs;
use crate::database::FILE_LIMIT;
use crate::error::RfsError;
use crate::route::Route;

/// Why a file could not be read or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// The file.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// What it holds.
    #[error("{path}: {source}")]
    Rfs {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: RfsError,
    },
}

impl Rfs {
    /// Reads a file. A journal beside it is not looked at.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn open(path: &Path) -> Result<Self, FileError> {
        let mut file = File::open(path).map_err(wrong(path))?;
        read(&mut file, path)
    }

    /// Writes a file, replacing an older one in one step; it appears under its name when it is on the disk.
    ///
    /// # Errors
    /// [`FileError`], also when a tag or a route was made longer than can be read back; an older file is then untouched.
    pub fn save(&self, path: &Path) -> Result<(), FileError> {
        /// Everybody may read it, as any other file that is made to be given away.
        const MODE: u32 = 0o644;
        write(self, path, MODE)
    }

    /// Takes all routes to this URL away; returns how many there were.
    pub fn remove_routes(&mut self, url: &str) -> usize {
        let routes = self.routes_mut();
        let before = routes.len();
        routes.retain(|route| route.url != url);
        before - routes.len()
    }

    /// Puts other routes in place of all that are there; returns what to warn of.
    pub fn set_routes(&mut self, routes: Vec<Route>) -> Vec<String> {
        let warnings = routes.iter().filter_map(warning).collect();
        *self.routes_mut() = routes;
        warnings
    }
}

/// What everybody who writes this route into an flist should know; `None` when it holds no credential.
pub fn warning(route: &Route) -> Option<String> {
    let encoded = match route.needs_decoding() {
        true => "; rfs and myfs cannot use it, because it has characters that they do not decode",
        false => "",
    };
    route.has_password().then(|| {
        format!(
            "the route {route} puts its key into the flist, readable by everybody who gets the file: it must be one that \
             can only read, and when it is withdrawn every copy of the flist stops working{encoded}; a public bucket or \
             web server behind the route needs no key"
        )
    })
}

/// Changes a file in place: reads it, lets `change` work on it, and replaces it. The permission bits stay.
///
/// # Errors
/// [`FileError`]; the file is then unchanged.
pub fn edit<T>(path: &Path, change: impl FnOnce(&mut Rfs) -> T) -> Result<T, FileError> {
    let mut file = lock(path)?;
    let mut rfs = read(&mut file, path)?;
    let changed = change(&mut rfs);
    let mode = file.metadata().map_err(wrong(path))?.permissions().mode() & 0o7777;
    write(&rfs, path, mode)?;
    Ok(changed)
}

/// Nothing is written that would not be read.
fn write(rfs: &Rfs, path: &Path, mode: u32) -> Result<(), FileError> {
    let bytes = rfs.to_bytes();
    parse(&bytes, path)?;
    mos_sys::durable::write(path, &bytes, mode).map_err(wrong(path))
}

/// Opens a file and waits for whoever edits it. They replace it, so the file behind the lock may be an older one by then.
fn lock(path: &Path) -> Result<File, FileError> {
    loop {
        let file = File::open(path).map_err(wrong(path))?;
        file.lock().map_err(wrong(path))?;
        let (ours, now) = (file.metadata(), std::fs::metadata(path));
        let (ours, now) = (ours.map_err(wrong(path))?, now.map_err(wrong(path))?);
        if (ours.dev(), ours.ino()) == (now.dev(), now.ino()) {
            return Ok(file);
        }
    }
}

fn read(file: &mut File, path: &Path) -> Result<Rfs, FileError> {
    file.rewind().map_err(wrong(path))?;
    let mut bytes = Vec::new();
    // One byte more than is taken, so that a larger file is not mistaken for its beginning.
    file.take(FILE_LIMIT + 1).read_to_end(&mut bytes).map_err(wrong(path))?;
    parse(&bytes, path)
}

fn parse(bytes: &[u8], path: &Path) -> Result<Rfs, FileError> {
    Rfs::parse(bytes).map_err(|source| FileError::Rfs {
        path: path.to_owned(),
        source,
    })
}

fn wrong(path: &Path) -> impl Fn(io::Error) -> FileError + use<> {
    let path = path.to_owned();
    move |source| FileError::Io {
        path: path.clone(),
        source,
    }
}

#[cfg(test)]
#[cfg(feature = "pack")]
mod tests {
    use super::*;
    use crate::{PackOptions, Targets, pack};
    use std::sync::Arc;

    const SECRET: &str = "writers-password";

    fn packed() -> Rfs {
        let mut targets = Targets::default();
        let url = format!("s3://WRITER:{SECRET}@h:9000/blobs?region=garage");
        targets.add(
            Route::everywhere(url),
            crate::Layout::Flat,
            Arc::new(mos_store::Memory::new()),
        );
        let options = PackOptions {
            strip_password: false,
            ..PackOptions::default()
        };
        let mut tree = mos_tree::Tree::default();
        tree.insert_file("etc/hostname", 0o644, "node").unwrap();
        pack(&tree, &targets, &options).unwrap().rfs
    }

    #[test]
    fn an_edit_keeps_everything_else_and_leaves_no_byte_of_a_removed_password() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.fl");
        packed().save(&path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        let contains = |text: &str| {
            std::fs::read(&path)
                .unwrap()
                .windows(text.len())
                .any(|at| at == text.as_bytes())
        };
        assert!(contains(SECRET));
        let before = Rfs::open(&path).unwrap();

        let reader = Route::everywhere("s3://READ:READ@h:9000/blobs?region=garage");
        let warnings = edit(&path, |rfs| {
            rfs.tags_mut().insert("version".into(), "2".into());
            rfs.set_routes(vec![reader.clone()])
        });
        assert!(warnings.unwrap()[0].contains("s3://***:***@h:9000"));
        let after = Rfs::open(&path).unwrap();
        assert_eq!(after.routes(), [reader]);
        assert_eq!(after.tags()["version"], "2");
        assert!(
            after
                .entries()
                .map(|entry| entry.path)
                .eq(before.entries().map(|entry| entry.path))
        );
        assert_eq!(after.blocks(), before.blocks());
        assert!(!contains(SECRET) && contains("READ"));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn edits_at_once_come_one_after_the_other() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.fl");
        packed().save(&path).unwrap();
        std::thread::scope(|scope| {
            for number in 0..8 {
                let path = &path;
                scope.spawn(move || {
                    edit(path, |rfs| rfs.tags_mut().insert(format!("t{number}"), String::new())).unwrap()
                });
            }
        });
        assert_eq!(Rfs::open(&path).unwrap().tags().len(), 8);
    }

    #[test]
    fn routes_are_removed_by_url_and_a_public_one_needs_no_warning() {
        let mut rfs = packed();
        let url = rfs.routes()[0].url.clone();
        assert_eq!(rfs.remove_routes("dir:///other"), 0);
        assert_eq!(rfs.remove_routes(&url), 1);
        assert_eq!(rfs.set_routes(vec![Route::everywhere("https://h/blobs")]), [""; 0]);
        let decoded = |url: &str| warning(&Route::everywhere(url)).unwrap().contains("do not decode");
        assert!(decoded("s3://K:a%2Fb@h:1/b") && !decoded("s3://K:ab@h:1/%20"));
    }

    #[test]
    fn nothing_is_written_that_would_not_be_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.fl");
        packed().save(&path).unwrap();
        let before = std::fs::read(&path).unwrap();
        let error = edit(&path, |rfs| rfs.tags_mut().insert("long".into(), "x".repeat(5000))).unwrap_err();
        assert!(error.to_string().contains("longer than 4096"), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), before);
    }

    #[test]
    fn a_file_that_cannot_be_read_is_named_and_untouched() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.fl");
        std::fs::write(&path, "no database").unwrap();
        let error = edit(&path, |_| ()).unwrap_err().to_string();
        assert!(error.contains("a.fl: not an rfs flist"), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), b"no database");
        assert!(matches!(
            Rfs::open(&directory.path().join("b.fl")),
            Err(FileError::Io { .. })
        ));
    }
}
