//! A collection beside a packing, at any moment of each other.
#![allow(clippy::unwrap_used, reason = "helpers of tests stop the test, as tests do")]

mod common;

use std::fs::File;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use common::{parsed, small};
use mos_flist::gc::{self, Verdict};
use mos_flist::{Flist, PackError, PackOptions, Packed, claims, pack};
use mos_store::{Dir, Listed, Read, StoreError, Write};

const HOUR: Duration = Duration::from_secs(3600);

/// A store that tells its requests, before they are done.
struct Told<'t> {
    store: Dir,
    tell: &'t (dyn Fn(&str) + Sync),
}

impl Read for Told<'_> {
    fn get(&self, name: &str, limit: u64) -> Result<Vec<u8>, StoreError> {
        (self.tell)(name);
        self.store.get(name, limit)
    }

    fn get_range(&self, name: &str, range: Range<u64>) -> Result<Vec<u8>, StoreError> {
        (self.tell)(name);
        self.store.get_range(name, range)
    }

    fn length(&self, name: &str) -> Result<Option<u64>, StoreError> {
        (self.tell)(name);
        self.store.length(name)
    }

    fn address(&self) -> String {
        self.store.address()
    }
}

impl Write for Told<'_> {
    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        (self.tell)(name);
        self.store.put(name, bytes)
    }

    fn list_entries(&self, prefix: &str) -> Result<Vec<Listed>, StoreError> {
        (self.tell)(prefix);
        self.store.list_entries(prefix)
    }

    fn delete(&self, name: &str) -> Result<(), StoreError> {
        (self.tell)(name);
        self.store.delete(name)
    }
}

/// A store with blobs that were put two hours ago and that nobody names, and the flist that was packed then.
struct Old {
    _folder: tempfile::TempDir,
    store: Dir,
    flist: Arc<Flist>,
}

impl Old {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Dir::new(folder.path());
        let flist = parsed(&pack(&small(), &store, &PackOptions::default()).unwrap());
        for blob in flist.blobs() {
            let path: PathBuf = folder.path().join(blob.digest.blob_name());
            let file = File::options().write(true).open(path).unwrap();
            file.set_modified(SystemTime::now() - 2 * HOUR).unwrap();
        }
        Self {
            _folder: folder,
            store,
            flist,
        }
    }

    /// With the old flist as a base, every other time.
    fn pack(&self, store: &dyn Write, with_base: bool) -> Result<Packed, PackError> {
        let options = PackOptions {
            bases: with_base.then(|| self.flist.clone()).into_iter().collect(),
            threads: 1,
            ..PackOptions::default()
        };
        pack(&small(), store, &options)
    }

    fn plan(&self) -> gc::Collection {
        let listing = self.store.list_entries(gc::BLOBS).unwrap();
        let claims = claims(&self.store).unwrap();
        gc::plan(&listing, &[] as &[Arc<Flist>], &claims, SystemTime::now(), HOUR)
    }

    /// Asserts that what was packed has all its blobs, or was refused and can be packed now. True for the former.
    fn is_whole(&self, packed: Result<Packed, PackError>) -> bool {
        let (first, packed) = match packed {
            Ok(packed) => (true, packed),
            Err(PackError::Lost { .. }) => (false, self.pack(&self.store, true).unwrap()),
            Err(other) => panic!("{other}"),
        };
        for blob in &packed.blobs {
            let length = self.store.length(&blob.digest.blob_name()).unwrap();
            assert_eq!(length, Some(blob.length), "a blob was collected: {first}");
        }
        first
    }
}

#[test]
fn a_collection_at_any_moment_of_a_packing_takes_nothing_that_it_needs() {
    let (mut whole, mut refused) = (0, 0);
    for with_base in [false, true] {
        for moment in 0.. {
            let old = Old::new();
            let plan = old.plan();
            assert_eq!(plan.dead().count(), old.flist.blobs().len());
            let request = AtomicUsize::new(0);
            let tell = |_: &str| {
                if request.fetch_add(1, Ordering::SeqCst) == moment {
                    gc::collect(&plan, &old.store, &|_| {}).unwrap();
                }
            };
            let store = Told {
                store: old.store.clone(),
                tell: &tell,
            };
            let packed = old.pack(&store, with_base);
            let requests = request.load(Ordering::SeqCst);
            match old.is_whole(packed) {
                true => whole += 1,
                false => refused += 1,
            }
            if requests <= moment {
                break;
            }
        }
    }
    assert!(whole > 4 && refused > 0, "{whole} packed, {refused} refused");
}

#[test]
fn a_packing_at_any_moment_of_a_collection_loses_nothing() {
    let (mut whole, mut refused, mut waited) = (0, 0, 0);
    for with_base in [false, true] {
        for moment in 0.. {
            let old = Old::new();
            let plan = old.plan();
            let (request, looks) = (AtomicUsize::new(0), AtomicUsize::new(0));
            let look = |name: &str| {
                looks.fetch_add(usize::from(name == "gc/notice-"), Ordering::SeqCst);
            };
            let packer = Told {
                store: old.store.clone(),
                tell: &look,
            };
            std::thread::scope(|scope| {
                let packed = std::sync::Mutex::new(None);
                let tell = |_: &str| {
                    if request.fetch_add(1, Ordering::SeqCst) != moment {
                        return;
                    }
                    let packing = scope.spawn(|| old.pack(&packer, with_base));
                    // Until it is done, or looks for notices again because it waits for one.
                    while !packing.is_finished() && looks.load(Ordering::SeqCst) < 2 {
                        std::thread::yield_now();
                    }
                    *packed.lock().unwrap() = Some(packing);
                };
                let store = Told {
                    store: old.store.clone(),
                    tell: &tell,
                };
                gc::collect(&plan, &store, &|_| {}).unwrap();
                let packing = packed.lock().unwrap().take();
                let packing =
                    packing.map_or_else(|| old.pack(&old.store, with_base), |packing| packing.join().unwrap());
                match old.is_whole(packing) {
                    true => whole += 1,
                    false => refused += 1,
                }
            });
            waited += usize::from(looks.load(Ordering::SeqCst) > 1);
            if request.load(Ordering::SeqCst) <= moment {
                break;
            }
        }
    }
    assert!(
        whole > 4 && refused > 0 && waited > 2,
        "{whole} packed, {refused} refused, {waited} waited"
    );
}

#[test]
fn what_was_packed_lately_stays_and_old_claims_go() {
    let old = Old::new();
    old.pack(&old.store, true).unwrap();
    let plan = old.plan();
    assert!(
        plan.objects.iter().all(|judged| judged.verdict == Verdict::Claimed),
        "{plan:?}"
    );
    let listing = old.store.list_entries(gc::BLOBS).unwrap();
    let later = SystemTime::now() + HOUR;
    let plan = gc::plan(
        &listing,
        &[] as &[Arc<Flist>],
        &claims(&old.store).unwrap(),
        later,
        HOUR,
    );
    assert_eq!((plan.dead().count(), plan.expired.len()), (old.flist.blobs().len(), 1));
    gc::collect(&plan, &old.store, &|_| {}).unwrap();
    assert_eq!(old.store.list("").unwrap(), [""; 0]);
    // Nothing was there before: nothing is claimed.
    old.pack(&old.store, true).unwrap();
    assert_eq!(old.store.list("gc/").unwrap(), [""; 0]);
}
