//! Files from web servers.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use mos_store::{Read, StoreError};
use sha2::{Digest as _, Sha256};

use crate::workshop::Progress;

/// Bytes asked for at once.
const PIECE: u64 = 4 << 20;

/// Why a file did not come.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DownloadError {
    /// The server has no such file.
    #[error("{0} is not there")]
    Missing(String),
    /// It is longer than it may be.
    #[error("{url} has {length} bytes, and {maximum} at most are accepted")]
    TooLong {
        /// The file.
        url: String,
        /// Its length, in bytes.
        length: u64,
        /// The most, in bytes.
        maximum: u64,
    },
    /// It is not what was expected.
    #[error("{url} has SHA-256 {found}, but {expected} is expected")]
    Digest {
        /// The file.
        url: String,
        /// In hex.
        expected: String,
        /// In hex.
        found: String,
    },
    /// The server, or the way to it.
    #[error("{url}: {source}")]
    Store {
        /// The file.
        url: String,
        /// Why.
        source: StoreError,
    },
    /// The file here.
    #[error("{path}: {source}")]
    Io {
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Brings a file of at most `maximum` bytes, piece by piece, so that it is never whole in memory; it gets its name when
/// it is complete and, where a SHA-256 is expected (in hex), has that one. Gives its SHA-256 in hex.
///
/// # Errors
/// See [`DownloadError`]; nothing is left then.
pub fn fetch(
    url: &str,
    file: &Path,
    maximum: u64,
    expected: Option<&str>,
    progress: &mut Progress<'_>,
) -> Result<String, DownloadError> {
    let wrong = |source| DownloadError::Store {
        url: url.to_owned(),
        source,
    };
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| DownloadError::Io { path, source }
    };
    let (base, name) = url.rsplit_once('/').unwrap_or((url, ""));
    progress(&format!("downloading {url}"));
    let store = mos_store::open_read(base).map_err(wrong)?;
    let length = match store.length(name).map_err(wrong)? {
        None => return Err(DownloadError::Missing(url.to_owned())),
        Some(length) if length > maximum => {
            let url = url.to_owned();
            return Err(DownloadError::TooLong { url, length, maximum });
        }
        Some(length) => length,
    };
    if let Some(parent) = file.parent() {
        fs::create_dir_all(parent).map_err(io(parent))?;
    }
    let mut hasher = Sha256::new();
    let (mut failed, mut found) = (None, String::new());
    let written = mos_sys::durable::write_with(file, 0o644, |part| {
        for start in (0..length).step_by(PIECE as usize) {
            let end = length.min(start + PIECE);
            let bytes = store.get_range(name, start..end).map_err(|error| {
                failed = Some(wrong(error));
                io::Error::other("it did not come")
            })?;
            hasher.update(&bytes);
            part.write_all(&bytes)?;
            progress(&format!("downloading {url}: {end} of {length} bytes"));
        }
        found = hex::encode(hasher.finalize_reset());
        match expected.filter(|expected| *expected != found) {
            None => Ok(()),
            Some(expected) => {
                failed = Some(DownloadError::Digest {
                    url: url.to_owned(),
                    expected: expected.to_owned(),
                    found: found.clone(),
                });
                Err(io::Error::other("it is another file"))
            }
        }
    });
    match failed {
        Some(error) => Err(error),
        None => written.map_err(io(file)),
    }?;
    Ok(found)
}

/// The SHA-256 of a file, in hex.
///
/// # Errors
/// Whatever the system says.
pub fn sha256(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex::encode(hasher.finalize())),
            count => hasher.update(&buffer[..count]),
        }
    }
}
