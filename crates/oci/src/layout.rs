//! Images in a folder or an archive (OCI image specification 1.1, "OCI Image Layout"), as `skopeo copy … oci:DIR` and
//! `docker buildx build --output type=oci` write them.
//!
//! Nothing is believed: every file of `blobs/` is checked against the SHA-256 and the length of the descriptor that
//! named it, and each layer also against its `diff_id` once it is decompressed. Whoever reads a layer does so through
//! [`Hashing`], so that large ones need not be read twice.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use mos_tree::Content;
use serde::Deserialize;
use sha2::Digest as _;

use crate::choice::{Candidate, Choice, Platform, choose};
use crate::files::{Files, Form, parse};
use crate::{Sha256, docker};

/// The file that makes a folder an image layout.
pub(crate) const MARK: &str = "oci-layout";
/// Where its images are named.
pub(crate) const INDEX: &str = "index.json";
/// The only version that there is.
const VERSION: &str = "1.0.0";
/// How deep indexes may name indexes.
const MAX_DEPTH: u32 = 4;
/// Most documents that an index may lead to, those counted again that it leads to twice.
pub(crate) const MAX_DOCUMENTS: usize = 1000;
/// Most layers of an image; Docker takes 127.
const MAX_LAYERS: usize = 500;
/// How an index says what an image in it is called (OCI image specification 1.1, "Pre-Defined Annotation Keys").
const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// How containerd and Docker say the whole of it, of which the above is then the tag.
const FULL_NAME: &str = "io.containerd.image.name";
/// What the config of an image is called; what else has a manifest (signatures, flists) is no image.
const CONFIG_TYPES: [&str; 2] = [
    "application/vnd.oci.image.config.v1+json",
    "application/vnd.docker.container.image.v1+json",
];

/// Why an image could not be taken from a folder or an archive.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LayoutError {
    /// A file cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file that says something else than it should.
    #[error("{}: {why}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A file that is not what its name says: a trust failure.
    #[error("{}: is not {expected}: the image is damaged or was tampered with; copy it again", path.display())]
    Tampered {
        /// The file.
        path: PathBuf,
        /// The digest that it should have.
        expected: Sha256,
    },
    /// None, or more than one, of the images is the one that was asked for.
    #[error("{}: {count} images are {wanted}; there are: {found}", path.display())]
    Choice {
        /// The folder or the archive.
        path: PathBuf,
        /// How many fit.
        count: usize,
        /// What was looked for.
        wanted: String,
        /// What there is.
        found: String,
    },
}

/// One layer of an image, lowest first.
#[derive(Clone, Debug)]
pub struct ImageLayer {
    /// What messages call it.
    pub path: PathBuf,
    files: Files,
    name: String,
    /// Digest and length, where a descriptor names them.
    stored: Option<(Sha256, u64)>,
    plain: Sha256,
}

/// Computes the SHA-256 of what is read through it.
#[derive(Debug)]
pub struct Hashing<R> {
    reader: R,
    hasher: sha2::Sha256,
    length: u64,
}

