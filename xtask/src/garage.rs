//! The tests of buckets against Garage, which is built first when it is not there.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The version whose source was read for its options, and that the tests are written for.
const VERSION: &str = "2.5.0";
/// Where it is installed, below the directory of builds.
const ROOT: &str = "garage";

/// Builds Garage, unless `garage` is on the path or was built here, and runs the tests against it.
pub(crate) fn test() -> Result<String, String> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
    let root = std::path::absolute(target.join(ROOT)).map_err(|error| format!("{}: {error}", target.display()))?;
    let program = match on_path("garage") {
        Some(program) => program,
        None => install(&root)?,
    };
    let arguments = [
        "test",
        "--quiet",
        "--locked",
        "--package",
        "mos-store",
        "--test",
        "garage",
        "--",
        "--nocapture",
    ];
    cargo(&arguments, &[("MOS_GARAGE", program.into_os_string())])?;
    Ok("buckets work with Garage".into())
}

fn install(root: &Path) -> Result<PathBuf, String> {
    let program = root.join("bin/garage");
    if !program.is_file() {
        println!(
            "building Garage {VERSION} into {} (once; it takes a while)",
            root.display()
        );
        let features = ["--no-default-features", "--features", "bundled-libs,sqlite"];
        let mut arguments = vec!["install", "garage", "--quiet", "--locked", "--version", VERSION];
        arguments.extend(features);
        arguments.push("--root");
        let root = root.to_str().ok_or("the directory of builds is not UTF-8")?;
        arguments.push(root);
        cargo(&arguments, &[])?;
    }
    Ok(program)
}

fn cargo(arguments: &[&str], variables: &[(&str, OsString)]) -> Result<(), String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let variables = variables.iter().map(|(name, value)| (name, value));
    match Command::new(cargo).args(arguments).envs(variables).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("cargo {} failed ({status})", arguments[0])),
        Err(error) => Err(format!("cargo: {error}")),
    }
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
}
