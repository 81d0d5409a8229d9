//! The same inputs give the same bytes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::system::mos;

/// Who builds: with which home, cargo home and umask.
struct Builder<'b> {
    folder: &'b Path,
    /// A home and a cargo of its own, as another user has; that of this user otherwise.
    stranger: bool,
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
        if self.stranger {
            self.move_house(&mut command);
        }
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Another home; the toolchain and the registry's address stay where they are.
    fn move_house(&self, command: &mut Command) {
        let old = PathBuf::from(std::env::var_os("HOME").unwrap());
        let variable = |name: &str, default: &str| std::env::var_os(name).map_or(old.join(default), PathBuf::from);
        let cargo = self.folder.join("home/cargo");
        fs::create_dir_all(&cargo).unwrap();
        let settings = variable("CARGO_HOME", ".cargo").join("config.toml");
        if settings.is_file() {
            fs::copy(settings, cargo.join("config.toml")).unwrap();
        }
        command.env("HOME", self.folder.join("home")).env("CARGO_HOME", cargo);
        command.env("RUSTUP_HOME", variable("RUSTUP_HOME", ".rustup"));
    }

    /// Builds and publishes the quickstart with a cache of its own, and returns every output by name.
    fn build(&self, keys: &Path) -> BTreeMap<String, Vec<u8>> {
        let repository = self.folder.join("repository");
        self.run(&["new", "--name", "twice", repository.to_str().unwrap()]);
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
        stranger: false,
        umask: "022",
    }
    .build(keys.path());
    let paths = [here.path(), elsewhere.path()].map(|path| path.to_str().unwrap().as_bytes().to_owned());
    // Each takes a gigabyte or two, and everything that is compared is in memory.
    drop(here);
    let second = Builder {
        folder: elsewhere.path(),
        stranger: true,
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