/// What was read through [`Hashing`].
#[derive(Clone, Copy, Debug)]
pub struct Hashed {
    digest: Sha256,
    length: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Mark {
    image_layout_version: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: String,
    digest: String,
    size: u64,
    platform: Option<Platform>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Index {
    manifests: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct Manifest {
    config: Descriptor,
    layers: Vec<Descriptor>,
}

#[derive(Deserialize)]
pub(crate) struct Config {
    #[serde(flatten)]
    pub(crate) platform: Platform,
    pub(crate) rootfs: RootFs,
}

#[derive(Deserialize)]
pub(crate) struct RootFs {
    pub(crate) diff_ids: Vec<String>,
}

/// Walks through indexes.
struct Collector<'f> {
    files: &'f Files,
    documents: usize,
    images: Vec<Candidate>,
}

/// The layers of the image that is meant, lowest first. Indexes, manifests and configs are checked here, layers by
/// [`ImageLayer::check_stored`] and [`ImageLayer::check_plain`].
///
/// # Errors
/// [`LayoutError`].
pub fn layers(files: &Files, choice: &Choice) -> Result<Vec<ImageLayer>, LayoutError> {
    if files.form() == Some(Form::Docker) {
        return docker::layers(files, choice);
    }
    let path = files.name(MARK);
    let mark: Mark = parse(&path, &files.document(MARK)?)?;
    if mark.image_layout_version != VERSION {
        let found = mark.image_layout_version.escape_debug();
        return Err(malformed(&path, format!("image layout {found} instead of {VERSION}")));
    }
    let path = files.name(INDEX);
    let index: Index = parse(&path, &files.document(INDEX)?)?;
    let mut collector = Collector {
        files,
        documents: 0,
        images: Vec::new(),
    };
    collector.index(&path, index, None, MAX_DEPTH)?;
    choose(files, collector.images, choice)?.layers
}

impl Collector<'_> {
    /// Reads all images that an index leads to; those without a name have that of the index.
    fn index(&mut self, path: &Path, index: Index, name: Option<&String>, depth: u32) -> Result<(), LayoutError> {
        if depth == 0 {
            return Err(malformed(path, "indexes name indexes too deep".to_owned()));
        }
        for descriptor in index.manifests {
            // What says where an image came from is kept beside it as one of no platform.
            let platform = descriptor.platform.as_ref();
            if platform.is_none_or(|platform| platform.os != "unknown") {
                self.document(path, &descriptor, name, depth)?;
            }
        }
        Ok(())
    }

    fn document(
        &mut self,
        by: &Path,
        descriptor: &Descriptor,
        name: Option<&String>,
        depth: u32,
    ) -> Result<(), LayoutError> {
        self.documents += 1;
        if self.documents > MAX_DOCUMENTS {
            return Err(malformed(
                by,
                format!("it leads to more than {MAX_DOCUMENTS} documents"),
            ));
        }
        let own = [FULL_NAME, REF_NAME];
        let own = own.iter().find_map(|key| descriptor.annotations.get(*key));
        let name = own.or(name);
        let (path, bytes) = blob(self.files, by, descriptor)?;
        if is_index(&descriptor.media_type) {
            return self.index(&path, parse(&path, &bytes)?, name, depth - 1);
        }
        let manifest: Manifest = parse(&path, &bytes)?;
        if CONFIG_TYPES.contains(&manifest.config.media_type.as_str()) {
            let (config_path, bytes) = blob(self.files, &path, &manifest.config)?;
            let config: Config = parse(&config_path, &bytes)?;
            self.images.push(Candidate {
                names: name.cloned().into_iter().collect(),
                platform: config.platform,
                layers: layers_of(self.files, &path, manifest.layers, config.rootfs.diff_ids),
                path,
            });
        }
        Ok(())
    }
}

fn is_index(media_type: &str) -> bool {
    matches!(
        media_type,
        "application/vnd.oci.image.index.v1+json" | "application/vnd.docker.distribution.manifest.list.v2+json"
    )
}

fn layers_of(
    files: &Files,
    by: &Path,
    layers: Vec<Descriptor>,
    plain: Vec<String>,
) -> Result<Vec<ImageLayer>, LayoutError> {
    let pairs = paired(by, layers, plain)?;
    pairs
        .map(|(layer, plain)| self::layer(files, by, &layer, &plain))
        .collect()
}

/// Each layer with the digest that it has decompressed.
pub(crate) fn paired<T>(
    by: &Path,
    layers: Vec<T>,
    plain: Vec<String>,
) -> Result<impl Iterator<Item = (T, String)>, LayoutError> {
    let (count, named) = (layers.len(), plain.len());
    if count != named || count > MAX_LAYERS {
        let why = format!("{count} layers, and {named} in its config; at most {MAX_LAYERS}");
        return Err(malformed(by, why));
    }
    Ok(layers.into_iter().zip(plain))
}

fn layer(files: &Files, by: &Path, layer: &Descriptor, plain: &str) -> Result<ImageLayer, LayoutError> {
    if !layer.media_type.contains(".tar") || layer.media_type.contains("encrypted") {
        let media_type = layer.media_type.escape_debug();
        return Err(malformed(
            by,
            format!("a layer is `{media_type}`, which is no archive to read"),
        ));
    }
    let stored = digest(by, &layer.digest)?;
    let plain = digest(by, plain)?;
    let name = blob_name(stored);
    Ok(ImageLayer::new(files, name, Some((stored, layer.size)), plain))
}

impl ImageLayer {
    pub(crate) fn new(files: &Files, name: String, stored: Option<(Sha256, u64)>, plain: Sha256) -> Self {
        Self {
            path: files.name(&name),
            files: files.clone(),
            name,
            stored,
            plain,
        }
    }

