//! How those who pack into a store and those who collect its garbage keep out of each other's way.
//!
//! A packer that finds an old blob in the store does not put it again, and nobody names that blob until the new flist is
//! kept. Without an agreement a collection that runs meanwhile would delete it.
//!
//! | packer, before it gives out its flist | collector |
//! |---|---|
//! | 1. puts a claim, `gc/claim-…`: the blobs of the flist | 1. puts a notice, `gc/notice-…`: the blobs that it is about to delete |
//! | 2. waits as long as a notice names one of them | 2. reads the claims; what one of them names stays |
//! | 3. looks whether all are there, and fails when one is not | 3. deletes, and takes the notice away |
//!
//! Either the collector reads the claim, or the packer sees the notice, or it sees what was deleted: this needs nothing of
//! a store but that what was put is found and listed from then on. Claims count as long as blobs are young (the grace
//! period), and are deleted with the garbage after that.
//!
//! A collector that dies leaves its notice. It deletes for [`LEASE`] at most and then puts another one, so that a packer
//! that saw a notice for [`PATIENCE`] knows that nobody acts on it any more.
//!
//! Both are lists of digests, one in a line.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use mos_store::{Digest, Listed, StoreError, Write};

use crate::table::BlobRef;

const CLAIMS: &str = "gc/claim-";
const NOTICES: &str = "gc/notice-";
/// Blobs in a list at most: it is read into memory.
pub(crate) const MAX_BLOBS: usize = 100_000;
/// Bytes of the longest list: each line has 64 digits and its end.
const MAX_BYTES: u64 = MAX_BLOBS as u64 * 65;
/// How long a collector acts on its notice.
const LEASE: Duration = Duration::from_secs(10 * 60);
/// How long a packer waits for a notice to go: the lease, and as much again for a last request that hangs.
const PATIENCE: Duration = Duration::from_secs(20 * 60);
/// How often it looks.
const POLL: Duration = Duration::from_millis(200);

/// What a packer claims.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// As it was listed.
    pub object: Listed,
    /// The blobs of its flist.
    pub blobs: Vec<Digest>,
}

/// All claims in a store.
///
/// # Errors
/// [`StoreError`], also for a claim that is none.
pub fn claims(store: &dyn Write) -> Result<Vec<Claim>, StoreError> {
    let mut found = Vec::new();
    for object in store.list_entries(CLAIMS)? {
        if let Some(blobs) = read(store, &object.name)? {
            found.push(Claim { object, blobs });
        }
    }
    Ok(found)
}

/// Claims blobs that an flist relies on and that were not all put just now. Returns one that the store does not have, or
/// `None` when all are there and stay.
pub(crate) fn claim(store: &dyn Write, blobs: &[BlobRef]) -> Result<Option<BlobRef>, StoreError> {
    let digests: Vec<Digest> = blobs.iter().map(|blob| blob.digest).collect();
    for digests in digests.chunks(MAX_BLOBS) {
        replace(store, digests)?;
    }
    wait(store, &digests.into_iter().collect())?;
    let names: Vec<String> = blobs.iter().map(|blob| blob.digest.blob_name()).collect();
    let lengths = store.lengths(&names)?;
    let lost = blobs
        .iter()
        .zip(lengths)
        .find(|(blob, length)| *length != Some(blob.length));
    Ok(lost.map(|(blob, _)| *blob))
}

/// Puts a claim, and takes older ones of the same blobs away. Never younger ones: of two packers who do this at a time the
/// claim of one stays.
fn replace(store: &dyn Write, digests: &[Digest]) -> Result<(), StoreError> {
    let prefix = format!("{CLAIMS}{}-", Digest::of(list(digests).as_bytes()));
    let ours = put(store, &prefix, digests)?;
    let mut older = store.list(&prefix)?.into_iter().take_while(|name| *name < ours);
    older.try_for_each(|name| store.delete(&name))
}

/// Waits until no collector is about to delete one of these.
fn wait(store: &dyn Write, ours: &HashSet<Digest>) -> Result<(), StoreError> {
    // When a notice was first seen, and whether it names one of ours.
    let mut seen: HashMap<String, (Instant, bool)> = HashMap::new();
    loop {
        let mut concerned = false;
        for notice in store.list(NOTICES)? {
            if !seen.contains_key(&notice) {
                let names = read(store, &notice)?.unwrap_or_default();
                let ours = names.iter().any(|digest| ours.contains(digest));
                seen.insert(notice.clone(), (Instant::now(), ours));
            }
            let (since, ours) = seen[&notice];
            concerned |= ours && since.elapsed() < PATIENCE;
        }
        if !concerned {
            return Ok(());
        }
        std::thread::sleep(POLL);
    }
}

/// A collector's word about what it is about to delete.
pub(crate) struct Notice<'s> {
    store: &'s dyn Write,
    name: String,
    begun: Instant,
}

impl<'s> Notice<'s> {
    pub(crate) fn put(store: &'s dyn Write, digests: &[Digest]) -> Result<Self, StoreError> {
        // Before anybody can have seen it.
        let begun = Instant::now();
        let name = put(store, NOTICES, digests)?;
        Ok(Self { store, name, begun })
    }

