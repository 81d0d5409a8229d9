//! The same inputs give the same bytes.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::system::mos;

/// Builds the quickstart in a folder with a cache of its own, and returns every output by name. Only downloads of Rust
/// crates are shared, as cargo keeps them.
fn build(folder: &Path, key: &Path) -> BTreeMap<String, Vec<u8>> {
    let run = |arguments: &[&str]| {
        let mut command = mos(folder);
        command
            .env("MOS_CACHE", folder.join("cache"))
            .env("SOURCE_DATE_EPOCH", "1780000000")
            .args(arguments);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    run(&["new", "--name", "twice", "."]);
    fs::create_dir(folder.join("keys")).unwrap();
    for name in ["dev.key", "dev.pub"] {
        fs::copy(key.join(name), folder.join("keys").join(name)).unwrap();
    }
    run(&["build", "--env", "dev"]);
    run(&["release", "publish", "--env", "dev", "--to", "channel"]);
    let mut files = BTreeMap::new();
    collect(&folder.join("dist"), folder, &mut files);
    collect(&folder.join("channel"), folder, &mut files);
    files
}

fn collect(folder: &Path, root: &Path, files: &mut BTreeMap<String, Vec<u8>>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, root, files);
        } else {
            let name = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
            files.insert(name, fs::read(&path).unwrap());
        }
    }
}

#[test]
fn two_builds_are_byte_identical() {
    let keys = tempfile::tempdir().unwrap();
    let pair = mos_channel::KeyPair::generate().unwrap();
    pair.write(&keys.path().join("dev.key"), &keys.path().join("dev.pub"))
        .unwrap();
    let here = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::Builder::new()
        .prefix("another-much-longer-name-")
        .tempdir()
        .unwrap();
    let first = build(here.path(), keys.path());
    let second = build(elsewhere.path(), keys.path());
    assert_eq!(first.keys().collect::<Vec<_>>(), second.keys().collect::<Vec<_>>());
    let differing: Vec<_> = first
        .iter()
        .filter(|(name, bytes)| second[*name] != **bytes)
        .map(|(name, _)| name)
        .collect();
    assert!(differing.is_empty(), "these differ: {differing:?}");
    for (name, bytes) in &first {
        let paths = [here.path(), elsewhere.path()].map(|path| path.to_str().unwrap().as_bytes().to_owned());
        let found = paths
            .iter()
            .any(|path| bytes.windows(path.len()).any(|window| window == &path[..]));
        assert!(!found, "{name} holds the path of its build");
    }
}
