//! The host's apt, with a state of our own.
//!
//! ```text
//! CACHE/debs/               packages, NAME_VERSION_ARCHITECTURE.deb
//! CACHE/lock                held while lists, configuration or packages are written
//! CACHE/amd64/, arm64/      one state for each architecture:
//!             apt.conf      see `configuration`
//!             status        empty: nothing is installed
//!             lists/        what the sources offer
//! ```
//!
//! Several programs may use one cache at once. A crash leaves either no package or a whole one: a download gets its
//! final name after its digest was checked.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use mos_architecture::Architecture;
use sha2::{Digest as _, Sha256};

use crate::{LockedPackage, PackageError, configuration, unsatisfied, uris};

/// Lists that are younger are not fetched again: Debian's archive changes four times a day.
const LISTS_FRESH: Duration = Duration::from_secs(60 * 60);

/// What is going on, for whoever waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Progress<'p> {
    /// The package lists are being fetched.
    UpdatingLists,
    /// Something did not work that may not matter, such as a third-party source out of reach.
    Warning(&'p str),
    /// A package is being fetched.
    Downloading(&'p LockedPackage),
    /// A package was in the cache.
    Cached(&'p LockedPackage),
}

/// A package in the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deb {
    /// The `.deb`, checked against the lock.
    pub path: PathBuf,
    /// What it is.
    pub locked: LockedPackage,
}

/// The host's apt. Cheap to make; the first question sets up the cache.
#[derive(Debug)]
pub struct Apt {
    cache: PathBuf,
    architecture: Architecture,
    /// What apt has for this architecture, in the cache.
    state: PathBuf,
    /// This value fetched the lists: what is not in them is not there.
    updated: AtomicBool,
}

impl Apt {
    /// Uses this directory for lists and packages; it is made when first needed. Packages are those of an architecture,
    /// which need not be the host's.
    pub fn new(cache: impl Into<PathBuf>, architecture: Architecture) -> Self {
        let cache = cache.into();
        Self {
            state: cache.join(architecture.debian()),
            cache,
            architecture,
            updated: AtomicBool::new(false),
        }
    }

    /// Finds the newest version that the host's sources offer of each package (`name`) or the wanted one
    /// (`name=version`); with dependencies, all that must be installed with them, recommended packages left out.
    /// Sorted by name.
    ///
    /// # Errors
    /// [`PackageError::Unsatisfiable`] has all that cannot be had, at once.
    pub fn resolve(
        &self,
        names: &[impl AsRef<str>],
        with_dependencies: bool,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<Vec<LockedPackage>, PackageError> {
        let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
        names.iter().try_for_each(|name| check(name))?;
        if names.is_empty() {
            return Ok(Vec::new());
        }
        self.update(LISTS_FRESH, progress)?;
        match self.query(&names, with_dependencies) {
            Err(_) if !self.is_updated() => {
                self.update(Duration::ZERO, progress)?;
                self.query(&names, with_dependencies)
            }
            other => other,
        }
    }

    /// Finds the kernel image that a name stands for: `linux-image-6.12-cloud-amd64` is an empty package that depends
    /// on the newest one of its kind.
    ///
    /// # Errors
    /// As [`Apt::resolve`].
    pub fn resolve_kernel(
        &self,
        name: &str,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<LockedPackage, PackageError> {
        let mut found = self.resolve(&[name], false, progress)?;
        let output = self.run("apt-cache", &["depends", "--important", bare(name)])?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let image = text
            .lines()
            .filter_map(|line| line.trim().strip_prefix("Depends: "))
            .find(|dependency| dependency.starts_with("linux-image-"));
        if let Some(image) = image {
            found = self.resolve(&[image], false, progress)?;
        }
        let none = || PackageError::Unsatisfiable(vec![unsatisfied::Unsatisfied::none(name)]);
        found.pop().ok_or_else(none)
    }

    /// Brings a package into the cache, unless it is there, and checks its digest.
    ///
    /// # Errors
    /// [`PackageError::VersionGone`], [`PackageError::Digest`], and what apt or the system says.
    pub fn fetch(&self, package: &LockedPackage, progress: &mut dyn FnMut(Progress<'_>)) -> Result<Deb, PackageError> {
        let wanted = format!("{}:{}={}", package.name, package.architecture, package.version);
        [&package.name, &package.version, &package.architecture]
            .into_iter()
            .try_for_each(|word| check(word))?;
        let path = self.cache.join("debs").join(package.file_name());
        if path.is_file() && sha256(&path)? == package.sha256 {
            progress(Progress::Cached(package));
        } else {
            self.has_room_for(package)?;
            self.update(LISTS_FRESH, progress)?;
            progress(Progress::Downloading(package));
            let downloaded = match self.download(package, &wanted, &path) {
                Err(PackageError::VersionGone { .. } | PackageError::Apt { .. }) if !self.is_updated() => {
                    self.update(Duration::ZERO, progress)?;
                    self.download(package, &wanted, &path)
                }
                other => other,
            };
            downloaded?;
        }
        Ok(Deb {
            path,
            locked: package.clone(),
        })
    }

    fn has_room_for(&self, package: &LockedPackage) -> Result<(), PackageError> {
        let folder = self.cache.join("debs");
        let free = std::path::absolute(&folder).and_then(|folder| mos_sys::space::free(&folder));
        let free = free.map_err(at(&folder))?;
        if package.size <= free {
            return Ok(());
        }
        Err(PackageError::NoRoom {
            folder,
            name: package.name.clone(),
            needed: package.size,
            free,
        })
    }

    fn query(&self, names: &[&str], with_dependencies: bool) -> Result<Vec<LockedPackage>, PackageError> {
        let mut arguments = if with_dependencies {
            vec![
                "install",
                "--print-uris",
                // With one more it would not say what does not fit together.
                "-q",
                "--yes",
                "--no-install-recommends",
                "--",
            ]
        } else {
            vec!["download", "--print-uris", "-qq", "--"]
        };
        arguments.extend(names);
        let output = self.run("apt-get", &arguments)?;
        let mut packages = uris::parse(&String::from_utf8_lossy(&output.stdout));
        let missing = |name: &&&str| !packages.iter().any(|package| package.name == bare(name));
        let missing: Vec<&str> = names.iter().filter(missing).copied().collect();
        let problems = unsatisfied::explain(self, &missing, &String::from_utf8_lossy(&output.stdout));
        if !problems.is_empty() {
            return Err(PackageError::Unsatisfiable(problems));
        }
        if !output.status.success() || packages.is_empty() {
            let action = format!("find {}", names.join(", "));
            return Err(PackageError::Apt {
                action,
                said: said(&output),
            });
        }
        packages.sort();
        packages.dedup();
        Ok(packages)
    }

    fn download(&self, package: &LockedPackage, wanted: &str, path: &Path) -> Result<(), PackageError> {
        let _lock = self.lock()?;
        let debs = self.cache.join("debs");
        mos_sys::durable::sweep(&debs).map_err(at(&debs))?;
        let scratch = mos_sys::durable::temporary_beside(path).map_err(at(path))?;
        fs::create_dir_all(&scratch).map_err(at(&scratch))?;
        let result = self.download_into(&scratch, package, wanted, path);
        // What cannot be removed now is swept before the next download.
        let _ = fs::remove_dir_all(&scratch);
        result
    }

    fn download_into(
        &self,
        scratch: &Path,
        package: &LockedPackage,
        wanted: &str,
        path: &Path,
    ) -> Result<(), PackageError> {
        let mut command = self.command("apt-get")?;
        command.args(["download", "-qq", "--", wanted]).current_dir(scratch);
        let output = command.output().map_err(no_apt("apt-get"))?;
        let said = said(&output);
        if said.contains("was not found") || said.contains("Unable to locate") || said.contains("No packages found") {
            return Err(PackageError::VersionGone {
                name: package.name.clone(),
                version: package.version.clone(),
            });
        }
        let action = format!("fetch {wanted}");
        // A download that broke off, as on a full disk, says nothing about the mirror.
        let whole = only_file(scratch)?.filter(|_| output.status.success());
        let file = whole.ok_or(PackageError::Apt { action, said })?;
        let found = sha256(&file)?;
        if found != package.sha256 {
            return Err(PackageError::Digest {
                name: package.name.clone(),
                version: package.version.clone(),
                expected: package.sha256.clone(),
                found,
            });
        }
        File::open(&file).and_then(|file| file.sync_all()).map_err(at(&file))?;
        mos_sys::durable::rename(&file, path).map_err(at(path))
    }

    /// Fetches the lists when they are older than `fresh`, once in the life of this value. Sources out of reach are
    /// told, tolerated as long as there is any list at all, and tried again by the next program.
    fn update(&self, fresh: Duration, progress: &mut dyn FnMut(Progress<'_>)) -> Result<(), PackageError> {
        if self.is_updated() {
            return Ok(());
        }
        let _lock = self.lock()?;
        let stamp = self.state.join("updated");
        let age = fs::metadata(&stamp)
            .and_then(|found| found.modified())
            .ok()
            .and_then(|time| SystemTime::now().duration_since(time).ok());
        if age.is_some_and(|age| age < fresh) {
            return Ok(());
        }
        progress(Progress::UpdatingLists);
        let output = self.run("apt-get", &["update", "-q"])?;
        let said = said(&output);
        said.lines().for_each(|line| progress(Progress::Warning(line)));
        if !self.has_lists()? {
            let architecture = self.architecture.debian();
            return Err(PackageError::NoLists { architecture, said });
        }
        self.updated.store(true, Ordering::Relaxed);
        if output.status.success() && said.is_empty() {
            mos_sys::durable::write(&stamp, b"", 0o644).map_err(at(&stamp))?;
        }
        Ok(())
    }

    fn is_updated(&self) -> bool {
        self.updated.load(Ordering::Relaxed)
    }

    fn has_lists(&self) -> Result<bool, PackageError> {
        let lists = self.state.join("lists");
        let mut entries = fs::read_dir(&lists).map_err(at(&lists))?;
        Ok(entries.any(|entry| entry.is_ok_and(|entry| entry.file_name().to_string_lossy().contains("_Packages"))))
    }

    /// Makes the cache's directories and files, and keeps others from doing so at the same time.
    fn lock(&self) -> Result<File, PackageError> {
        let parts = ["lists/partial", "cache/archives/partial", "none"].map(|part| self.state.join(part));
        for path in parts.into_iter().chain([self.cache.join("debs")]) {
            fs::create_dir_all(&path).map_err(at(&path))?;
        }
        let path = self.cache.join("lock");
        let file = File::create(&path).map_err(at(&path))?;
        file.lock().map_err(at(&path))?;
        let status = self.state.join("status");
        if !status.exists() {
            fs::write(&status, "").map_err(at(&status))?;
        }
        self.configure()?;
        Ok(file)
    }

    fn configure(&self) -> Result<(), PackageError> {
        let output = Command::new("apt-config")
            .arg("dump")
            .env("LC_ALL", "C")
            .output()
            .map_err(no_apt("apt-config"))?;
        let state = self.state.canonicalize().map_err(at(&self.state))?;
        let text = configuration::private(&String::from_utf8_lossy(&output.stdout), &state, self.architecture);
        let path = state.join("apt.conf");
        if fs::read_to_string(&path).is_ok_and(|old| old == text) {
            return Ok(());
        }
        // A proxy's password may stand in it.
        mos_sys::durable::write(&path, text.as_bytes(), 0o600).map_err(at(&path))
    }

    fn command(&self, program: &'static str) -> Result<Command, PackageError> {
        let configuration = self.state.join("apt.conf");
        let configuration = configuration.canonicalize().map_err(at(&configuration))?;
        let mut command = Command::new(program);
        command
            .env("APT_CONFIG", configuration)
            .env("LC_ALL", "C")
            .env("DEBIAN_FRONTEND", "noninteractive");
        Ok(command)
    }

    fn run(&self, program: &'static str, arguments: &[&str]) -> Result<Output, PackageError> {
        self.command(program)?.args(arguments).output().map_err(no_apt(program))
    }

    pub(crate) fn exists(&self, name: &str) -> bool {
        !self
            .ask("apt-cache", &["show", "--no-all-versions", "--", name])
            .is_empty()
    }

    /// What a program prints; nothing when it cannot be run.
    pub(crate) fn ask(&self, program: &'static str, arguments: &[&str]) -> String {
        let printed = self.run(program, arguments).map(|output| output.stdout);
        String::from_utf8_lossy(&printed.unwrap_or_default()).into_owned()
    }
}

/// The name of `name=version`, without the architecture of `name:architecture`.
pub(crate) fn bare(name: &str) -> &str {
    name.split(['=', ':']).next().unwrap_or(name)
}

/// Package names and versions hold only these characters (Debian Policy 5.6.1, 5.6.12) and do not begin like an
/// option; a trailing `-` or `+` would tell apt to remove or install.
fn check(word: &str) -> Result<(), PackageError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.~:=".contains(&byte);
    let sound = word.bytes().all(allowed)
        && word.starts_with(|first: char| first.is_ascii_alphanumeric())
        && !word.ends_with('-');
    if sound {
        Ok(())
    } else {
        Err(PackageError::BadName(word.to_owned()))
    }
}

/// apt's errors and warnings, one a line.
fn said(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines.join("\n")
}

fn only_file(directory: &Path) -> Result<Option<PathBuf>, PackageError> {
    let entries = fs::read_dir(directory).map_err(at(directory))?;
    let mut files = entries.filter_map(Result::ok).map(|entry| entry.path());
    Ok(files.find(|path| path.extension().is_some_and(|extension| extension == "deb")))
}

fn sha256(path: &Path) -> Result<String, PackageError> {
    let mut hasher = Sha256::new();
    let mut file = File::open(path).map_err(at(path))?;
    let mut buffer = vec![0; 1 << 16];
    loop {
        match io::Read::read(&mut file, &mut buffer).map_err(at(path))? {
            0 => return Ok(hex::encode(hasher.finalize())),
            count => hasher.update(&buffer[..count]),
        }
    }
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> PackageError {
    let path = path.to_owned();
    move |source| PackageError::Io { path, source }
}

fn no_apt(program: &'static str) -> impl FnOnce(io::Error) -> PackageError {
    move |source| PackageError::NoApt { program, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_apt_would_take_for_something_else_are_refused() {
        for bad in ["-o=Dir=/", "busybox-", "../x", "a b", "", "a/stable"] {
            assert!(matches!(check(bad), Err(PackageError::BadName(_))), "{bad}");
        }
        for good in ["libstdc++6", "busybox-static=1:1.35.0-4+deb12u1", "libc6:amd64"] {
            assert!(check(good).is_ok(), "{good}");
        }
    }

    #[test]
    fn a_package_that_does_not_fit_is_not_begun() {
        let cache = tempfile::tempdir().unwrap();
        let package = LockedPackage {
            name: "huge".to_owned(),
            version: "1".to_owned(),
            architecture: "amd64".to_owned(),
            sha256: String::new(),
            size: u64::MAX - 1,
        };
        let apt = Apt::new(cache.path().join("apt"), Architecture::X86_64);
        let error = apt.fetch(&package, &mut |_| panic!("something was begun")).unwrap_err();
        assert!(
            matches!(&error, PackageError::NoRoom { needed, .. } if *needed == package.size),
            "{error}"
        );
        assert!(
            error.to_string().contains("are needed for package `huge` and "),
            "{error}"
        );
        assert!(!cache.path().join("apt").exists());
    }

    #[test]
    fn a_cached_package_needs_no_apt() {
        let cache = tempfile::tempdir().unwrap();
        let package = LockedPackage {
            name: "hello".to_owned(),
            version: "1:2-3".to_owned(),
            architecture: "amd64".to_owned(),
            sha256: "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824".to_owned(),
            size: 5,
        };
        fs::create_dir(cache.path().join("debs")).unwrap();
        let path = cache.path().join("debs/hello_1%3a2-3_amd64.deb");
        fs::write(&path, "hello").unwrap();
        let mut cached = 0;
        let apt = Apt::new(cache.path(), Architecture::X86_64);
        let deb = apt.fetch(&package, &mut |step| {
            cached += usize::from(matches!(step, Progress::Cached(_)))
        });
        assert_eq!(deb.unwrap().path, path);
        assert_eq!(cached, 1);
        assert!(!cache.path().join("amd64").exists());
    }
}
