//! A catalog in a store: reading it, and deriving its index.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use jiff::Timestamp;
use mos_store::{Listed, StoreError, Write};

use crate::entry::{Entry, Image, is_image};
use crate::error::CatalogError;
use crate::index::{INDEX_JSON, INDEX_TEXT, Index, MAX_INDEX};

/// Bytes of the largest entry that is read.
const MAX_ENTRY: u64 = 64 << 10;
/// How often an index is written again because others wrote meanwhile.
const TRIES: usize = 50;
/// Entries that are read at once: enough to hide a network's round trips.
const READERS: usize = 16;
/// The folder of entries, in that of images.
const ENTRIES: &str = "entries";
const ENTRY_SUFFIX: &str = ".json";

/// Boot images in one folder of a store.
#[derive(Clone, Copy)]
pub struct Catalog<'s> {
    store: &'s dyn Write,
    folder: &'s str,
}

impl std::fmt::Debug for Catalog<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Catalog").field(&self.place()).finish()
    }
}

/// What deriving an index came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Indexed {
    /// How many images are in it.
    pub images: usize,
    /// Whether it was another one before.
    pub changed: bool,
}

/// What the folder holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listing {
    pub(crate) images: Vec<Listed>,
    pub(crate) entries: Vec<Listed>,
}

impl Listing {
    /// Sorts a listing of the folder; what is neither an image nor an entry is somebody else's.
    fn new(folder: &str, listed: Vec<Listed>) -> Self {
        let (mut images, mut entries) = (Vec::new(), Vec::new());
        for mut object in listed {
            let Some(rest) = object.name.strip_prefix(folder).and_then(|rest| rest.strip_prefix('/')) else {
                continue;
            };
            if let Some(name) = entry_of(rest) {
                object.name = name.to_owned();
                entries.push(object);
            } else if is_image(rest) {
                object.name = rest.to_owned();
                images.push(object);
            }
        }
        // By the names of images, which is not the order of the entries' own.
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Self { images, entries }
    }

    pub(crate) fn has_entry(&self, image: &str) -> bool {
        let place = self.entries.binary_search_by(|entry| entry.name.as_str().cmp(image));
        place.is_ok()
    }
}

/// The image whose entry has this name.
fn entry_of(name: &str) -> Option<&str> {
    let rest = name.strip_prefix(ENTRIES)?.strip_prefix('/')?;
    rest.strip_suffix(ENTRY_SUFFIX).filter(|image| is_image(image))
}

impl<'s> Catalog<'s> {
    /// The catalog in this folder of a store, such as `kernel`.
    pub fn new(store: &'s dyn Write, folder: &'s str) -> Self {
        Self { store, folder }
    }

    /// Where it is, without secrets.
    pub fn place(&self) -> String {
        format!("{}/{}", self.store.address(), self.folder)
    }

    pub(crate) fn store(&self) -> &dyn Write {
        self.store
    }

    pub(crate) fn name(&self, image: &str) -> String {
        format!("{}/{image}", self.folder)
    }

    pub(crate) fn entry_name(&self, image: &str) -> String {
        format!("{}/{ENTRIES}/{image}{ENTRY_SUFFIX}", self.folder)
    }

    pub(crate) fn list(&self) -> Result<Listing, CatalogError> {
        let listed = self.store.list_entries(&format!("{}/", self.folder))?;
        Ok(Listing::new(self.folder, listed))
    }

    /// All images, by name, as the listing has them: whatever the index says.
    ///
    /// # Errors
    /// As the store finds them.
    pub fn images(&self) -> Result<Vec<Image>, CatalogError> {
        self.images_of(&self.list()?)
    }

    pub(crate) fn images_of(&self, listing: &Listing) -> Result<Vec<Image>, CatalogError> {
        let image = |listed: &Listed| {
            let entry = match listing.has_entry(&listed.name) {
                true => self.entry(&listed.name)?,
                false => None,
            };
            let modified = listed.modified.and_then(|time| Timestamp::try_from(time).ok());
            Ok(Image::new(&listed.name, listed.length, modified, entry))
        };
        at_once(&listing.images, image)
    }

