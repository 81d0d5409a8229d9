//! The client: indexes and packages from repositories, through a cache.
//!
//! ```text
//! CACHE/indexes/SHA256-OF-URL.tar.gz    the last index of a repository, signature and all
//! CACHE/packages/ab/ab12….apk           packages under their SHA-256
//! CACHE/checksums/HEX                   SHA-256 of the package that an index calls by this checksum
//! ```
//!
//! Several programs may use one cache at once: every file appears whole, by one rename, and is checked when it is read.
//! With a lock and its packages in the cache, no repository is asked.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use mos_store::{Options, StoreError};
use mos_tree::Tree;

use crate::checksum::sha256_hex;
use crate::install::{Database, Installed, Settings};
use crate::solver::{self, Candidate};
use crate::{AlpineError, Apk, Dependency, Index, Keys, Package, Repository, index};

/// Indexes that are younger are not fetched again, unless they do not have what is wanted.
const INDEX_FRESH: Duration = Duration::from_secs(60 * 60);

/// What is going on, for whoever waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Progress<'p> {
    /// An index is being fetched.
    UpdatingIndex(&'p str),
    /// Something did not work that may not matter, such as a repository out of reach whose last index is there.
    Warning(&'p str),
    /// A package is being fetched.
    Downloading {
        /// Name and version.
        package: &'p str,
        /// Bytes.
        size: u64,
    },
    /// A package was in the cache.
    Cached {
        /// Name and version.
        package: &'p str,
    },
}

/// One package of one exact version: what a lock file keeps of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LockedPackage {
    /// `busybox`.
    pub name: String,
    /// `1.36.1-r29`.
    pub version: String,
    /// `x86_64`, `aarch64`, `noarch`: as the index says.
    pub architecture: String,
    /// `Q1…`: what the index and the database of what is installed call it by.
    pub checksum: String,
    /// Digest of the file, 64 lower-case hexadecimal digits.
    pub sha256: String,
    /// Length of the file in bytes.
    pub size: u64,
}

/// The client. Cheap to make.
#[derive(Debug, Clone)]
pub struct Alpine {
    /// Where packages come from; the first has precedence where all else is equal.
    pub repositories: Vec<Repository>,
    /// Who may sign them.
    pub keys: Keys,
    /// `x86_64`, `aarch64`.
    pub architecture: String,
    /// The cache; it is made when first needed.
    pub cache: PathBuf,
    /// How repositories behind a network are used.
    pub options: Options,
}

impl LockedPackage {
    /// `busybox-1.36.1-r29`.
    pub fn full_name(&self) -> String {
        format!("{}-{}", self.name, self.version)
    }
}

/// Parses what is wanted: lines as in `/etc/apk/world`.
///
/// # Errors
/// [`AlpineError::Wanted`] with every line that is none.
pub fn parse_world(lines: &[impl AsRef<str>]) -> Result<Vec<Dependency>, AlpineError> {
    let (mut world, mut problems) = (Vec::new(), Vec::new());
    for line in lines {
        match line.as_ref().parse::<Dependency>() {
            Ok(dependency) => world.push(dependency),
            Err(problem) => problems.push(problem),
        }
    }
    match problems.is_empty() {
        true => Ok(world),
        false => Err(AlpineError::Wanted(problems.join("\n"))),
    }
}

