//! Packages from repositories through the cache, checked before anything is done with them.

use std::fs;
use std::io;
use std::path::PathBuf;

use mos_store::StoreError;

use crate::alpine::write;
use crate::checksum::sha256_hex;
use crate::{Alpine, AlpineError, Apk, Checksum, LockedPackage, Package, Progress, Repository};

/// Largest package that is fetched, in bytes; Alpine's largest has 400 MB.
const PACKAGE_MAX: u64 = 2 << 30;

impl Alpine {
    /// [`Alpine::fetch`] of all of these. What is wrong is told of every package at once, and nothing is handed out then.
    ///
    /// # Errors
    /// [`AlpineError::Several`], or the only error.
    pub fn fetch_all(
        &self,
        locked: &[LockedPackage],
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<Vec<Apk>, AlpineError> {
        AlpineError::collect(locked.iter().map(|one| self.fetch(one, progress)))
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

    /// Fetches a package of an index, and looks up its digest.
    pub(crate) fn lock(
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
        let (mut other, mut nowhere) = (None, Vec::new());
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
                Err(AlpineError::Gone { tried, .. }) => nowhere.extend(tried),
                Err(error) => other = other.or(Some(error)),
            }
        }
        Err(other.unwrap_or_else(|| AlpineError::Gone {
            name: locked.full_name(),
            tried: nowhere,
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
                Err(StoreError::TooLarge { .. }) => {
                    return Err(AlpineError::Package {
                        name: locked.full_name(),
                        problem: format!(
                            "{}/{file} has more than the {limit} bytes that were expected",
                            repository.url
                        ),
                    });
                }
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
