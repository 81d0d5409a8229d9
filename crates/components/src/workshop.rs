//! Where the work is done.

use std::path::{Path, PathBuf};

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
}

impl Workshop {
    /// Works for a config repository, with this cache.
    pub fn new(repository: impl Into<PathBuf>, cache: Cache) -> Self {
        Self {
            repository: repository.into(),
            cache,
        }
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
    pub(crate) fn folder(&self, name: &str) -> PathBuf {
        self.cache.root().join(name)
    }

    /// The log of a component.
    pub(crate) fn log(&self, component: &str) -> PathBuf {
        self.folder("logs").join(format!("{component}.log"))
    }
}
