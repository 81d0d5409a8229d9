//! Crates, through the user's own cargo: no registry is named here, so mirrors and credentials work as configured.
//!
//! A requirement is made exact by resolving a throw-away package that depends on it: cargo then also says which SHA-256
//! the registry's index has for the archive. `cargo info` downloads that one archive and nothing else.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use mos_config::LockedComponent;
use mos_toml::{Document, Problems};
use sha2::{Digest as _, Sha256};

use crate::error::ComponentError;
use crate::run::output;
use crate::workshop::{Progress, Workshop};

/// The largest archive accepted, in bytes; crates.io's own limit is 10 MiB.
const MAXIMUM_ARCHIVE: u64 = 256 << 20;
/// The throw-away package's name.
const PROBE: &str = "mos-probe";

/// What is wanted.
#[derive(Debug)]
pub(crate) struct Wanted<'w> {
    pub component: &'w str,
    pub krate: &'w str,
    pub requirement: &'w str,
    pub sha256: Option<&'w str>,
    pub locked: Option<&'w LockedComponent>,
}

/// What came.
#[derive(Debug)]
pub(crate) struct Got {
    pub version: String,
    pub sha256: String,
    pub archive: PathBuf,
}

/// Brings the archive of a crate into the cache, and checks it.
pub(crate) fn fetch(wanted: &Wanted<'_>, shop: &Workshop, progress: &mut Progress<'_>) -> Result<Got, ComponentError> {
    let exact = mos_config::exact_version(wanted.requirement);
    let (version, sha256) = match (wanted.locked, exact, wanted.sha256) {
        (Some(locked), _, _) => (locked.version.clone(), locked.digest.clone()),
        (None, Some(version), Some(sha256)) => (version.to_owned(), sha256.to_owned()),
        _ => {
            progress(&format!("looking up {} {}", wanted.krate, wanted.requirement));
            look_up(wanted, shop)?
        }
    };
    if let Some(expected) = wanted.sha256.filter(|expected| **expected != *sha256) {
        return Err(wrong_digest(wanted, &version, expected, &sha256));
    }
    let archive = bring(wanted, &version, &sha256, shop, progress)?;
    Ok(Got {
        version,
        sha256,
        archive,
    })
}

fn wrong_digest(wanted: &Wanted<'_>, version: &str, expected: &str, found: &str) -> ComponentError {
    ComponentError::WrongDigest {
        name: wanted.component.to_owned(),
        what: format!("{} {version}", wanted.krate),
        expected: expected.to_owned(),
        found: found.to_owned(),
    }
}

/// The archive in our cache, from cargo's cache, or from the registry.
fn bring(
    wanted: &Wanted<'_>,
    version: &str,
    sha256: &str,
    shop: &Workshop,
    progress: &mut Progress<'_>,
) -> Result<PathBuf, ComponentError> {
    let file = format!("{}-{version}.crate", wanted.krate);
    let ours = shop.folder("crates").join(&file);
    if read_bounded(&ours).is_ok_and(|bytes| digest(&bytes) == sha256) {
        return Ok(ours);
    }
    let mut found = None;
    for attempt in 0..2 {
        for path in in_cargo_home(&file) {
            let bytes = read_bounded(&path).map_err(ComponentError::at(&path))?;
            let actual = digest(&bytes);
            if actual == sha256 {
                keep(&ours, &bytes)?;
                return Ok(ours);
            }
            found = Some(actual);
        }
        if attempt == 0 {
            progress(&format!("downloading {} {version}", wanted.krate));
            download(wanted, version, shop)?;
        }
    }
    match found {
        Some(found) => Err(wrong_digest(wanted, version, sha256, &found)),
        None => Err(ComponentError::source(
            wanted.component,
            format!("cargo kept no archive {file}; does its configuration replace the registry by a folder?"),
        )),
    }
}

fn keep(path: &Path, bytes: &[u8]) -> Result<(), ComponentError> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(ComponentError::at(parent))?;
    }
    mos_sys::durable::write(path, bytes, 0o644).map_err(ComponentError::at(path))
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    if fs::metadata(path)?.len() > MAXIMUM_ARCHIVE {
        return Err(io::Error::other("too large for the archive of a crate"));
    }
    fs::read(path)
}

