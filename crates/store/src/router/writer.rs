//! Writing to several stores as one.

use super::Router;
use crate::{Listed, Read, Route, StoreError, Write, parallel};
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// A store that several stores make together, for writing, too. An object goes to every store whose route holds it.
///
/// A write that fails for one store may have been done in others: the object is complete wherever it is, and doing it
/// again mends the rest. So that whoever does it again finds out, [`Read::length`] and [`Read::lengths`] here know only
/// objects that *all* their stores have, and with one length; those of a [`Router`] know what any store has. Listings have what any store
/// has: what nobody wants any more is to be found and deleted everywhere.
pub struct RouterWriter {
    router: Router,
    stores: Vec<(Route, Arc<dyn Write>)>,
}

impl RouterWriter {
    /// These stores, each with what it holds. [`crate::Routes`] checks that nothing is left out.
    pub fn new(stores: Vec<(Route, Arc<dyn Write>)>) -> Self {
        let readers = stores
            .iter()
            .map(|(route, store)| (route.clone(), Arc::clone(store) as Arc<dyn Read>));
        Self {
            router: Router::new(readers.collect()),
            stores,
        }
    }

    /// The stores for an object, and what was said of it by each.
    fn everywhere<T: Send>(
        &self,
        name: &str,
        work: impl Fn(&dyn Write) -> Result<T, StoreError> + Sync,
    ) -> Result<Vec<T>, StoreError> {
        let stores: Vec<&dyn Write> = self
            .stores
            .iter()
            .filter(|(route, _)| route.holds(name))
            .map(|(_, store)| &**store)
            .collect();
        parallel::each(&stores, parallel::WIDTH, |store| work(*store))
    }

    fn all<T: Send>(
        &self,
        work: impl Fn(&Route, &dyn Write) -> Result<T, StoreError> + Sync,
    ) -> Result<Vec<T>, StoreError> {
        parallel::each(&self.stores, parallel::WIDTH, |(route, store)| work(route, &**store))
    }
}

impl Read for RouterWriter {
    fn get(&self, name: &str, limit: u64) -> Result<Vec<u8>, StoreError> {
        self.router.get(name, limit)
    }

    fn get_range(&self, name: &str, range: Range<u64>) -> Result<Vec<u8>, StoreError> {
        self.router.get_range(name, range)
    }

    fn length(&self, name: &str) -> Result<Option<u64>, StoreError> {
        Ok(agreed(self.everywhere(name, |store| store.length(name))?))
    }

    fn lengths(&self, names: &[String]) -> Result<Vec<Option<u64>>, StoreError> {
        let of_stores = self.all(|route, store| {
            let held: Vec<usize> = (0..names.len()).filter(|at| route.holds(&names[*at])).collect();
            let asked: Vec<String> = held.iter().map(|at| names[*at].clone()).collect();
            Ok(held.into_iter().zip(store.lengths(&asked)?).collect::<Vec<_>>())
        })?;
        let mut answers = vec![Vec::new(); names.len()];
        for (at, length) in of_stores.into_iter().flatten() {
            answers[at].push(length);
        }
        Ok(answers.into_iter().map(agreed).collect())
    }

    fn report_bad(&self, name: &str) -> bool {
        self.router.report_bad(name)
    }

    fn address(&self) -> String {
        self.router.address()
    }
}

impl Write for RouterWriter {
    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        self.everywhere(name, |store| store.put(name, bytes)).map(drop)
    }

    fn holds(&self, name: &str, bytes: &[u8]) -> Result<bool, StoreError> {
        let held = self.everywhere(name, |store| store.holds(name, bytes))?;
        Ok(held.into_iter().all(|held| held))
    }

    fn list_entries(&self, prefix: &str) -> Result<Vec<Listed>, StoreError> {
        let mut entries: BTreeMap<String, Listed> = BTreeMap::new();
        for listed in self.all(|_, store| store.list_entries(prefix))?.into_iter().flatten() {
            let entry = entries.entry(listed.name.clone()).or_insert_with(|| listed.clone());
            // The youngest copy counts: somebody may just be putting the object.
            entry.modified = entry.modified.max(listed.modified);
        }
        Ok(entries.into_values().collect())
    }

    fn abort_stale_uploads(&self, older_than: Duration) -> Result<usize, StoreError> {
        let removed = self.all(|_, store| store.abort_stale_uploads(older_than))?;
        Ok(removed.into_iter().sum())
    }

    /// Everywhere, whatever the routes were when it was put.
    fn delete(&self, name: &str) -> Result<(), StoreError> {
        self.all(|_, store| store.delete(name)).map(drop)
    }
}

impl fmt::Debug for RouterWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RouterWriter").field(&self.address()).finish()
    }
}

/// What all stores say; of copies that differ, none is the object.
fn agreed(lengths: Vec<Option<u64>>) -> Option<u64> {
    let first = *lengths.first()?;
    lengths.iter().all(|length| *length == first).then_some(first)?
}
