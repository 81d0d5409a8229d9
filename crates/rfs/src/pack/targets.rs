//! The stores that a packer writes to.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use mos_store::{Options, StoreError, Write};

use crate::block::BlockRef;
use crate::route::{Route, RouteError};
use crate::stores::Layout;

/// Stores and the range of ids that each takes. A block goes to every store whose range covers it. Clones share them.
#[derive(Clone, Default)]
pub struct Targets {
    list: Vec<(Route, Layout, Arc<dyn Write>)>,
}

impl Targets {
    /// Opens stores for writing. A directory is swept of what crashed writers left.
    ///
    /// # Errors
    /// [`RouteError`].
    pub fn open(routes: &[Route], options: &Options) -> Result<Self, RouteError> {
        let mut targets = Self::default();
        for route in routes {
            route.address()?;
            let store = mos_store::open_write_with(&route.openable(), options)?;
            targets.add(route.clone(), Layout::of(route), Arc::from(store));
        }
        Ok(targets)
    }

    /// Adds a store that is open already.
    pub fn add(&mut self, route: Route, layout: Layout, store: Arc<dyn Write>) {
        self.list.push((route, layout, store));
    }

    /// Every id must have a store.
    pub(crate) fn check(&self) -> Result<(), RouteError> {
        let covered = |byte: &u8| {
            self.list
                .iter()
                .any(|(route, ..)| (route.start..=route.end).contains(byte))
        };
        let gap = (0..=u8::MAX).find(|byte| !covered(byte));
        gap.map_or(Ok(()), |byte| Err(RouteError::Gap(byte)))
    }

    /// As they go into an flist; without passwords, unless somebody wants them there.
    pub fn routes(&self, strip_password: bool) -> Vec<Route> {
        super::routes(self.list.iter().map(|(route, ..)| route), strip_password)
    }

    /// Those of the blocks that a store which covers them does not have.
    pub(crate) fn lacking(&self, blocks: Vec<BlockRef>) -> Result<Vec<BlockRef>, StoreError> {
        let mut lacking = HashSet::new();
        for (route, layout, store) in &self.list {
            let covered: Vec<&BlockRef> = blocks.iter().filter(|block| route.covers(&block.id)).collect();
            let names: Vec<String> = covered.iter().map(|block| layout.name(block)).collect();
            let absent = covered.into_iter().zip(store.lengths(&names)?);
            lacking.extend(absent.filter(|(_, length)| length.is_none()).map(|(block, _)| block.id));
        }
        Ok(blocks.into_iter().filter(|block| lacking.contains(&block.id)).collect())
    }

    /// As [`Targets::put`], and where other bytes are stored under its name.
    pub(crate) fn mend(&self, block: &BlockRef, stored: &[u8]) -> Result<u64, StoreError> {
        self.put_unless(block, stored, |store, name| store.holds(name, stored))
    }

    /// Puts a block where it is missing; returns how many bytes went out.
    pub(crate) fn put(&self, block: &BlockRef, stored: &[u8]) -> Result<u64, StoreError> {
        let length = stored.len() as u64;
        self.put_unless(block, stored, |store, name| Ok(store.length(name)? == Some(length)))
    }

    fn put_unless(
        &self,
        block: &BlockRef,
        stored: &[u8],
        there: impl Fn(&dyn Write, &str) -> Result<bool, StoreError>,
    ) -> Result<u64, StoreError> {
        let mut put = 0;
        for (_, layout, store) in self.list.iter().filter(|(route, ..)| route.covers(&block.id)) {
            let name = layout.name(block);
            if !there(&**store, &name)? {
                store.put(&name, stored)?;
                put += stored.len() as u64;
            }
        }
        Ok(put)
    }
}

impl fmt::Debug for Targets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.list.iter().map(|(route, ..)| route))
            .finish()
    }
}
