//! Rust's standard library for musl, compiled from the source that comes with a compiler.
//!
//! A library as it is delivered is made for everybody: for speed, for unwinding, with a reader of debug information, all of
//! which a program of 1 MB has inside. One that is compiled here suits the program ([`Flavour`]), and musl is a third of glibc.
//!
//! ```text
//! steps/std/<key>/lib/rustlib/<target>/lib/*.rlib            the library: a sysroot for `rustc --sysroot`
//! steps/std/<key>/lib/rustlib/<target>/lib/self-contained/   musl's libc.a and start files, GCC's start files and unwinder
//! ```
//!
//! The layout is that of rustup's musl target, so any C compiler links. The crates are built as dependencies of a workspace
//! that is made for it: the library's own asks for what only its tests need and nobody delivers.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use mos_architecture::Architecture;
use mos_cache::{CacheError, Inputs};
use mos_store::Digest;

use crate::error::ComponentError;
use crate::profile::Flavour;
use crate::run::{Log, output};
use crate::toolchain::Compiler;
use crate::workshop::{Progress, Workshop};

/// The step's name in the cache.
const STEP: &str = "std";
/// Raised whenever the same inputs would give another library than before.
const FORMAT: u32 = 1;
/// Musl's own compiler driver, for C in components.
pub(crate) const MUSL_GCC: &str = "musl-gcc";
/// For code that is never unwound: a tenth of a program are tables that say how.
pub(crate) const ABORTS: [&str; 1] = ["-Cforce-unwind-tables=no"];
/// What a program begins and ends with; the others are GCC's.
const MUSL_OBJECTS: [&str; 5] = ["crt1.o", "rcrt1.o", "Scrt1.o", "crti.o", "crtn.o"];
const GCC_OBJECTS: [&str; 4] = ["crtbegin.o", "crtbeginS.o", "crtend.o", "crtendS.o"];
/// The unwinder needs this beside musl.
const UNWINDER: &str = include_str!("unwind.c");

/// What a standard library is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Parts {
    /// The folder `library` of Rust's source.
    source: PathBuf,
    /// The folder with musl's libraries.
    musl: PathBuf,
    /// Names all that does not follow from the compilers' versions.
    pub(crate) identity: String,
}

impl Parts {
    /// What is there for a compiler; `None` unless all of it is.
    pub(crate) fn find(compiler: &Compiler) -> Option<Self> {
        let source = compiler.source()?;
        let musl = musl_folders().map(PathBuf::from).into_iter().find(|folder| {
            let file = |name: &str| folder.join(name).is_file();
            MUSL_OBJECTS.iter().all(|name| file(name)) && file("libc.a")
        })?;
        crate::run::require(MUSL_GCC).ok()?;
        let libc = Digest::of_reader(fs::File::open(musl.join("libc.a")).ok()?).ok()?;
        Some(Self {
            source,
            musl,
            identity: format!("std {FORMAT} with musl {libc}"),
        })
    }
}

/// One standard library that is to be made.
pub(crate) struct Library<'l> {
    pub(crate) compiler: &'l Compiler,
    pub(crate) c_compiler: &'l str,
    pub(crate) parts: &'l Parts,
    pub(crate) target: &'l str,
    pub(crate) flavour: Flavour,
}

