//! From exact source to static programs in the cache.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use mos_cache::{CacheError, Inputs};
use mos_config::{Build, BuildKind, Libc};
use mos_store::Digest;
use mos_tree::{directory, tarball};

use crate::cargo::{self, Place};
use crate::elf::{ElfError, check_machine, check_static};
use crate::error::ComponentError;
use crate::fetch::{Content, Fetched};
use crate::profile::Flavour;
use crate::run::Log;
use crate::toolchain::Toolchain;
use crate::workshop::{Progress, Workshop};
use crate::{folder, git, oci, program, release};

/// The step's name in the cache.
const STEP: &str = "component";
/// Raised whenever the same inputs would give other programs than before.
const FORMAT: u32 = 3;
/// The most that a crate's archive may unpack to, in bytes.
const MAXIMUM_UNPACKED: u64 = 1 << 30;

/// The programs of a component.
#[derive(Debug, Clone)]
pub struct Built {
    /// Programs by name.
    pub binaries: BTreeMap<String, PathBuf>,
    /// The hash of everything that went into them.
    pub key: Digest,
    /// True when they were there already.
    pub cached: bool,
    /// The target that they were built for.
    pub target: String,
    /// What cargo said when they were built; of another machine's build, there is none.
    pub log: PathBuf,
}

/// Builds the programs of a component, or finds them in the cache. A damaged cache entry is built again; a failed build
/// leaves nothing in the cache.
///
/// # Errors
/// [`ComponentError`].
pub fn build(
    fetched: &Fetched,
    settings: &Build,
    binaries: &[String],
    toolchain: &Toolchain,
    shop: &Workshop,
    progress: &mut Progress<'_>,
) -> Result<Built, ComponentError> {
    let key = key(fetched, settings, binaries, toolchain);
    let job = Job {
        fetched,
        settings,
        binaries,
        toolchain,
        shop,
        key,
    };
    let made = shop.cache().step(STEP, &key, |output| job.make(output, progress));
    let cached = made.map_err(|error| match error {
        CacheError::Step(error) => error,
        CacheError::Io { path, source } => ComponentError::Io { path, source },
    })?;
    let place = |name: &String| (name.clone(), cached.path.join(name));
    Ok(Built {
        binaries: binaries.iter().map(place).collect(),
        key,
        cached: cached.hit,
        target: toolchain.target().to_owned(),
        log: shop.log(&fetched.name),
    })
}

/// The hash of everything that decides the bytes of the programs.
fn key(fetched: &Fetched, settings: &Build, binaries: &[String], toolchain: &Toolchain) -> Digest {
    let subdirectory = match &fetched.content {
        Content::Commit { subdirectory, .. } => subdirectory.clone().unwrap_or_default(),
        // Which member of its workspace; the digest is that of the whole.
        Content::Folder(path) => inner(path, &folder::root(path)).to_string_lossy().into_owned(),
        // What a file is called here decides nothing unless it is the program itself.
        Content::Release { name, .. } => name.clone(),
        Content::Archive(_) | Content::Image(_) | Content::Programs(_) => String::new(),
    };
    let list = |words: &[String]| words.join("\n");
    let kind = match settings.kind {
        BuildKind::Cargo => "cargo",
        BuildKind::None => "none",
    };
    Inputs::new(STEP, FORMAT)
        .add("source", &fetched.digest)
        .add("subdirectory", subdirectory)
        .add("kind", kind)
        .add("packages", list(&settings.packages))
        .add("features", list(&settings.features))
        .add("default features", [u8::from(settings.default_features)])
        .add("profile", &settings.profile)
        .add("binaries", list(binaries))
        .add("compiler", toolchain.version())
        .add("c compiler", toolchain.c_compiler())
        .add("target", toolchain.target())
        .add("standard library", toolchain.identity())
        .key()
}

fn inner<'p>(path: &'p Path, root: &Path) -> &'p Path {
    path.strip_prefix(root).unwrap_or(path)
}

struct Job<'j> {
    fetched: &'j Fetched,
    settings: &'j Build,
    binaries: &'j [String],
    toolchain: &'j Toolchain,
    shop: &'j Workshop,
    key: Digest,
}

