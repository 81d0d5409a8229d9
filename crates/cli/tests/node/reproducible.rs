//! The same inputs give the same bytes.
//!
//! Both builds compile everything themselves, in folders and homes of their own; only downloads, which are checked by
//! their digests, come once, and one of them takes the standard library that all tests share: compiled in a third place. The quickstart's web server takes minutes to compile, so a smaller program from crates.io
//! stands in its place, with dependencies, procedural macros and build scripts as well.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::cache;
use crate::system::mos;

/// Downloads, below a cache.
const DOWNLOADS: [&str; 2] = ["apt", "crates"];
/// Downloads, below a cargo home.
const REGISTRY: [&str; 2] = ["registry/index", "registry/cache"];

/// Who builds: with which home, cargo home and umask.
struct Builder<'b> {
    folder: &'b Path,
    /// A home and a cargo of its own, another name, time zone and language, as another user has, whose downloads are
    /// those of this folder; everything of this user otherwise.
    stranger: Option<&'b Path>,
    umask: &'static str,
}

impl Builder<'_> {
    fn run(&self, arguments: &[&str]) {
        let plain = mos(self.folder);
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", "umask \"$0\"; exec \"$@\"", self.umask])
            .arg(plain.get_program())
            .args(arguments);
        command.current_dir(self.folder);
        plain
            .get_envs()
            .filter_map(|(name, value)| Some((name, value?)))
            .for_each(|(name, value)| {
                command.env(name, value);
            });
        command
            .env("MOS_CACHE", self.folder.join("cache"))
            .env("SOURCE_DATE_EPOCH", "1780000000");
        if self.stranger.is_some() {
            self.move_house(&mut command);
        }
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Another home; the toolchain, the registry's address and what was downloaded from it stay where they are.
    fn move_house(&self, command: &mut Command) {
        let old = PathBuf::from(std::env::var_os("HOME").unwrap());
        let variable = |name: &str, default: &str| std::env::var_os(name).map_or(old.join(default), PathBuf::from);
        let cargo = self.folder.join("home/cargo");
        if !cargo.exists() {
            fs::create_dir_all(cargo.join("registry")).unwrap();
            for name in REGISTRY.iter().chain(&["config.toml"]) {
                let own = variable("CARGO_HOME", ".cargo").join(name);
                if own.exists() {
                    symlink(own, cargo.join(name)).unwrap();
                }
            }
        }
        command.envs([("USER", "stranger"), ("TZ", "Pacific/Apia"), ("LC_ALL", "C")]);
        command.env("HOME", self.folder.join("home")).env("CARGO_HOME", cargo);
        command.env("RUSTUP_HOME", variable("RUSTUP_HOME", ".rustup"));
    }

    /// Takes over the downloads.
    fn move_in(&self) {
        fs::create_dir_all(self.folder.join("cache/steps")).unwrap();
        if self.stranger.is_none() {
            let shared = cache().join("steps/std");
            fs::create_dir_all(&shared).unwrap();
            symlink(shared, self.folder.join("cache/steps/std")).unwrap();
        }
        for (from, name) in self.stranger.iter().flat_map(|from| DOWNLOADS.map(|name| (from, name))) {
            let cache = |folder: &Path| folder.join("cache").join(name);
            fs::rename(cache(from), cache(self.folder)).unwrap();
        }
    }

    /// Builds and publishes the quickstart with a cache of its own, and returns every output by name.
    fn build(&self, keys: &Path) -> BTreeMap<String, Vec<u8>> {
        self.move_in();
        let repository = self.folder.join("repository");
        self.run(&["new", "--name", "twice", repository.to_str().unwrap()]);
        smaller(&repository.join("components/web.toml"));
        fs::create_dir(repository.join("keys")).unwrap();
        for name in ["dev.key", "dev.pub"] {
            fs::copy(keys.join(name), repository.join("keys").join(name)).unwrap();
        }
        let config = repository.to_str().unwrap();
        self.run(&["--config", config, "build", "--env", "dev"]);
        self.run(&[
            "--config", config, "release", "publish", "--env", "dev", "--to", "channel",
        ]);
        let mut files = BTreeMap::new();
        collect(&self.folder.join("dist"), self.folder, &mut files);
        collect(&self.folder.join("channel"), self.folder, &mut files);
        assert!(files.len() >= 10, "{:?}", files.keys());
        files
    }
}

/// Puts a program in the place of the web server that is compiled in a tenth of the time.
fn smaller(component: &Path) {
    let mut text = fs::read_to_string(component).unwrap();
    for (from, to) in [
        ("name = \"static-web-server\"", "name = \"hexyl\""),
        ("version = \"2.44.1\"", "version = \"=0.17.0\""),
        ("binaries = [\"static-web-server\"]", "binaries = [\"hexyl\"]"),
    ] {
        assert!(text.contains(from), "{text}");
        text = text.replace(from, to);
    }
    fs::write(component, text).unwrap();
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
    let first = Builder {
        folder: here.path(),
        stranger: None,
        umask: "022",
    }
    .build(keys.path());
    let paths = [here.path(), elsewhere.path()].map(|path| path.to_str().unwrap().as_bytes().to_owned());
    let second = Builder {
        folder: elsewhere.path(),
        stranger: Some(here.path()),
        umask: "077",
    }
    .build(keys.path());
    assert_eq!(first.keys().collect::<Vec<_>>(), second.keys().collect::<Vec<_>>());
    let differing: Vec<_> = first
        .iter()
        .filter(|(name, bytes)| second[*name] != **bytes)
        .map(|(name, _)| name)
        .collect();
    assert!(differing.is_empty(), "these differ: {differing:?}");
    for (name, bytes) in &first {
        let found = paths
            .iter()
            .any(|path| bytes.windows(path.len()).any(|window| window == &path[..]));
        assert!(!found, "{name} holds the path of its build");
    }
}
