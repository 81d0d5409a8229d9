//! Where the work is done.

use std::path::{Path, PathBuf};

use mos_architecture::Architecture;
use mos_cache::Cache;

/// Told each line that a tool prints, for whoever watches.
pub type Progress<'p> = dyn FnMut(&str) + 'p;

/// The places that fetching and building use.
#[derive(Debug, Clone)]
pub struct Workshop {
    /// The config repository: relative paths and URLs begin here.
    repository: PathBuf,
    /// The build cache.
    cache: Cache,
    /// The programs for nodes that come with MOS.
    programs: PathBuf,
    /// What all programs are for.
    architecture: Architecture,
}

impl Workshop {
    /// Works for a config repository, with this cache. Programs are for machines like this one.
    pub fn new(repository: impl Into<PathBuf>, cache: Cache) -> Self {
        Self {
            repository: repository.into(),
            cache,
            programs: PathBuf::new(),
            architecture: Architecture::HOST,
        }
    }

    /// With the folder of the programs for nodes that come with MOS.
    #[must_use]
    pub fn with_programs(self, folder: impl Into<PathBuf>) -> Self {
        Self {
            programs: folder.into(),
            ..self
        }
    }

    /// Makes programs for machines of an architecture.
    #[must_use]
    pub fn for_architecture(self, architecture: Architecture) -> Self {
        Self { architecture, ..self }
    }

    /// What programs are for.
    pub fn architecture(&self) -> Architecture {
        self.architecture
    }

    /// The folder of the programs for nodes that come with MOS.
    pub fn programs(&self) -> &Path {
        &self.programs
    }

    /// The config repository.
    pub fn repository(&self) -> &Path {
        &self.repository
    }

    /// The build cache.
    pub fn cache(&self) -> &Cache {
        &self.cache
    }

    /// A folder of the cache.
    pub fn folder(&self, name: &str) -> PathBuf {
        self.cache.root().join(name)
    }

    /// The log of a component, or of whatever else has that name.
    pub fn log(&self, component: &str) -> PathBuf {
        self.folder("logs").join(format!("{component}.log"))
    }
}
