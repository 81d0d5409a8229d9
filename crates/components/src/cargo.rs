//! Calling `cargo build` so that the result depends on nothing but its inputs.
//!
//! * The environment is emptied but for what finds the tools and the network.
//! * Paths of this machine are replaced in everything that the compilers write: for Rust by `--remap-path-prefix`, for C
//!   in dependencies by `-ffile-prefix-map`. Cargo leaves the former out of the hash it names symbols with.
//! * `SOURCE_DATE_EPOCH` is the same for everybody.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use mos_config::Build;

use crate::profile::Flavour;
use crate::registry::cargo_home;
use crate::toolchain::Toolchain;

/// Variables that are passed on: they say where things are, not what comes out. Names that end in `*` are prefixes.
const PASSED: [&str; 20] = [
    "PATH",
    "HOME",
    "TMPDIR",
    "CARGO_HOME",
    "RUSTUP_HOME",
    "CARGO_HTTP_*",
    "CARGO_NET_*",
    "CARGO_REGISTR*",
    "CARGO_SOURCE_*",
    "SSL_CERT_*",
    "SSH_AUTH_SOCK",
    "GIT_SSL_*",
    "http_proxy",
    "https_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "no_proxy",
    "NO_PROXY",
    "all_proxy",
    "ALL_PROXY",
];
/// Seconds since 1970 that programs are told they were built at.
const SOURCE_DATE_EPOCH: &str = "0";
/// Between the flags in `CARGO_ENCODED_RUSTFLAGS`.
const FLAG_SEPARATOR: &str = "\x1f";

/// Where one build takes place.
#[derive(Debug)]
pub(crate) struct Place {
    /// What cargo is run in.
    pub directory: PathBuf,
    /// The root of the source, whose path is hidden.
    pub source: PathBuf,
    /// Cargo's output.
    pub target: PathBuf,
    /// A sysroot that has the standard library of the target, when the compiler's own has not.
    pub library: Option<PathBuf>,
    /// What the profile says.
    pub flavour: Flavour,
}

/// The command that builds.
pub(crate) fn command(toolchain: &Toolchain, build: &Build, binaries: &[String], place: &Place) -> Command {
    let mut command = Command::new(toolchain.compiler().cargo());
    command.current_dir(&place.directory).env_clear().envs(passed());
    command.args(["build", "--locked", "--color=never", "--profile", &build.profile]);
    command
        .args(["--target", toolchain.target()])
        .arg("--target-dir")
        .arg(&place.target);
    build.packages.iter().for_each(|package| {
        command.args(["--package", package]);
    });
    binaries.iter().for_each(|binary| {
        command.args(["--bin", binary]);
    });
    if !build.features.is_empty() {
        command.args(["--features", &build.features.join(",")]);
    }
    if !build.default_features {
        command.arg("--no-default-features");
    }
    command.envs(toolchain.tools());
    let prefixes = prefixes(toolchain, place);
    let c_target = toolchain.target().replace('-', "_");
    command
        .env("RUSTC", toolchain.compiler().rustc())
        .env("RUSTC_WRAPPER", "")
        .env("CARGO_ENCODED_RUSTFLAGS", rust_flags(toolchain, place, &prefixes))
        .env(format!("CFLAGS_{c_target}"), c_flags(&prefixes))
        .env(format!("CXXFLAGS_{c_target}"), c_flags(&prefixes))
        // Lets the flags above be quoted (the `cc` crate, "External configuration via environment variables").
        .env("CC_SHELL_ESCAPED_FLAGS", "1")
        .env("CARGO_INCREMENTAL", "0")
        .env("SOURCE_DATE_EPOCH", SOURCE_DATE_EPOCH)
        // A build script that asks git for a commit must not be told that of a repository around the cache.
        .env(
            "GIT_CEILING_DIRECTORIES",
            place.source.parent().unwrap_or(&place.source),
        )
        .env("LC_ALL", "C")
        .env("TZ", "UTC");
    command
}

/// The folder in which cargo puts the programs of a profile.
pub(crate) fn output_folder(toolchain: &Toolchain, profile: &str, place: &Place) -> PathBuf {
    let folder = if profile == "dev" { "debug" } else { profile };
    place.target.join(toolchain.target()).join(folder)
}

fn passed() -> impl Iterator<Item = (OsString, OsString)> {
    std::env::vars_os().filter(|(name, _)| {
        let name = name.to_string_lossy();
        PASSED.iter().any(|passed| match passed.strip_suffix('*') {
            Some(prefix) => name.starts_with(prefix),
            None => name == *passed,
        })
    })
}

/// Paths of this machine and what stands for them; of several that fit, the last counts.
fn prefixes(toolchain: &Toolchain, place: &Place) -> Vec<(PathBuf, &'static str)> {
    let home = std::env::var_os("HOME").map(|home| (PathBuf::from(home), "/home"));
    let cargo = cargo_home().map(|home| (home, "/cargo"));
    let library = place.library.clone().map(|path| (path, "/rust"));
    let rest = [
        (toolchain.sysroot().to_owned(), "/rust"),
        (place.target.clone(), "/target"),
        (place.source.clone(), "/source"),
    ];
    let all = home.into_iter().chain(cargo).chain(library).chain(rest);
    all.filter(|(path, _)| path != Path::new("/") && path.is_absolute())
        .collect()
}

fn rust_flags(toolchain: &Toolchain, place: &Place, prefixes: &[(PathBuf, &str)]) -> String {
    let mut flags = toolchain.flags(place.flavour);
    flags.extend(place.library.iter().map(|path| format!("--sysroot={}", path.display())));
    let hidden = prefixes.iter();
    flags.extend(hidden.map(|(path, name)| format!("--remap-path-prefix={}={name}", path.display())));
    flags.join(FLAG_SEPARATOR)
}

fn c_flags(prefixes: &[(PathBuf, &str)]) -> String {
    let quoted = |path: &Path| path.display().to_string().replace('\'', "'\\''");
    let flags = prefixes
        .iter()
        .map(|(path, name)| format!("'-ffile-prefix-map={}={name}'", quoted(path)));
    flags.collect::<Vec<_>>().join(" ")
}
