//! `mos` for this machine, and the node's programs, static: into `dist/bin` and `dist/node`; those for another
//! architecture into `dist/node-aarch64`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use mos_architecture::Architecture;
use mos_cache::Cache;
use mos_components::{Built, Toolchain, Workshop, build, fetch};
use mos_config::{Build, BuildKind, Libc, PlannedComponent, Source};

use crate::crates;

/// Marks `dist` as something that can be made again (bford.info/cachedir).
const CACHE_TAG: &str = "Signature: 8a477f597d28d172789f06886806bc55\n";
/// The node's programs, and the packages that have them.
const PROGRAMS: [&str; 3] = ["my_init", "mos-node", "myfs"];
const PACKAGES: [&str; 3] = ["my-init", "mos-node", "myfs"];

/// Builds both, or only the node's programs: `mos` as it is shipped takes long, and tests compile their own.
pub(crate) fn run(arguments: &[&str]) -> Result<String, String> {
    let (with_mos, architecture) = match arguments {
        [] => (true, Architecture::HOST),
        ["node"] => (false, Architecture::HOST),
        ["node", "--architecture", name] => (false, name.parse()?),
        other => return Err(format!("cannot build `{}`; there is: node", other.join(" "))),
    };
    fs::create_dir_all("dist").map_err(|error| format!("dist: {error}"))?;
    fs::write("dist/CACHEDIR.TAG", CACHE_TAG).map_err(|error| format!("dist/CACHEDIR.TAG: {error}"))?;
    if with_mos {
        mos()?;
    }
    let built = node_programs(architecture)?;
    let folder = match architecture {
        Architecture::HOST => PathBuf::from("dist/node"),
        other => PathBuf::from(format!("dist/node-{other}")),
    };
    for (name, path) in &built.binaries {
        copy(path, &folder.join(name))?;
    }
    for (program, package) in PROGRAMS.iter().zip(PACKAGES) {
        let list = crates::linked(package, &built.target)?;
        let path = folder.join(format!("{program}.crates.json"));
        fs::write(&path, list).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    let verb = if built.cached { "nothing changed in" } else { "built" };
    let mos = if with_mos { "; dist/bin/mos is ready" } else { "" };
    Ok(format!("{verb} the node's programs ({}){mos}", built.target))
}

fn mos() -> Result<(), String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--quiet", "--release", "--locked", "--package", "mos"])
        .status();
    match status {
        Ok(status) if status.success() => {}
        Ok(status) => return Err(format!("cargo build failed ({status})")),
        Err(error) => return Err(format!("cargo: {error}")),
    }
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
    copy(&target.join("release/mos"), Path::new("dist/bin/mos"))
}

/// The same way in which any component of a system is built, so that the programs are static, stripped and free of
/// this machine's paths.
fn node_programs(architecture: Architecture) -> Result<Built, String> {
    let failed = |error: mos_components::ComponentError| error.to_string();
    let shop = Workshop::new(
        std::env::current_dir().map_err(|error| error.to_string())?,
        Cache::new(cache()?),
    )
    .for_architecture(architecture);
    let toolchain = Toolchain::find(&shop, None, &mut |line| println!("{line}")).map_err(failed)?;
    let component = component();
    let fetched = fetch(&component, &shop, &mut |_| {}).map_err(failed)?;
    let mut started = false;
    let binaries = &component.binaries;
    let mut progress = |_: &str| {
        if !std::mem::replace(&mut started, true) {
            println!("building the node's programs for {}", toolchain.target());
            if toolchain.libc() == Libc::Glibc {
                println!("with static glibc they are twice as large as with musl: see small_rust in scripts/deps.sh");
            }
        }
    };
    build(&fetched, &component.build, binaries, &toolchain, &shop, &mut progress).map_err(failed)
}

fn component() -> PlannedComponent {
    PlannedComponent {
        name: "node-programs".into(),
        description: String::new(),
        source: Source::Path { path: ".".into() },
        version: None,
        locked: None,
        build: Build {
            kind: BuildKind::Cargo,
            packages: PACKAGES.map(str::to_owned).into(),
            features: Vec::new(),
            default_features: true,
            profile: "node".into(),
            libc: None,
        },
        binaries: PROGRAMS.map(str::to_owned).into(),
        files: Default::default(),
        routes: Default::default(),
        kernel_modules: false,
        firmware: None,
        service: None,
    }
}

/// The same cache as that of `mos`.
pub(crate) fn cache() -> Result<PathBuf, String> {
    let set = |name: &str| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let home = || set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")));
    set("MOS_CACHE")
        .or_else(|| Some(home()?.join("mos")))
        .ok_or_else(|| "HOME is not set".to_owned())
}

/// Copies a program, unless the same bytes are there already: what depends on it then sees no change.
fn copy(from: &Path, to: &Path) -> Result<(), String> {
    let at = |path: &Path, error: std::io::Error| format!("{}: {error}", path.display());
    let bytes = fs::read(from).map_err(|error| at(from, error))?;
    if fs::read(to).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder).map_err(|error| at(folder, error))?;
    }
    mos_sys::durable::write(to, &bytes, 0o755).map_err(|error| at(to, error))
}
