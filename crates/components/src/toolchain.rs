//! The compiler that all components are built with, and for which target.
//!
//! For a machine like this one, the user's own compiler. For another, whoever has a standard library for it, in this order:
//!
//! 1. the user's own compiler: that of the target with musl, then of the one with glibc (`rustup target add …`);
//! 2. the compiler of Debian, whose library for the other architecture is fetched ([`crate::library`]).
//!
//! It links with a cross compiler for C then, [`tool_prefix`].

use std::path::{Path, PathBuf};
use std::process::Command;

use mos_architecture::Architecture;

use crate::error::ComponentError;
use crate::library;
use crate::run::{output, require};
use crate::workshop::{Progress, Workshop};

/// The user's Rust toolchain.
///
/// The compiler is called by its own path, not through rustup's proxies: a `rust-toolchain.toml` in a component does not
/// bring another one, and all components of a release come from the same compiler.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Toolchain {
    compiler: Compiler,
    /// The first line that the C compiler prints when asked for its version.
    c_compiler: String,
    /// What stands before the names of the tools for C; nothing for those of this machine.
    tool_prefix: &'static str,
    /// A sysroot that has the target's standard library and nothing else, when the compiler's own has none.
    library: Option<PathBuf>,
    target: String,
}

/// A compiler for Rust.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Compiler {
    /// What `rustc -vV` prints.
    version: String,
    sysroot: PathBuf,
}

impl Compiler {
    pub(crate) fn ask(rustc: &Path) -> Result<Self, ComponentError> {
        let ask = |arguments: &[&str]| output("toolchain", Command::new(rustc).args(arguments));
        Ok(Self {
            version: ask(&["-vV"])?,
            sysroot: PathBuf::from(ask(&["--print", "sysroot"])?),
        })
    }

    fn has(&self, target: &str) -> bool {
        let library = self.sysroot.join("lib/rustlib").join(target).join("lib");
        std::fs::read_dir(library).is_ok_and(|mut files| files.next().is_some())
    }
}

/// What stands before the names of the tools for C that make programs for an architecture: nothing when that is the
/// host's, otherwise what Debian's packages of cross compilers have there.
pub fn tool_prefix(architecture: Architecture) -> &'static str {
    match architecture {
        host if host == Architecture::HOST => "",
        Architecture::X86_64 => "x86_64-linux-gnu-",
        Architecture::Aarch64 => "aarch64-linux-gnu-",
    }
}

/// The target that a compiler has a standard library for: with musl, otherwise with glibc. Programs are static with either.
fn own_target(architecture: Architecture, has: impl Fn(&str) -> bool) -> Option<String> {
    let targets = ["musl", "gnu"].map(|library| target(architecture, library));
    targets.into_iter().find(|target| has(target))
}

pub(crate) fn target(architecture: Architecture, library: &str) -> String {
    format!("{architecture}-unknown-linux-{library}")
}

impl Toolchain {
    /// Asks the `rustc` in the path, and, when it cannot make programs for the machine that the shop works for, that of
    /// Debian.
    ///
    /// # Errors
    /// [`ComponentError::MissingTool`] without `rustc` or a C compiler; [`ComponentError::NoLibrary`] when no compiler has a
    /// standard library for that machine; [`ComponentError::Package`] when it cannot be fetched.
    pub fn find(shop: &Workshop, progress: &mut Progress<'_>) -> Result<Self, ComponentError> {
        let architecture = shop.architecture();
        let tool_prefix = tool_prefix(architecture);
        // Build scripts and macros run here, whatever the programs are for.
        require("cc")?;
        let linker = linker(tool_prefix);
        require(&linker)?;
        let said = output("toolchain", Command::new(&linker).arg("--version"))?;
        let compiler = Compiler::ask(Path::new("rustc"))?;
        let (compiler, target, library) = match own_target(architecture, |target| compiler.has(target)) {
            Some(target) => (compiler, target, None),
            None => {
                let found = library::of_debian(architecture, shop, progress)?;
                (found.compiler, found.target, Some(found.sysroot))
            }
        };
        Ok(Self {
            compiler,
            c_compiler: said.lines().next().unwrap_or_default().to_owned(),
            tool_prefix,
            library,
            target,
        })
    }

