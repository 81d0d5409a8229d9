//! Garbage collection: which blobs of a store nobody needs, and taking them away.
//!
//! [`plan`] is pure, and keeps more than it must: what it does not understand, and what is young. Packing writes blobs
//! before the flist that names them exists, so a blob that nobody names may belong to an upload that still runs.
//! [`collect`] looks at the store once more before it deletes: a blob that was put again meanwhile stays.
//!
//! A packer that finds an old blob in the store does not put it again. Do not collect while somebody packs into the
//! store with content that was in no kept flist for longer than the grace period.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::time::{Duration, SystemTime};

use mos_store::{Digest, Listed, StoreError, Write};

use crate::flist::Flist;
use crate::image::{Advance, Progress};
use crate::parallel;

/// How old a blob has to be before it is collected, unless somebody says otherwise: longer than any upload takes.
pub const GRACE: Duration = Duration::from_secs(24 * 60 * 60);
/// Where blobs are in every store.
pub const BLOBS: &str = "blobs/";
/// A kept blob of which less than one part in so many is needed is called mostly dead.
const MOSTLY: u64 = 4;
/// Requests to delete that are under way at a time.
const AT_ONCE: usize = 8;

/// What to do with the objects of a store, in the order of their names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collection {
    /// Every object that was listed.
    pub objects: Vec<Judged>,
    /// Blobs that a kept flist names and the listing does not have: the store is damaged.
    pub missing: Vec<Digest>,
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
    /// It stays: nobody names it, but the store does not say how old it is.
    AgeUnknown,
    /// It stays: its name is not that of a blob.
    Foreign,
}

/// What was taken away.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Collected {
    /// Blobs deleted.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Blobs that were to go and stay, because somebody put them again meanwhile, or deleted them.
    pub changed: u64,
}

/// What kept flists need of a blob.
#[derive(Debug, Default)]
struct Need {
    flists: u64,
    /// Offset and length of each frame.
    frames: BTreeSet<(u32, u32)>,
}

/// Decides for every listed object whether it goes. `kept` are all flists that shall stay readable.
pub fn plan(listing: &[Listed], kept: &[impl AsRef<Flist>], now: SystemTime, grace: Duration) -> Collection {
    let mut needs = needs(kept);
    let judge = |object: &Listed| {
        let digest = blob_of(&object.name);
        let need = digest.and_then(|digest| needs.remove(&digest));
        Judged {
            object: object.clone(),
            verdict: verdict(object, digest, need, now, grace),
        }
    };
    let objects = listing.iter().map(judge).collect();
    let missing = needs.into_keys().collect::<BTreeSet<_>>();
    Collection {
        objects,
        missing: missing.into_iter().collect(),
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

fn verdict(object: &Listed, digest: Option<Digest>, need: Option<Need>, now: SystemTime, grace: Duration) -> Verdict {
    let Some(_) = digest else { return Verdict::Foreign };
    if let Some(need) = need {
        let live = need.frames.iter().map(|(_, stored)| u64::from(*stored)).sum();
        return Verdict::Needed {
            flists: need.flists,
            live,
        };
    }
    let Some(modified) = object.modified else {
        return Verdict::AgeUnknown;
    };
    // A time to come is that of another clock: as good as now.
    match now.duration_since(modified) {
        Ok(age) if age >= grace => Verdict::Dead,
        _ => Verdict::Young,
    }
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
            Verdict::Needed { live, .. } if live < judged.object.length / MOSTLY => Some((&judged.object, live)),
            _ => None,
        })
    }
}

/// Deletes what the plan calls dead, unless it changed since.
///
/// # Errors
/// [`StoreError`]: the first; deleting is then over, and may be tried again with a new plan.
pub fn collect(plan: &Collection, store: &dyn Write, progress: &Progress<'_>) -> Result<Collected, StoreError> {
    let now: HashMap<String, Listed> = match plan.dead().next() {
        Some(_) => store
            .list_entries(BLOBS)?
            .into_iter()
            .map(|object| (object.name.clone(), object))
            .collect(),
        None => HashMap::new(),
    };
    let (dead, changed): (Vec<&Listed>, Vec<_>) = plan.dead().partition(|object| now.get(&object.name) == Some(object));
    let mut done = Collected {
        changed: changed.len() as u64,
        ..Collected::default()
    };
    for object in &dead {
        done.blobs += 1;
        done.bytes += object.length;
    }
    parallel::for_each(
        AT_ONCE,
        dead.into_iter().map(Ok),
        |_| 0,
        |object| {
            store.delete(&object.name)?;
            progress(Advance {
                files: 1,
                bytes: object.length,
            });
            Ok::<_, StoreError>(())
        },
    )?;
    Ok(done)
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
            Verdict::AgeUnknown => write!(f, "keep {name}: the store does not say how old it is"),
            Verdict::Foreign => write!(f, "keep {name}: not the name of a blob"),
        }
    }
}
