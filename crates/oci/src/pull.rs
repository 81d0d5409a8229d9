//! An flist and its blobs out of a registry.

use std::sync::{Mutex, PoisonError};

use mos_store::Write;

use crate::manifest::{Contents, Layer, MANIFEST_TYPE, MAX_MANIFEST};
use crate::{OciError, Progress, Registry, Sha256, workers};

/// What was pulled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pulled {
    /// The flist's bytes, which nobody has parsed yet. Its blobs are in the store.
    pub flist: Vec<u8>,
    /// The manifest's digest.
    pub manifest: Sha256,
    /// Every blob of the manifest: its name and its length in bytes.
    pub blobs: Vec<(mos_store::Digest, u64)>,
    /// Layers that the store did not have, the flist included.
    pub fetched_layers: u64,
    /// Bytes of those.
    pub fetched_bytes: u64,
}

/// Fetches what an address names: the blobs that are missing into `store`, each checked before it is put there, then the
/// flist. Uses memory for a few blobs.
///
/// # Errors
/// [`OciError`]; blobs that were put before stay in the store, and the next try finds them there.
pub fn pull(registry: &Registry, store: &dyn Write, progress: &(dyn Fn(Progress) + Sync)) -> Result<Pulled, OciError> {
    let manifest = registry.manifest(MANIFEST_TYPE, MAX_MANIFEST)?;
    let contents = Contents::parse(&manifest, &registry.reference)?;
    let pull = Pull {
        registry,
        store,
        progress,
        now: Mutex::new(Progress {
            layers: contents.blobs.len() as u64 + 1,
            bytes: contents.layers().map(|layer| layer.length).fold(0, u64::saturating_add),
            ..Progress::default()
        }),
    };
    let fetched = workers::each(&contents.blobs, registry.options.parallel, |layer| pull.blob(layer))?;
    let flist = pull.fetch(&contents.flist)?;
    let fetched: Vec<&Layer> = contents
        .blobs
        .iter()
        .zip(fetched)
        .filter_map(|(layer, new)| new.then_some(layer))
        .collect();
    Ok(Pulled {
        manifest: Sha256::of(&manifest),
        blobs: contents
            .blobs
            .iter()
            .map(|layer| (layer.blake3, layer.length))
            .collect(),
        fetched_layers: fetched.len() as u64 + 1,
        fetched_bytes: fetched.iter().map(|layer| layer.length).sum::<u64>() + flist.len() as u64,
        flist,
    })
}

struct Pull<'p> {
    registry: &'p Registry,
    store: &'p dyn Write,
    progress: &'p (dyn Fn(Progress) + Sync),
    now: Mutex<Progress>,
}

impl Pull<'_> {
    /// Makes sure that the store has a blob; says whether it had to be fetched.
    fn blob(&self, layer: &Layer) -> Result<bool, OciError> {
        let name = layer.blake3.blob_name();
        if self.store.length(&name)? == Some(layer.length) {
            self.done(layer.length);
            return Ok(false);
        }
        let bytes = self.fetch(layer)?;
        self.store.put(&name, &bytes)?;
        Ok(true)
    }

    fn fetch(&self, layer: &Layer) -> Result<Vec<u8>, OciError> {
        let bytes = self.registry.blob(&layer.sha256, layer.length)?;
        if !layer.blake3.matches(&bytes) {
            return Err(OciError::Tampered {
                registry: self.registry.reference.registry.clone(),
                what: format!("layer {}, by its BLAKE3,", layer.sha256),
            });
        }
        self.done(layer.length);
        Ok(bytes)
    }

    fn done(&self, bytes: u64) {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        now.layers_done += 1;
        now.bytes_done += bytes;
        (self.progress)(*now);
    }
}
