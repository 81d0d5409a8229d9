//! The stores behind routes: every one that covers an id may have the block.
//!
//! Buckets hold a block under its hex id. Directories and web servers hold it as `aa/aabb…`, and older ones flat. A
//! reader asks the replicas of a block one after the other, beginning at one that the id chooses, so that load is spread
//! and the order is the same every time; one that fails, lacks the block, or gives other bytes, does not end reading as
//! long as there is a next one.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mos_flist::{Finding, Part};
use mos_store::{Options, Read, StoreError};

use crate::block::{BlockRef, Hash, stored_limit};
use crate::route::{Route, RouteError};

/// Where in a store blocks lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// `aabb…`: buckets.
    Flat,
    /// `aa/aabb…`: directories and web servers. Reading takes the flat name too.
    Folders,
}

/// Stores to read blocks from. Clones share them.
#[derive(Clone, Default)]
pub struct Stores {
    list: Vec<(Route, Layout, Arc<dyn Read>)>,
    /// What is wrong in one store and good in another, for who wants to know.
    watch: Option<Arc<Watch>>,
}

/// Remembers what every store that covers a block gave.
#[derive(Default)]
pub(crate) struct Watch {
    state: Mutex<Watched>,
}

#[derive(Default)]
struct Watched {
    /// Blocks that all stores were asked for.
    seen: HashSet<Hash>,
    /// By store and name of the block.
    findings: BTreeMap<(String, String), Finding>,
}

/// What became of one block.
#[derive(Debug)]
pub(crate) enum Fetch {
    /// Verified: plain, or as it is stored for who asked for that.
    Good(Vec<u8>),
    /// A store gave something else, and no other one the block.
    Tampered(&'static str),
    /// No store gave anything.
    Failed(StoreError),
}

impl Layout {
    /// The name under which a block is put.
    pub(crate) fn name(self, block: &BlockRef) -> String {
        let flat = block.name();
        match self {
            Self::Flat => flat,
            Self::Folders => format!("{}/{flat}", &flat[..2]),
        }
    }

    /// The layouts to look for a block in.
    fn readable(self) -> &'static [Self] {
        match self {
            Self::Flat => &[Self::Flat],
            Self::Folders => &[Self::Folders, Self::Flat],
        }
    }

    pub(crate) fn of(route: &Route) -> Self {
        match route.is_bucket() {
            true => Self::Flat,
            false => Self::Folders,
        }
    }
}

