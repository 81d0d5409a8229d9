//! Why an attempt did not end with the channel's release running.

use mos_channel::ChannelError;
use mos_flist::ReadError;
use mos_store::StoreError;
use mos_update::UpdateError;

/// What stands in the way, sorted by what to do about it.
#[derive(Debug, PartialEq, Eq)]
pub enum Failure {
    /// Something is not what a trusted key vouches for.
    Trust(String),
    /// The channel cannot be read now: try again.
    Offline(String),
    /// The release itself cannot work: wait for another one.
    Release(u64, String),
    /// This node's own disk or settings.
    Node(String),
}

impl From<ChannelError> for Failure {
    fn from(error: ChannelError) -> Self {
        match error {
            ChannelError::Store(error) => error.into(),
            other => Self::Trust(other.to_string()),
        }
    }
}

/// A server that is not who it should be does not get better by itself; a certificate that is out of date does, when it
/// is renewed or the clock is set.
impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Untrusted { .. } => Self::Trust(error.to_string()),
            _ => Self::Offline(error.to_string()),
        }
    }
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Store { source, .. } => (*source).into(),
            ReadError::Tampered { .. } => Self::Trust(error.to_string()),
            _ => Self::Node(error.to_string()),
        }
    }
}

impl Failure {
    /// The line that says it.
    pub fn line(&self, channel: &str) -> String {
        match self {
            Self::Trust(reason) => format!("trust failure: {reason}; nothing of it was started"),
            Self::Offline(reason) => format!("channel {channel} unreachable: {reason}"),
            Self::Release(sequence, reason) => format!("release {sequence} cannot work: {reason}"),
            Self::Node(reason) => format!("the update failed: {reason}"),
        }
    }

    /// What an [`UpdateError`] means for this release.
    pub fn of_update(sequence: u64, error: UpdateError) -> Self {
        match error {
            UpdateError::Content(error) => error.into(),
            error if error.is_trust_failure() => Self::Trust(error.to_string()),
            error if error.is_bad_release() => Self::Release(sequence, error.to_string()),
            error => Self::Node(error.to_string()),
        }
    }
}
