//! A repository of a test and a client of it.
#![allow(dead_code, reason = "each test program uses what it needs")]
#![allow(clippy::unwrap_used, reason = "helpers of tests stop the test, as tests do")]

use std::path::Path;

use mos_alpine::{Alpine, AlpineError, Apk, Installed, Keys, LockedPackage, Repository, parse_world};
use mos_store::Options;
use mos_testkit::apk::{Hash, PackageBuilder, SigningKey, write_repository};
use mos_tree::{Kind, Tree};
use tempfile::TempDir;

pub const ARCHITECTURE: &str = "x86_64";

/// A directory with repositories, keys and a cache.
pub struct Lab {
    pub directory: TempDir,
}

impl Lab {
    pub fn new(packages: &[PackageBuilder]) -> Self {
        let lab = Self {
            directory: tempfile::tempdir().unwrap(),
        };
        lab.publish("main", packages);
        lab
    }

    pub fn publish(&self, repository: &str, packages: &[PackageBuilder]) {
        let directory = self.path(repository);
        write_repository(&directory, ARCHITECTURE, packages, &SigningKey::first(), Hash::Sha256);
    }

    pub fn path(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }

    pub fn package_file(&self, name: &str) -> std::path::PathBuf {
        self.path("main").join(ARCHITECTURE).join(name)
    }

    pub fn client(&self) -> Alpine {
        self.client_of(&["main"])
    }

    /// Names of repositories, `@tag name` with a tag.
    pub fn client_of(&self, repositories: &[&str]) -> Alpine {
        let line = |text: &&str| -> Repository {
            let (tag, name) = text.rsplit_once(' ').map_or(("", *text), |(tag, name)| (tag, name));
            format!("{tag} {}", self.path(name).display()).parse().unwrap()
        };
        Alpine {
            repositories: repositories.iter().map(line).collect(),
            keys: keys(),
            architecture: ARCHITECTURE.to_owned(),
            cache: self.path("cache"),
            options: Options::default(),
        }
    }

    pub fn resolve(&self, wanted: &[&str]) -> Result<Vec<LockedPackage>, AlpineError> {
        self.client().resolve(wanted, None, &mut |_| {})
    }

    pub fn install(&self, wanted: &[&str]) -> Result<Installed, AlpineError> {
        let client = self.client();
        let locked = self.resolve(wanted)?;
        let packages: Result<Vec<Apk>, AlpineError> = locked.iter().map(|one| client.fetch(one, &mut |_| {})).collect();
        client.install(Tree::default(), &packages?, &parse_world(wanted)?)
    }
}

pub fn keys() -> Keys {
    let mut keys = Keys::default();
    let key = SigningKey::first();
    keys.insert(&key.name, key.public_pem().as_bytes()).unwrap();
    keys
}

pub fn names(locked: &[LockedPackage]) -> Vec<String> {
    locked.iter().map(LockedPackage::full_name).collect()
}

pub fn text(tree: &Tree, path: &str) -> String {
    match &tree.get(path).unwrap_or_else(|| panic!("{path} is missing")).kind {
        Kind::File(content) => String::from_utf8(content.read().unwrap()).unwrap(),
        other => panic!("{path}: {other:?}"),
    }
}

/// One line for each file: mode, owner, path, what it holds.
pub fn listing(tree: &Tree) -> String {
    let mut lines = String::new();
    for entry in tree.walk().filter(|entry| !entry.path.is_empty()) {
        let metadata = &entry.inode.metadata;
        let what = match &entry.inode.kind {
            Kind::Directory(_) => "/".to_owned(),
            Kind::Symlink(target) => format!(" -> {}", String::from_utf8_lossy(target)),
            Kind::File(_) => String::new(),
            other => format!(" {other:?}"),
        };
        let path = String::from_utf8_lossy(&entry.path).into_owned();
        lines.push_str(&format!(
            "{:04o} {}:{} {path}{what}\n",
            metadata.mode, metadata.uid, metadata.gid
        ));
    }
    lines
}

/// The files of a directory of the host.
pub fn files_of(path: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(path)
        .map(|entries| {
            entries
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect()
        })
        .unwrap_or_default();
    names.sort();
    names
}
