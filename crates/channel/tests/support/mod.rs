//! A build to be published, and a store that can be killed.
// Each test program uses its own part of this, and clippy does not see that all of it is tests.
#![allow(dead_code, clippy::unwrap_used)]

use jiff::{SignedDuration, Timestamp};
use mos_channel::{Blob, Boot, Existing, FlistFile, Inputs, KeyPair, PublishError, PublishPlan, Trust};
use mos_channel::{execute, plan_publish, survey};
use mos_store::{Digest, Listed, Memory, Read, StoreError, Write};
use std::fs;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use tempfile::TempDir;

pub const ENVIRONMENT: &str = "dev";
pub const VALIDITY: SignedDuration = SignedDuration::from_hours(720);

pub fn at(time: &str) -> Timestamp {
    time.parse().unwrap()
}

pub fn start() -> Timestamp {
    at("2026-11-21T06:00:00Z")
}

/// A build: files and blobs, the key, and what goes into a release.
pub struct Build {
    directory: TempDir,
    pub blobs: Memory,
    pub key: KeyPair,
    pub inputs: Inputs,
}

impl Build {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let boot_file = directory.path().join("vmlinuz.efi");
        fs::write(&boot_file, b"boot image 1").unwrap();
        let key = KeyPair::generate().unwrap();
        let inputs = Inputs {
            trust: Trust::new(ENVIRONMENT, vec![key.public()]),
            boot: Boot::read(&boot_file).unwrap(),
            flists: Vec::new(),
            minimum_sequence: 0,
            now: start(),
            validity: VALIDITY,
        };
        let mut build = Self {
            directory,
            blobs: Memory::new(),
            key,
            inputs,
        };
        build.set_flist("web", b"flist of web", &[b"shared", b"web 1"]);
        build.set_flist("api", b"flist of api", &[b"shared", b"api 1"]);
        build
    }

    /// Adds or replaces an flist.
    pub fn set_flist(&mut self, name: &str, content: &[u8], blobs: &[&[u8]]) {
        let file = self.directory.path().join(format!("{name}.fl"));
        fs::write(&file, content).unwrap();
        let blobs = blobs.iter().map(|bytes| self.add_blob(bytes)).collect();
        self.inputs.flists.retain(|flist| flist.name != name);
        self.inputs
            .flists
            .push(FlistFile::read(name, "1.0.0", &file, blobs).unwrap());
    }

    fn add_blob(&self, bytes: &[u8]) -> Blob {
        let blake3 = Digest::of(bytes);
        self.blobs.put(&blake3.blob_name(), bytes).unwrap();
        Blob {
            blake3,
            length: bytes.len() as u64,
        }
    }

    pub fn plan(&self, channel: &dyn Write) -> Result<PublishPlan, PublishError> {
        let existing = survey(channel, &self.inputs)?;
        self.plan_over(&existing)
    }

    pub fn plan_over(&self, existing: &Existing) -> Result<PublishPlan, PublishError> {
        plan_publish(&self.inputs, existing, &[&self.key])
    }

    pub fn execute(&self, plan: &PublishPlan, channel: &dyn Write) -> Result<(), PublishError> {
        execute(plan, &self.blobs, channel, &mut |_| {})
    }

    pub fn publish(&self, channel: &dyn Write) -> PublishPlan {
        let plan = self.plan(channel).unwrap();
        self.execute(&plan, channel).unwrap();
        plan
    }
}

/// A store whose writer dies after so many puts.
pub struct Mortal<'a> {
    pub store: &'a Memory,
    pub puts: AtomicUsize,
}

impl Read for Mortal<'_> {
    fn get(&self, name: &str, limit: u64) -> Result<Vec<u8>, StoreError> {
        self.store.get(name, limit)
    }

    fn get_range(&self, name: &str, range: Range<u64>) -> Result<Vec<u8>, StoreError> {
        self.store.get_range(name, range)
    }

    fn length(&self, name: &str) -> Result<Option<u64>, StoreError> {
        self.store.length(name)
    }

    fn address(&self) -> String {
        "mortal".into()
    }
}

impl Write for Mortal<'_> {
    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        if self
            .puts
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1))
            .is_err()
        {
            return Err(StoreError::Unreachable {
                address: self.address(),
                tries: 1,
                reason: "killed".into(),
            });
        }
        self.store.put(name, bytes)
    }

    fn list_entries(&self, prefix: &str) -> Result<Vec<Listed>, StoreError> {
        self.store.list_entries(prefix)
    }

    fn delete(&self, name: &str) -> Result<(), StoreError> {
        self.store.delete(name)
    }
}