impl Stores {
    /// Opens the stores of routes: those of an flist, or others that have its blocks. Nothing is sent yet.
    ///
    /// # Errors
    /// [`RouteError`], when none can be opened. One that cannot be opened beside others that can is left out: they may
    /// have everything.
    pub fn open(routes: &[Route], options: &Options) -> Result<Self, RouteError> {
        let mut stores = Self::default();
        let mut failed = None;
        for route in routes {
            match open(route, options) {
                Ok(store) => stores.add(route.clone(), Layout::of(route), store),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        match failed {
            Some(error) if stores.list.is_empty() => Err(error),
            _ => Ok(stores),
        }
    }

    /// Adds a store that is open already.
    pub fn add(&mut self, route: Route, layout: Layout, store: Arc<dyn Read>) {
        self.list.push((route, layout, store));
    }

    /// The same stores, for who checks them: the first time that a block is fetched, every store that covers it is asked.
    /// Only with several stores, and what the watch has found is then read from it.
    pub(crate) fn watched(&self) -> Option<(Self, Arc<Watch>)> {
        let watch = (self.list.len() > 1).then(Arc::<Watch>::default)?;
        let watched = Self {
            list: self.list.clone(),
            watch: Some(watch.clone()),
        };
        Some((watched, watch))
    }

    /// Fetches, verifies and decodes a block.
    pub(crate) fn fetch(&self, block: &BlockRef) -> Fetch {
        self.fetch_as(block, &|stored| crate::block::decode(block, stored))
    }

    /// Fetches and verifies a block, and gives it as it is stored.
    #[cfg(feature = "pack")]
    pub(crate) fn fetch_stored(&self, block: &BlockRef) -> Fetch {
        self.fetch_as(block, &|stored| {
            crate::block::decode(block, stored.clone()).map(|_| stored)
        })
    }

    fn fetch_as(&self, block: &BlockRef, open: &Open<'_>) -> Fetch {
        let watch = self.watch.as_ref().filter(|watch| watch.lock().seen.insert(block.id));
        let (mut plain, mut failed) = (None, Vec::new());
        for (route, layout, store) in self.replicas(block) {
            match fetch_one(store, layout, block, open) {
                result @ Fetch::Good(_) if watch.is_none() => return result,
                result @ Fetch::Good(_) => plain = Some(result),
                result => failed.push((route, result)),
            }
        }
        // The last of the worst is what the reader is told, when there is nothing better.
        failed.sort_by_key(|(_, result)| severity(result));
        let result = plain.or_else(|| failed.pop().map(|(_, result)| result));
        if let Some(watch) = watch {
            failed
                .into_iter()
                .for_each(|(route, result)| watch.report(route, block, result));
        }
        result.unwrap_or_else(|| Fetch::Failed(self.uncovered(block)))
    }

    /// What is not there of these blocks, store by store: each of several that cover a block should have it. What the objects
    /// hold is not looked at. A store that cannot tell is one finding.
    pub(crate) fn absent(&self, blocks: &[BlockRef]) -> Vec<Finding> {
        let uncovered = blocks.iter().filter(|block| self.replicas(block).next().is_none());
        let mut findings: Vec<Finding> = uncovered.map(missing).collect();
        for (route, layout, store) in &self.list {
            let covered = blocks.iter().filter(|block| route.covers(&block.id)).collect();
            let found = absent_in(&**store, *layout, covered);
            let alone = self.list.len() < 2;
            findings.extend(found.into_iter().map(|finding| match alone {
                true => finding,
                false => of_store(route, finding),
            }));
        }
        findings
    }

    /// The stores that cover a block, beginning at one that its id chooses.
    fn replicas(&self, block: &BlockRef) -> impl Iterator<Item = (&Route, Layout, &dyn Read)> {
        let covering: Vec<_> = self.list.iter().filter(|(route, ..)| route.covers(&block.id)).collect();
        let first = usize::from(block.id[1]) % covering.len().max(1);
        (0..covering.len()).map(move |step| {
            let (route, layout, store) = covering[(first + step) % covering.len()];
            (route, *layout, &**store)
        })
    }

    fn uncovered(&self, block: &BlockRef) -> StoreError {
        let routes: Vec<String> = self.list.iter().map(|(route, ..)| route.to_string()).collect();
        StoreError::NotFound {
            address: format!("no route covers it (routes: {})", routes.join(", ")),
            name: block.name(),
        }
    }
}

impl Watch {
    fn lock(&self) -> MutexGuard<'_, Watched> {
        // Both parts are whole at any time, so poison carries no news.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn report(&self, route: &Route, block: &BlockRef, result: Fetch) {
        let part = Part::Block(block.name());
        let finding = match result {
            Fetch::Failed(StoreError::NotFound { .. }) => missing(block),
            Fetch::Failed(error) => Finding::Store {
                part,
                source: error.into(),
            },
            Fetch::Good(_) | Fetch::Tampered(_) => Finding::Damaged(part),
        };
        let key = (route.to_string(), block.name());
        self.lock().findings.insert(key, of_store(route, finding));
    }

    /// What was found, by store.
    pub(crate) fn findings(&self) -> Vec<Finding> {
        std::mem::take(&mut self.lock().findings).into_values().collect()
    }
}

fn of_store(route: &Route, finding: Finding) -> Finding {
    Finding::Replica {
        store: route.to_string(),
        finding: finding.into(),
    }
}

fn missing(block: &BlockRef) -> Finding {
    Finding::Missing(Part::Block(block.name()))
}

/// Which of the blocks a store has under none of its names.
fn absent_in(store: &dyn Read, layout: Layout, mut blocks: Vec<&BlockRef>) -> Vec<Finding> {
    for layout in layout.readable() {
        let names: Vec<String> = blocks.iter().map(|block| layout.name(block)).collect();
        let lengths = match store.lengths(&names) {
            Ok(lengths) => lengths,
            // Which of them are missing is not known.
            Err(source) => {
                return vec![Finding::Store {
                    part: Part::Blocks(blocks.len()),
                    source: source.into(),
                }];
            }
        };
        let left = blocks.into_iter().zip(lengths).filter(|(_, length)| length.is_none());
        blocks = left.map(|(block, _)| block).collect();
    }
    blocks.into_iter().map(missing).collect()
}

/// What becomes of the stored bytes of a block, or why they are not it.
type Open<'o> = dyn Fn(Vec<u8>) -> Result<Vec<u8>, &'static str> + 'o;

fn fetch_one(store: &dyn Read, layout: Layout, block: &BlockRef, open: &Open<'_>) -> Fetch {
    match get(store, layout, block) {
        Ok(stored) => open(stored).map_or_else(Fetch::Tampered, Fetch::Good),
        // Nothing that large is a block, whatever it is called.
        Err(StoreError::TooLarge { .. }) => Fetch::Tampered("it is larger than a block"),
        Err(error) => Fetch::Failed(error),
    }
}

impl fmt::Debug for Stores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.list.iter().map(|(route, ..)| route))
            .finish()
    }
}

