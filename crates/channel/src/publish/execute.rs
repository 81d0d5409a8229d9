//! Carrying out a plan.

use super::{PublishError, PublishPlan, Source, Step};
use crate::RELEASE;
use crate::metadata::MAX_RELEASE;
use mos_store::{Digest, Read, StoreError, Write};
use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

/// How far publishing is; told before each step, and once at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress<'a> {
    /// The object that comes next, or `None` at the end.
    pub name: Option<&'a str>,
    /// Steps done.
    pub done: usize,
    /// Steps in all.
    pub steps: usize,
    /// Bytes written.
    pub bytes_done: u64,
    /// Bytes in all.
    pub bytes: u64,
}

/// Carries out a plan. Blobs come from `blobs`, the build's own store.
///
/// # Errors
/// [`PublishError`]. The channel then still shows its old release, complete; running it again continues.
pub fn execute(
    plan: &PublishPlan,
    blobs: &dyn Read,
    channel: &dyn Write,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<(), PublishError> {
    let (steps, bytes) = (plan.steps.len(), plan.bytes());
    let mut bytes_done = 0;
    for (done, step) in plan.steps.iter().enumerate() {
        progress(Progress {
            name: Some(&step.name),
            done,
            steps,
            bytes_done,
            bytes,
        });
        let content = content(step, blobs)?;
        if step.name == RELEASE {
            check_no_conflict(plan, channel)?;
        }
        channel.put(&step.name, &content)?;
        bytes_done += step.length;
    }
    progress(Progress {
        name: None,
        done: steps,
        steps,
        bytes_done,
        bytes,
    });
    Ok(())
}

/// The bytes of a step, checked against the plan: what is signed is what is sent.
fn content<'a>(step: &'a Step, blobs: &dyn Read) -> Result<Cow<'a, [u8]>, PublishError> {
    let (bytes, digest, from) = match &step.source {
        Source::Bytes(bytes) => return Ok(Cow::Borrowed(bytes)),
        Source::Blob(digest) => (blobs.get(&step.name, step.length)?, digest, step.name.clone()),
        Source::File(path, digest) => (read_file(path, step.length)?, digest, path.display().to_string()),
    };
    let problem = if bytes.len() as u64 != step.length {
        format!("it has not the {} bytes planned", step.length)
    } else if !digest.matches(&bytes) {
        format!("its digest is {}, and {digest} was planned", Digest::of(&bytes))
    } else {
        return Ok(Cow::Owned(bytes));
    };
    Err(PublishError::Changed { name: from, problem })
}

/// At most one byte more than planned, which is enough to see that the file has grown.
fn read_file(path: &Path, length: u64) -> Result<Vec<u8>, PublishError> {
    let read = || -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(path)?
            .take(length.saturating_add(1))
            .read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    read().map_err(|source| PublishError::Io {
        path: path.display().to_string(),
        source,
    })
}

/// Stores have no lock, so the last look is as late as possible.
fn check_no_conflict(plan: &PublishPlan, channel: &dyn Write) -> Result<(), PublishError> {
    let present = match channel.get(RELEASE, MAX_RELEASE) {
        Err(StoreError::NotFound { .. }) => None,
        other => Some(other?),
    };
    let expected = match present {
        None => plan.replaces.is_empty(),
        Some(present) => plan.replaces.contains(&present),
    };
    match expected {
        true => Ok(()),
        false => Err(PublishError::Conflict {
            address: channel.address(),
        }),
    }
}
