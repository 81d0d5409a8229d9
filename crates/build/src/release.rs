//! A release of what was built: gathered, planned, published.

use jiff::{SignedDuration, Timestamp};
use mos_channel::publish::{
    Boot, FlistFile, Inputs, Progress, PublishError, PublishPlan, execute, plan_publish, survey,
};
use mos_channel::{Blob, KeyPair, Trust};
use mos_config::Plan;
use mos_store::Write;

use crate::builder::Builder;
use crate::image::BuiltImage;
use crate::runtime::BuiltFlist;

const HOURS_A_DAY: i64 = 24;

/// What was built for an environment.
#[derive(Debug, Clone, Copy)]
pub struct Made<'m> {
    /// The boot image.
    pub image: &'m BuiltImage,
    /// The runtime.
    pub flists: &'m [BuiltFlist],
}

/// Plans a release: signed with this key, at this time, on top of what the channel has.
///
/// # Errors
/// [`PublishError`].
pub fn plan_release(
    plan: &Plan,
    made: Made<'_>,
    pair: &KeyPair,
    channel: &dyn Write,
    now: Timestamp,
) -> Result<PublishPlan, PublishError> {
    let trust = Trust::new(plan.environment.as_str(), vec![pair.public()]);
    let inputs = Inputs {
        trust: trust.clone(),
        boot: Boot::read(&made.image.efi)?,
        flists: made.flists.iter().map(flist_file).collect::<Result<_, _>>()?,
        minimum_sequence: plan.release.minimum_sequence.unwrap_or(0),
        now,
        validity: SignedDuration::from_hours(HOURS_A_DAY * i64::from(plan.release.expires_days)),
    };
    plan_publish(&inputs, &survey(channel, &inputs)?, &[pair])
}

fn flist_file(flist: &BuiltFlist) -> Result<FlistFile, PublishError> {
    let blob = |&(blake3, length)| Blob { blake3, length };
    let blobs = flist.blobs.iter().map(blob).collect();
    FlistFile::read(&flist.name, &flist.version, &flist.file, blobs)
}

impl Builder<'_> {
    /// Carries out the plan of a release; blobs come from the local store.
    ///
    /// # Errors
    /// [`PublishError`]. The channel then still shows its old release, complete; running it again continues.
    pub fn publish(
        &self,
        plan: &PublishPlan,
        channel: &dyn Write,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<(), PublishError> {
        execute(plan, &self.store(), channel, progress)
    }
}
