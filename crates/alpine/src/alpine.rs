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

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use mos_store::{Options, StoreError};
use mos_tree::Tree;

use crate::checksum::sha256_hex;
use crate::install::{Database, Installed, Settings};
use crate::solver::{self, Candidate};
use crate::{AlpineError, Apk, Checksum, Dependency, Index, Keys, Package, Repository, index};

/// Indexes that are younger are not fetched again, unless they do not have what is wanted.
const INDEX_FRESH: Duration = Duration::from_secs(60 * 60);
/// Largest package that is fetched, in bytes; Alpine's largest has 400 MB.
const PACKAGE_MAX: u64 = 2 << 30;

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
        let mut locked = Vec::new();
        for (package, repositories) in self.plan_with(world, base, fresh, progress)? {
            locked.push(self.lock(&package, &repositories, progress)?);
        }
        locked.sort();
        Ok(locked)
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
        let mut candidates: Vec<Candidate> = Vec::new();
        let mut known = std::collections::HashMap::new();
        for (place, repository) in self.repositories.iter().enumerate() {
            for package in self.index(repository, fresh, progress)?.packages {
                let key = (package.name.clone(), package.version.clone(), package.checksum);
                let at = *known.entry(key).or_insert(candidates.len());
                if at == candidates.len() {
                    candidates.push(Candidate::new(package));
                }
                candidates[at].repositories.push(place);
            }
        }
        let mut world = world.to_vec();
        for one in base.into_iter().flat_map(|base| &base.packages) {
            let package = one.package.clone();
            let key = (package.name.clone(), package.version.clone(), package.checksum);
            let at = *known.entry(key).or_insert(candidates.len());
            world.push(Dependency::any(&package.name));
            if at == candidates.len() {
                candidates.push(Candidate::new(package));
            }
            candidates[at].installed = true;
        }
        let tags: Vec<Option<String>> = self.repositories.iter().map(|one| one.tag.clone()).collect();
        let chosen = solver::solve(&candidates, &tags, &world).map_err(AlpineError::Unsatisfiable)?;
        let new = chosen
            .into_iter()
            .map(|place| &candidates[place])
            .filter(|one| !one.installed);
        Ok(new.map(|one| (one.package.clone(), one.repositories.clone())).collect())
    }

    /// Brings a locked package into the cache, unless it is there, checks digest and signature, and opens it.
    ///
    /// # Errors
    /// [`AlpineError::Gone`], [`AlpineError::Digest`], [`AlpineError::Package`], [`AlpineError::Io`].
    pub fn fetch(&self, locked: &LockedPackage, progress: &mut dyn FnMut(Progress<'_>)) -> Result<Apk, AlpineError> {
        let name = locked.full_name();
        let wrong = |problem| AlpineError::Package {
            name: name.clone(),
            problem,
        };
        let checksum: Checksum = locked.checksum.parse().map_err(wrong)?;
        let bytes = match self.cached(&locked.sha256)? {
            Some(bytes) => {
                progress(Progress::Cached { package: &name });
                bytes
            }
            None => self.download_locked(locked, progress)?,
        };
        self.open(&bytes, &name, locked, &checksum)
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

    fn open(&self, bytes: &[u8], name: &str, locked: &LockedPackage, checksum: &Checksum) -> Result<Apk, AlpineError> {
        let opened = Apk::open(bytes, &self.keys).and_then(|mut apk| {
            apk.expect(&locked.name, &locked.version, &locked.architecture, checksum)?;
            Ok(apk)
        });
        opened.map_err(|problem| AlpineError::Package {
            name: name.to_owned(),
            problem,
        })
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

    fn get(&self, repository: &Repository, name: &str, limit: u64) -> Result<Vec<u8>, StoreError> {
        mos_store::open_read_with(&repository.url, &self.options)?.get(name, limit)
    }

    /// Fetches a package of an index, and looks up its digest.
    fn lock(
        &self,
        package: &Package,
        repositories: &[usize],
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<LockedPackage, AlpineError> {
        let name = package.full_name();
        let mut locked = LockedPackage {
            name: package.name.clone(),
            version: package.version.clone(),
            architecture: package.architecture.clone(),
            checksum: package.checksum.to_string(),
            sha256: String::new(),
            size: package.size,
        };
        let note = self
            .cache
            .join("checksums")
            .join(hex::encode(package.checksum.as_bytes()));
        if let Ok(sha256) = fs::read_to_string(&note)
            && let Some(bytes) = self.cached(&sha256)?
        {
            locked.sha256 = sha256;
            self.open(&bytes, &name, &locked, &package.checksum)?;
            progress(Progress::Cached { package: &name });
            return Ok(locked);
        }
        progress(Progress::Downloading {
            package: &name,
            size: package.size,
        });
        let limit = package.size.min(PACKAGE_MAX);
        let (bytes, _) = self.download(
            repositories.iter().map(|place| &self.repositories[*place]),
            &locked,
            limit,
        )?;
        self.open(&bytes, &name, &locked, &package.checksum)?;
        locked.sha256 = sha256_hex(&bytes);
        locked.size = bytes.len() as u64;
        self.keep(&locked.sha256, &bytes)?;
        write(&note, locked.sha256.as_bytes())?;
        Ok(locked)
    }

    fn download_locked(
        &self,
        locked: &LockedPackage,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<Vec<u8>, AlpineError> {
        progress(Progress::Downloading {
            package: &locked.full_name(),
            size: locked.size,
        });
        let mut other = None;
        for repository in &self.repositories {
            match self.download(std::iter::once(repository), locked, locked.size.min(PACKAGE_MAX)) {
                Ok((bytes, url)) => {
                    let found = sha256_hex(&bytes);
                    if found == locked.sha256 {
                        self.keep(&found, &bytes)?;
                        return Ok(bytes);
                    }
                    other = Some(AlpineError::Digest {
                        name: locked.full_name(),
                        url,
                        expected: locked.sha256.clone(),
                        found,
                    });
                }
                Err(error) => other = other.or(Some(error)),
            }
        }
        Err(other.unwrap_or_else(|| AlpineError::Gone {
            name: locked.full_name(),
            tried: Vec::new(),
        }))
    }

    fn download<'r>(
        &self,
        repositories: impl Iterator<Item = &'r Repository>,
        locked: &LockedPackage,
        limit: u64,
    ) -> Result<(Vec<u8>, String), AlpineError> {
        let file = format!("{}/{}.apk", self.architecture, locked.full_name());
        let mut tried = Vec::new();
        for repository in repositories {
            match self.get(repository, &file, limit) {
                Ok(bytes) => return Ok((bytes, format!("{}/{file}", repository.url))),
                Err(error) => tried.push(format!("{}: {error}", repository.url)),
            }
        }
        Err(AlpineError::Gone {
            name: locked.full_name(),
            tried,
        })
    }

    fn place(&self, sha256: &str) -> PathBuf {
        let folder = sha256.get(..2).unwrap_or_default();
        self.cache.join("packages").join(folder).join(format!("{sha256}.apk"))
    }

    /// The bytes of the cache with this digest. Others under its name are as good as none.
    fn cached(&self, sha256: &str) -> Result<Option<Vec<u8>>, AlpineError> {
        if sha256.len() != 64 || !sha256.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Ok(None);
        }
        let path = self.place(sha256);
        match fs::read(&path) {
            Ok(bytes) => Ok((sha256_hex(&bytes) == sha256).then_some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(AlpineError::Io { path, source }),
        }
    }

    fn keep(&self, sha256: &str, bytes: &[u8]) -> Result<(), AlpineError> {
        write(&self.place(sha256), bytes)
    }
}

fn is_younger(path: &Path, fresh: Duration) -> bool {
    let modified = fs::metadata(path).and_then(|found| found.modified()).ok();
    let age = modified.and_then(|time| SystemTime::now().duration_since(time).ok());
    age.is_some_and(|age| age < fresh)
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), AlpineError> {
    let io = |source| AlpineError::Io {
        path: path.to_owned(),
        source,
    };
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(io)?;
    }
    mos_sys::durable::write(path, bytes, 0o644).map_err(io)
}
