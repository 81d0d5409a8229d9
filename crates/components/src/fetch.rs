//! From a wanted state to an exact one.

use std::path::PathBuf;

use mos_cache::Inputs;
use mos_config::{LockedComponent, PlannedComponent, Source};

use crate::error::ComponentError;
use crate::workshop::{Progress, Workshop};
use crate::{folder, git, oci, registry, release};

/// A component's source, exact and on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// The component.
    pub name: String,
    /// The version that a release shows: a label of the configuration, the crate's version, the tag, the commit's or
    /// the folder's first digits.
    pub version: String,
    /// SHA-256 of a crate's archive, a published file or an image's manifest, a commit, or the BLAKE3 of a folder: whatever decides its content.
    pub digest: String,
    /// Where it is.
    pub content: Content,
    /// What to remember; `None` for folders and for what comes with MOS, which are taken as they are.
    pub lock: Option<LockedComponent>,
}

/// Where fetched source is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A crate's archive.
    Archive(PathBuf),
    /// A commit in a bare repository.
    Commit {
        /// The repository.
        repository: PathBuf,
        /// The commit.
        commit: String,
        /// The folder that is built.
        subdirectory: Option<String>,
    },
    /// A published file.
    Release {
        /// The file.
        file: PathBuf,
        /// What it is called when it is no archive.
        name: String,
    },
    /// A container image, as an image layout.
    Image(PathBuf),
    /// A folder, built in place.
    Folder(PathBuf),
    /// The folder of the programs that come with MOS.
    Programs(PathBuf),
}

/// Finds out the exact state of a component and brings it here. What the lock or the configuration names exactly is
/// not asked for again, and needs no network when it is here already.
///
/// # Errors
/// [`ComponentError`]; in particular when what came has another digest than expected.
pub fn fetch(
    component: &PlannedComponent,
    shop: &Workshop,
    progress: &mut Progress<'_>,
) -> Result<Fetched, ComponentError> {
    let name = &component.name;
    let locked = component.locked.as_ref();
    let (version, digest, content) = match &component.source {
        Source::Crate {
            name: krate,
            requirement,
            sha256,
        } => {
            let wanted = registry::Wanted {
                component: name,
                krate,
                requirement,
                sha256: sha256.as_deref(),
                locked,
            };
            let got = registry::fetch(&wanted, shop, progress)?;
            (got.version, got.sha256, Content::Archive(got.archive))
        }
        Source::Git { subdirectory, .. } => {
            let (repository, commit) = git::fetch(name, &component.source, locked, shop, progress)?;
            let content = Content::Commit {
                repository,
                commit: commit.clone(),
                subdirectory: subdirectory.clone(),
            };
            (short(&commit), commit, content)
        }
        Source::Release { version, .. } => {
            let got = release::fetch(name, &component.source, locked, shop, progress)?;
            let content = Content::Release {
                file: got.file,
                name: got.name,
            };
            (version.clone(), got.sha256, content)
        }
        Source::Oci { version, .. } => {
            let got = oci::fetch(name, &component.source, locked, shop, progress)?;
            (version.clone(), got.manifest, Content::Image(got.layout))
        }
        Source::Path { path } => {
            let path = shop.repository().join(path);
            let path = path.canonicalize().map_err(ComponentError::at(&path))?;
            let digest = folder::digest(&folder::root(&path))?.to_string();
            (short(&digest), digest, Content::Folder(path))
        }
        Source::Mos => {
            let digest = own_programs(component, shop)?;
            (short(&digest), digest, Content::Programs(shop.programs().to_owned()))
        }
    };
    let version = component
        .version
        .clone()
        .or_else(|| tag(&component.source))
        .unwrap_or(version);
    let as_it_is = matches!(component.source, Source::Path { .. } | Source::Mos);
    let lock = (!as_it_is).then(|| LockedComponent {
        name: name.clone(),
        kind: component.source.kind().to_owned(),
        source: component.source.location().to_owned(),
        reference: component.source.reference(),
        version: version.clone(),
        digest: digest.clone(),
    });
    Ok(Fetched {
        name: name.clone(),
        version,
        digest,
        content,
        lock,
    })
}

/// The digest of the programs of a component that come with MOS.
fn own_programs(component: &PlannedComponent, shop: &Workshop) -> Result<String, ComponentError> {
    let mut inputs = Inputs::new("programs", 1);
    for name in &component.binaries {
        let path = shop.programs().join(name);
        let missing = |source| ComponentError::NoProgram {
            name: component.name.clone(),
            path: path.clone(),
            source,
        };
        inputs = inputs.add(name, std::fs::read(&path).map_err(missing)?);
    }
    Ok(inputs.key().to_string())
}

/// Twelve digits tell commits of one project apart, and fit a table.
fn short(digest: &str) -> String {
    digest.chars().take(12).collect()
}

fn tag(source: &Source) -> Option<String> {
    match source {
        Source::Git { tag, .. } => tag.clone(),
        _ => None,
    }
}
