//! An artefact as a store: content straight from the registry, by ranges.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;

use mos_store::{Read, StoreError};

use crate::manifest::{Contents, Layer, MANIFEST_TYPE, MAX_MANIFEST};
use crate::{OciError, Registry};

/// The blobs of one artefact, under the names that every store has them under. As with every store, callers check what
/// they get.
pub struct Artefact {
    registry: Registry,
    flist: Layer,
    blobs: HashMap<String, Layer>,
}

impl fmt::Debug for Artefact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Artefact({}, {} blobs)", self.address(), self.blobs.len())
    }
}

impl Artefact {
    /// Reads the manifest; the content stays where it is.
    ///
    /// # Errors
    /// [`OciError`].
    pub fn open(registry: Registry) -> Result<Self, OciError> {
        let manifest = registry.manifest(MANIFEST_TYPE, MAX_MANIFEST)?;
        let contents = Contents::parse(&manifest, &registry.reference)?;
        let blobs = contents.blobs.into_iter();
        Ok(Self {
            flist: contents.flist,
            blobs: blobs.map(|layer| (layer.blake3.blob_name(), layer)).collect(),
            registry,
        })
    }

    /// The flist itself, checked.
    ///
    /// # Errors
    /// [`OciError`].
    pub fn flist(&self) -> Result<Vec<u8>, OciError> {
        let bytes = self.registry.blob(&self.flist.sha256, self.flist.length)?;
        match self.flist.blake3.matches(&bytes) {
            true => Ok(bytes),
            false => Err(OciError::Tampered {
                registry: self.registry.reference.registry.clone(),
                what: "the flist, by its BLAKE3,".to_owned(),
            }),
        }
    }

    fn layer(&self, name: &str) -> Result<&Layer, StoreError> {
        self.blobs.get(name).ok_or_else(|| StoreError::NotFound {
            address: self.address(),
            name: name.to_owned(),
        })
    }

    fn failed(&self, name: &str, error: OciError) -> StoreError {
        let address = self.address();
        let name = name.to_owned();
        match error {
            OciError::Unreachable { tries, reason, .. } => StoreError::Unreachable { address, tries, reason },
            OciError::NotFound { .. } => StoreError::NotFound { address, name },
            OciError::Store(error) => error,
            other => StoreError::Refused {
                address,
                name,
                reason: other.to_string(),
            },
        }
    }
}

impl Read for Artefact {
    fn get(&self, name: &str, limit: u64) -> Result<Vec<u8>, StoreError> {
        let layer = self.layer(name)?;
        if layer.length > limit {
            return Err(StoreError::TooLarge {
                address: self.address(),
                name: name.to_owned(),
                limit,
            });
        }
        self.registry
            .blob(&layer.sha256, layer.length)
            .map_err(|error| self.failed(name, error))
    }

    fn get_range(&self, name: &str, range: Range<u64>) -> Result<Vec<u8>, StoreError> {
        let layer = self.layer(name)?;
        let expected = range.end.saturating_sub(range.start);
        let short = |got: u64| StoreError::Short {
            address: self.address(),
            name: name.to_owned(),
            got: got.min(expected),
            expected,
        };
        if range.start > range.end || range.end > layer.length {
            return Err(short(layer.length.saturating_sub(range.start)));
        }
        let bytes = self
            .registry
            .blob_range(&layer.sha256, &range)
            .map_err(|error| self.failed(name, error))?;
        match bytes.len() as u64 == expected {
            true => Ok(bytes),
            false => Err(short(bytes.len() as u64)),
        }
    }

    fn length(&self, name: &str) -> Result<Option<u64>, StoreError> {
        Ok(self.blobs.get(name).map(|layer| layer.length))
    }

    fn address(&self) -> String {
        self.registry.reference.to_string()
    }
}