    /// What the layer holds, perhaps compressed; it has the length that the image says.
    ///
    /// # Errors
    /// [`LayoutError::Read`], [`LayoutError::Tampered`].
    pub fn content(&self) -> Result<Content, LayoutError> {
        let content = self.files.content(&self.name)?;
        match self.stored {
            Some((digest, length)) if length != content.len() => Err(self.tampered(digest)),
            _ => Ok(content),
        }
    }

    fn tampered(&self, expected: Sha256) -> LayoutError {
        LayoutError::Tampered {
            path: self.path.clone(),
            expected,
        }
    }

    /// Checks what was read of the file, to its end. The layers of `docker save` say nothing about that.
    ///
    /// # Errors
    /// [`LayoutError::Tampered`].
    pub fn check_stored(&self, read: &Hashed) -> Result<(), LayoutError> {
        match self.stored {
            Some((digest, length)) if read.digest != digest || read.length != length => Err(self.tampered(digest)),
            _ => Ok(()),
        }
    }

    /// Checks what came out of the file decompressed.
    ///
    /// # Errors
    /// [`LayoutError::Tampered`].
    pub fn check_plain(&self, read: &Hashed) -> Result<(), LayoutError> {
        match read.digest == self.plain {
            true => Ok(()),
            false => Err(self.tampered(self.plain)),
        }
    }
}

impl<R> Hashing<R> {
    /// Nothing is read yet.
    pub fn new(reader: R) -> Self {
        Self {
            reader,
            hasher: sha2::Sha256::new(),
            length: 0,
        }
    }

