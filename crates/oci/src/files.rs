//! Where the files of images are: in a folder, or in an archive that is read where it lies.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mos_tree::{Content, Kind, Tree};
use serde::Deserialize;

use crate::docker;
use crate::layout::{INDEX, LayoutError, MARK, malformed};

/// Longest index, manifest or config, in bytes: as for what registries take.
pub(crate) const MAX_DOCUMENT: u64 = 4 << 20;

/// A folder or an archive with the files of images.
#[derive(Clone, Debug)]
pub struct Files {
    path: PathBuf,
    archive: Option<Arc<Tree>>,
}

/// How images are kept in files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// An OCI image layout: `skopeo copy … oci:DIR` or `oci-archive:FILE`, `docker buildx build --output type=oci`, and
    /// `docker save` since version 25.
    Layout,
    /// What `docker save` wrote before, and `podman save`: `manifest.json` with a list of images.
    Docker,
}

impl Files {
    /// The files of a folder.
    pub fn folder(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            archive: None,
        }
    }

    /// The files of an archive that was read as a tree; `path` is what messages call it.
    pub fn archive(path: &Path, tree: Arc<Tree>) -> Self {
        Self {
            path: path.to_owned(),
            archive: Some(tree),
        }
    }

    /// How images are kept here; `None` when these are the files of something else.
    ///
    /// An archive of either form is recognised; a folder has to be an image layout.
    pub fn form(&self) -> Option<Form> {
        let is_file = |name: &str| self.content(name).is_ok();
        if is_file(MARK) && is_file(INDEX) {
            return Some(Form::Layout);
        }
        (self.archive.is_some() && docker::is_archive(self)).then_some(Form::Docker)
    }

    /// The folder or the archive.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What messages call a file.
    pub(crate) fn name(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// A regular file. Anything else could keep us waiting, or have no end.
    pub(crate) fn content(&self, name: &str) -> Result<Content, LayoutError> {
        let path = self.name(name);
        match &self.archive {
            None => {
                let found = std::fs::metadata(&path).map_err(|source| failed(&path, source))?;
                match found.is_file() {
                    true => Ok(Content::of_metadata(&path, &found)),
                    false => Err(malformed(&path, "not a regular file".to_owned())),
                }
            }
            Some(tree) => match tree.follow(name).map(|id| &tree.inode(id).kind) {
                Some(Kind::File(content)) => Ok(content.clone()),
                Some(_) => Err(malformed(&path, "not a regular file".to_owned())),
                None => Err(failed(&path, io::ErrorKind::NotFound.into())),
            },
        }
    }

    /// All of a file that is no layer.
    pub(crate) fn document(&self, name: &str) -> Result<Vec<u8>, LayoutError> {
        let (path, content) = (self.name(name), self.content(name)?);
        if content.len() > MAX_DOCUMENT {
            return Err(malformed(&path, format!("more than {MAX_DOCUMENT} bytes")));
        }
        let mut bytes = Vec::new();
        let mut reader = content.open().map_err(|source| failed(&path, source))?;
        reader.read_to_end(&mut bytes).map_err(|source| failed(&path, source))?;
        Ok(bytes)
    }
}

pub(crate) fn failed(path: &Path, source: io::Error) -> LayoutError {
    LayoutError::Read {
        path: path.to_owned(),
        source,
    }
}

pub(crate) fn parse<'b, T: Deserialize<'b>>(path: &Path, bytes: &'b [u8]) -> Result<T, LayoutError> {
    serde_json::from_slice(bytes).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        malformed(
            path,
            format!("not what an image has there (line {line}, column {column})"),
        )
    })
}
