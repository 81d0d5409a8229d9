//! Garbage collection: which blobs of a store nobody needs, and taking them away.
//!
//! [`plan`] is pure, and keeps more than it must: what it does not understand, and what is young. Packing writes blobs
//! before the flist that names them exists, so a blob that nobody names may belong to an upload that still runs.
//! [`collect`] looks at the store once more before it deletes: a blob that was put again meanwhile stays, and so does one
//! that a packer claims because it found it there (see `claims`). So both may run beside each other, as often as they like.
//!
//! Blocks of the older format are never collected. Its packers make no claims, and its blocks may be called as blobs are:
//! those of `dir:///srv/store/blobs` in the store `/srv/store`. [`spare_foreign`] tells them by their ends.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use mos_store::{Digest, Listed, StoreError, Write};

use crate::blob::{FOOTER_LENGTH, is_footer};
use crate::claims::{self, Claim, Notice};
use crate::flist::Flist;
use crate::image::{Advance, Progress};
use crate::parallel;

/// How old a blob has to be before it is collected, unless somebody says otherwise: longer than any upload takes.
pub const GRACE: Duration = Duration::from_secs(24 * 60 * 60);
/// Where blobs are in every store.
pub const BLOBS: &str = "blobs/";
/// A kept blob of which less than one part in so many is needed is called mostly dead.
const MOSTLY: u64 = 4;
/// And whose other bytes are so many: fewer, an index among them, are not worth packing anew.
const WORTH: u64 = 64 << 10;
/// Requests to delete, or to look, that are under way at a time.
const AT_ONCE: usize = 8;
/// What is longer, in bytes, is a blob: blocks of the older format have 512 KiB of content and little more.
const LARGEST_BLOCK: u64 = 1 << 20;

/// What to do with the objects of a store, in the order of their names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collection {
    /// Every object that was listed.
    pub objects: Vec<Judged>,
    /// Blobs that a kept flist names and the listing does not have: the store is damaged.
    pub missing: Vec<Digest>,
    /// Claims that are older than the grace period, and count no more.
    pub expired: Vec<Listed>,
}

/// An object and what is to become of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// As it was listed.
    pub object: Listed,
    /// Why it goes or stays.
    pub verdict: Verdict,
}

/// Why an object goes or stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// It goes: no kept flist names it, and it is older than the grace period.
    Dead,
    /// It stays: kept flists name it.
    Needed {
        /// How many of them.
        flists: u64,
        /// Bytes of it that they need.
        live: u64,
    },
    /// It stays: nobody names it yet, but it is younger than the grace period.
    Young,
    /// It stays: somebody packed an flist that names it, not longer ago than the grace period.
    Claimed,
    /// It stays: nobody names it, but the store does not say how old it is.
    AgeUnknown,
    /// It stays: its name, or its end, is not that of a blob.
    Foreign,
}

/// What was taken away.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Collected {
    /// Blobs deleted.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Blobs that were to go and stay, because somebody put them again or claimed them meanwhile, or deleted them.
    pub changed: u64,
}

/// What kept flists need of a blob.
#[derive(Debug, Default)]
struct Need {
    flists: u64,
    /// Offset and length of each frame.
    frames: BTreeSet<(u32, u32)>,
}

/// Decides for every listed object whether it goes. `kept` are all flists that shall stay readable, `claims` those of the
/// store.
pub fn plan(
    listing: &[Listed],
    kept: &[impl AsRef<Flist>],
    claims: &[Claim],
    now: SystemTime,
    grace: Duration,
) -> Collection {
    let (expired, live): (Vec<&Claim>, Vec<_>) = claims.iter().partition(|claim| is_old(&claim.object, now, grace));
    let claimed: HashSet<Digest> = live.iter().flat_map(|claim| &claim.blobs).copied().collect();
    let mut needs = needs(kept);
    let judge = |object: &Listed| {
        let digest = blob_of(&object.name);
        let need = digest.and_then(|digest| needs.remove(&digest));
        Judged {
            object: object.clone(),
            verdict: match digest {
                None => Verdict::Foreign,
                Some(digest) if need.is_none() && claimed.contains(&digest) => Verdict::Claimed,
                Some(_) => verdict(object, need, now, grace),
            },
        }
    };
    let objects = listing.iter().map(judge).collect();
    let missing = needs.into_keys().collect::<BTreeSet<_>>();
    Collection {
        objects,
        missing: missing.into_iter().collect(),
        expired: expired.iter().map(|claim| claim.object.clone()).collect(),
    }
}

