//! What a release is made of, on the machine that publishes it.

use super::PublishError;
use crate::metadata::{Blob, Flist, Sha256, Trust};
use jiff::{SignedDuration, Timestamp};
use mos_store::Digest;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

/// Bytes read at a time.
const BUFFER: usize = 256 << 10;

/// What a release is to be made of.
#[derive(Clone, Debug)]
pub struct Inputs {
    /// The environment, and the keys that its nodes trust.
    pub trust: Trust,
    /// The boot image.
    pub boot: Boot,
    /// The flists, in any order.
    pub flists: Vec<FlistFile>,
    /// The floor below which nodes never go back; 0 keeps the present one.
    pub minimum_sequence: u64,
    /// The time to declare as the release's creation.
    pub now: Timestamp,
    /// How long it is valid.
    pub validity: SignedDuration,
}

/// A boot image on this machine.
#[derive(Clone, Debug)]
pub struct Boot {
    /// The file.
    pub file: PathBuf,
    /// Bytes.
    pub length: u64,
    /// SHA-256 of the file.
    pub sha256: Sha256,
    /// BLAKE3-256 of the file.
    pub blake3: Digest,
}

/// An flist on this machine.
#[derive(Clone, Debug)]
pub struct FlistFile {
    /// The component.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The file.
    pub file: PathBuf,
    /// Bytes.
    pub length: u64,
    /// SHA-256 of the file.
    pub sha256: Sha256,
    /// BLAKE3-256 of the file.
    pub blake3: Digest,
    /// The blobs that it needs.
    pub blobs: Vec<Blob>,
}

impl Boot {
    /// Measures a boot image.
    ///
    /// # Errors
    /// [`PublishError::Io`].
    pub fn read(file: &Path) -> Result<Self, PublishError> {
        let (length, sha256, blake3) = measure(file)?;
        Ok(Self {
            file: file.into(),
            length,
            sha256,
            blake3,
        })
    }
}

impl FlistFile {
    /// Measures an flist.
    ///
    /// # Errors
    /// [`PublishError::Io`].
    pub fn read(name: &str, version: &str, file: &Path, blobs: Vec<Blob>) -> Result<Self, PublishError> {
        let (length, sha256, blake3) = measure(file)?;
        Ok(Self {
            name: name.into(),
            version: version.into(),
            file: file.into(),
            length,
            sha256,
            blake3,
            blobs,
        })
    }

    /// What the release says of it.
    pub(super) fn entry(&self) -> Flist {
        Flist {
            name: self.name.clone(),
            version: self.version.clone(),
            path: Flist::path_of(&self.blake3),
            length: self.length,
            sha256: self.sha256,
            blake3: self.blake3,
            blobs: self.blobs.clone(),
        }
    }
}

/// Length and digests of a file, read once.
fn measure(path: &Path) -> Result<(u64, Sha256, Digest), PublishError> {
    measure_file(path).map_err(|source| PublishError::Io {
        path: path.display().to_string(),
        source,
    })
}

fn measure_file(path: &Path) -> io::Result<(u64, Sha256, Digest)> {
    use sha2::Digest as _;
    let mut file = File::open(path)?;
    let (mut length, mut sha256, mut blake3) = (0, sha2::Sha256::new(), blake3::Hasher::new());
    let mut buffer = vec![0; BUFFER];
    loop {
        let got = file.read(&mut buffer)?;
        if got == 0 {
            return Ok((
                length,
                Sha256::from(<[u8; 32]>::from(sha256.finalize())),
                (*blake3.finalize().as_bytes()).into(),
            ));
        }
        length += got as u64;
        sha256.update(&buffer[..got]);
        blake3.update(&buffer[..got]);
    }
}
