//! A store for checking: gives ranges of blobs, and looks at each blob as a whole, in every store that holds it, when it is
//! first asked for.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mos_store::{Read, StoreError};

use super::Finding;
use super::replica::{Present, Replica};
use crate::blob::{BLOB_LIMIT, parse_index};
use crate::cache::{Cache, Claim};
use crate::error::Part;
use crate::flist::Flist;
use crate::table::BlobRef;

/// Bytes of blobs that are kept while their files are read: two as we pack them, the one that threads leave and the next.
const KEPT_BYTES: usize = 16 << 20;

/// The store of an flist that is being checked.
pub(super) struct Whole {
    flist: Arc<Flist>,
    /// All replicas together, for who reads only a part.
    store: Arc<dyn Read>,
    replicas: Vec<Replica>,
    /// Of each blob in the flist's table.
    numbers: HashMap<String, u32>,
    blobs: Arc<Cache>,
    state: Mutex<State>,
}

struct State {
    /// Blobs that were looked at.
    seen: HashSet<u32>,
    present: Present,
}

impl Whole {
    /// Copies that something is known to be wrong with are not looked at again.
    pub(super) fn new(flist: Arc<Flist>, store: Arc<dyn Read>, replicas: Vec<Replica>, present: Present) -> Self {
        let names = flist.blobs().iter().map(|blob| blob.digest.blob_name());
        Self {
            numbers: names.zip(0..).collect(),
            flist,
            store,
            replicas,
            blobs: Cache::new(KEPT_BYTES),
            state: Mutex::new(State {
                seen: HashSet::new(),
                present,
            }),
        }
    }

    /// Looks at the blobs that nobody asked for, and says what is wrong with any.
    pub(super) fn finish(&self) -> Vec<Finding> {
        for number in 0..self.flist.blobs().len() as u32 {
            self.blob(number);
        }
        std::mem::take(&mut self.state().present).findings()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Both parts are whole at any time, so poison carries no news.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A blob that is kept, or is looked at now. One that was dropped, or cannot be had as a whole, is `None`.
    fn blob(&self, number: u32) -> Option<Arc<Vec<u8>>> {
        let ticket = match self.blobs.claim(number, 0, |_| Vec::new()) {
            Claim::Plain(bytes) => return Some(bytes),
            // Blobs are kept as they are; none waits to be decoded.
            Claim::Stored(..) => return None,
            Claim::Fetch(tickets) => tickets.into_iter().next()?,
        };
        if !self.state().seen.insert(number) {
            return None;
        }
        let bytes = Arc::new(self.look(number)?);
        ticket.plain(bytes.clone());
        Some(bytes)
    }

    /// Looks at every copy of a blob, one at a time; gives one that is whole, else the last of those that are not: chunk by
    /// chunk it shows which files they hit.
    fn look(&self, number: u32) -> Option<Vec<u8>> {
        let blob = self.flist.blobs()[number as usize];
        let name = blob.digest.blob_name();
        let mut best: Option<(bool, Vec<u8>)> = None;
        for (at, replica) in self.replicas.iter().enumerate() {
            if !replica.holds(&name) || self.state().present.is_wrong(number as usize, at) {
                continue;
            }
            let report = |finding| {
                let finding = replica.finding(finding);
                self.state().present.report(number as usize, at, finding);
            };
            match fetch(&*replica.store, &blob) {
                Err(finding) => report(finding),
                Ok(bytes) => {
                    let whole = self.check(&blob, number, &bytes).map_err(report).is_ok();
                    if best.as_ref().is_none_or(|(best, _)| !best) {
                        best = Some((whole, bytes));
                    }
                }
            }
        }
        best.map(|(_, bytes)| bytes)
    }

    fn check(&self, blob: &BlobRef, number: u32, bytes: &[u8]) -> Result<(), Finding> {
        if !blob.digest.matches(bytes) {
            return Err(Finding::Damaged(Part::Blob(blob.digest)));
        }
        let wrong = |why| Finding::Index { blob: blob.digest, why };
        let index = parse_index(bytes).map_err(wrong)?;
        let index: HashSet<_> = index
            .iter()
            .map(|frame| (frame.offset, frame.stored, frame.plain, frame.encoding))
            .collect();
        let frames = &self.flist.tables.frames;
        let first = frames.partition_point(|frame| frame.blob < number);
        let mut of_blob = frames[first..].iter().take_while(|frame| frame.blob == number);
        match of_blob.all(|frame| index.contains(&(frame.offset, frame.stored, frame.plain, frame.encoding))) {
            true => Ok(()),
            false => Err(wrong("an index without a frame that the flist names")),
        }
    }
}

fn fetch(store: &dyn Read, blob: &BlobRef) -> Result<Vec<u8>, Finding> {
    if blob.length > BLOB_LIMIT {
        return Err(Finding::Huge(blob.digest));
    }
    let fetched = store.get(&blob.digest.blob_name(), blob.length);
    fetched.map_err(|source| Finding::Store {
        part: Part::Blob(blob.digest),
        source: source.into(),
    })
}

impl Read for Whole {
    fn get(&self, name: &str, limit: u64) -> Result<Vec<u8>, StoreError> {
        self.store.get(name, limit)
    }

    fn get_range(&self, name: &str, range: Range<u64>) -> Result<Vec<u8>, StoreError> {
        let blob = self.numbers.get(name).and_then(|number| self.blob(*number));
        let part = |blob: Arc<Vec<u8>>| {
            let (start, end) = (usize::try_from(range.start).ok()?, usize::try_from(range.end).ok()?);
            blob.get(start..end).map(<[u8]>::to_vec)
        };
        match blob.and_then(part) {
            Some(bytes) => Ok(bytes),
            None => self.store.get_range(name, range),
        }
    }

    fn length(&self, name: &str) -> Result<Option<u64>, StoreError> {
        self.store.length(name)
    }

    fn address(&self) -> String {
        self.store.address()
    }
}