fn needs(kept: &[impl AsRef<Flist>]) -> HashMap<Digest, Need> {
    let mut needs: HashMap<Digest, Need> = HashMap::new();
    for flist in kept.iter().map(AsRef::as_ref) {
        let names: BTreeMap<Digest, ()> = flist.blobs().iter().map(|blob| (blob.digest, ())).collect();
        for digest in names.into_keys() {
            needs.entry(digest).or_default().flists += 1;
        }
        for frame in &flist.tables.frames {
            let digest = flist.blobs()[frame.blob as usize].digest;
            let need = needs.entry(digest).or_default();
            need.frames.insert((frame.offset, frame.stored));
        }
    }
    needs
}

/// The blob that an object of this name is.
fn blob_of(name: &str) -> Option<Digest> {
    let digest: Digest = name.rsplit('/').next()?.parse().ok()?;
    (digest.blob_name() == name).then_some(digest)
}

fn verdict(object: &Listed, need: Option<Need>, now: SystemTime, grace: Duration) -> Verdict {
    if let Some(need) = need {
        let live = need.frames.iter().map(|(_, stored)| u64::from(*stored)).sum();
        return Verdict::Needed {
            flists: need.flists,
            live,
        };
    }
    match object.modified {
        None => Verdict::AgeUnknown,
        Some(_) if is_old(object, now, grace) => Verdict::Dead,
        Some(_) => Verdict::Young,
    }
}

/// Whether an object is known to be at least as old. A time to come is that of another clock: as good as now.
fn is_old(object: &Listed, now: SystemTime, grace: Duration) -> bool {
    let age = object.modified.and_then(|modified| now.duration_since(modified).ok());
    age.is_some_and(|age| age >= grace)
}

impl Collection {
    /// The blobs that go.
    pub fn dead(&self) -> impl Iterator<Item = &Listed> {
        let dead = self.objects.iter().filter(|judged| judged.verdict == Verdict::Dead);
        dead.map(|judged| &judged.object)
    }

    /// The blobs that stay although little of them is needed, and how many bytes: packing the flists that name them anew,
    /// without a base, would free the rest.
    pub fn mostly_dead(&self) -> impl Iterator<Item = (&Listed, u64)> {
        self.objects.iter().filter_map(|judged| match judged.verdict {
            Verdict::Needed { live, .. } => {
                let length = judged.object.length;
                let mostly = live < length / MOSTLY && length - live >= WORTH;
                mostly.then_some((&judged.object, live))
            }
            _ => None,
        })
    }
}

/// Looks at the ends of small objects that the plan calls dead, and takes back what it said of those that are no blobs,
/// whatever they are called.
///
/// # Errors
/// [`StoreError`]: the first.
pub fn spare_foreign(plan: &mut Collection, store: &dyn Write) -> Result<(), StoreError> {
    let foreign = Mutex::new(HashSet::new());
    let suspects = plan.dead().filter(|object| object.length <= LARGEST_BLOCK);
    parallel::for_each(
        AT_ONCE,
        suspects.map(Ok),
        |_| LARGEST_BLOCK,
        |object| {
            if !is_blob(object, store)? {
                let mut foreign = foreign.lock().unwrap_or_else(PoisonError::into_inner);
                foreign.insert(object.name.clone());
            }
            Ok::<_, StoreError>(())
        },
    )?;
    let foreign = foreign.into_inner().unwrap_or_else(PoisonError::into_inner);
    for judged in &mut plan.objects {
        if foreign.contains(&judged.object.name) {
            judged.verdict = Verdict::Foreign;
        }
    }
    Ok(())
}

