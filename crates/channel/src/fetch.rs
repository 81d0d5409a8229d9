//! Reading releases from a channel.

use crate::metadata::{self, MAX_RELEASE, Release, Trust, TrustError};
use crate::{RELEASE, release_name};
use jiff::Timestamp;
use mos_store::{Read, StoreError};

/// Why a channel could not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChannelError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The release.
    #[error("{address}: {source}")]
    Trust {
        /// The channel.
        address: String,
        /// Why it is not believed.
        source: TrustError,
    },
}

/// A verified release, and the bytes that were verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// What it says.
    pub release: Release,
    /// The envelope as it came, to be kept and verified again.
    pub envelope: Vec<u8>,
}

/// A release of the past.
#[derive(Clone, Debug)]
pub struct Past {
    /// Its number.
    pub sequence: u64,
    /// What it says, `None` when the channel no longer has it, or why it is not believed. Age is no reason here.
    pub release: Result<Option<Release>, TrustError>,
}

/// Reads and verifies the newest release.
///
/// # Errors
/// [`ChannelError`].
pub fn fetch_release(channel: &dyn Read, trust: &Trust, now: Timestamp) -> Result<Fetched, ChannelError> {
    let fetched = fetch_signed(channel, trust)?;
    metadata::verify_age(&fetched.release, trust, now).map_err(|source| trust_error(channel, source))?;
    Ok(fetched)
}

/// As [`fetch_release`], but an old release will do.
pub(crate) fn fetch_signed(channel: &dyn Read, trust: &Trust) -> Result<Fetched, ChannelError> {
    let envelope = channel.get(RELEASE, MAX_RELEASE)?;
    let release = metadata::verify_signed(&envelope, trust).map_err(|source| trust_error(channel, source))?;
    Ok(Fetched { release, envelope })
}

/// The newest releases of a channel, newest first, at most `limit`.
///
/// # Errors
/// [`ChannelError`] when the newest one cannot be read or is not believed, or the store fails.
pub fn history(channel: &dyn Read, trust: &Trust, limit: usize) -> Result<Vec<Past>, ChannelError> {
    let newest = fetch_signed(channel, trust)?.release;
    let older = (1..newest.sequence).rev();
    let mut past = vec![Past {
        sequence: newest.sequence,
        release: Ok(Some(newest)),
    }];
    for sequence in older.take(limit.saturating_sub(1)) {
        past.push(Past {
            sequence,
            release: fetch_past(channel, trust, sequence)?,
        });
    }
    past.truncate(limit);
    Ok(past)
}

fn fetch_past(
    channel: &dyn Read,
    trust: &Trust,
    sequence: u64,
) -> Result<Result<Option<Release>, TrustError>, StoreError> {
    let envelope = match channel.get(&release_name(sequence), MAX_RELEASE) {
        Err(StoreError::NotFound { .. }) => return Ok(Ok(None)),
        other => other?,
    };
    let release = metadata::verify_signed(&envelope, trust);
    Ok(release.and_then(|release| match release.sequence {
        found if found == sequence => Ok(Some(release)),
        found => Err(TrustError::Malformed(format!(
            "{} holds release {found}",
            release_name(sequence)
        ))),
    }))
}

fn trust_error(channel: &dyn Read, source: TrustError) -> ChannelError {
    ChannelError::Trust {
        address: channel.address(),
        source,
    }
}
