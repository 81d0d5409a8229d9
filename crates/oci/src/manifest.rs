//! The manifest of an artefact (OCI image specification 1.1, "Guidelines for Artifact Usage"). Pure.

use std::collections::BTreeMap;

use mos_store::Digest;
use serde::{Deserialize, Serialize};

use crate::{OciError, Reference, Sha256};

/// What an artefact is when it holds an flist; also the type of the layer that is the flist itself.
pub const ARTIFACT_TYPE: &str = "application/vnd.mos.flist.v2";
/// The type of the layer that is the flist.
pub const FLIST_TYPE: &str = ARTIFACT_TYPE;
/// The type of the layers that are blobs.
pub const BLOB_TYPE: &str = "application/vnd.mos.blob.v2";
/// The type of the manifest.
pub(crate) const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
/// Longest manifest: what registries take at least and most take at most (distribution specification, "Pushing Manifests").
pub(crate) const MAX_MANIFEST: u64 = 4 << 20;
/// Largest flist that is pulled, in bytes.
const MAX_FLIST: u64 = 1 << 30;
/// Largest blob, in bytes: what readers of flists take.
const MAX_BLOB: u64 = 64 << 20;

/// The config that is none ("Guidance for an Empty Descriptor").
pub(crate) const EMPTY: &[u8] = b"{}";
const EMPTY_TYPE: &str = "application/vnd.oci.empty.v1+json";
/// The BLAKE3-256 of a layer, in hexadecimal digits.
const BLAKE3: &str = "vnd.mos.blake3";
/// Where a client that knows nothing of us puts a layer.
const TITLE: &str = "org.opencontainers.image.title";
const FLIST_TITLE: &str = "flist.fl";

/// One layer that we know how to check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layer {
    pub(crate) sha256: Sha256,
    pub(crate) blake3: Digest,
    pub(crate) length: u64,
}

/// What a manifest says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Contents {
    pub(crate) flist: Layer,
    /// In the order of the flist.
    pub(crate) blobs: Vec<Layer>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    schema_version: u32,
    #[serde(default)]
    media_type: String,
    #[serde(default)]
    artifact_type: String,
    config: Descriptor,
    layers: Vec<Descriptor>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: String,
    digest: String,
    size: u64,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
}

impl Contents {
    /// The manifest's bytes: the same for the same contents.
    ///
    /// # Errors
    /// [`OciError::TooManyBlobs`].
    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>, OciError> {
        let flist = descriptor(FLIST_TYPE, &self.flist, FLIST_TITLE.to_owned());
        let blobs = self
            .blobs
            .iter()
            .map(|blob| descriptor(BLOB_TYPE, blob, blob.blake3.blob_name()));
        let manifest = Manifest {
            schema_version: 2,
            media_type: MANIFEST_TYPE.to_owned(),
            artifact_type: ARTIFACT_TYPE.to_owned(),
            config: Descriptor {
                media_type: EMPTY_TYPE.to_owned(),
                digest: Sha256::of(EMPTY).to_string(),
                size: EMPTY.len() as u64,
                annotations: BTreeMap::new(),
            },
            layers: std::iter::once(flist).chain(blobs).collect(),
        };
        let bytes = serde_json::to_vec(&manifest).expect("text keys and plain values are always JSON");
        match bytes.len() as u64 <= MAX_MANIFEST {
            true => Ok(bytes),
            false => Err(OciError::TooManyBlobs {
                bytes: bytes.len(),
                limit: MAX_MANIFEST,
            }),
        }
    }

    /// Reads a manifest that may come from anybody.
    ///
    /// # Errors
    /// [`OciError::NotAnFlist`].
    pub(crate) fn parse(bytes: &[u8], reference: &Reference) -> Result<Self, OciError> {
        parse(bytes).map_err(|why| OciError::NotAnFlist {
            reference: reference.to_string(),
            why,
        })
    }

    /// Every layer, the flist first.
    pub(crate) fn layers(&self) -> impl Iterator<Item = &Layer> {
        std::iter::once(&self.flist).chain(&self.blobs)
    }
}

fn descriptor(media_type: &str, layer: &Layer, title: String) -> Descriptor {
    let annotations = [(BLAKE3.to_owned(), layer.blake3.to_string()), (TITLE.to_owned(), title)];
    Descriptor {
        media_type: media_type.to_owned(),
        digest: layer.sha256.to_string(),
        size: layer.length,
        annotations: annotations.into(),
    }
}

