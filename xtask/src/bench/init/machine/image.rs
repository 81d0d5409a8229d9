//! What a machine starts from: a kernel, and an initramfs with one supervisor, the libraries that it needs, and what it is
//! told.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use mos_boot::{Compression, initramfs, root};
use mos_tree::{Content, Tree};

use super::inits::Init;
use crate::bench::init::stage::{PROGRAMS, Stage};
use crate::bench::init::supervisors::Place;
use crate::bench::init::work::Service;

/// Packages with those that only a machine can run.
const PACKAGES: [&str; 2] = ["finit", "systemd"];
/// Where packages have libraries.
const LIBRARIES: [&str; 4] = [
    "usr/lib/x86_64-linux-gnu",
    "lib/x86_64-linux-gnu",
    "lib/systemd",
    "usr/lib/systemd",
];
/// Where a machine has them.
const LIBRARY: &str = "usr/lib/x86_64-linux-gnu";

/// What all machines have in common.
pub(super) struct Image<'s> {
    stage: &'s Stage,
    kernel: PathBuf,
}

impl<'s> Image<'s> {
    pub(super) fn new(stage: &'s Stage) -> Result<Self, String> {
        let image = Self {
            stage,
            kernel: stage.kernel()?,
        };
        stage.unpack(&PACKAGES, true, &image.packages());
        Ok(image)
    }

    pub(super) fn kernel(&self) -> &Path {
        &self.kernel
    }

    fn packages(&self) -> PathBuf {
        self.stage.folder().join("machine")
    }

    pub(super) fn has(&self, init: Init) -> bool {
        init.programs().iter().all(|name| self.program(init, name).is_some())
    }

    fn program(&self, init: Init, name: &str) -> Option<PathBuf> {
        if let Init::Told(kind) = init
            && kind.program() == name
        {
            return self.stage.program(kind);
        }
        let roots = [self.stage.root(), self.packages()];
        let mut places = roots.iter().flat_map(|root| {
            let folders = PROGRAMS.iter().chain(&["lib/systemd", "usr/lib/systemd"]);
            folders.map(move |folder| root.join(folder).join(name))
        });
        places.find(|path| path.is_file())
    }

    /// The initramfs of a supervisor with these services.
    pub(super) fn initramfs(&self, init: Init, services: &[Service]) -> Result<tempfile::NamedTempFile, String> {
        let tree = self.tree(init, services)?;
        let packed = initramfs(&tree, Compression::None).map_err(|error| error.to_string())?;
        let file = tempfile::NamedTempFile::new_in(self.stage.folder());
        let mut file = file.map_err(|error| error.to_string())?;
        file.write_all(&packed).map_err(|error| error.to_string())?;
        Ok(file)
    }

    fn tree(&self, init: Init, services: &[Service]) -> Result<Tree, String> {
        let mut tree = root::base_tree().map_err(|error| error.to_string())?;
        let service = content(&self.stage.service())?;
        put(&mut tree, "/init", service.clone())?;
        put(&mut tree, "/bench/service", service)?;
        // Whoever runs scripts has the same shell.
        let busybox = self.program(Init::Busybox, "busybox").ok_or("there is no BusyBox")?;
        put(&mut tree, "/usr/bin/busybox", content(&busybox)?)?;
        for name in ["/bin/sh", "/sbin/init", "/usr/bin/true"] {
            let linked = tree.insert_symlink(name.trim_start_matches('/'), "/usr/bin/busybox");
            linked.map_err(|error| error.to_string())?;
        }
        let mut programs = Vec::new();
        for name in init.programs().iter().filter(|name| **name != "busybox") {
            let path = self.program(init, name).ok_or_else(|| format!("there is no {name}"))?;
            put(&mut tree, &format!("/usr/bin/{name}"), content(&path)?)?;
            programs.push(path);
        }
        for (name, path) in self.libraries(&programs)? {
            put(&mut tree, &name, content(&path)?)?;
        }
        let place = Place {
            service: Path::new("/bench/service"),
            stamps: Path::new("/run/stamps"),
            services: init.services(),
            socket: Path::new("/run/socket"),
            total: Some(services.len()),
        };
        for (path, text) in init.files(&place, services) {
            put(&mut tree, &path, text.as_str().into())?;
        }
        put(
            &mut tree,
            "/bench/command",
            init.command(&place).join("\n").as_str().into(),
        )?;
        Ok(tree)
    }

    /// The libraries of programs: where a machine has each, and where it is here.
    fn libraries(&self, programs: &[PathBuf]) -> Result<BTreeMap<String, PathBuf>, String> {
        let roots = [self.packages(), self.stage.root()];
        let folders = roots.iter().flat_map(|root| LIBRARIES.map(|folder| root.join(folder)));
        let path = std::env::join_paths(folders).map_err(|error| error.to_string())?;
        let mut found = BTreeMap::new();
        for program in programs {
            let output = Command::new("ldd").arg(program).env("LD_LIBRARY_PATH", &path).output();
            let output = output.map_err(|error| format!("ldd: {error}"))?;
            // Of a static program it says so and fails.
            let said = String::from_utf8_lossy(&output.stdout);
            for line in said.lines() {
                found.extend(library(line)?);
            }
        }
        Ok(found)
    }
}

/// A line of ldd(1): `name => path (address)`, or `path (address)` of the one that loads them.
fn library(line: &str) -> Result<Option<(String, PathBuf)>, String> {
    let line = line.trim();
    let path = |text: &str| PathBuf::from(text.rsplit_once(" (").map_or(text, |(path, _)| path));
    match line.split_once(" => ") {
        Some((name, "not found")) => Err(format!("the library {name} is not here")),
        Some((name, at)) => Ok(Some((format!("/{LIBRARY}/{name}"), path(at)))),
        None if line.starts_with('/') => Ok(Some((path(line).display().to_string(), path(line)))),
        None => Ok(None),
    }
}

fn content(path: &Path) -> Result<Content, String> {
    let path = fs::canonicalize(path).map_err(|error| format!("{}: {error}", path.display()))?;
    Content::file(&path).map_err(|error| format!("{}: {error}", path.display()))
}

/// Puts an executable file at an absolute path.
fn put(tree: &mut Tree, path: &str, content: Content) -> Result<(), String> {
    let inserted = tree.insert_file(path.trim_start_matches('/'), 0o755, content);
    inserted.map(drop).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ldd_says_is_understood() {
        let found = |line| {
            library(line)
                .unwrap()
                .map(|(name, path)| (name, path.display().to_string()))
        };
        let pair = |name: &str, path: &str| Some((name.to_owned(), path.to_owned()));
        assert_eq!(
            found("\tlibc.so.6 => /lib/libc.so.6 (0x7f)"),
            pair("/usr/lib/x86_64-linux-gnu/libc.so.6", "/lib/libc.so.6")
        );
        assert_eq!(
            found("\t/lib64/ld-linux-x86-64.so.2 (0x7f)"),
            pair("/lib64/ld-linux-x86-64.so.2", "/lib64/ld-linux-x86-64.so.2")
        );
        assert_eq!(found("\tlinux-vdso.so.1 (0x7f)"), None);
        assert!(library("\tlibx.so => not found").is_err());
    }
}