impl Job<'_> {
    fn name(&self) -> &str {
        &self.fetched.name
    }

    /// Makes the programs in the folder `output`.
    fn make(&self, output: &Path, progress: &mut Progress<'_>) -> Result<(), ComponentError> {
        let key = self.key.to_string();
        let work = self
            .shop
            .folder("build")
            .join(format!("{}-{}", self.name(), &key[..16]));
        // What a killed build left; nobody else works there, since steps take turns.
        match fs::remove_dir_all(&work) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(ComponentError::at(&work)(error)),
            _ => {}
        }
        let made = self.place(&work).and_then(|mut place| match self.settings.kind {
            BuildKind::Cargo => self.compile(&mut place, output, progress),
            BuildKind::None => self.copy(&place.directory, output, progress),
        });
        // The result is what counts; a leftover goes with the next build of this component, or `mos clean`.
        let _ = fs::remove_dir_all(&work);
        made
    }

    /// Puts the source where it is built.
    fn place(&self, work: &Path) -> Result<Place, ComponentError> {
        fs::create_dir_all(work).map_err(ComponentError::at(work))?;
        let work = work.canonicalize().map_err(ComponentError::at(work))?;
        let source = work.join("source");
        let (directory, source, target) = match &self.fetched.content {
            Content::Archive(archive) => {
                self.unpack(archive, &source)?;
                (source.clone(), source, work.join("target"))
            }
            Content::Commit {
                repository,
                commit,
                subdirectory,
            } => {
                git::export(self.name(), repository, commit, &source)?;
                let directory = subdirectory
                    .as_ref()
                    .map_or_else(|| source.clone(), |folder| source.join(folder));
                (directory, source, work.join("target"))
            }
            Content::Release { file, name } => {
                release::unpack(self.name(), file, name, &source)?;
                let directory = match self.settings.kind {
                    BuildKind::Cargo => only_folder(&source).unwrap_or_else(|| source.clone()),
                    BuildKind::None => source.clone(),
                };
                (directory, source, work.join("target"))
            }
            Content::Image(layout) => {
                oci::unpack(self.name(), layout, self.binaries, &work, &source)?;
                (source.clone(), source, work.join("target"))
            }
            Content::Programs(folder) => (folder.clone(), folder.clone(), work.join("target")),
            Content::Folder(path) => {
                let root = folder::root(path);
                let digest = Digest::of(root.as_os_str().as_encoded_bytes()).to_string();
                let target = self
                    .shop
                    .folder("build")
                    .join(format!("path-{}", &digest[..16]))
                    .join("target");
                fs::create_dir_all(&target).map_err(ComponentError::at(&target))?;
                (
                    path.clone(),
                    root,
                    target.canonicalize().map_err(ComponentError::at(&target))?,
                )
            }
        };
        Ok(Place {
            directory,
            source,
            target,
            library: None,
            flavour: Flavour::default(),
        })
    }

    fn unpack(&self, archive: &Path, folder: &Path) -> Result<(), ComponentError> {
        let damaged = |reason: String| ComponentError::source(self.name(), format!("{}: {reason}", archive.display()));
        let file = fs::File::open(archive).map_err(ComponentError::at(archive))?;
        let tree = tarball::read(GzDecoder::new(file), MAXIMUM_UNPACKED).map_err(|error| damaged(error.to_string()))?;
        directory::write(&tree, folder, directory::Options::default()).map_err(|error| damaged(error.to_string()))?;
        // All is in one folder, <name>-<version>, which becomes the source itself.
        let mut inside = fs::read_dir(folder).map_err(ComponentError::at(folder))?.flatten();
        let (Some(only), None) = (inside.next(), inside.next()) else {
            return Err(damaged("more than one folder at the top".to_owned()));
        };
        let moved = folder.with_extension("moved");
        fs::rename(only.path(), &moved).map_err(ComponentError::at(&moved))?;
        fs::remove_dir(folder).map_err(ComponentError::at(folder))?;
        fs::rename(&moved, folder).map_err(ComponentError::at(folder))?;
        end_workspace(folder)
    }

    fn compile(&self, place: &mut Place, output: &Path, progress: &mut Progress<'_>) -> Result<(), ComponentError> {
        let has_lock = place
            .directory
            .ancestors()
            .take_while(|folder| folder.starts_with(&place.source));
        if !has_lock.into_iter().any(|folder| folder.join("Cargo.lock").is_file()) {
            return Err(ComponentError::NoLock {
                name: self.name().to_owned(),
            });
        }
        let manifest = folder::root(&place.directory).join("Cargo.toml");
        let manifest = fs::read_to_string(&manifest).map_err(ComponentError::at(&manifest))?;
        place.flavour = Flavour::of(&manifest, &self.settings.profile);
        place.library = self.toolchain.library(place.flavour, self.shop, progress)?;
        let mut log = Log::begin(self.name(), self.shop.log(self.name()))?;
        log.run(
            cargo::command(self.toolchain, self.settings, self.binaries, place),
            progress,
        )
        .map_err(|error| self.with_libc(error))?;
        let programs = cargo::output_folder(self.toolchain, &self.settings.profile, place);
        for binary in self.binaries {
            let program = self.read(&programs, binary)?;
            check_static(&program).map_err(|source| self.unfit(binary, source))?;
            if let Some(path) = leak(&program, place) {
                progress(&format!("warning: {binary} contains the path {path} of this machine"));
            }
            let target = output.join(binary);
            write_program(&target, &program)?;
            if let Some(path) = outside(&programs.join(format!("{binary}.d")), place) {
                progress(&format!(
                    "warning: {binary} is also made from {path}, whose changes go unnoticed"
                ));
            }
        }
        progress(&format!("the whole output is in {}", log.path().display()));
        Ok(())
    }

    /// Says what C library it was, when that may be why a build failed.
    fn with_libc(&self, mut error: ComponentError) -> ComponentError {
        if let ComponentError::Failed { tail, .. } = &mut error
            && self.settings.libc.is_none()
            && self.toolchain.libc() == Libc::Musl
        {
            tail.push_str(
                "\nnote: this was with musl; what needs glibc, or C++, builds with `[build] libc = \"glibc\"`",
            );
        }
        error
    }

    /// Takes programs from the source as they are: scripts, or what somebody else built.
    fn copy(&self, source: &Path, output: &Path, progress: &mut Progress<'_>) -> Result<(), ComponentError> {
        for binary in self.binaries {
            let program = self.read(source, binary)?;
            match check_machine(&program, self.shop.architecture()) {
                // A script, or whatever else somebody means to bring.
                Ok(()) | Err(ElfError::NotElf) => {}
                Err(source) => return Err(self.unfit(binary, source)),
            }
            if let Err(ElfError::Interpreter(_) | ElfError::Needed(_)) = check_static(&program) {
                progress(&format!(
                    "warning: {binary} is not static: a node has no libraries but those that you bring"
                ));
            }
            write_program(&output.join(binary), &program)?;
        }
        Ok(())
    }

    fn unfit(&self, binary: &str, source: ElfError) -> ComponentError {
        ComponentError::Elf {
            name: self.name().to_owned(),
            binary: binary.to_owned(),
            source,
        }
    }

    fn read(&self, folder: &Path, binary: &str) -> Result<Vec<u8>, ComponentError> {
        let path = program::find(self.name(), folder, binary)?;
        fs::read(&path).map_err(ComponentError::at(&path))
    }
}

