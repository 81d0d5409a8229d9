//! Rust's standard library for another architecture, from Debian.
//!
//! Debian builds its compiler and the libraries for all architectures from one source: the library of the version that is
//! installed here fits the compiler that is installed here. It is fetched through the host's apt, which checks its
//! signature, unpacked into the cache and nowhere else; nothing is installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use mos_architecture::Architecture;
use mos_packages::{Apt, Progress as AptProgress, deb};
use mos_tree::directory;

use crate::error::ComponentError;
use crate::run::output;
use crate::toolchain::{Compiler, target};
use crate::workshop::{Progress, Workshop};

/// In the cache: a folder for each package, whole as soon as it has its name.
const FOLDER: &str = "libraries";
/// Debian's compiler, also where rustup's comes first in the path.
pub(crate) const RUSTC: &str = "/usr/bin/rustc";

/// A compiler that can make programs for another architecture.
pub(crate) struct Found {
    pub(crate) compiler: Compiler,
    /// Has the library of the target and nothing else.
    pub(crate) sysroot: PathBuf,
    pub(crate) target: String,
}

/// Debian's compiler, and its library for an architecture.
pub(crate) fn of_debian(
    architecture: Architecture,
    shop: &Workshop,
    progress: &mut Progress<'_>,
) -> Result<Found, ComponentError> {
    let none = || ComponentError::NoLibrary { architecture };
    // Without Debian, or without its compiler, there is nothing to ask.
    let ask = |arguments: &[&str]| output("toolchain", Command::new("dpkg-query").args(arguments)).map_err(|_| none());
    let owner = ask(&["--search", RUSTC])?;
    let compiler_package = owner.split([':', ',']).next().unwrap_or_default().to_owned();
    let package = library_package(&compiler_package).ok_or_else(none)?;
    let version = ask(&["--show", "--showformat=${Version}", &compiler_package])?;
    let parent = shop.folder(FOLDER);
    let root = parent.join(format!("{package}_{version}_{}", architecture.debian()));
    if !root.is_dir() {
        fs::create_dir_all(&parent).map_err(ComponentError::at(&parent))?;
        let scratch = tempfile::tempdir_in(&parent).map_err(ComponentError::at(&parent))?;
        let whole = scratch.path().join("root");
        unpack(&format!("{package}={version}"), architecture, shop, &whole, progress)?;
        match fs::rename(&whole, &root) {
            // Another build was faster, and has the same.
            Err(_) if root.is_dir() => {}
            other => other.map_err(ComponentError::at(&root))?,
        }
    }
    Ok(Found {
        compiler: Compiler::ask(Path::new(RUSTC))?,
        sysroot: root.join("usr"),
        target: target(architecture, "gnu"),
    })
}

/// The package with the library that belongs to a package with the compiler: `libstd-rust-web-dev` to `rustc-web`.
fn library_package(compiler: &str) -> Option<String> {
    let flavour = compiler.strip_prefix("rustc")?;
    Some(format!("libstd-rust{flavour}-dev"))
}

fn unpack(
    package: &str,
    architecture: Architecture,
    shop: &Workshop,
    folder: &Path,
    progress: &mut Progress<'_>,
) -> Result<(), ComponentError> {
    let apt = Apt::new(shop.folder("apt"), architecture);
    let mut tell = |step: AptProgress<'_>| {
        if let AptProgress::Downloading(package) = step {
            let (name, size) = (&package.name, package.size / 1024);
            progress(&format!("downloading {name} for {architecture} ({size} KiB)"));
        }
    };
    for locked in apt.resolve(&[package], false, &mut tell)? {
        let deb = deb::read(&apt.fetch(&locked, &mut tell)?.path)?;
        directory::write(&deb.tree, folder, directory::Options::default())
            .map_err(|error| ComponentError::source(package, error.to_string()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_compiler_of_debian_has_its_own_library() {
        assert_eq!(library_package("rustc").as_deref(), Some("libstd-rust-dev"));
        assert_eq!(library_package("rustc-web").as_deref(), Some("libstd-rust-web-dev"));
        assert_eq!(library_package("rustup"), None);
    }
}