impl Library<'_> {
    /// The sysroot, from the cache or made now.
    pub(crate) fn sysroot(&self, shop: &Workshop, progress: &mut Progress<'_>) -> Result<PathBuf, ComponentError> {
        let key = Inputs::new(STEP, FORMAT)
            .add("compiler", self.compiler.version())
            .add("c compiler", self.c_compiler)
            .add("parts", &self.parts.identity)
            .add("target", self.target)
            .add("aborts", [u8::from(self.flavour.aborts)])
            .add("small", [u8::from(self.flavour.small)])
            .key();
        let made = shop.cache().step(STEP, &key, |output| {
            let work = shop.folder("build").join(format!("{STEP}-{}", &key.to_string()[..16]));
            let made = self.make(&work, output, shop, progress);
            // The result is what counts; a leftover goes with the next one, or `mos clean`.
            let _ = fs::remove_dir_all(&work);
            made
        });
        match made {
            Ok(cached) => Ok(cached.path),
            Err(CacheError::Step(error)) => Err(error),
            Err(CacheError::Io { path, source }) => Err(ComponentError::Io { path, source }),
        }
    }

    fn make(
        &self,
        work: &Path,
        output: &Path,
        shop: &Workshop,
        progress: &mut Progress<'_>,
    ) -> Result<(), ComponentError> {
        progress("compiling Rust's standard library for musl, once");
        self.workspace(work)?;
        let work = work.canonicalize().map_err(ComponentError::at(work))?;
        Log::begin("std", shop.log("std"))?.run(self.cargo(&work), progress)?;
        let libraries = output.join("lib/rustlib").join(self.target).join("lib");
        let contained = libraries.join("self-contained");
        fs::create_dir_all(&contained).map_err(ComponentError::at(&contained))?;
        let built = work.join("target").join(self.target).join("release/deps");
        copy_all(&built, ".rlib", &libraries)?;
        copy_all(&self.parts.musl, ".a", &contained)?;
        for object in MUSL_OBJECTS {
            copy(&self.parts.musl.join(object), &contained)?;
        }
        for object in GCC_OBJECTS {
            copy(&of_gcc(object)?, &contained)?;
        }
        self.unwinder(&work, &contained)
    }

    /// The workspace that has the library's crates as dependencies.
    fn workspace(&self, work: &Path) -> Result<(), ComponentError> {
        match fs::remove_dir_all(work) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(ComponentError::at(work)(error)),
            _ => {}
        }
        fs::create_dir_all(work).map_err(ComponentError::at(work))?;
        // Within the workspace: cargo names symbols after paths, and then takes those that begin in it.
        let link = work.join("library");
        std::os::unix::fs::symlink(&self.parts.source, &link).map_err(ComponentError::at(&link))?;
        let sysroot = self.parts.source.join("sysroot/Cargo.toml");
        let features = fs::read_to_string(&sysroot).map_err(ComponentError::at(&sysroot))?;
        for (name, text) in [("Cargo.toml", self.manifest(&features)), ("lib.rs", String::new())] {
            fs::write(work.join(name), text).map_err(ComponentError::at(work))?;
        }
        Ok(())
    }

    /// `offered`: the manifest of the library, which has the names of its features.
    fn manifest(&self, offered: &str) -> String {
        let unwind = ["panic-unwind", "panic_unwind"]
            .into_iter()
            .find(|name| offered.contains(name));
        let wanted = [
            unwind.filter(|_| !self.flavour.aborts),
            Some("optimize_for_size").filter(|_| self.flavour.small),
        ];
        let features: Vec<String> = wanted.into_iter().flatten().map(|name| format!("{name:?}")).collect();
        let inner = [
            "rustc-std-workspace-core",
            "rustc-std-workspace-alloc",
            "rustc-std-workspace-std",
        ];
        let patches: String = inner
            .map(|name| format!("{name} = {{ path = \"library/{name}\" }}\n"))
            .concat();
        format!(
            "cargo-features = [\"profile-rustflags\"]\n[package]\nname = \"all\"\nversion = \"0.0.0\"\nedition = \"2021\"\n\
             [lib]\npath = \"lib.rs\"\n[dependencies]\nstd = {{ path = \"library/std\", default-features = false, \
             features = [{}] }}\nproc_macro = {{ path = \"library/proc_macro\" }}\n\
             [profile.release.package.compiler_builtins]\ncodegen-units = 10000\n\
             [profile.release.package.panic_abort]\nrustflags = [\"-Cpanic=abort\"]\n[patch.crates-io]\n{patches}",
            features.join(", ")
        )
    }

    fn cargo(&self, work: &Path) -> Command {
        let mut command = Command::new(self.compiler.cargo());
        command
            .current_dir(work)
            .env_clear()
            .env("CARGO_HOME", work.join("home"));
        let passed = ["PATH", "HOME", "TMPDIR", "RUSTUP_HOME"];
        command.envs(
            passed
                .into_iter()
                .filter_map(|name| Some((name, std::env::var_os(name)?))),
        );
        command.args([
            "build",
            "--release",
            "--offline",
            "--color=never",
            "--package=std",
            "--package=proc_macro",
        ]);
        command
            .args(["--target", self.target])
            .arg("--target-dir")
            .arg(work.join("target"));
        let level = if self.flavour.small { "\"s\"" } else { "3" };
        for setting in [
            "source.crates-io.replace-with=\"vendored\"".to_owned(),
            "source.vendored.directory=\"library/vendor\"".to_owned(),
            format!("profile.release.opt-level={level}"),
            "profile.release.debug=0".to_owned(),
            "profile.release.lto=false".to_owned(),
        ] {
            command.args(["--config", &setting]);
        }
        let mut flags = vec![
            // Crates of the library use what is not stable, and must not be used by accident.
            "-Zforce-unstable-if-unmarked".to_owned(),
            // For programs that optimize across crates.
            "-Cembed-bitcode=yes".to_owned(),
            format!("--remap-path-prefix={}=/rust", work.display()),
        ];
        if self.flavour.aborts {
            flags.push("-Cpanic=abort".to_owned());
            flags.extend(ABORTS.map(str::to_owned));
        }
        command
            .env("RUSTC", self.compiler.rustc())
            .env("RUSTC_WRAPPER", "")
            // The library is written in the language of its own compiler, with all that is not stable.
            .env("RUSTC_BOOTSTRAP", "1")
            .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
            .env("CARGO_INCREMENTAL", "0")
            .env("LC_ALL", "C");
        command
    }

    /// GCC's unwinder under the name that the library asks for, with what it lacks in musl.
    fn unwinder(&self, work: &Path, contained: &Path) -> Result<(), ComponentError> {
        let archive = contained.join("libunwind.a");
        let eh = of_gcc("libgcc_eh.a")?;
        fs::copy(&eh, &archive).map_err(ComponentError::at(&archive))?;
        let source = work.join("unwind.c");
        fs::write(&source, UNWINDER).map_err(ComponentError::at(&source))?;
        let mut compile = Command::new("cc");
        compile
            .current_dir(work)
            .args(["-O2", "-fPIC", "-c", "unwind.c", "-o", "unwind.o"]);
        self::output(STEP, &mut compile)?;
        let mut add = Command::new("ar");
        // Without dates and users.
        add.current_dir(work).arg("rD").arg(&archive).arg("unwind.o");
        self::output(STEP, &mut add).map(drop)
    }
}

/// Where musl is: Debian and Ubuntu, Fedora, Arch.
fn musl_folders() -> [String; 3] {
    let host = Architecture::HOST;
    [
        format!("/usr/lib/{host}-linux-musl"),
        format!("/usr/{host}-linux-musl/lib64"),
        "/usr/lib/musl/lib".to_owned(),
    ]
}

/// Where GCC has a file of its own.
fn of_gcc(name: &str) -> Result<PathBuf, ComponentError> {
    output(STEP, Command::new("cc").arg(format!("-print-file-name={name}"))).map(PathBuf::from)
}

fn copy(file: &Path, folder: &Path) -> Result<(), ComponentError> {
    let name = file.file_name().unwrap_or_default();
    fs::copy(file, folder.join(name))
        .map(drop)
        .map_err(ComponentError::at(file))
}

/// Copies files whose names end in something.
fn copy_all(from: &Path, end: &str, to: &Path) -> Result<(), ComponentError> {
    for entry in fs::read_dir(from).map_err(ComponentError::at(from))? {
        let path = entry.map_err(ComponentError::at(from))?.path();
        if path.to_string_lossy().ends_with(end) {
            copy(&path, to)?;
        }
    }
    Ok(())
}