/// One that is gone is nobody's.
fn is_blob(object: &Listed, store: &dyn Write) -> Result<bool, StoreError> {
    let Some(start) = object.length.checked_sub(FOOTER_LENGTH) else {
        return Ok(false);
    };
    match store.get_range(&object.name, start..object.length) {
        Ok(tail) => Ok(is_footer(&tail)),
        Err(StoreError::NotFound { .. } | StoreError::Short { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Deletes what the plan calls dead, unless it changed or was claimed since, and the claims that count no more.
///
/// # Errors
/// [`StoreError`]: the first; deleting is then over, and may be tried again with a new plan.
pub fn collect(plan: &Collection, store: &dyn Write, progress: &Progress<'_>) -> Result<Collected, StoreError> {
    let mut done = Collected::default();
    let mut left: Vec<&Listed> = plan.dead().collect();
    while !left.is_empty() {
        let later = left.split_off(left.len().min(claims::MAX_BLOBS));
        let digests: Vec<Digest> = left.iter().filter_map(|object| blob_of(&object.name)).collect();
        let notice = Notice::put(store, &digests)?;
        let late = delete(plan, left, &notice, store, progress, &mut done);
        // After an error, too: nothing is being deleted any more.
        let taken = notice.take_away();
        left = late?;
        taken?;
        left.extend(later);
    }
    for claim in &plan.expired {
        store.delete(&claim.name)?;
    }
    claims::forget_old_notices(store, SystemTime::now(), GRACE)?;
    Ok(done)
}

/// Deletes as long as the notice holds; returns what is left to do with the next one.
fn delete<'p>(
    plan: &Collection,
    objects: Vec<&'p Listed>,
    notice: &Notice<'_>,
    store: &dyn Write,
    progress: &Progress<'_>,
    done: &mut Collected,
) -> Result<Vec<&'p Listed>, StoreError> {
    let (dead, changed) = look_again(plan, objects, store)?;
    if !notice.holds() {
        return Err(StoreError::Refused {
            address: store.address(),
            name: BLOBS.to_owned(),
            reason: "listing it takes longer than a collection may take".to_owned(),
        });
    }
    done.changed += changed;
    let (count, bytes) = (dead.len(), dead.iter().map(|object| object.length).sum::<u64>());
    let late = Mutex::new(Vec::new());
    parallel::for_each(
        AT_ONCE,
        dead.into_iter().map(Ok),
        |_| 0,
        |object| {
            if !notice.holds() {
                late.lock().unwrap_or_else(PoisonError::into_inner).push(object);
                return Ok(());
            }
            store.delete(&object.name)?;
            progress(Advance {
                files: 1,
                bytes: object.length,
            });
            Ok::<_, StoreError>(())
        },
    )?;
    let late = late.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.blobs += (count - late.len()) as u64;
    done.bytes += bytes - late.iter().map(|object| object.length).sum::<u64>();
    Ok(late)
}

/// What is still dead once the notice can be seen, and how many blobs are not.
fn look_again<'p>(
    plan: &Collection,
    objects: Vec<&'p Listed>,
    store: &dyn Write,
) -> Result<(Vec<&'p Listed>, u64), StoreError> {
    let claims = claims::claims(store)?;
    let live = claims.iter().filter(|claim| !plan.expired.contains(&claim.object));
    let claimed: HashSet<Digest> = live.flat_map(|claim| &claim.blobs).copied().collect();
    let now: HashMap<String, Listed> = store
        .list_entries(BLOBS)?
        .into_iter()
        .map(|object| (object.name.clone(), object))
        .collect();
    let is_claimed = |name: &str| blob_of(name).is_some_and(|digest| claimed.contains(&digest));
    let count = objects.len();
    let dead: Vec<&Listed> = objects
        .into_iter()
        .filter(|object| now.get(&object.name) == Some(object) && !is_claimed(&object.name))
        .collect();
    let changed = (count - dead.len()) as u64;
    Ok((dead, changed))
}

impl fmt::Display for Judged {
    /// One line: what becomes of it and why.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Listed { name, length, .. } = &self.object;
        match self.verdict {
            Verdict::Dead => write!(f, "delete {name}: {length} bytes that no kept flist names"),
            Verdict::Needed { flists, live } => {
                write!(f, "keep {name}: {flists} flists need {live} of its {length} bytes")
            }
            Verdict::Young => write!(f, "keep {name}: may belong to an upload that still runs"),
            Verdict::Claimed => write!(f, "keep {name}: an flist that was packed lately names it"),
            Verdict::AgeUnknown => write!(f, "keep {name}: the store does not say how old it is"),
            Verdict::Foreign => write!(f, "keep {name}: not a blob"),
        }
    }
}