    /// False once nothing may be deleted in its name any more.
    pub(crate) fn holds(&self) -> bool {
        self.begun.elapsed() < LEASE
    }

    /// Takes it away: nothing is being deleted any more.
    pub(crate) fn take_away(self) -> Result<(), StoreError> {
        self.store.delete(&self.name)
    }
}

/// Deletes notices of collectors that died long ago.
pub(crate) fn forget_old_notices(store: &dyn Write, now: SystemTime, age: Duration) -> Result<(), StoreError> {
    let old = |notice: &Listed| {
        let age_of = |time| now.duration_since(time).ok();
        notice.modified.and_then(age_of).is_some_and(|found| found >= age)
    };
    let notices = store.list_entries(NOTICES)?;
    notices
        .iter()
        .filter(|notice| old(notice))
        .try_for_each(|notice| store.delete(&notice.name))
}

fn list(digests: &[Digest]) -> String {
    digests.iter().map(|digest| format!("{digest}\n")).collect()
}

/// Puts a list under a name that nobody else takes; later names come later.
fn put(store: &dyn Write, prefix: &str, digests: &[Digest]) -> Result<String, StoreError> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = format!("{prefix}{:020}-{}-{count}", since.as_nanos(), std::process::id());
    store.put(&name, list(digests).as_bytes())?;
    Ok(name)
}

/// Reads a list; `None` when it is gone.
fn read(store: &dyn Write, name: &str) -> Result<Option<Vec<Digest>>, StoreError> {
    let bytes = match store.get(name, MAX_BYTES) {
        Err(StoreError::NotFound { .. }) => return Ok(None),
        other => other?,
    };
    let text = std::str::from_utf8(&bytes).ok();
    let digests = text.and_then(|text| text.lines().map(|line| line.parse().ok()).collect());
    match digests {
        Some(digests) => Ok(Some(digests)),
        None => Err(StoreError::Refused {
            address: store.address(),
            name: name.to_owned(),
            reason: "it is no list of blobs; delete it when nobody packs or collects".to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mos_store::{Memory, Read as _};

    fn blob(byte: u8) -> BlobRef {
        BlobRef {
            digest: Digest::of(&[byte]),
            length: 1,
        }
    }

    fn store(bytes: &[u8]) -> Memory {
        let store = Memory::new();
        for byte in bytes {
            store.put(&blob(*byte).digest.blob_name(), &[*byte]).unwrap();
        }
        store
    }

    #[test]
    fn claims_are_read_back_and_what_is_not_there_is_told() {
        let store = store(&[1, 2]);
        assert_eq!(claim(&store, &[blob(1), blob(2)]).unwrap(), None);
        assert_eq!(claim(&store, &[blob(1), blob(3)]).unwrap(), Some(blob(3)));
        let mut found: Vec<_> = claims(&store).unwrap().into_iter().map(|claim| claim.blobs).collect();
        found.sort_by_key(|blobs| blobs[1] == blob(3).digest);
        let digests = |bytes: [u8; 2]| bytes.map(|byte| blob(byte).digest).to_vec();
        assert_eq!(found, [digests([1, 2]), digests([1, 3])]);
        let before = store.list(CLAIMS).unwrap();
        assert_eq!(claim(&store, &[blob(1), blob(2)]).unwrap(), None);
        let after = store.list(CLAIMS).unwrap();
        assert_eq!(after.iter().filter(|name| before.contains(name)).count(), 1);
        assert_eq!(after.len(), 2, "the older claim of the same blobs is gone");
        store.put("gc/claim-x", b"no digest").unwrap();
        assert!(matches!(claims(&store), Err(StoreError::Refused { .. })));
    }

    #[test]
    fn a_packer_waits_for_who_deletes_its_blobs_and_for_nobody_else() {
        let store = store(&[1, 2]);
        let other = Notice::put(&store, &[blob(2).digest]).unwrap();
        assert_eq!(claim(&store, &[blob(1)]).unwrap(), None);
        let ours = Notice::put(&store, &[blob(1).digest]).unwrap();
        let before = claims(&store).unwrap();
        assert!(ours.holds());
        std::thread::scope(|scope| {
            let packer = scope.spawn(|| claim(&store, &[blob(1)]));
            while claims(&store).unwrap() == before {
                std::thread::yield_now();
            }
            std::thread::sleep(2 * POLL);
            assert!(!packer.is_finished());
            store.delete(&blob(1).digest.blob_name()).unwrap();
            ours.take_away().unwrap();
            assert_eq!(packer.join().unwrap().unwrap(), Some(blob(1)));
        });
        forget_old_notices(&store, SystemTime::now(), Duration::from_secs(60)).unwrap();
        assert_eq!(store.list(NOTICES).unwrap(), [other.name]);
        forget_old_notices(&store, SystemTime::now(), Duration::ZERO).unwrap();
        assert_eq!(store.list(NOTICES).unwrap(), [""; 0]);
        assert_eq!(store.length(&blob(2).digest.blob_name()).unwrap(), Some(1));
    }
}
