//! Whether a release may be believed.

use super::envelope::{self, Opened};
use super::{MAX_RELEASE, Release};
use crate::keys::{KeyId, PublicKey};
use jiff::Timestamp;

/// What a reader of a channel believes before it looks.
#[derive(Clone, Debug)]
pub struct Trust {
    /// The environment whose releases are wanted.
    pub environment: String,
    /// The keys of that environment; a release needs a signature of one of them.
    pub keys: Vec<PublicKey>,
    /// It is at least this late, whatever the clock says: the build time of the running image, or the creation time of
    /// the newest release trusted so far, whichever is later. A clock that starts in 1970 thus neither accepts what
    /// expired before the image was built nor bricks the node.
    pub floor: Timestamp,
    /// The newest release trusted so far, or 0. Older ones are refused.
    pub sequence: u64,
}

/// Why a release is not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TrustError {
    /// It is no release at all.
    #[error("the release is malformed: {0}")]
    Malformed(String),
    /// Nobody signed it who is trusted here.
    #[error("the release is signed by {signed_by}, which is not a trusted key of `{environment}` (trusted: {trusted})")]
    UnknownKey {
        /// The environment wanted.
        environment: String,
        /// The key ids that the envelope names.
        signed_by: String,
        /// The key ids that are trusted.
        trusted: String,
    },
    /// A trusted key is named, but did not sign this.
    #[error("the signature of key {0} does not match: the release was changed after it was signed")]
    BadSignature(KeyId),
    /// It is for another environment.
    #[error("the release is for environment `{found}`, not `{expected}`")]
    WrongEnvironment {
        /// The environment wanted.
        expected: String,
        /// The one named.
        found: String,
    },
    /// It is too old to be the newest.
    #[error("the release expired at {expired}, and it is {now}; publish a new one, or check the clock")]
    Expired {
        /// Its end.
        expired: Timestamp,
        /// The time used, which is never before the floor.
        now: Timestamp,
    },
    /// A newer one was trusted before.
    #[error("the channel offers release {offered}, older than release {trusted}, which is already trusted here")]
    OlderSequence {
        /// What is offered.
        offered: u64,
        /// What is trusted.
        trusted: u64,
    },
}

impl Trust {
    /// Trust in these keys for this environment, with nothing seen so far.
    pub fn new(environment: impl Into<String>, keys: Vec<PublicKey>) -> Self {
        Self {
            environment: environment.into(),
            keys,
            floor: Timestamp::UNIX_EPOCH,
            sequence: 0,
        }
    }

    /// Raises the time floor; it never sinks.
    #[must_use]
    pub fn not_before(mut self, time: Timestamp) -> Self {
        self.floor = self.floor.max(time);
        self
    }

    /// Remembers a release that was trusted: nothing older passes from now on, and it is not earlier than its creation.
    #[must_use]
    pub fn seen(mut self, release: &Release) -> Self {
        self.sequence = self.sequence.max(release.sequence);
        self.not_before(release.created)
    }
}

/// Verifies an envelope: shape, signature, environment, expiry, sequence, in this order.
///
/// # Errors
/// [`TrustError`].
pub fn verify(bytes: &[u8], trust: &Trust, now: Timestamp) -> Result<Release, TrustError> {
    let release = verify_signed(bytes, trust)?;
    verify_age(&release, trust, now)?;
    Ok(release)
}

/// The part of [`verify`] that does not depend on time: shape, signature, environment.
pub(crate) fn verify_signed(bytes: &[u8], trust: &Trust) -> Result<Release, TrustError> {
    if bytes.len() as u64 > MAX_RELEASE {
        return Err(TrustError::Malformed(format!(
            "{} bytes, more than {MAX_RELEASE}",
            bytes.len()
        )));
    }
    let opened = envelope::open(bytes).map_err(TrustError::Malformed)?;
    check_signatures(&opened, trust)?;
    // The payload is parsed only now: what is not signed is not looked at.
    let release = Release::from_json(&opened.payload).map_err(TrustError::Malformed)?;
    if release.environment != trust.environment {
        return Err(TrustError::WrongEnvironment {
            expected: trust.environment.clone(),
            found: release.environment,
        });
    }
    Ok(release)
}

/// The part of [`verify`] that depends on time: expiry and sequence.
pub(crate) fn verify_age(release: &Release, trust: &Trust, now: Timestamp) -> Result<(), TrustError> {
    let now = now.max(trust.floor);
    if now >= release.expires {
        return Err(TrustError::Expired {
            expired: release.expires,
            now,
        });
    }
    if release.sequence < trust.sequence {
        return Err(TrustError::OlderSequence {
            offered: release.sequence,
            trusted: trust.sequence,
        });
    }
    Ok(())
}

/// One good signature of a trusted key is enough; others may be of keys to come.
fn check_signatures(opened: &Opened, trust: &Trust) -> Result<(), TrustError> {
    let mut failed = None;
    for (id, signature) in &opened.signatures {
        match trust.keys.iter().find(|key| key.id().to_string() == *id) {
            Some(key) if key.verifies(&opened.message, signature) => return Ok(()),
            Some(key) => failed = Some(key.id()),
            None => {}
        }
    }
    Err(failed.map_or_else(|| unknown_key(opened, trust), TrustError::BadSignature))
}

fn unknown_key(opened: &Opened, trust: &Trust) -> TrustError {
    let signed_by: Vec<_> = opened.signatures.iter().map(|(id, _)| id.as_str()).collect();
    let trusted: Vec<_> = trust.keys.iter().map(|key| key.id().to_string()).collect();
    let list = |ids: String| if ids.is_empty() { "nobody".to_owned() } else { ids };
    TrustError::UnknownKey {
        environment: trust.environment.clone(),
        signed_by: list(signed_by.join(", ")),
        trusted: list(trusted.join(", ")),
    }
}
