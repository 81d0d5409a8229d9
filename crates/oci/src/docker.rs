//! Images in an archive of `docker save` (Docker Image Specification v1.2, "Combined Image JSON + Filesystem Changeset
//! Format"), which podman and skopeo (`docker-archive:FILE`) write, too.
//!
//! `manifest.json` lists the images: a config, the names, and the layers as paths in the archive, which may be symbolic
//! links. The config is named by its SHA-256 and checked against that; the layers are checked against its `diff_ids`.

use std::path::Path;

use serde::Deserialize;

use crate::Sha256;
use crate::choice::{Candidate, Choice, choose};
use crate::files::{Files, parse};
use crate::layout::{Config, ImageLayer, LayoutError, MAX_DOCUMENTS, digest, malformed, paired};

/// The file that lists the images.
const MANIFEST: &str = "manifest.json";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

/// True when there is a list of images, the first of which has a config.
pub(crate) fn is_archive(files: &Files) -> bool {
    let list = list(files).unwrap_or_default();
    list.first().is_some_and(|image| files.content(&image.config).is_ok())
}

/// The layers of the image that is meant, lowest first.
pub(crate) fn layers(files: &Files, choice: &Choice) -> Result<Vec<ImageLayer>, LayoutError> {
    let list = list(files)?;
    if list.len() > MAX_DOCUMENTS {
        let why = format!("it lists more than {MAX_DOCUMENTS} images");
        return Err(malformed(&files.name(MANIFEST), why));
    }
    let images: Result<Vec<Candidate>, LayoutError> = list.into_iter().map(|listed| image(files, listed)).collect();
    choose(files, images?, choice)?.layers
}

fn list(files: &Files) -> Result<Vec<Listed>, LayoutError> {
    parse(&files.name(MANIFEST), &files.document(MANIFEST)?)
}

fn image(files: &Files, listed: Listed) -> Result<Candidate, LayoutError> {
    let path = files.name(&listed.config);
    let bytes = files.document(&listed.config)?;
    if let Some(expected) = named_by(&listed.config)
        && !expected.matches(&bytes)
    {
        return Err(LayoutError::Tampered { path, expected });
    }
    let config: Config = parse(&path, &bytes)?;
    Ok(Candidate {
        layers: layers_of(files, &path, listed.layers, config.rootfs.diff_ids),
        names: listed.repo_tags.unwrap_or_default(),
        platform: config.platform,
        path,
    })
}

fn layers_of(files: &Files, by: &Path, names: Vec<String>, plain: Vec<String>) -> Result<Vec<ImageLayer>, LayoutError> {
    let layer = |(name, plain): (String, String)| Ok(ImageLayer::new(files, name, None, digest(by, &plain)?));
    paired(by, names, plain)?.map(layer).collect()
}

/// The digest that the name of a config is: `HEX.json`, `blobs/sha256/HEX`, or `sha256:HEX`, as there are many writers.
fn named_by(name: &str) -> Option<Sha256> {
    let stem = Path::new(name).file_name()?.to_str()?;
    let digits = stem.strip_suffix(".json").unwrap_or(stem);
    format!("sha256:{}", digits.strip_prefix("sha256:").unwrap_or(digits))
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use mos_tree::Tree;

    use super::*;
    use crate::Form;

    const LAYER: &[u8] = b"not read here";

    /// An archive with one image; the second path of its layer is a link to the first, as Docker wrote equal layers.
    fn archive(config: &str) -> Tree {
        let mut tree = Tree::default();
        tree.insert_file("one/layer.tar", 0o644, LAYER.to_vec()).unwrap();
        tree.insert_symlink("two/layer.tar", "../one/layer.tar").unwrap();
        let plain = Sha256::of(LAYER);
        let text = format!(
            r#"{{"os":"linux","architecture":"s390x","rootfs":{{"type":"layers","diff_ids":["{plain}","{plain}"]}}}}"#
        );
        let name = config.replace("HEX", &Sha256::of(text.as_bytes()).to_string().replace("sha256:", ""));
        tree.insert_file(&name, 0o644, text.into_bytes()).unwrap();
        let list =
            format!(r#"[{{"Config":"{name}","RepoTags":["a/busybox:1"],"Layers":["one/layer.tar","two/layer.tar"]}}]"#);
        tree.insert_file(MANIFEST, 0o644, list.into_bytes()).unwrap();
        tree
    }

    fn layers_of(tree: Tree, name: Option<&str>) -> Result<Vec<ImageLayer>, LayoutError> {
        let files = Files::archive(Path::new("image.tar"), Arc::new(tree));
        assert_eq!(files.form(), Some(Form::Docker));
        let name = name.map(str::to_owned);
        crate::layout::layers(&files, &Choice { platform: None, name })
    }

    #[test]
    fn layers_are_found_through_links_and_checked_against_the_config() {
        for config in ["HEX.json", "blobs/sha256/HEX", "sha256:HEX", "config.json"] {
            let layers = layers_of(archive(config), Some("busybox:1")).unwrap();
            assert_eq!(layers.len(), 2, "{config}");
            assert_eq!(layers[1].content().unwrap().read().unwrap(), LAYER);
            assert_eq!(layers[1].path, Path::new("image.tar/two/layer.tar"));
        }
        let none = layers_of(archive("HEX.json"), Some("other")).unwrap_err().to_string();
        assert!(none.ends_with("there are: linux/s390x `a/busybox:1`"), "{none}");
    }

    #[test]
    fn a_config_that_is_not_what_its_name_says_is_a_trust_failure() {
        let mut tree = archive("HEX.json");
        let paths: Vec<_> = tree.walk().map(|entry| entry.path).collect();
        let config = paths.iter().find(|path| path.ends_with(b".json") && path.len() > 60);
        tree.insert_file(config.unwrap(), 0o644, "{}").unwrap();
        assert!(matches!(layers_of(tree, None), Err(LayoutError::Tampered { .. })));
    }

    #[test]
    fn other_archives_with_a_manifest_are_no_images() {
        for text in [
            "{}",
            "[]",
            r#"[{"Config":"absent","Layers":[]}]"#,
            r#"{"name":"a web page"}"#,
        ] {
            let mut tree = Tree::default();
            tree.insert_file(MANIFEST, 0o644, text).unwrap();
            let files = Files::archive(Path::new("x.tar"), Arc::new(tree));
            assert_eq!(files.form(), None, "{text}");
        }
    }
}
