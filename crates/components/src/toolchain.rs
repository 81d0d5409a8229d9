//! The compiler that all components are built with, and for which target.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::ComponentError;
use crate::run::{output, require};

/// The user's Rust toolchain.
///
/// The compiler is called by its own path, not through rustup's proxies: a `rust-toolchain.toml` in a component does not
/// bring another one, and all components of a release come from the same compiler.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Toolchain {
    /// What `rustc -vV` prints.
    version: String,
    /// The first line that `cc --version` prints.
    c_compiler: String,
    sysroot: PathBuf,
    target: String,
}

impl Toolchain {
    /// Asks the `rustc` in the path. Static programs come from the target with musl when its standard library is
    /// installed, otherwise from the one with glibc.
    ///
    /// # Errors
    /// [`ComponentError::MissingTool`] without `rustc` or `cc`.
    pub fn find() -> Result<Self, ComponentError> {
        require("cc")?;
        let rustc = |arguments: &[&str]| output("toolchain", Command::new("rustc").args(arguments));
        let version = rustc(&["-vV"])?;
        let cc = output("toolchain", Command::new("cc").arg("--version"))?;
        let sysroot = PathBuf::from(rustc(&["--print", "sysroot"])?);
        let host = version
            .lines()
            .find_map(|line| line.strip_prefix("host: "))
            .unwrap_or_default();
        let architecture = host.split('-').next().unwrap_or_default();
        let musl = format!("{architecture}-unknown-linux-musl");
        let has_musl = std::fs::read_dir(library(&sysroot, &musl)).is_ok_and(|mut files| files.next().is_some());
        let target = if has_musl {
            musl
        } else {
            format!("{architecture}-unknown-linux-gnu")
        };
        Ok(Self {
            version,
            c_compiler: cc.lines().next().unwrap_or_default().to_owned(),
            sysroot,
            target,
        })
    }

    /// The compiler's version, as `rustc -vV` prints it.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The C compiler, which also links.
    pub fn c_compiler(&self) -> &str {
        &self.c_compiler
    }

    /// The target that programs are built for.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// Where the toolchain is.
    pub(crate) fn sysroot(&self) -> &Path {
        &self.sysroot
    }

    pub(crate) fn rustc(&self) -> PathBuf {
        self.sysroot.join("bin/rustc")
    }

    /// The toolchain's own cargo; the one in the path where a distribution keeps it elsewhere.
    pub(crate) fn cargo(&self) -> PathBuf {
        let own = self.sysroot.join("bin/cargo");
        if own.is_file() { own } else { PathBuf::from("cargo") }
    }

    /// Compiler flags that every program is built with, without those that hide paths.
    pub(crate) fn flags(&self) -> Vec<String> {
        // musl links statically unless told otherwise; saying so costs nothing and holds when that default changes.
        vec!["-Ctarget-feature=+crt-static".to_owned()]
    }
}

fn library(sysroot: &Path, target: &str) -> PathBuf {
    sysroot.join("lib/rustlib").join(target).join("lib")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_target_has_a_standard_library() {
        let toolchain = Toolchain::find().unwrap();
        assert!(toolchain.version().starts_with("rustc "));
        assert!(library(toolchain.sysroot(), toolchain.target()).is_dir());
    }
}
