//! What publishing will do, before it does it. Pure.

use super::{Existing, FlistFile, Inputs, PublishError};
use crate::metadata::{self, Blob, BootImage, Flist, Format, MAX_RELEASE, Release, Trust};
use crate::{KeyPair, RELEASE, release_name};
use jiff::Timestamp;
use mos_store::Digest;
use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;

/// An unchanged release is published again when less than this part of its life is left: one third.
const RENEW_BELOW: i32 = 3;

/// Where the bytes of a step come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A blob of the build's store, with this digest.
    Blob(Digest),
    /// A file on this machine, which must still have this digest.
    File(PathBuf, Digest),
    /// These bytes.
    Bytes(Vec<u8>),
}

/// One object to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Its name in the channel.
    pub name: String,
    /// Bytes.
    pub length: u64,
    /// Where they come from.
    pub source: Source,
}

/// What publishing will do, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishPlan {
    /// The release that the channel will show; its present one when nothing changed.
    pub release: Release,
    /// True when the channel will show a new release; false when its present one has the same contents and is not
    /// near its end. Missing parts are written even then.
    pub is_new: bool,
    /// What is written.
    pub steps: Vec<Step>,
    /// Objects that are there already.
    pub present: usize,
    /// The envelopes that stores of the channel show now, which must not change meanwhile.
    pub(super) replaces: Vec<Vec<u8>>,
}

impl PublishPlan {
    /// Bytes to be written.
    pub fn bytes(&self) -> u64 {
        self.steps.iter().map(|step| step.length).sum()
    }
}

impl fmt::Display for PublishPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (environment, sequence) = (&self.release.environment, self.release.sequence);
        for step in &self.steps {
            writeln!(f, "put {} ({} bytes)", step.name, step.length)?;
        }
        match (self.is_new, self.steps.is_empty()) {
            (true, _) => write!(f, "release {sequence} of {environment}: ")?,
            (false, true) => {
                return write!(
                    f,
                    "release {sequence} of {environment} is unchanged: nothing to publish"
                );
            }
            (false, false) => write!(
                f,
                "release {sequence} of {environment} is unchanged, parts of it are missing: "
            )?,
        }
        write!(
            f,
            "objects to write: {} ({} bytes), already there: {}",
            self.steps.len(),
            self.bytes(),
            self.present
        )
    }
}

/// Plans a release: signs it, and lists what must be written, in the order in which it must be.
///
/// The same inputs give the same bytes. The declared time never goes back behind the present release's, so a publisher
/// whose clock once ran ahead does not lock nodes out.
///
/// # Errors
/// [`PublishError::BadInputs`], [`PublishError::NoTrustedKey`], [`PublishError::TooLarge`].
pub fn plan_publish(inputs: &Inputs, existing: &Existing, keys: &[&KeyPair]) -> Result<PublishPlan, PublishError> {
    check_keys(&inputs.trust, keys)?;
    let offered = release_of(inputs, existing)?;
    let unchanged = existing
        .newest
        .as_ref()
        .filter(|newest| is_good_enough(&newest.release, &offered, inputs));
    let is_new = unchanged.is_none();
    let (release, envelope) = match unchanged {
        Some(newest) => (newest.release.clone(), newest.envelope.clone()),
        None => (offered.clone(), metadata::sign(&offered, keys)),
    };
    if envelope.len() as u64 > MAX_RELEASE {
        return Err(PublishError::TooLarge {
            length: envelope.len() as u64,
            limit: MAX_RELEASE,
        });
    }
    let parts = parts(inputs, &release.boot);
    let all = parts.len();
    // The number of a release that was never shown may be taken, so a new release is written over it.
    let mut steps: Vec<_> = parts.into_iter().filter(|step| !existing.has(step)).collect();
    let present = all - steps.len();
    let kept = bytes_step(release_name(release.sequence), &envelope);
    if is_new || !existing.has(&kept) {
        steps.push(kept);
    }
    if is_new || !existing.shown_everywhere {
        steps.push(bytes_step(RELEASE.into(), &envelope));
    }
    let newest = existing.newest.iter().map(|newest| &newest.envelope);
    let replaces = newest.chain(&existing.behind).cloned().collect();
    Ok(PublishPlan {
        release,
        is_new,
        steps,
        present,
        replaces,
    })
}

