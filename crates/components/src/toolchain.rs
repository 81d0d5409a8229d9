//! The compiler that all components are built with, and for which target.
//!
//! The first that is there, in this order:
//!
//! 1. the user's own compiler, when it has a standard library for the target with musl (`rustup target add …`);
//! 2. one with the source of its standard library, which is compiled for musl ([`crate::standard`]): the user's own
//!    (`rustup component add rust-src`), then that of Debian;
//! 3. the user's own compiler, with glibc;
//! 4. for another machine, the compiler of Debian, whose library for the other architecture is fetched ([`crate::library`]).
//!
//! A component that does not compile with musl says so (`[build] libc`), and 1 and 2 are left out. For another machine, 2 is:
//! nobody delivers musl for it. A cross compiler for C links then, [`tool_prefix`].

use std::path::{Path, PathBuf};
use std::process::Command;

use mos_architecture::Architecture;
use mos_config::Libc;

use crate::error::ComponentError;
use crate::library;
use crate::profile::Flavour;
use crate::run::{output, require};
use crate::standard::{self, Library, MUSL_GCC, Parts};
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
    standard: Standard,
    target: String,
}

/// Where the standard library is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Standard {
    /// With the compiler.
    Own,
    /// In a sysroot that has it and nothing else.
    Sysroot(PathBuf),
    /// Nowhere yet: it is compiled of these when a program is.
    Source(Parts),
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

    /// What `rustc -vV` prints.
    pub(crate) fn version(&self) -> &str {
        &self.version
    }

    pub(crate) fn rustc(&self) -> PathBuf {
        self.sysroot.join("bin/rustc")
    }

    /// The toolchain's own cargo; the one in the path where a distribution keeps it elsewhere.
    pub(crate) fn cargo(&self) -> PathBuf {
        let own = self.sysroot.join("bin/cargo");
        if own.is_file() { own } else { PathBuf::from("cargo") }
    }

    /// The folder `library` of the source that belongs to it. Debian's folder has a version in its name, and packages may
    /// be of two.
    pub(crate) fn source(&self) -> Option<PathBuf> {
        let source = self.sysroot.join("lib/rustlib/src/rust").canonicalize().ok()?;
        let name = source.file_name()?.to_string_lossy().into_owned();
        let release = self.version.lines().find_map(|line| line.strip_prefix("release: "))?;
        let fits = name.strip_prefix("rustc-").is_none_or(|version| version == release);
        let library = source.join("library");
        (fits && library.join("vendor").is_dir()).then_some(library)
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

/// Who makes programs, and with what standard library.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// The user's compiler has the library.
    Own(Libc),
    /// The user's compiler has its source.
    OwnSource,
    /// Debian's compiler has its source.
    DebianSource,
    /// Debian's compiler, whose library is fetched.
    DebianLibrary,
}

/// The first way that leads to a program, [as the module says](self). `there` is asked no more than it takes.
fn choose(wanted: Option<Libc>, native: bool, there: impl Fn(Way) -> bool) -> Option<Way> {
    let ways = [
        (Way::Own(Libc::Musl), Libc::Musl, true),
        (Way::OwnSource, Libc::Musl, native),
        (Way::DebianSource, Libc::Musl, native),
        (Way::Own(Libc::Glibc), Libc::Glibc, true),
        (Way::DebianLibrary, Libc::Glibc, !native),
    ];
    let fits = |libc| wanted.is_none_or(|wanted| wanted == libc);
    let fitting = ways.into_iter().filter(|(_, libc, possible)| fits(*libc) && *possible);
    fitting.map(|(way, ..)| way).find(|way| there(*way))
}

/// What Rust calls a C library in the names of targets.
fn environment(libc: Libc) -> &'static str {
    match libc {
        Libc::Musl => "musl",
        Libc::Glibc => "gnu",
    }
}

pub(crate) fn target(architecture: Architecture, library: &str) -> String {
    format!("{architecture}-unknown-linux-{library}")
}

impl Toolchain {
    /// Asks the `rustc` in the path, and that of Debian. With this C library, when one is wanted.
    ///
    /// # Errors
    /// [`ComponentError::MissingTool`] without `rustc` or a C compiler; [`ComponentError::NoLibrary`] and
    /// [`ComponentError::NoMusl`] when no compiler has a standard library for that machine and C library;
    /// [`ComponentError::Package`] when it cannot be fetched.
    pub fn find(shop: &Workshop, libc: Option<Libc>, progress: &mut Progress<'_>) -> Result<Self, ComponentError> {
        let architecture = shop.architecture();
        let tool_prefix = tool_prefix(architecture);
        // Build scripts and macros run here, whatever the programs are for.
        require("cc")?;
        let linker = linker(tool_prefix);
        require(&linker)?;
        let said = output("toolchain", Command::new(&linker).arg("--version"))?;
        let own = Compiler::ask(Path::new("rustc"))?;
        let debian = || Compiler::ask(Path::new(library::RUSTC)).ok();
        let target = |libc| target(architecture, environment(libc));
        let way = choose(libc, architecture == Architecture::HOST, |way| match way {
            Way::Own(libc) => own.has(&target(libc)),
            Way::OwnSource => Parts::find(&own).is_some(),
            Way::DebianSource => debian().as_ref().and_then(Parts::find).is_some(),
            Way::DebianLibrary => true,
        });
        let compiled = |compiler: Option<Compiler>| {
            let compiler = compiler.ok_or(ComponentError::NoMusl)?;
            let parts = Parts::find(&compiler).ok_or(ComponentError::NoMusl)?;
            Ok::<_, ComponentError>((compiler, target(Libc::Musl), Standard::Source(parts)))
        };
        let (compiler, target, standard) = match way {
            Some(Way::Own(libc)) => (own, target(libc), Standard::Own),
            Some(Way::OwnSource) => compiled(Some(own))?,
            Some(Way::DebianSource) => compiled(debian())?,
            Some(Way::DebianLibrary) => {
                let found = library::of_debian(architecture, shop, progress)?;
                (found.compiler, found.target, Standard::Sysroot(found.sysroot))
            }
            None if libc == Some(Libc::Musl) => return Err(ComponentError::NoMusl),
            None => return Err(ComponentError::NoLibrary { architecture }),
        };
        Ok(Self {
            compiler,
            c_compiler: said.lines().next().unwrap_or_default().to_owned(),
            tool_prefix,
            standard,
            target,
        })
    }

