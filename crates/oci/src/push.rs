//! An flist and its blobs into a registry.
//!
//! Blobs first, then the flist, then the manifest: a crash leaves layers that no tag names, which the registry collects,
//! never a tag whose layers are missing.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use mos_store::{Digest, Read};

use crate::manifest::{Contents, EMPTY, Layer, MANIFEST_TYPE, MAX_MANIFEST};
use crate::{OciError, Progress, Registry, Sha256, workers};

/// What is pushed.
#[derive(Clone, Copy, Debug)]
pub struct Content<'c> {
    /// The flist's bytes.
    pub flist: &'c [u8],
    /// Every blob that it names, with its length in bytes.
    pub blobs: &'c [(Digest, u64)],
}

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pushed {
    /// The manifest's digest: the address that never changes its meaning.
    pub manifest: Sha256,
    /// Layers in all.
    pub layers: u64,
    /// Bytes in all layers.
    pub bytes: u64,
    /// Layers that the repository did not have.
    pub sent_layers: u64,
    /// Bytes of those.
    pub sent_bytes: u64,
}

/// Puts an flist and its blobs, read from `store`, into a registry, and names them by the tag of its address.
///
/// # Errors
/// [`OciError`]; what was sent until then stays, and the next try finds it there.
pub fn push(
    content: Content<'_>,
    store: &dyn Read,
    registry: &Registry,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Pushed, OciError> {
    let flist_length = content.flist.len() as u64;
    let push = Push {
        store,
        registry,
        known: known(registry)?,
        progress,
        now: Mutex::new(Progress {
            layers: content.blobs.len() as u64 + 1,
            bytes: content.blobs.iter().map(|(_, length)| length).sum::<u64>() + flist_length,
            ..Progress::default()
        }),
    };
    let mut sent = workers::each(content.blobs, registry.options.parallel, |blob| push.blob(blob))?;
    let flist = Layer {
        sha256: Sha256::of(content.flist),
        blake3: Digest::of(content.flist),
        length: flist_length,
    };
    sent.push((flist, push.send(&flist, content.flist)?));
    let contents = Contents {
        flist,
        blobs: sent[..content.blobs.len()].iter().map(|(layer, _)| *layer).collect(),
    };
    let manifest = contents.to_bytes()?;
    let empty = Sha256::of(EMPTY);
    if registry.blob_length(&empty)?.is_none() {
        registry.put_blob(&empty, EMPTY)?;
    }
    registry.put_manifest(MANIFEST_TYPE, &manifest)?;
    let new = sent.iter().filter(|(_, new)| *new);
    Ok(Pushed {
        manifest: Sha256::of(&manifest),
        layers: sent.len() as u64,
        bytes: sent.iter().map(|(layer, _)| layer.length).sum(),
        sent_layers: new.clone().count() as u64,
        sent_bytes: new.map(|(layer, _)| layer.length).sum(),
    })
}

struct Push<'p> {
    store: &'p dyn Read,
    registry: &'p Registry,
    known: HashMap<Digest, Layer>,
    progress: &'p (dyn Fn(Progress) + Sync),
    now: Mutex<Progress>,
}

impl Push<'_> {
    /// Makes sure that the registry has a blob; says whether it had to be sent.
    fn blob(&self, (blake3, length): &(Digest, u64)) -> Result<(Layer, bool), OciError> {
        // What the tag named before has told us its SHA-256, so that it need not be read.
        if let Some(layer) = self.known.get(blake3).filter(|layer| layer.length == *length)
            && self.registry.blob_length(&layer.sha256)? == Some(*length)
        {
            self.done(*length);
            return Ok((*layer, false));
        }
        let bytes = self.store.get(&blake3.blob_name(), *length)?;
        if bytes.len() as u64 != *length || !blake3.matches(&bytes) {
            return Err(OciError::DamagedBlob {
                store: self.store.address(),
                blob: *blake3,
            });
        }
        let layer = Layer {
            sha256: Sha256::of(&bytes),
            blake3: *blake3,
            length: *length,
        };
        let sent = self.send(&layer, &bytes)?;
        Ok((layer, sent))
    }

    /// Sends a layer unless it is there; says which.
    fn send(&self, layer: &Layer, bytes: &[u8]) -> Result<bool, OciError> {
        let missing = self.registry.blob_length(&layer.sha256)?.is_none();
        if missing {
            self.registry.put_blob(&layer.sha256, bytes)?;
        }
        self.done(layer.length);
        Ok(missing)
    }

    fn done(&self, bytes: u64) {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        now.layers_done += 1;
        now.bytes_done += bytes;
        (self.progress)(*now);
    }
}

/// The blobs of what the address names now, by BLAKE3; nothing when it names nothing of ours. A registry that lies here
/// makes an artefact that [`crate::pull`] refuses.
fn known(registry: &Registry) -> Result<HashMap<Digest, Layer>, OciError> {
    let contents = match registry.manifest(MANIFEST_TYPE, MAX_MANIFEST) {
        Ok(bytes) => Contents::parse(&bytes, &registry.reference).ok(),
        Err(OciError::NotFound { .. }) => None,
        Err(error) => return Err(error),
    };
    let blobs = contents.into_iter().flat_map(|contents| contents.blobs);
    Ok(blobs.map(|layer| (layer.blake3, layer)).collect())
}