/// The folder in which everything is, as archives of source have it.
fn only_folder(folder: &Path) -> Option<PathBuf> {
    let mut inside = fs::read_dir(folder).ok()?.flatten();
    match (inside.next(), inside.next()) {
        (Some(only), None) if only.path().is_dir() => Some(only.path()),
        _ => None,
    }
}

fn write_program(path: &Path, program: &[u8]) -> Result<(), ComponentError> {
    let file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o755)
        .open(path);
    file.and_then(|mut file| file.write_all(program))
        .map_err(ComponentError::at(path))
}

/// Says that a crate's folder is a workspace of its own, unless it does: cargo would look for one around the cache.
fn end_workspace(folder: &Path) -> Result<(), ComponentError> {
    let path = folder.join("Cargo.toml");
    let mut manifest = fs::read_to_string(&path).map_err(ComponentError::at(&path))?;
    if !manifest.lines().any(|line| line.trim_start().starts_with("[workspace")) {
        manifest.push_str("\n[workspace]\n");
        fs::write(&path, manifest).map_err(ComponentError::at(&path))?;
    }
    Ok(())
}

/// The first path of this build that is found in a program, as far as it can be told: the source's or cargo's output.
fn leak(program: &[u8], place: &Place) -> Option<String> {
    use std::os::unix::ffi::OsStrExt as _;
    let paths = [&place.source, &place.target];
    let found = paths.into_iter().find(|path| {
        let needle = path.as_os_str().as_bytes();
        program.windows(needle.len()).any(|bytes| bytes == needle)
    });
    found.map(|path| path.display().to_string())
}

/// The first of the files that cargo noted as read (`<binary>.d`, in the grammar of make) that is not below the source.
fn outside(dependencies: &Path, place: &Place) -> Option<String> {
    let text = fs::read_to_string(dependencies).ok()?;
    let (_, files) = text.trim_end().split_once(": ")?;
    // A space in a name is written `\ `.
    let files = files.replace("\\ ", "\0");
    let files = files.split(' ').map(|file| file.replace('\0', " "));
    let own = |file: &str| {
        file.is_empty()
            || [&place.source, &place.target]
                .iter()
                .any(|folder| Path::new(file).starts_with(folder))
    };
    files.into_iter().find(|file| !own(file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_outside_of_the_source_are_found() {
        let directory = tempfile::tempdir().unwrap();
        let place = Place {
            directory: "/my work/a".into(),
            source: "/my work".into(),
            target: "/cache/target".into(),
            library: None,
            flavour: Flavour::default(),
        };
        let noted = directory.path().join("a.d");
        fs::write(
            &noted,
            "/cache/target/a: /my\\ work/a/src/main.rs /cache/target/out.rs\n",
        )
        .unwrap();
        assert_eq!(outside(&noted, &place), None);
        fs::write(&noted, "/cache/target/a: /my\\ work/a/src/main.rs /my\\ other/lib.rs\n").unwrap();
        assert_eq!(outside(&noted, &place).as_deref(), Some("/my other/lib.rs"));
    }
}