/// Which of two failures to report: what is worth another try before what is not, and tampering before both.
fn severity(fetch: &Fetch) -> u8 {
    match fetch {
        Fetch::Good(_) | Fetch::Failed(StoreError::NotFound { .. }) => 0,
        Fetch::Failed(StoreError::Unreachable { .. }) => 2,
        Fetch::Failed(_) => 1,
        Fetch::Tampered(_) => 3,
    }
}

fn get(store: &dyn Read, layout: Layout, block: &BlockRef) -> Result<Vec<u8>, StoreError> {
    match store.get(&layout.name(block), stored_limit()) {
        Err(StoreError::NotFound { .. }) if layout == Layout::Folders => get(store, Layout::Flat, block),
        other => other,
    }
}

fn open(route: &Route, options: &Options) -> Result<Arc<dyn Read>, RouteError> {
    route.address()?;
    Ok(Arc::from(mos_store::open_read_with(&route.openable(), options)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::{encode, hash};
    use mos_store::{Memory, Write as _};

    fn block() -> (BlockRef, Vec<u8>) {
        encode(b"hello", hash(b"hello"))
    }

    fn stores(list: &[&Memory]) -> Stores {
        let mut stores = Stores::default();
        for store in list {
            stores.add(Route::everywhere("memory"), Layout::Folders, Arc::new((*store).clone()));
        }
        stores
    }

    #[test]
    fn folders_are_read_and_so_is_the_older_flat_name() {
        let (block, stored) = block();
        let (new, old) = (Memory::new(), Memory::new());
        new.put(&Layout::Folders.name(&block), &stored).unwrap();
        old.put(&Layout::Flat.name(&block), &stored).unwrap();
        for store in [new, old] {
            assert!(matches!(stores(&[&store]).fetch(&block), Fetch::Good(plain) if plain == b"hello"));
        }
    }

    #[test]
    fn a_replica_that_lies_or_lacks_the_block_does_not_end_reading() {
        let (block, stored) = block();
        let (good, empty, liar, huge) = (Memory::new(), Memory::new(), Memory::new(), Memory::new());
        let name = Layout::Folders.name(&block);
        good.put(&name, &stored).unwrap();
        liar.put(&name, b"something else").unwrap();
        huge.put(&name, &vec![0; stored_limit() as usize + 1]).unwrap();
        for bad in [&empty, &liar, &huge] {
            assert!(matches!(stores(&[bad, &good]).fetch(&block), Fetch::Good(_)));
            assert!(matches!(stores(&[&good, bad]).fetch(&block), Fetch::Good(_)));
        }
        assert!(matches!(stores(&[&empty, &liar]).fetch(&block), Fetch::Tampered(_)));
        assert!(matches!(stores(&[&huge, &empty]).fetch(&block), Fetch::Tampered(_)));
        assert!(matches!(
            stores(&[&empty]).fetch(&block),
            Fetch::Failed(StoreError::NotFound { .. })
        ));
    }

    #[test]
    fn only_routes_that_cover_the_id_are_asked() {
        let (block, stored) = block();
        let store = Memory::new();
        store.put(&Layout::Folders.name(&block), &stored).unwrap();
        let mut stores = Stores::default();
        let first = block.id[0];
        let other = Route {
            start: first + 1,
            ..Route::everywhere("memory")
        };
        stores.add(other, Layout::Folders, Arc::new(store.clone()));
        let Fetch::Failed(error) = stores.fetch(&block) else {
            panic!()
        };
        assert!(error.to_string().contains("no route covers it"), "{error}");
        let own = Route {
            start: first,
            end: first,
            ..Route::everywhere("memory")
        };
        stores.add(own, Layout::Folders, Arc::new(store));
        assert!(matches!(stores.fetch(&block), Fetch::Good(_)));
    }

    /// What is said of these blocks, without the store.
    fn absent(stores: &[&Memory], blocks: &[BlockRef]) -> usize {
        let findings = super::tests::stores(stores).absent(blocks);
        assert!(
            findings
                .iter()
                .all(|finding| finding.to_string().contains("is missing"))
        );
        findings.len()
    }

    #[test]
    fn every_store_that_covers_a_block_should_have_it_under_some_name() {
        let [first, second, third] = [b"1", b"2", b"3"].map(|plain| encode(plain, hash(plain)).0);
        let (one, other) = (Memory::new(), Memory::new());
        one.put(&Layout::Folders.name(&first), b"x").unwrap();
        one.put(&Layout::Flat.name(&second), b"x").unwrap();
        other.put(&Layout::Flat.name(&second), b"x").unwrap();
        let all = [first, second, third];
        assert_eq!(absent(&[&one], &all), 1);
        assert_eq!(absent(&[&one, &other], &all[..2]), 1);
        assert_eq!(absent(&[&one, &other], &all), 3);
        assert_eq!(absent(&[], &all), 3);
    }

    #[test]
    fn a_watch_names_the_copy_that_is_wrong_and_the_block_is_read_all_the_same() {
        let (block, stored) = block();
        let (good, bad, empty) = (Memory::new(), Memory::new(), Memory::new());
        good.put(&Layout::Folders.name(&block), &stored).unwrap();
        bad.put(&Layout::Folders.name(&block), b"something else").unwrap();
        let mut all = Stores::default();
        for (name, store) in [("good", good), ("bad", bad), ("empty", empty)] {
            all.add(Route::everywhere(name), Layout::Folders, Arc::new(store));
        }
        let (watched, watch) = all.watched().unwrap();
        for _ in 0..2 {
            assert!(matches!(watched.fetch(&block), Fetch::Good(plain) if plain == b"hello"));
        }
        let said: Vec<String> = watch.findings().iter().map(ToString::to_string).collect();
        assert_eq!(said.len(), 2, "{said:?}");
        assert!(
            said[0].starts_with("bad: block ") && said[0].contains("does not match"),
            "{said:?}"
        );
        assert!(
            said[1].starts_with("empty: block ") && said[1].contains("is missing"),
            "{said:?}"
        );
    }

    #[test]
    fn one_route_that_cannot_be_opened_is_left_out_and_nothing_but_such_is_an_error() {
        let zdb = Route::everywhere("zdb://hub:9900/ns");
        let both = [zdb.clone(), Route::everywhere("dir:///nowhere")];
        assert_eq!(Stores::open(&both, &Options::default()).unwrap().list.len(), 1);
        let error = Stores::open(&[zdb], &Options::default()).unwrap_err();
        assert!(error.to_string().contains("rfs clone"), "{error}");
    }
}