fn digest(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// Files with this name in cargo's cache, one per registry.
fn in_cargo_home(file: &str) -> Vec<PathBuf> {
    let Some(home) = cargo_home() else { return Vec::new() };
    let registries = fs::read_dir(home.join("registry/cache"))
        .into_iter()
        .flatten()
        .flatten();
    registries
        .map(|registry| registry.path().join(file))
        .filter(|path| path.is_file())
        .collect()
}

/// Where cargo keeps what it downloads (the cargo book, "Cargo Home").
pub(crate) fn cargo_home() -> Option<PathBuf> {
    let set = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    set.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")))
}

/// Asks for the newest version that fits, and its digest in the registry's index.
fn look_up(wanted: &Wanted<'_>, shop: &Workshop) -> Result<(String, String), ComponentError> {
    let probe = probe(wanted, shop)?;
    let asked = output(
        wanted.component,
        Command::new("cargo")
            .args(["generate-lockfile", "--quiet"])
            .current_dir(&probe),
    );
    let text = asked.and_then(|_| {
        let path = probe.join("Cargo.lock");
        fs::read_to_string(&path).map_err(ComponentError::at(&path))
    });
    // What is left over is small and overwritten by the next one.
    let _ = fs::remove_dir_all(&probe);
    let found = text.map(|text| locked_version(&text, wanted.krate))?;
    found.ok_or_else(|| {
        let reason = format!("cargo found no {} {} in a registry", wanted.krate, wanted.requirement);
        ComponentError::source(wanted.component, reason)
    })
}

/// A package that depends on what is wanted.
fn probe(wanted: &Wanted<'_>, shop: &Workshop) -> Result<PathBuf, ComponentError> {
    let folder = shop
        .folder("build")
        .join(format!("probe-{}-{}", wanted.component, std::process::id()));
    fs::create_dir_all(folder.join("src")).map_err(ComponentError::at(&folder))?;
    let requirement = match mos_config::exact_version(wanted.requirement) {
        Some(version) => format!("={version}"),
        None => wanted.requirement.to_owned(),
    };
    let manifest = format!(
        "[package]\nname = \"{PROBE}\"\nversion = \"0.0.0\"\nedition = \"2024\"\n[workspace]\n[dependencies]\n\
         probed = {{ package = \"{}\", version = \"{requirement}\", default-features = false }}\n",
        wanted.krate
    );
    for (name, text) in [("Cargo.toml", manifest.as_str()), ("src/lib.rs", "")] {
        let path = folder.join(name);
        fs::write(&path, text).map_err(ComponentError::at(&path))?;
    }
    Ok(folder)
}

/// Version and checksum of the crate that the probe depends on, from the text of a `Cargo.lock`.
fn locked_version(text: &str, krate: &str) -> Option<(String, String)> {
    let document = Document::parse("Cargo.lock", text).ok()?;
    let problems = Problems::default();
    let packages = document.root(&problems).table_list("package");
    let probe = packages
        .iter()
        .find(|package| package.string("name").as_deref() == Some(PROBE))?;
    // `name`, or `name version` when the lock has several versions of it.
    let wanted = probe.string_list("dependencies").into_iter().next()?.value;
    let mut words = wanted.split(' ').skip(1);
    let version = words.next();
    let package = packages.iter().find(|package| {
        package.string("name").as_deref() == Some(krate)
            && version.is_none_or(|version| package.string("version").as_deref() == Some(version))
            && package
                .string("source")
                .is_some_and(|source| source.contains("registry") || source.contains("sparse"))
    })?;
    Some((package.string("version")?, package.string("checksum")?))
}

/// Has cargo download one archive into its cache.
fn download(wanted: &Wanted<'_>, version: &str, shop: &Workshop) -> Result<(), ComponentError> {
    let folder = shop.folder("build");
    fs::create_dir_all(&folder).map_err(ComponentError::at(&folder))?;
    let crate_version = format!("{}@{version}", wanted.krate);
    let mut command = Command::new("cargo");
    command.args(["info", "--quiet", &crate_version]).current_dir(&folder);
    output(wanted.component, &mut command).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCK: &str = r#"
version = 4
[[package]]
name = "mos-probe"
version = "0.0.0"
dependencies = ["web 2.0.0"]
[[package]]
name = "web"
version = "1.0.0"
source = "registry+https://example.org/index"
checksum = "old"
[[package]]
name = "web"
version = "2.0.0"
source = "registry+https://example.org/index"
checksum = "new"
"#;

    #[test]
    fn the_probe_names_the_right_one_of_two_versions() {
        let found = locked_version(LOCK, "web");
        assert_eq!(found, Some(("2.0.0".to_owned(), "new".to_owned())));
        assert_eq!(locked_version(LOCK, "other"), None);
        assert_eq!(locked_version("version = ", "web"), None);
    }
}
