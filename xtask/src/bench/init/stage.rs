//! What the benches of my_init start from: the program that stamps, our program as it is shipped, and the peers: from
//! packages, unpacked aside; from where `scripts/peers.sh init` puts programs of crates; from variables and the `PATH`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use mos_architecture::Architecture;
use mos_packages::{Apt, LockedPackage, deb};
use mos_tree::{Tree, directory};

use super::supervisors::Kind;
use crate::bench::CLOUD_KERNEL;
use crate::build;

/// Packages with peers, and the libraries that these need and a C library's package does not have.
const PACKAGES: [&str; 6] = [
    "s6",
    "libexecline2.9",
    "libs6-2.11",
    "libskarnet2.13",
    "runit",
    "busybox-static",
];
/// Where packages have programs, and libraries.
pub(super) const PROGRAMS: [&str; 4] = ["usr/bin", "bin", "usr/sbin", "sbin"];
pub(super) const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";

pub(super) struct Stage {
    directory: tempfile::TempDir,
    apt: Apt,
}

impl Stage {
    pub(super) fn make() -> Result<Self, String> {
        let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
        let apt = Apt::new(build::cache()?.join("apt"), Architecture::X86_64);
        let stage = Self { directory, apt };
        compile(&stage.service())?;
        stage.unpack(&PACKAGES, false, &stage.root());
        Ok(stage)
    }

    pub(super) fn folder(&self) -> &Path {
        self.directory.path()
    }

    /// The program of `service.c`.
    pub(super) fn service(&self) -> PathBuf {
        self.folder().join("service")
    }

    /// The packages, unpacked.
    pub(super) fn root(&self) -> PathBuf {
        self.folder().join("root")
    }

    /// Unpacks packages into a directory, with all that they depend on or alone. One that cannot be had is named.
    pub(super) fn unpack(&self, packages: &[&str], with_dependencies: bool, root: &Path) {
        for package in packages {
            if let Err(why) = self.unpack_one(package, with_dependencies, root) {
                println!("{package}: left out: {}", why.lines().next().unwrap_or_default());
            }
        }
    }

    fn unpack_one(&self, package: &str, with_dependencies: bool, root: &Path) -> Result<(), String> {
        let failed = |error: mos_packages::PackageError| error.to_string();
        let packages = self.apt.resolve(&[package], with_dependencies, &mut |_| {});
        for package in packages.map_err(failed)? {
            let tree = self.read(&package)?;
            directory::write(&tree, root, directory::Options::default()).map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    fn read(&self, package: &LockedPackage) -> Result<Tree, String> {
        let path = self
            .apt
            .fetch(package, &mut |_| {})
            .map_err(|error| error.to_string())?
            .path;
        Ok(deb::read(&path).map_err(|error| error.to_string())?.tree)
    }

    /// The newest kernel for virtual machines of the packages, as a file.
    pub(super) fn kernel(&self) -> Result<PathBuf, String> {
        let package = self.apt.resolve_kernel(CLOUD_KERNEL, &mut |_| {});
        let tree = self.read(&package.map_err(|error| error.to_string())?)?;
        let content = tree.walk().find_map(|entry| match &entry.inode.kind {
            mos_tree::Kind::File(content) if entry.path.starts_with(b"boot/vmlinuz-") => Some(content.clone()),
            _ => None,
        });
        let content = content.ok_or_else(|| format!("{CLOUD_KERNEL} has no boot/vmlinuz"))?;
        let path = self.folder().join("vmlinuz");
        let written = content.read().and_then(|bytes| fs::write(&path, bytes));
        written.map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(path)
    }

    /// A supervisor's program, if it is here.
    pub(super) fn program(&self, kind: Kind) -> Option<PathBuf> {
        match kind {
            Kind::Ours => named("MY_INIT").or_else(|| fs::canonicalize("dist/node/my_init").ok()),
            Kind::Dinit => named("DINIT").or_else(|| on_path(kind.program())),
            Kind::Zinit | Kind::Horust => {
                let built = fs::canonicalize(Path::new("target/peers/bin").join(kind.program()));
                built.ok().or_else(|| on_path(kind.program()))
            }
            Kind::S6 | Kind::Runit => {
                let places = PROGRAMS.map(|folder| self.root().join(folder).join(kind.program()));
                places.into_iter().find(|path| path.is_file())
            }
        }
    }

    /// Those that are here; who is not is named once, by [`Stage::announce`].
    pub(super) fn present(&self, kinds: &[Kind]) -> Vec<Kind> {
        let kinds = kinds.iter().copied();
        kinds.filter(|kind| self.program(*kind).is_some()).collect()
    }

    /// Names the peers that are absent.
    pub(super) fn announce(&self) {
        for kind in Kind::PEERS.into_iter().filter(|kind| self.program(*kind).is_none()) {
            let hint = match kind {
                Kind::Dinit => "no package has it; DINIT=/path/to/dinit if you have one",
                _ => "see `scripts/peers.sh init`",
            };
            println!("{}: absent: {hint}", kind.name());
        }
    }
}

fn compile(to: &Path) -> Result<(), String> {
    let source = to.with_extension("c");
    fs::write(&source, include_str!("service.c")).map_err(|error| format!("{}: {error}", source.display()))?;
    let mut compiler = Command::new("cc");
    compiler.args(["-O2", "-static", "-s", "-o"]).arg(to).arg(&source);
    match compiler.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{compiler:?}: {status}")),
        Err(error) => Err(format!("cc: {error}")),
    }
}

fn named(variable: &str) -> Option<PathBuf> {
    let path = std::env::var_os(variable).filter(|path| !path.is_empty())?;
    fs::canonicalize(path).ok()
}

fn on_path(program: &str) -> Option<PathBuf> {
    let paths = std::env::var_os("PATH")?;
    let mut places = std::env::split_paths(&paths).map(|folder| folder.join(program));
    places.find(|path| path.is_file())
}
