//! A container image out of a registry, into an image layout in a folder (OCI image specification, "Image Layout").

use std::fs;
use std::path::Path;

use mos_architecture::Architecture;
use mos_sys::durable;
use serde::{Deserialize, Serialize};

use crate::choice::Platform;
use crate::client::Registry;
use crate::manifest::MAX_MANIFEST;
use crate::{OciError, Progress, Sha256, Target};

/// What an address may name: a list of images, or one image; of OCI and of Docker.
const ACCEPTED: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json";
/// What a manifest is that does not say so itself.
const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// Largest config or layer, in bytes: each goes through memory.
const MAX_BLOB: u64 = 2 << 30;
const MARK: (&str, &str) = ("oci-layout", "{\"imageLayoutVersion\":\"1.0.0\"}");
const INDEX: &str = "index.json";

/// An index or a manifest, as far as it matters here.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    media_type: Option<String>,
    #[serde(default)]
    manifests: Vec<Descriptor>,
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct Descriptor {
    digest: String,
    size: u64,
    platform: Option<Platform>,
}

/// The index of a layout with one image.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Index {
    schema_version: u32,
    manifests: [Entry; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    media_type: String,
    digest: String,
    size: u64,
}

/// Copies the image for Linux on a processor into a folder; what is there already is not fetched again, and the index
/// is written last. Returns the digest of what the address names, which names the same for ever.
///
/// # Errors
/// [`OciError`]; a later try goes on where this one ended.
pub fn copy(
    registry: &Registry,
    architecture: Architecture,
    folder: &Path,
    progress: &dyn Fn(Progress),
) -> Result<Sha256, OciError> {
    let named = registry.manifest(ACCEPTED, MAX_MANIFEST)?;
    let digest = Sha256::of(&named);
    let mut bytes = named;
    let mut document = parse(registry, &bytes)?;
    if !document.manifests.is_empty() {
        let target = Target::Digest(for_machine(registry, architecture, &document.manifests)?);
        bytes = registry.manifest_at(&target, ACCEPTED, MAX_MANIFEST)?;
        document = parse(registry, &bytes)?;
    }
    let blobs = document.config.iter().chain(&document.layers);
    let mut now = Progress {
        layers: blobs.clone().count() as u64,
        bytes: blobs.clone().map(|blob| blob.size).fold(0, u64::saturating_add),
        ..Progress::default()
    };
    let store = folder.join("blobs/sha256");
    fs::create_dir_all(&store).map_err(OciError::at(&store))?;
    for blob in blobs {
        bring(registry, blob, &store)?;
        now.layers_done += 1;
        now.bytes_done += blob.size;
        progress(now);
    }
    let manifest = Sha256::of(&bytes);
    write(&store.join(manifest.digits()), &bytes)?;
    let index = Index {
        schema_version: 2,
        manifests: [Entry {
            media_type: document.media_type.unwrap_or_else(|| OCI_MANIFEST.to_owned()),
            digest: manifest.to_string(),
            size: bytes.len() as u64,
        }],
    };
    let index = serde_json::to_vec(&index).map_err(|error| registry.refusal("its index", error.to_string()))?;
    write(&folder.join(MARK.0), MARK.1.as_bytes())?;
    write(&folder.join(INDEX), &index)?;
    Ok(digest)
}

fn parse(registry: &Registry, bytes: &[u8]) -> Result<Document, OciError> {
    let document: Document =
        serde_json::from_slice(bytes).map_err(|error| registry.refusal("a manifest", error.to_string()))?;
    match document.manifests.is_empty() && document.config.is_none() {
        true => Err(registry.refusal("a manifest", "it is neither an image nor a list of images")),
        false => Ok(document),
    }
}

fn for_machine(registry: &Registry, architecture: Architecture, images: &[Descriptor]) -> Result<Sha256, OciError> {
    let wanted = Platform::linux(architecture);
    let fits = |image: &&Descriptor| image.platform.as_ref().is_some_and(|platform| wanted.accepts(platform));
    let Some(image) = images.iter().find(fits) else {
        let platforms = images.iter().filter_map(|image| image.platform.as_ref());
        let found: Vec<String> = platforms.map(ToString::to_string).collect();
        let reason = format!("there is none for {wanted}, only for {}", found.join(", "));
        return Err(registry.refusal("an image", reason));
    };
    digest(registry, image)
}

fn digest(registry: &Registry, descriptor: &Descriptor) -> Result<Sha256, OciError> {
    let parsed = descriptor.digest.parse();
    parsed.map_err(|error: String| registry.refusal("a manifest", error))
}

/// Makes sure that the layout has a blob.
fn bring(registry: &Registry, blob: &Descriptor, store: &Path) -> Result<(), OciError> {
    let digest = digest(registry, blob)?;
    if blob.size > MAX_BLOB {
        let reason = format!("it has {} bytes, and {MAX_BLOB} at most are accepted", blob.size);
        return Err(registry.refusal(&format!("blob {digest}"), reason));
    }
    let path = store.join(digest.digits());
    // What a crash left is not under this name; whoever reads it compares the digest.
    if fs::metadata(&path).is_ok_and(|found| found.len() == blob.size) {
        return Ok(());
    }
    write(&path, &registry.blob(&digest, blob.size)?)
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), OciError> {
    durable::write(path, bytes, 0o644).map_err(OciError::at(path))
}