    /// The entry of an image. One that went away meanwhile, or makes no sense, is none.
    pub(crate) fn entry(&self, image: &str) -> Result<Option<Entry>, CatalogError> {
        match self.store.get(&self.entry_name(image), MAX_ENTRY) {
            Ok(bytes) => Ok(Entry::parse(image, &bytes)),
            Err(StoreError::NotFound { .. } | StoreError::TooLarge { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Derives the index from the listing, and writes it when it is another one; `now` goes into it. Others may upload and
    /// clean up meanwhile (see the crate's documentation).
    ///
    /// # Errors
    /// As the store finds them; [`CatalogError::Busy`].
    pub fn reindex(&self, now: Timestamp) -> Result<Indexed, CatalogError> {
        let (mut listing, mut changed) = (self.list()?, false);
        for _ in 0..TRIES {
            let images = self.images_of(&listing)?;
            if !self.write_index(&images, now)? {
                return Ok(Indexed {
                    images: images.len(),
                    changed,
                });
            }
            changed = true;
            let again = self.list()?;
            if again == listing {
                return Ok(Indexed {
                    images: images.len(),
                    changed,
                });
            }
            listing = again;
        }
        Err(CatalogError::Busy {
            place: self.place(),
            tries: TRIES,
        })
    }

    /// Writes the index of these images; false when it says so already.
    pub(crate) fn write_index(&self, images: &[Image], now: Timestamp) -> Result<bool, CatalogError> {
        let index = Index::new(images, now);
        let (json, text) = (self.name(INDEX_JSON), self.name(INDEX_TEXT));
        let present = self.present(&json)?.and_then(|bytes| Index::parse(&bytes));
        if present.is_some_and(|present| present.says(images)) && self.present(&text)? == Some(index.text()) {
            return Ok(false);
        }
        self.store.put(&json, &index.json())?;
        self.store.put(&text, &index.text())?;
        Ok(true)
    }

    /// The bytes of an index file; `None` when there is none, or when it is far too large for one.
    fn present(&self, name: &str) -> Result<Option<Vec<u8>>, CatalogError> {
        match self.store.get(name, MAX_INDEX) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(StoreError::NotFound { .. } | StoreError::TooLarge { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// Does something with every item, several at a time; the results are in the order of the items.
fn at_once<I: Sync, T: Send, E: Send>(items: &[I], work: impl Fn(&I) -> Result<T, E> + Sync) -> Result<Vec<T>, E> {
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let worker = || {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(at) else { return };
            let result = work(item);
            done.lock().unwrap_or_else(PoisonError::into_inner).push((at, result));
        }
    };
    thread::scope(|scope| {
        for _ in 0..READERS.min(items.len()) {
            scope.spawn(worker);
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(name: &str) -> Listed {
        Listed {
            name: name.to_owned(),
            length: 1,
            modified: None,
        }
    }

    #[test]
    fn a_listing_is_sorted_into_images_and_entries() {
        let names = [
            "k/a.efi",
            "k/entries/a.efi-1.efi.json",
            "k/entries/a.efi.json",
            "k/entries/b.efi",
            "k/entries/x/y.efi.json",
            "k/kernels.json",
            "k/kernels.txt",
            "k/old/a.efi",
            "kernels/a.efi",
        ];
        let listing = Listing::new("k", names.map(listed).to_vec());
        let names = |list: &[Listed]| list.iter().map(|it| it.name.clone()).collect::<Vec<_>>();
        assert_eq!(names(&listing.images), ["a.efi"]);
        assert_eq!(names(&listing.entries), ["a.efi", "a.efi-1.efi"]);
        assert!(listing.has_entry("a.efi") && listing.has_entry("a.efi-1.efi") && !listing.has_entry("b.efi"));
    }

    #[test]
    fn results_are_in_order_and_the_first_failure_is_told() {
        let items: Vec<usize> = (0..100).collect();
        assert_eq!(at_once(&items, |item| Ok::<_, ()>(item * 2)).unwrap()[99], 198);
        assert_eq!(
            at_once(&items, |item| if *item > 40 { Err(*item) } else { Ok(()) }),
            Err(41)
        );
        assert_eq!(at_once(&[] as &[u8], |_| Ok::<(), ()>(())), Ok(Vec::new()));
    }
}
