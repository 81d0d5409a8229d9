//! Every kind of output, made twice from nothing but downloads, in different folders: how many files differ.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::row;
use super::stage::{Stage, System};
use crate::bench::{CLOUD_KERNEL, Row};
use crate::build;

pub(super) fn rows(_: &Stage) -> Result<Vec<Row>, String> {
    let system = System::new(CLOUD_KERNEL, &["virtio_net"], 3, "[image]\nstate_size = 16\n")?;
    system.mos(&["image", "build", "--env", "dev"])?;
    let other = system.folder().join("another/much/longer/path");
    fs::create_dir_all(&other).map_err(|error| error.to_string())?;
    let copied = std::process::Command::new("cp")
        .arg("-rT")
        .args([system.repository(), other.clone()])
        .status();
    if !copied.is_ok_and(|status| status.success()) {
        return Err("cp failed".to_owned());
    }
    let first = made(&system, &system.repository())?;
    let second = made(&system, &other)?;
    let differing: Vec<&String> = first
        .keys()
        .filter(|name| first.get(*name) != second.get(*name))
        .collect();
    if !differing.is_empty() {
        println!("these differ: {differing:?}");
    }
    println!("files of {} outputs were compared", first.len());
    let same = first.len() - differing.len();
    Ok(vec![row(
        "output files / those with the same bytes in two builds",
        (same as f64, first.len().max(second.len()) as f64),
        "",
        1.0,
    )])
}

/// All outputs of a repository, made with a cache of its own.
fn made(system: &System, repository: &Path) -> Result<BTreeMap<String, Vec<u8>>, String> {
    let failed = |error: std::io::Error| error.to_string();
    let cache = tempfile::tempdir().map_err(failed)?;
    symlink(build::cache()?.join("apt"), cache.path().join("apt")).map_err(failed)?;
    let arguments = [
        "image",
        "build",
        "--env",
        "dev",
        "--output",
        "all",
        "--output-dir",
        "all",
    ];
    system.run(repository, &arguments, &[("MOS_CACHE", cache.path())])?;
    let mut files = BTreeMap::new();
    for folder in [repository.join("all"), repository.join("all/pxe")] {
        for entry in fs::read_dir(folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if path.is_file() {
                let name = path.strip_prefix(repository).unwrap_or(&path).display().to_string();
                files.insert(name, fs::read(&path).map_err(failed)?);
            }
        }
    }
    Ok(files)
}