    /// The compiler's version, as `rustc -vV` prints it. Where its standard library comes from is no part of it: one that is
    /// fetched is of the same build.
    pub fn version(&self) -> &str {
        &self.compiler.version
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
        &self.compiler.sysroot
    }

    /// Where the standard library is that is not in the toolchain.
    pub(crate) fn library(&self) -> Option<&Path> {
        self.library.as_deref()
    }

    pub(crate) fn rustc(&self) -> PathBuf {
        self.sysroot().join("bin/rustc")
    }

    /// The toolchain's own cargo; the one in the path where a distribution keeps it elsewhere.
    pub(crate) fn cargo(&self) -> PathBuf {
        let own = self.sysroot().join("bin/cargo");
        if own.is_file() { own } else { PathBuf::from("cargo") }
    }

    /// Compiler flags that every program is built with, without those that have paths.
    pub(crate) fn flags(&self) -> Vec<String> {
        // musl links statically unless told otherwise; saying so costs nothing and holds when that default changes.
        vec!["-Ctarget-feature=+crt-static".to_owned()]
    }

    /// Variables that name the tools for C, where they are not those of this machine: for cargo, and for the `cc` crate
    /// in build scripts.
    pub(crate) fn tools(&self) -> Vec<(String, String)> {
        tools(self.tool_prefix, &self.target)
    }
}

fn linker(tool_prefix: &str) -> String {
    match tool_prefix {
        "" => "cc".to_owned(),
        prefix => format!("{prefix}gcc"),
    }
}

fn tools(tool_prefix: &str, target: &str) -> Vec<(String, String)> {
    if tool_prefix.is_empty() {
        return Vec::new();
    }
    let lower = target.replace('-', "_");
    let linker = format!("CARGO_TARGET_{}_LINKER", lower.to_uppercase());
    [
        (linker, "gcc"),
        (format!("CC_{lower}"), "gcc"),
        (format!("CXX_{lower}"), "g++"),
        (format!("AR_{lower}"), "ar"),
    ]
    .map(|(name, tool)| (name, format!("{tool_prefix}{tool}")))
    .into()
}

#[cfg(test)]
mod tests {
    use mos_cache::Cache;

    use super::*;

    #[test]
    fn the_target_has_a_standard_library() {
        let shop = Workshop::new("/", Cache::new("/nonexistent"));
        let toolchain = Toolchain::find(&shop, &mut |_| {}).unwrap();
        assert!(toolchain.version().starts_with("rustc "));
        assert!(toolchain.compiler.has(toolchain.target()));
        assert_eq!((toolchain.library(), toolchain.tools()), (None, Vec::new()));
    }

    #[test]
    fn musl_comes_before_glibc_and_both_before_another_compiler() {
        let (musl, gnu) = ("aarch64-unknown-linux-musl", "aarch64-unknown-linux-gnu");
        let choose = |there: &[&str]| own_target(Architecture::Aarch64, |target| there.contains(&target));
        assert_eq!(choose(&[gnu, musl]).as_deref(), Some(musl));
        assert_eq!(choose(&[gnu]).as_deref(), Some(gnu));
        assert_eq!(choose(&["x86_64-unknown-linux-gnu"]), None);
    }

    #[test]
    fn another_machine_has_tools_of_its_own() {
        assert_eq!(tool_prefix(Architecture::HOST), "");
        let other = Architecture::HOST.other();
        assert_eq!(tool_prefix(other), format!("{other}-linux-gnu-"));
        let named = tools("aarch64-linux-gnu-", "aarch64-unknown-linux-musl");
        let pairs: Vec<String> = named.iter().map(|(name, tool)| format!("{name}={tool}")).collect();
        assert_eq!(
            pairs,
            [
                "CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_LINKER=aarch64-linux-gnu-gcc",
                "CC_aarch64_unknown_linux_musl=aarch64-linux-gnu-gcc",
                "CXX_aarch64_unknown_linux_musl=aarch64-linux-gnu-g++",
                "AR_aarch64_unknown_linux_musl=aarch64-linux-gnu-ar",
            ]
        );
    }
}
