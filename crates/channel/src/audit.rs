//! Checking a whole channel, byte by byte.

use crate::metadata::{MAX_RELEASE, Release, Sha256, Trust};
use crate::{ChannelError, RELEASE, fetch_release, release_name};
use jiff::Timestamp;
use mos_store::{Digest, Read, StoreError};
use std::fmt;

/// What [`verify_channel`] has looked at and found.
#[derive(Clone, Debug)]
pub struct Audit {
    /// The newest release, verified.
    pub release: Release,
    /// Files read.
    pub files: u64,
    /// Bytes read.
    pub bytes: u64,
    /// What is wrong; empty when all is well.
    pub findings: Vec<Finding>,
}

/// One thing that is wrong with a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The object.
    pub name: String,
    /// What is wrong with it.
    pub problem: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.problem)
    }
}

/// A file that the release names.
struct Expected {
    name: String,
    length: u64,
    sha256: Option<Sha256>,
    blake3: Digest,
}

/// Verifies the newest release as a node does, then reads every file that it names and checks length and digests.
/// One file at a time is in memory.
///
/// # Errors
/// [`ChannelError`] when the release itself cannot be read or is not believed, or the store cannot be reached.
/// Everything else is a finding.
pub fn verify_channel(channel: &dyn Read, trust: &Trust, now: Timestamp) -> Result<Audit, ChannelError> {
    let newest = fetch_release(channel, trust, now)?;
    let bytes = newest.envelope.len() as u64;
    let mut audit = Audit {
        release: newest.release,
        files: 1,
        bytes,
        findings: Vec::new(),
    };
    audit.check_kept(channel, &newest.envelope)?;
    for expected in expected_files(&audit.release) {
        audit.check(channel, &expected)?;
    }
    Ok(audit)
}

impl Audit {
    fn check(&mut self, channel: &dyn Read, expected: &Expected) -> Result<(), StoreError> {
        let problem = match self.read(channel, &expected.name, expected.length)? {
            Ok(bytes) => expected.problem(&bytes),
            Err(problem) => Some(problem),
        };
        self.report(&expected.name, problem);
        Ok(())
    }

    /// The kept copy of the newest release must be the newest release.
    fn check_kept(&mut self, channel: &dyn Read, envelope: &[u8]) -> Result<(), StoreError> {
        let name = release_name(self.release.sequence);
        let problem = match self.read(channel, &name, MAX_RELEASE)? {
            Ok(bytes) if bytes == envelope => None,
            Ok(_) => Some(format!("differs from {RELEASE}")),
            Err(problem) => Some(problem),
        };
        self.report(&name, problem);
        Ok(())
    }

    /// The bytes of a file, or what is wrong with it, or why the audit cannot go on.
    fn read(&mut self, channel: &dyn Read, name: &str, limit: u64) -> Result<Result<Vec<u8>, String>, StoreError> {
        match channel.get(name, limit) {
            Ok(bytes) => {
                self.files += 1;
                self.bytes += bytes.len() as u64;
                Ok(Ok(bytes))
            }
            Err(error @ StoreError::Unreachable { .. }) => Err(error),
            Err(StoreError::NotFound { .. }) => Ok(Err("is missing".into())),
            Err(StoreError::TooLarge { limit, .. }) => Ok(Err(format!("is longer than {limit} bytes"))),
            Err(other) => Ok(Err(other.to_string())),
        }
    }

    fn report(&mut self, name: &str, problem: Option<String>) {
        self.findings.extend(problem.map(|problem| Finding {
            name: name.into(),
            problem,
        }));
    }
}

impl Expected {
    fn problem(&self, bytes: &[u8]) -> Option<String> {
        if bytes.len() as u64 != self.length {
            return Some(format!("has {} of {} bytes", bytes.len(), self.length));
        }
        if !self.blake3.matches(bytes) {
            return Some(format!(
                "has BLAKE3 {}, the release says {}",
                Digest::of(bytes),
                self.blake3
            ));
        }
        let sha256 = self.sha256.filter(|expected| Sha256::of(bytes) != *expected)?;
        Some(format!("has SHA-256 {}, the release says {sha256}", Sha256::of(bytes)))
    }
}

fn expected_files(release: &Release) -> Vec<Expected> {
    let boot = &release.boot;
    let boot = Expected {
        name: boot.path.clone(),
        length: boot.length,
        sha256: Some(boot.sha256),
        blake3: boot.blake3,
    };
    let flists = release.flists.iter().map(|flist| Expected {
        name: flist.path.clone(),
        length: flist.length,
        sha256: Some(flist.sha256),
        blake3: flist.blake3,
    });
    let blobs = release.blobs().into_iter().map(|blob| Expected {
        name: blob.blake3.blob_name(),
        length: blob.length,
        sha256: None,
        blake3: blob.blake3,
    });
    std::iter::once(boot).chain(flists).chain(blobs).collect()
}