fn check_keys(trust: &Trust, keys: &[&KeyPair]) -> Result<(), PublishError> {
    if keys.iter().any(|key| trust.keys.contains(&key.public())) {
        return Ok(());
    }
    let trusted: Vec<_> = trust.keys.iter().map(|key| key.id().to_string()).collect();
    Err(PublishError::NoTrustedKey {
        environment: trust.environment.clone(),
        trusted: trusted.join(", "),
    })
}

/// The release that the inputs make, as the successor of the present one.
fn release_of(inputs: &Inputs, existing: &Existing) -> Result<Release, PublishError> {
    let previous = existing.newest.as_ref().map(|newest| &newest.release);
    let now = whole_seconds(inputs.now);
    let created = previous.map_or(now, |previous| now.max(previous.created));
    let expires = created
        .checked_add(inputs.validity)
        .map_err(|_| bad("the validity is too long"))?;
    let mut flists: Vec<_> = inputs.flists.iter().map(FlistFile::entry).collect();
    flists.sort_by(|one, other| one.name.cmp(&other.name));
    let floor = previous.map_or(1, |previous| previous.minimum_sequence);
    if inputs.minimum_sequence != 0 && inputs.minimum_sequence < floor {
        return Err(bad(format!(
            "the minimum sequence is {floor} already and cannot sink to {}",
            inputs.minimum_sequence
        )));
    }
    let release = Release {
        format: Format,
        environment: inputs.trust.environment.clone(),
        sequence: previous.map_or(1, |previous| previous.sequence.saturating_add(1)),
        created,
        expires: whole_seconds(expires),
        minimum_sequence: inputs.minimum_sequence.max(floor),
        boot: BootImage::new(inputs.boot.length, inputs.boot.sha256, inputs.boot.blake3),
        flists,
    };
    release.check().map_err(PublishError::BadInputs)?;
    Ok(release)
}

/// True when the present release says the same and more than a third of the life that is offered is left of it.
fn is_good_enough(present: &Release, offered: &Release, inputs: &Inputs) -> bool {
    let left = present.expires.duration_since(inputs.now);
    present.same_contents(offered) && left > inputs.validity / RENEW_BELOW
}

impl Existing {
    /// True when this is there, with its length.
    fn has(&self, step: &Step) -> bool {
        self.lengths.get(&step.name) == Some(&step.length)
    }
}

/// The names of all objects that a release of these inputs may need, but for the one that is shown.
pub(super) fn objects(inputs: &Inputs, newest: Option<&Release>) -> Vec<String> {
    let boot = BootImage::new(inputs.boot.length, inputs.boot.sha256, inputs.boot.blake3);
    let parts = parts(inputs, &boot).into_iter().map(|step| step.name);
    parts
        .chain(newest.map(|newest| release_name(newest.sequence)))
        .collect()
}

/// Blobs, flists, boot image: everything that the release names, each once.
fn parts(inputs: &Inputs, boot: &BootImage) -> Vec<Step> {
    let mut flists: Vec<_> = inputs.flists.iter().collect();
    flists.sort_by(|one, other| one.name.cmp(&other.name));
    let blobs: BTreeSet<Blob> = flists.iter().flat_map(|flist| flist.entry().blobs).collect();
    let blobs = blobs.into_iter().map(|blob| Step {
        name: blob.blake3.blob_name(),
        length: blob.length,
        source: Source::Blob(blob.blake3),
    });
    let flists = flists.into_iter().map(|flist| Step {
        name: Flist::path_of(&flist.blake3),
        length: flist.length,
        source: Source::File(flist.file.clone(), flist.blake3),
    });
    let boot = Step {
        name: boot.path.clone(),
        length: boot.length,
        source: Source::File(inputs.boot.file.clone(), inputs.boot.blake3),
    };
    let mut seen = BTreeSet::new();
    blobs
        .chain(flists)
        .chain([boot])
        .filter(|step| seen.insert(step.name.clone()))
        .collect()
}

fn bytes_step(name: String, bytes: &[u8]) -> Step {
    Step {
        name,
        length: bytes.len() as u64,
        source: Source::Bytes(bytes.to_vec()),
    }
}

/// Fractions of seconds help nobody in a document that people read.
fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

fn bad(reason: impl Into<String>) -> PublishError {
    PublishError::BadInputs(reason.into())
}
