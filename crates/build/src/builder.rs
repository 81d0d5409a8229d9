//! What every step needs.

use std::path::{Path, PathBuf};

use mos_architecture::Architecture;
use mos_cache::Cache;
use mos_components::Workshop;
use mos_packages::Apt;
use mos_store::Dir;

/// Told what is going on.
pub trait Report {
    /// Something worth keeping: a step that was made, or was there already.
    fn line(&self, text: &str);
    /// What is happening this moment, such as a line of cargo's output.
    fn detail(&self, text: &str);
}

/// Builds for one config repository with one cache.
pub struct Builder<'r> {
    repository: PathBuf,
    cache: Cache,
    programs: PathBuf,
    architecture: Architecture,
    alpine_mirror: Option<String>,
    pub(crate) report: &'r dyn Report,
}

impl std::fmt::Debug for Builder<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Builder")
            .field("repository", &self.repository)
            .field("cache", &self.cache)
            .finish_non_exhaustive()
    }
}

impl<'r> Builder<'r> {
    /// Builds for the config repository in a folder, with the cache in another. The programs for nodes that come with
    /// MOS are in a third. Nodes are machines like this one.
    pub fn new(
        repository: impl Into<PathBuf>,
        cache: impl Into<PathBuf>,
        programs: impl Into<PathBuf>,
        report: &'r dyn Report,
    ) -> Self {
        Self {
            repository: repository.into(),
            cache: Cache::new(cache),
            programs: programs.into(),
            architecture: Architecture::HOST,
            alpine_mirror: None,
            report,
        }
    }

    /// Builds for nodes of an architecture: that of the plan.
    pub fn for_architecture(mut self, architecture: Architecture) -> Self {
        self.architecture = architecture;
        self
    }

    pub(crate) fn architecture(&self) -> Architecture {
        self.architecture
    }

    /// Another mirror of Alpine than the config repository names: a URL or an absolute path. Images do not depend on it.
    pub fn with_alpine_mirror(mut self, mirror: Option<String>) -> Self {
        self.alpine_mirror = mirror;
        self
    }

    pub(crate) fn alpine_mirror(&self) -> Option<&str> {
        self.alpine_mirror.as_deref()
    }

    /// The store into which flists are packed and from which they are published.
    pub fn store(&self) -> Dir {
        Dir::new(self.cache.root().join("store"))
    }

    pub(crate) fn repository(&self) -> &Path {
        &self.repository
    }

    pub(crate) fn cache(&self) -> &Cache {
        &self.cache
    }

    pub(crate) fn workshop(&self) -> Workshop {
        Workshop::new(&self.repository, self.cache.clone())
            .with_programs(&self.programs)
            .for_architecture(self.architecture)
    }

    pub(crate) fn apt(&self) -> Apt {
        Apt::new(self.cache.root().join("apt"), self.architecture)
    }
}