impl Alpine {
    /// Finds the exact packages that meet `wanted`, lines as in `/etc/apk/world`, and brings them into the cache. What
    /// `base` has counts as installed; it is wanted no less. Sorted by name.
    ///
    /// # Errors
    /// [`AlpineError::Wanted`] and [`AlpineError::Unsatisfiable`] name every line at once; others as they are met.
    pub fn resolve(
        &self,
        wanted: &[impl AsRef<str>],
        base: Option<&Database>,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<Vec<LockedPackage>, AlpineError> {
        let world = parse_world(wanted)?;
        match self.resolve_with(&world, base, INDEX_FRESH, progress) {
            Err(AlpineError::Unsatisfiable(_) | AlpineError::Gone { .. }) => {
                self.resolve_with(&world, base, Duration::ZERO, progress)
            }
            other => other,
        }
    }

    fn resolve_with(
        &self,
        world: &[Dependency],
        base: Option<&Database>,
        fresh: Duration,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<Vec<LockedPackage>, AlpineError> {
        let planned = self.plan_with(world, base, fresh, progress)?;
        self.lock_all(&planned, progress)
    }

    fn lock_all(
        &self,
        planned: &[(Package, Vec<usize>)],
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<Vec<LockedPackage>, AlpineError> {
        let locked = planned
            .iter()
            .map(|(package, repositories)| self.lock(package, repositories, progress));
        let mut locked = AlpineError::collect(locked)?;
        locked.sort();
        Ok(locked)
    }

    /// As [`Alpine::resolve`] of one line, but without what the package needs: for its files, not for a system. It is
    /// the package of that name; others that provide the name do not count.
    ///
    /// # Errors
    /// As [`Alpine::resolve`].
    pub fn resolve_alone(
        &self,
        wanted: &str,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<LockedPackage, AlpineError> {
        let world = parse_world(&[wanted])?;
        let find = |fresh, progress: &mut dyn FnMut(Progress<'_>)| {
            let mut candidates = self.candidates(fresh, progress)?;
            for package in candidates.iter_mut().map(|one| &mut one.package) {
                package.depends.clear();
                package.provides.clear();
                package.install_if.clear();
            }
            let planned = self.solve(&candidates, &world)?;
            self.lock_all(&planned, progress)
        };
        let found = match find(INDEX_FRESH, progress) {
            Err(AlpineError::Unsatisfiable(_) | AlpineError::Gone { .. }) => find(Duration::ZERO, progress),
            other => other,
        };
        let none = || AlpineError::Wanted(format!("`{wanted}` names no package"));
        found?.pop().ok_or_else(none)
    }

    /// As [`Alpine::resolve`], but fetches indexes only: packages with the places of their repositories, in the order in
    /// which they can be installed.
    ///
    /// # Errors
    /// As [`Alpine::resolve`].
    pub fn plan(
        &self,
        world: &[Dependency],
        base: Option<&Database>,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<Vec<(Package, Vec<usize>)>, AlpineError> {
        self.plan_with(world, base, INDEX_FRESH, progress)
    }

    fn plan_with(
        &self,
        world: &[Dependency],
        base: Option<&Database>,
        fresh: Duration,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<Vec<(Package, Vec<usize>)>, AlpineError> {
        let mut candidates = self.candidates(fresh, progress)?;
        let mut world = world.to_vec();
        for one in base.into_iter().flat_map(|base| &base.packages) {
            let same = |known: &Candidate| {
                let (known, own) = (&known.package, &one.package);
                (&known.name, &known.version, known.checksum) == (&own.name, &own.version, own.checksum)
            };
            world.push(Dependency::any(&one.package.name));
            let at = candidates.iter().position(same).unwrap_or_else(|| {
                candidates.push(Candidate::new(one.package.clone()));
                candidates.len() - 1
            });
            candidates[at].installed = true;
        }
        self.solve(&candidates, &world)
    }

    /// Everything that the repositories offer, each once.
    fn candidates(
        &self,
        fresh: Duration,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<Vec<Candidate>, AlpineError> {
        let indexes = self
            .repositories
            .iter()
            .map(|repository| self.index(repository, fresh, progress));
        let indexes = AlpineError::collect(indexes)?;
        let mut candidates: Vec<Candidate> = Vec::new();
        let mut known = HashMap::new();
        for (place, index) in indexes.into_iter().enumerate() {
            for package in index.packages {
                let key = (package.name.clone(), package.version.clone(), package.checksum);
                let at = *known.entry(key).or_insert(candidates.len());
                if at == candidates.len() {
                    candidates.push(Candidate::new(package));
                }
                candidates[at].repositories.push(place);
            }
        }
        Ok(candidates)
    }

    /// Chosen packages that are not installed yet, with the places of their repositories.
    fn solve(&self, candidates: &[Candidate], world: &[Dependency]) -> Result<Vec<(Package, Vec<usize>)>, AlpineError> {
        let tags: Vec<Option<String>> = self.repositories.iter().map(|one| one.tag.clone()).collect();
        let chosen = solver::solve(candidates, &tags, world).map_err(AlpineError::Unsatisfiable)?;
        let new = chosen
            .into_iter()
            .map(|place| &candidates[place])
            .filter(|one| !one.installed);
        Ok(new.map(|one| (one.package.clone(), one.repositories.clone())).collect())
    }

    /// Installs packages into a tree: an empty one, or one that has some already, such as a miniroot. `world` is what is
    /// wanted of them.
    ///
    /// # Errors
    /// As [`crate::install()`].
    pub fn install(&self, base: Tree, packages: &[Apk], world: &[Dependency]) -> Result<Installed, AlpineError> {
        let lines: Vec<String> = self.repositories.iter().map(Repository::to_string).collect();
        let settings = Settings {
            world,
            architecture: &self.architecture,
            repositories: &lines,
            keys: Some(&self.keys),
            devices: false,
        };
        crate::install::install(base, packages, &settings)
    }

    /// The index of a repository: fetched, or the last one when it is young, or nothing else is to be had.
    fn index(
        &self,
        repository: &Repository,
        fresh: Duration,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<Index, AlpineError> {
        let name = format!("{}/{}", self.architecture, index::FILE_NAME);
        let url = format!("{}/{name}", repository.url);
        let kept = self
            .cache
            .join("indexes")
            .join(format!("{}.tar.gz", sha256_hex(url.as_bytes())));
        if is_younger(&kept, fresh)
            && !repository.url.starts_with("dir:")
            && let Ok(index) = self.read_index(&kept)
        {
            return Ok(index);
        }
        progress(Progress::UpdatingIndex(&url));
        let bytes = match self.get(repository, &name, index::COMPRESSED_MAX) {
            Ok(bytes) => bytes,
            Err(source) => {
                let index = self.read_index(&kept);
                let failed = AlpineError::Store {
                    url: repository.url.clone(),
                    source,
                };
                progress(Progress::Warning(&failed.to_string()));
                return index.map_err(|_| failed);
            }
        };
        let read = Index::read(&bytes, &self.keys);
        let index = read.map_err(|problem| AlpineError::Index { url, problem })?;
        write(&kept, &bytes)?;
        Ok(index)
    }

    fn read_index(&self, path: &Path) -> Result<Index, String> {
        let bytes = fs::read(path).map_err(|error| error.to_string())?;
        Index::read(&bytes, &self.keys)
    }

    pub(crate) fn get(&self, repository: &Repository, name: &str, limit: u64) -> Result<Vec<u8>, StoreError> {
        mos_store::open_read_with(&repository.url, &self.options)?.get(name, limit)
    }
}

fn is_younger(path: &Path, fresh: Duration) -> bool {
    let modified = fs::metadata(path).and_then(|found| found.modified()).ok();
    let age = modified.and_then(|time| SystemTime::now().duration_since(time).ok());
    age.is_some_and(|age| age < fresh)
}

pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), AlpineError> {
    let io = |source| AlpineError::Io {
        path: path.to_owned(),
        source,
    };
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(io)?;
    }
    mos_sys::durable::write(path, bytes, 0o644).map_err(io)
}