    /// What was read so far.
    pub fn finish(self) -> Hashed {
        Hashed {
            digest: Sha256::from(<[u8; 32]>::from(self.hasher.finalize())),
            length: self.length,
        }
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        self.length += count as u64;
        Ok(count)
    }
}

/// Reads and checks what a descriptor in `by` names.
fn blob(files: &Files, by: &Path, descriptor: &Descriptor) -> Result<(PathBuf, Vec<u8>), LayoutError> {
    let expected = digest(by, &descriptor.digest)?;
    let name = blob_name(expected);
    let (path, bytes) = (files.name(&name), files.document(&name)?);
    if bytes.len() as u64 != descriptor.size || !expected.matches(&bytes) {
        return Err(LayoutError::Tampered { path, expected });
    }
    Ok((path, bytes))
}

fn blob_name(digest: Sha256) -> String {
    // The digest was read as hexadecimal digits: it cannot lead anywhere else.
    format!("blobs/{}", digest.to_string().replacen(':', "/", 1))
}

pub(crate) fn digest(by: &Path, text: &str) -> Result<Sha256, LayoutError> {
    text.parse().map_err(|why| malformed(by, why))
}

pub(crate) fn malformed(path: &Path, why: String) -> LayoutError {
    LayoutError::Malformed {
        path: path.to_owned(),
        why,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes a blob and gives its descriptor.
    fn put(folder: &Path, media_type: &str, bytes: &[u8], rest: &str) -> String {
        let digest = Sha256::of(bytes);
        let path = folder.join(blob_name(digest));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
        let length = bytes.len();
        format!(r#"{{"mediaType":"{media_type}","digest":"{digest}","size":{length}{rest}}}"#)
    }

    fn image(folder: &Path, architecture: &str) -> String {
        let layer = put(
            folder,
            "application/vnd.oci.image.layer.v1.tar",
            architecture.as_bytes(),
            "",
        );
        let plain = Sha256::of(architecture.as_bytes());
        let config = format!(
            r#"{{"os":"linux","architecture":"{architecture}","rootfs":{{"type":"layers","diff_ids":["{plain}"]}}}}"#
        );
        let config = put(
            folder,
            "application/vnd.oci.image.config.v1+json",
            config.as_bytes(),
            "",
        );
        let manifest = format!(r#"{{"schemaVersion":2,"config":{config},"layers":[{layer}]}}"#);
        put(
            folder,
            "application/vnd.oci.image.manifest.v1+json",
            manifest.as_bytes(),
            "",
        )
    }

    /// Images in an index in an index; the inner one says what they are called.
    fn layout(architectures: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let images: Vec<String> = architectures.iter().map(|name| image(folder.path(), name)).collect();
        write_index(&folder, &images);
        folder
    }

    fn write_index(folder: &tempfile::TempDir, images: &[String]) {
        let index = format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, images.join(","));
        let inner = put(
            folder.path(),
            "application/vnd.oci.image.index.v1+json",
            index.as_bytes(),
            "",
        );
        let outer = format!(r#"{{"schemaVersion":2,"manifests":[{inner}]}}"#);
        std::fs::write(folder.path().join("index.json"), outer).unwrap();
        std::fs::write(folder.path().join(MARK), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    }

    /// A descriptor of an image that has a name.
    fn named(descriptor: &str, name: &str) -> String {
        let open = descriptor.strip_suffix('}').unwrap();
        format!(r#"{open},"annotations":{{"{REF_NAME}":"{name}"}}}}"#)
    }

    fn only(folder: &tempfile::TempDir) -> Result<Vec<ImageLayer>, LayoutError> {
        layers(&Files::folder(folder.path()), &Choice::default())
    }

    fn hashed(bytes: &[u8]) -> Hashed {
        let mut hashing = Hashing::new(bytes);
        io::copy(&mut hashing, &mut io::sink()).unwrap();
        hashing.finish()
    }

    #[test]
    fn the_image_for_the_platform_is_found() {
        let folder = layout(&["riscv64", "s390x"]);
        assert!(Files::folder(folder.path()).form() == Some(Form::Layout));
        let choice = Choice {
            platform: Some("linux/s390x".parse().unwrap()),
            name: None,
        };
        let found = layers(&Files::folder(folder.path()), &choice).unwrap();
        assert_eq!(std::fs::read(&found[0].path).unwrap(), b"s390x");
        let none = only(&folder).unwrap_err().to_string();
        assert!(none.contains("there are: linux/riscv64, linux/s390x"), "{none}");
        assert_eq!(only(&layout(&["riscv64"])).unwrap().len(), 1);
        assert!("linux".parse::<Platform>().is_err());
    }

    #[test]
    fn the_image_of_a_name_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let (old, new) = (image(folder.path(), "riscv64"), image(folder.path(), "s390x"));
        let images = [named(&old, "1"), named(&new, "2"), named(&new, "latest")];
        write_index(&folder, &images);
        let of = |name: &str| {
            let name = Some(name.to_owned());
            layers(&Files::folder(folder.path()), &Choice { platform: None, name })
        };
        assert_eq!(std::fs::read(&of("1").unwrap()[0].path).unwrap(), b"riscv64");
        assert_eq!(of("2").unwrap()[0].path, of("latest").unwrap()[0].path);
        let none = of("3").unwrap_err().to_string();
        assert!(none.contains("0 images are linux/"), "{none}");
        assert!(
            none.ends_with("linux/riscv64 `1`, linux/s390x `2`, linux/s390x `latest`"),
            "{none}"
        );
    }

    #[test]
    fn what_is_no_image_is_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let image = image(folder.path(), "riscv64");
        let empty = put(folder.path(), "application/vnd.oci.empty.v1+json", b"{}", "");
        let signature = format!(r#"{{"schemaVersion":2,"config":{empty},"layers":[{empty}]}}"#);
        let manifest_type = "application/vnd.oci.image.manifest.v1+json";
        let signature = put(folder.path(), manifest_type, signature.as_bytes(), "");
        let unknown = r#","platform":{"os":"unknown","architecture":"unknown"}"#;
        let origin = put(folder.path(), manifest_type, b"not read", unknown);
        write_index(&folder, &[signature, origin, image]);
        assert_eq!(only(&folder).unwrap().len(), 1);
    }

    #[test]
    fn indexes_cannot_keep_us_reading() {
        let folder = tempfile::tempdir().unwrap();
        let index_type = "application/vnd.oci.image.index.v1+json";
        let mut inner = put(folder.path(), index_type, br#"{"manifests":[]}"#, "");
        let many = vec![inner.clone(); 1000].join(",");
        inner = put(
            folder.path(),
            index_type,
            format!(r#"{{"manifests":[{many}]}}"#).as_bytes(),
            "",
        );
        write_index(&folder, &[inner]);
        let error = only(&folder).unwrap_err().to_string();
        assert!(error.contains("more than 1000 documents"), "{error}");
        let mut deep = put(folder.path(), index_type, br#"{"manifests":[]}"#, "");
        for _ in 0..4 {
            deep = put(
                folder.path(),
                index_type,
                format!(r#"{{"manifests":[{deep}]}}"#).as_bytes(),
                "",
            );
        }
        write_index(&folder, &[deep]);
        let error = only(&folder).unwrap_err().to_string();
        assert!(error.contains("too deep"), "{error}");
    }

    #[test]
    fn what_is_no_regular_file_is_not_opened() {
        let folder = layout(&["riscv64"]);
        let layer = only(&folder).unwrap().remove(0);
        std::fs::remove_file(&layer.path).unwrap();
        std::os::unix::fs::symlink("/dev/zero", &layer.path).unwrap();
        assert!(matches!(layer.content(), Err(LayoutError::Malformed { .. })));
        std::fs::remove_file(&layer.path).unwrap();
        std::fs::write(&layer.path, "riscv64 and more").unwrap();
        assert!(matches!(layer.content(), Err(LayoutError::Tampered { .. })));
        std::fs::remove_file(folder.path().join("index.json")).unwrap();
        std::os::unix::fs::symlink("/dev/zero", folder.path().join("index.json")).unwrap();
        assert!(matches!(only(&folder), Err(LayoutError::Malformed { .. })));
    }

    #[test]
    fn every_change_is_noticed() {
        let folder = layout(&["riscv64"]);
        let layer = only(&folder).unwrap().remove(0);
        layer.check_stored(&hashed(b"riscv64")).unwrap();
        layer.check_plain(&hashed(b"riscv64")).unwrap();
        for bad in [&b"riscv65"[..], b"", b"riscv64 "] {
            for checked in [layer.check_stored(&hashed(bad)), layer.check_plain(&hashed(bad))] {
                let error = checked.unwrap_err();
                assert!(matches!(error, LayoutError::Tampered { .. }), "{error}");
            }
        }
        for entry in std::fs::read_dir(folder.path().join("blobs/sha256")).unwrap() {
            let path = entry.unwrap().path();
            if path == layer.path {
                continue;
            }
            let bytes = std::fs::read(&path).unwrap();
            std::fs::write(&path, [&bytes[..], b" "].concat()).unwrap();
            let error = only(&folder).unwrap_err();
            assert!(matches!(error, LayoutError::Tampered { .. }), "{error}");
            std::fs::write(&path, bytes).unwrap();
        }
    }
}
