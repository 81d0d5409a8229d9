//! The stores behind routes: every one that covers an id may have the block.
//!
//! Buckets hold a block under its hex id. Directories and web servers hold it as `aa/aabb…`, and older ones flat. A
//! reader asks the replicas of a block one after the other, beginning at one that the id chooses, so that load is spread
//! and the order is the same every time; one that fails, lacks the block, or gives other bytes, does not end reading as
//! long as there is a next one.

use std::fmt;
use std::sync::Arc;

use mos_store::{Options, Read, StoreError};

use crate::block::{BlockRef, stored_limit};
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
}

/// What became of one block.
#[derive(Debug)]
pub(crate) enum Fetch {
    /// Verified, plain.
    Plain(Vec<u8>),
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

    /// Fetches, verifies and decodes a block.
    pub(crate) fn fetch(&self, block: &BlockRef) -> Fetch {
        let mut worst: Option<Fetch> = None;
        for (layout, store) in self.replicas(block) {
            let result = match get(store, layout, block) {
                Ok(stored) => crate::block::decode(block, stored).map_or_else(Fetch::Tampered, Fetch::Plain),
                // Nothing that large is a block, whatever it is called.
                Err(StoreError::TooLarge { .. }) => Fetch::Tampered("it is larger than a block"),
                Err(error) => Fetch::Failed(error),
            };
            if let Fetch::Plain(_) = result {
                return result;
            }
            if worst.as_ref().is_none_or(|worst| severity(&result) > severity(worst)) {
                worst = Some(result);
            }
        }
        worst.unwrap_or_else(|| Fetch::Failed(self.uncovered(block)))
    }

    /// Which of the blocks no store has an object for, and what a store said that could not tell. What the objects hold
    /// is not looked at.
    pub(crate) fn missing(&self, mut blocks: Vec<BlockRef>) -> (Vec<BlockRef>, Option<StoreError>) {
        let mut failed = None;
        for (route, layout, store) in &self.list {
            for layout in layout.readable() {
                let (asked, mut rest): (Vec<_>, Vec<_>) = blocks.into_iter().partition(|block| route.covers(&block.id));
                let names: Vec<String> = asked.iter().map(|block| layout.name(block)).collect();
                let lengths = store.lengths(&names).unwrap_or_else(|error| {
                    failed = Some(error);
                    vec![None; names.len()]
                });
                let absent = asked.into_iter().zip(lengths).filter(|(_, length)| length.is_none());
                rest.extend(absent.map(|(block, _)| block));
                blocks = rest;
            }
        }
        (blocks, failed)
    }

    /// The stores that cover a block, beginning at one that its id chooses.
    fn replicas(&self, block: &BlockRef) -> impl Iterator<Item = (Layout, &dyn Read)> {
        let covering: Vec<_> = self.list.iter().filter(|(route, ..)| route.covers(&block.id)).collect();
        let first = usize::from(block.id[1]) % covering.len().max(1);
        (0..covering.len()).map(move |step| {
            let (_, layout, store) = covering[(first + step) % covering.len()];
            (*layout, &**store)
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
        Fetch::Plain(_) | Fetch::Failed(StoreError::NotFound { .. }) => 0,
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
            assert!(matches!(stores(&[&store]).fetch(&block), Fetch::Plain(plain) if plain == b"hello"));
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
            assert!(matches!(stores(&[bad, &good]).fetch(&block), Fetch::Plain(_)));
            assert!(matches!(stores(&[&good, bad]).fetch(&block), Fetch::Plain(_)));
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
        assert!(matches!(stores.fetch(&block), Fetch::Plain(_)));
    }

    #[test]
    fn blocks_are_missing_only_when_no_covering_store_has_them_under_any_name() {
        let [first, second, third] = [b"1", b"2", b"3"].map(|plain| encode(plain, hash(plain)).0);
        let (one, other) = (Memory::new(), Memory::new());
        one.put(&Layout::Folders.name(&first), b"x").unwrap();
        other.put(&Layout::Flat.name(&second), b"x").unwrap();
        let all = vec![first, second, third];
        assert_eq!(stores(&[&one, &other]).missing(all.clone()).0, [third]);
        assert_eq!(stores(&[&one]).missing(all.clone()).0.len(), 2);
        assert_eq!(Stores::default().missing(all.clone()).0, all);
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
