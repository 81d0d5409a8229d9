//! A store for checking: gives ranges of blobs, and looks at each blob as a whole when it is first asked for.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mos_store::{Read, StoreError};

use super::Finding;
use crate::blob::{BLOB_LIMIT, parse_index};
use crate::cache::{Cache, Claim};
use crate::error::Part;
use crate::flist::Flist;
use crate::table::BlobRef;

/// Bytes of blobs that are kept while their files are read: two or three as we pack them.
const KEPT_BYTES: usize = 48 << 20;

/// What is wrong with which blob of the flist.
pub(super) type Wrong = (usize, Finding);

/// Which blobs are missing or have another length, from one request for all; the error when the store cannot say.
pub(super) fn present(flist: &Flist, store: &dyn Read) -> Result<Vec<Wrong>, Finding> {
    let blobs = flist.blobs();
    let names: Vec<String> = blobs.iter().map(|blob| blob.digest.blob_name()).collect();
    let lengths = store.lengths(&names).map_err(|source| Finding::Store {
        part: Part::Blobs(blobs.len()),
        source: source.into(),
    })?;
    let wrong = blobs.iter().zip(lengths).map(|(blob, length)| absent(blob, length));
    Ok(wrong
        .enumerate()
        .filter_map(|(number, wrong)| Some((number, wrong?)))
        .collect())
}

fn absent(blob: &BlobRef, length: Option<u64>) -> Option<Finding> {
    let part = Part::Blob(blob.digest);
    match length {
        None => Some(Finding::Missing(part)),
        Some(found) if found != blob.length => Some(Finding::Length {
            part,
            expected: blob.length,
            found,
        }),
        Some(_) => None,
    }
}

/// The store of an flist that is being checked.
pub(super) struct Whole {
    flist: Arc<Flist>,
    store: Arc<dyn Read>,
    /// Of each blob in the flist's table.
    numbers: HashMap<String, u32>,
    blobs: Arc<Cache>,
    state: Mutex<State>,
}

struct State {
    /// Blobs that were looked at, or need not be.
    seen: HashSet<u32>,
    findings: BTreeMap<usize, Finding>,
}

impl Whole {
    /// Blobs that something is known to be wrong with are not looked at again.
    pub(super) fn new(flist: Arc<Flist>, store: Arc<dyn Read>, wrong: Vec<Wrong>) -> Self {
        let names = flist.blobs().iter().map(|blob| blob.digest.blob_name());
        Self {
            numbers: names.zip(0..).collect(),
            flist,
            store,
            blobs: Cache::new(KEPT_BYTES),
            state: Mutex::new(State {
                seen: wrong.iter().map(|(number, _)| *number as u32).collect(),
                findings: wrong.into_iter().collect(),
            }),
        }
    }

    /// Looks at the blobs that nobody asked for, and says what is wrong with any.
    pub(super) fn finish(&self) -> Vec<Finding> {
        for number in 0..self.flist.blobs().len() as u32 {
            self.blob(number);
        }
        let findings = std::mem::take(&mut self.state().findings);
        findings.into_values().collect()
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
        let blob = self.flist.blobs()[number as usize];
        let report = |finding| self.state().findings.insert(number as usize, finding);
        match self.fetch(&blob) {
            Ok(bytes) => {
                // Damaged bytes are handed on too: chunk by chunk it shows which files they hit.
                self.check(&blob, number, &bytes).err().map(report);
                let bytes = Arc::new(bytes);
                ticket.plain(bytes.clone());
                Some(bytes)
            }
            Err(finding) => {
                report(finding);
                None
            }
        }
    }

    fn fetch(&self, blob: &BlobRef) -> Result<Vec<u8>, Finding> {
        if blob.length > BLOB_LIMIT {
            return Err(Finding::Huge(blob.digest));
        }
        let fetched = self.store.get(&blob.digest.blob_name(), blob.length);
        fetched.map_err(|source| Finding::Store {
            part: Part::Blob(blob.digest),
            source: source.into(),
        })
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
