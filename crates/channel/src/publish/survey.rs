//! What a channel already has.

use super::plan::objects;
use super::{Inputs, PublishError};
use crate::fetch::{Fetched, fetch_signed};
use crate::metadata::{self, MAX_RELEASE, Trust};
use crate::{ChannelError, RELEASE, release_name};
use mos_store::{StoreError, Write};
use std::collections::BTreeMap;

/// How many releases a store may be behind the others, such as one that was away while they were published.
const FAR_BEHIND: u64 = 16;

/// What a channel already has. Of one that is kept in several stores, what all of them have: what is missing in one, or
/// has another length there, is to be put again.
#[derive(Clone, Debug, Default)]
pub struct Existing {
    /// Its newest release, verified (but for its age).
    pub newest: Option<Fetched>,
    /// True when all its stores show that release.
    pub shown_everywhere: bool,
    /// The envelopes of releases before that one, which some of its stores may show.
    pub behind: Vec<Vec<u8>>,
    /// The lengths of the objects that a release of these inputs needs.
    pub lengths: BTreeMap<String, u64>,
}

/// Looks at a channel before publishing to it.
///
/// # Errors
/// [`PublishError::NotOurs`] when the present release is signed by a key, or is for an environment, that the inputs' trust
/// does not have; [`PublishError::Store`].
pub fn survey(channel: &dyn Write, inputs: &Inputs) -> Result<Existing, PublishError> {
    let shown = match fetch_signed(channel, &inputs.trust) {
        Ok(shown) => Some(shown),
        Err(ChannelError::Store(StoreError::NotFound { .. })) => None,
        Err(ChannelError::Store(error)) => return Err(error.into()),
        Err(error @ ChannelError::Trust { .. }) => return Err(PublishError::NotOurs(error)),
    };
    let mut existing = Existing::default();
    if let Some(shown) = shown {
        existing.shown_everywhere = channel.holds(RELEASE, &shown.envelope)?;
        if !existing.shown_everywhere {
            // Perhaps it was a store that is behind which answered.
            let newest = newest(channel, &inputs.trust, shown)?;
            existing.behind = before(channel, newest.release.sequence)?;
            existing.newest = Some(newest);
        } else {
            existing.newest = Some(shown);
        }
    }
    let names = objects(inputs, existing.newest.as_ref().map(|newest| &newest.release));
    let found = channel.lengths(&names)?;
    let lengths = names.into_iter().zip(found);
    existing.lengths = lengths.filter_map(|(name, length)| Some((name, length?))).collect();
    Ok(existing)
}

/// This release, or the last of those that follow it.
fn newest(channel: &dyn Write, trust: &Trust, mut newest: Fetched) -> Result<Fetched, StoreError> {
    while let Some(sequence) = newest.release.sequence.checked_add(1)
        && let Some(envelope) = kept(channel, sequence)?
        && let Ok(release) = metadata::verify_signed(&envelope, trust)
        && release.sequence == sequence
    {
        newest = Fetched { release, envelope };
    }
    Ok(newest)
}

/// The releases just before this one.
fn before(channel: &dyn Write, sequence: u64) -> Result<Vec<Vec<u8>>, StoreError> {
    let first = sequence.saturating_sub(FAR_BEHIND).max(1);
    let found = (first..sequence).map(|sequence| kept(channel, sequence));
    found.filter_map(Result::transpose).collect()
}

fn kept(channel: &dyn Write, sequence: u64) -> Result<Option<Vec<u8>>, StoreError> {
    match channel.get(&release_name(sequence), MAX_RELEASE) {
        Err(StoreError::NotFound { .. }) => Ok(None),
        other => other.map(Some),
    }
}