    /// The C library that programs have inside.
    pub fn libc(&self) -> Libc {
        match self.target.ends_with("musl") {
            true => Libc::Musl,
            false => Libc::Glibc,
        }
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

    pub(crate) fn compiler(&self) -> &Compiler {
        &self.compiler
    }

    /// Names what does not follow from the compilers' versions.
    pub(crate) fn identity(&self) -> &str {
        match &self.standard {
            Standard::Source(parts) => &parts.identity,
            Standard::Own | Standard::Sysroot(_) => "",
        }
    }

    /// The sysroot with the standard library that is not the compiler's own, made now when it is not in the cache.
    pub(crate) fn library(
        &self,
        flavour: Flavour,
        shop: &Workshop,
        progress: &mut Progress<'_>,
    ) -> Result<Option<PathBuf>, ComponentError> {
        let parts = match &self.standard {
            Standard::Own => return Ok(None),
            Standard::Sysroot(folder) => return Ok(Some(folder.clone())),
            Standard::Source(parts) => parts,
        };
        let library = Library {
            compiler: &self.compiler,
            c_compiler: &self.c_compiler,
            parts,
            target: &self.target,
            flavour,
        };
        library.sysroot(shop, progress).map(Some)
    }

    /// Compiler flags that every program is built with, without those that have paths.
    pub(crate) fn flags(&self, flavour: Flavour) -> Vec<String> {
        // musl links statically unless told otherwise; saying so costs nothing and holds when that default changes.
        // A profile's own `strip` does not hold for a package that the profile has other settings for.
        let mut flags = ["-Ctarget-feature=+crt-static", "-Cstrip=symbols"]
            .map(str::to_owned)
            .to_vec();
        if flavour.aborts && matches!(self.standard, Standard::Source(_)) {
            flags.extend(standard::ABORTS.map(str::to_owned));
        }
        flags
    }

    /// Variables that name the tools for C, where they are not those of this machine: for cargo, and for the `cc` crate
    /// in build scripts.
    pub(crate) fn tools(&self) -> Vec<(String, String)> {
        match &self.standard {
            Standard::Source(_) => vec![(format!("CC_{}", self.target.replace('-', "_")), MUSL_GCC.to_owned())],
            Standard::Own | Standard::Sysroot(_) => tools(self.tool_prefix, &self.target),
        }
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
    fn there_is_a_standard_library_with_glibc_or_the_source_of_one() {
        let shop = Workshop::new("/", Cache::new("/nonexistent"));
        let find = |libc| Toolchain::find(&shop, libc, &mut |_| {}).unwrap();
        let toolchain = find(None);
        assert!(toolchain.version().starts_with("rustc "));
        assert!(toolchain.standard != Standard::Own || toolchain.compiler.has(toolchain.target()));
        let glibc = find(Some(Libc::Glibc));
        assert_eq!((glibc.libc(), &glibc.standard), (Libc::Glibc, &Standard::Own));
        assert_eq!((glibc.identity(), glibc.tools()), ("", Vec::new()));
        let none = glibc.library(Flavour::default(), &shop, &mut |_| {}).unwrap();
        assert_eq!(none, None);
    }

    #[test]
    fn the_smallest_that_is_there_is_chosen() {
        use Way::{DebianLibrary, DebianSource, Own, OwnSource};
        let (musl, glibc) = (Own(Libc::Musl), Own(Libc::Glibc));
        let all = [musl, OwnSource, DebianSource, glibc, DebianLibrary];
        let choose = |native, wanted, there: &[Way]| super::choose(wanted, native, |way| there.contains(&way));
        // What is left of a list when the first of it are not there.
        for (native, wanted, order) in [
            (true, None, &[musl, OwnSource, DebianSource, glibc][..]),
            (true, Some(Libc::Musl), &[musl, OwnSource, DebianSource]),
            (true, Some(Libc::Glibc), &[glibc]),
            (false, None, &[musl, glibc, DebianLibrary]),
            (false, Some(Libc::Musl), &[musl]),
            (false, Some(Libc::Glibc), &[glibc, DebianLibrary]),
        ] {
            for (gone, expected) in order.iter().enumerate() {
                let there: Vec<Way> = all.into_iter().filter(|way| !order[..gone].contains(way)).collect();
                assert_eq!(choose(native, wanted, &there), Some(*expected), "{there:?}");
            }
            assert_eq!(choose(native, wanted, &[]), None);
        }
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
