//! What a channel already has.

use super::PublishError;
use crate::ChannelError;
use crate::fetch::{Fetched, fetch_signed};
use crate::metadata::Trust;
use mos_store::{StoreError, Write};
use std::collections::BTreeSet;

/// What a channel already has.
#[derive(Clone, Debug, Default)]
pub struct Existing {
    /// Its newest release, verified (but for its age).
    pub newest: Option<Fetched>,
    /// The names of all its objects.
    pub names: BTreeSet<String>,
}

/// Looks at a channel before publishing to it.
///
/// # Errors
/// [`PublishError::NotOurs`] when the present release is signed by a key, or is for an environment, that `trust` does
/// not have; [`PublishError::Store`].
pub fn survey(channel: &dyn Write, trust: &Trust) -> Result<Existing, PublishError> {
    let newest = match fetch_signed(channel, trust) {
        Ok(newest) => Some(newest),
        Err(ChannelError::Store(StoreError::NotFound { .. })) => None,
        Err(ChannelError::Store(error)) => return Err(error.into()),
        Err(error @ ChannelError::Trust { .. }) => return Err(PublishError::NotOurs(error)),
    };
    let mut names = BTreeSet::new();
    for prefix in ["blobs/", "boot/", "flists/", "releases/"] {
        names.extend(channel.list(prefix)?);
    }
    Ok(Existing { newest, names })
}