fn parse(bytes: &[u8]) -> Result<Contents, String> {
    let manifest: Manifest = serde_json::from_slice(bytes).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        format!("its manifest is not one of an OCI artefact (line {line}, column {column})")
    })?;
    if manifest.artifact_type != ARTIFACT_TYPE {
        let found = match manifest.artifact_type.as_str() {
            "" => &manifest.config.media_type,
            other => other,
        };
        return Err(format!(
            "it is `{}`; flists are `{ARTIFACT_TYPE}`",
            found.escape_debug()
        ));
    }
    let mut layers = manifest.layers.iter();
    let first = layers.next().ok_or("it has no layers")?;
    let contents = Contents {
        flist: layer(first, FLIST_TYPE, MAX_FLIST)?,
        blobs: layers
            .map(|found| layer(found, BLOB_TYPE, MAX_BLOB))
            .collect::<Result<_, _>>()?,
    };
    Ok(contents)
}

fn layer(found: &Descriptor, media_type: &str, limit: u64) -> Result<Layer, String> {
    let digest = found.digest.escape_debug();
    if found.media_type != media_type {
        return Err(format!(
            "layer {digest} is `{}` instead of `{media_type}`",
            found.media_type.escape_debug()
        ));
    }
    if found.size > limit {
        return Err(format!(
            "layer {digest} has {} bytes; at most {limit} are read",
            found.size
        ));
    }
    let blake3 = found
        .annotations
        .get(BLAKE3)
        .ok_or_else(|| format!("layer {digest} has no annotation {BLAKE3}"))?;
    Ok(Layer {
        sha256: found.digest.parse()?,
        blake3: blake3
            .parse()
            .map_err(|error: String| error.escape_debug().to_string())?,
        length: found.size,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn layer_of(bytes: &[u8]) -> Layer {
        Layer {
            sha256: Sha256::of(bytes),
            blake3: Digest::of(bytes),
            length: bytes.len() as u64,
        }
    }

    fn sample() -> Contents {
        Contents {
            flist: layer_of(b"flist"),
            blobs: vec![layer_of(b"one"), layer_of(b"two")],
        }
    }

    #[test]
    fn written_as_the_specification_says_and_read_back() {
        let bytes = sample().to_bytes().unwrap();
        let value: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(value["schemaVersion"], 2);
        assert_eq!(value["mediaType"], MANIFEST_TYPE);
        assert_eq!(value["artifactType"], ARTIFACT_TYPE);
        assert_eq!(value["config"]["mediaType"], EMPTY_TYPE);
        assert_eq!(value["layers"][1]["annotations"][TITLE], Digest::of(b"one").blob_name());
        assert_eq!(parse(&bytes), Ok(sample()));
    }

    #[test]
    fn what_is_no_flist_is_refused() {
        let text = String::from_utf8(sample().to_bytes().unwrap()).unwrap();
        let image = r#"{"schemaVersion":2,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"x","size":1},"layers":[]}"#;
        for (text, why) in [
            ("{}".to_owned(), "not one of an OCI artefact"),
            (image.to_owned(), "it is `application/vnd.oci.image.config.v1+json`"),
            (text.replace(BLOB_TYPE, "text/plain"), "is `text/plain` instead"),
            (text.replace("\"size\":3", "\"size\":99999999999"), "at most"),
            (text.replace(BLAKE3, "other"), "has no annotation"),
            (text.replace("sha256:", "sha512:"), "is not sha256:"),
        ] {
            let error = parse(text.as_bytes()).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn too_many_blobs_are_refused_before_anything_is_sent() {
        let blobs = vec![layer_of(b"x"); 20_000];
        let error = Contents {
            flist: layer_of(b"f"),
            blobs,
        }
        .to_bytes()
        .unwrap_err();
        assert!(matches!(error, OciError::TooManyBlobs { .. }));
    }

    proptest! {
        #[test]
        fn damaged_manifests_never_panic(at in 0..1000_usize, byte: u8) {
            let mut bytes = sample().to_bytes().unwrap();
            let at = at % bytes.len();
            bytes[at] = byte;
            let _ = parse(&bytes);
        }
    }
}
