//! Named objects and content-addressed blobs, wherever they are kept.
//!
//! An object store holds byte strings under names like `flists/ab12….fl`: a local directory, a web server (reading
//! only), an S3 bucket, or memory. [`Read`] and [`Write`] are the whole interface. Whether a reader may trust what it
//! gets is not the store's business: callers check every byte against a digest, see [`Digest`].
//!
//! Decorators wrap a store and are stores themselves. [`open_read`] and [`open_write`] make a store from its URL, with
//! retries for the ones behind a network:
//!
//! | URL | backend |
//! |---|---|
//! | `dir:///path` | [`Dir`] |
//! | `http://host/path`, `https://host/path` | [`Http`], reading only; `https` with feature `tls` |
//! | `s3://KEY:SECRET@host:port/bucket/prefix?region=R&style=virtual`, `s3s://…` over TLS | `S3`, with feature `s3` |
//! | `00-7f=URL 80-ff=URL …` | `Router` and `RouterWriter`: several of these, see [`Routes`]; with feature `routes` |
//!
//! `Cached` (feature `routes`) keeps a bounded copy of a slow store on the local disk.
//!
//! Secrets never appear in an address, an error, or debug output.

mod address;
mod authorities;
#[cfg(feature = "routes")]
mod cached;
mod digest;
mod dir;
mod error;
mod forward;
mod http;
mod memory;
mod name;
mod open;
mod parallel;
mod range;
mod retry;
#[cfg(feature = "routes")]
mod router;
mod routes;
#[cfg(feature = "s3")]
mod s3;
#[cfg(feature = "tls")]
mod tls;
mod transport;

pub use address::{Address, S3Address, Style};
pub use authorities::Authorities;
#[cfg(feature = "routes")]
pub use cached::{CacheStats, Cached};
pub use digest::{Digest, Digester};
pub use dir::Dir;
pub use error::StoreError;
pub use http::Http;
pub use memory::Memory;
pub use open::{Options, RoutedStore, open_read, open_read_with, open_replicas, open_write, open_write_with};
pub use retry::{Observer, Retry, Schedule, Wait};
#[cfg(feature = "routes")]
pub use router::{MirrorStatus, Router, RouterWriter};
pub use routes::{Route, Routes};
#[cfg(feature = "s3")]
pub use s3::S3;
#[cfg(feature = "tls")]
pub use tls::config as tls_config;
pub use transport::Timeouts;

use std::ops::Range;
use std::time::{Duration, SystemTime};

/// An object in a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// Its length in bytes.
    pub length: u64,
    /// When it was put, as the backend says; `None` when the backend does not know.
    pub modified: Option<SystemTime>,
}

/// The reading half of a store.
pub trait Read: Send + Sync {
    /// All bytes of an object.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::TooLarge`] when the object has more than `limit` bytes (nothing beyond
    /// the limit is kept in memory); others as the backend finds them.
    fn get(&self, name: &str, limit: u64) -> Result<Vec<u8>, StoreError>;

    /// Part of an object; `range` must lie inside it.
    ///
    /// # Errors
    /// As [`Read::get`]; [`StoreError::Short`] when the object ends before the range does.
    fn get_range(&self, name: &str, range: Range<u64>) -> Result<Vec<u8>, StoreError>;

    /// The length of an object in bytes, or `None` when there is none of that name.
    ///
    /// # Errors
    /// As the backend finds them.
    fn length(&self, name: &str) -> Result<Option<u64>, StoreError>;

    /// The lengths of many objects, in the order of the names; `None` where there is none of that name.
    ///
    /// Backends behind a network ask for many at once, so this is the way to learn which of many objects are there.
    ///
    /// # Errors
    /// As [`Read::length`], for the first name that fails.
    fn lengths(&self, names: &[String]) -> Result<Vec<Option<u64>>, StoreError> {
        names.iter().map(|name| self.length(name)).collect()
    }

    /// Tells the store that the bytes which it just gave to this thread for this object were wrong. True when another
    /// try may bring others: another replica will be asked, or a damaged copy has been dropped. A reader tries once more
    /// then, before it calls the object tampered with.
    fn report_bad(&self, _name: &str) -> bool {
        false
    }

    /// The store's address for messages, without secrets.
    fn address(&self) -> String;
}

/// The writing half of a store.
pub trait Write: Read {
    /// Stores an object, replacing an older one of that name in one step: a reader sees the old or the new bytes,
    /// never a part. When it returns, the object is as durable as the backend can make it.
    ///
    /// # Errors
    /// As the backend finds them; [`StoreError::Full`] when there is no room.
    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError>;

    /// True when exactly these bytes are stored under this name, in every store that the object belongs into. What a
    /// read tells is only what one of them has. For small objects whose names do not say what they hold.
    ///
    /// # Errors
    /// As the backend finds them.
    fn holds(&self, name: &str, bytes: &[u8]) -> Result<bool, StoreError> {
        match self.get(name, bytes.len() as u64) {
            Ok(found) => Ok(found == bytes),
            Err(StoreError::NotFound { .. } | StoreError::TooLarge { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The objects whose names begin with `prefix`, sorted by name (by bytes).
    ///
    /// # Errors
    /// As the backend finds them.
    fn list_entries(&self, prefix: &str) -> Result<Vec<Listed>, StoreError>;

    /// The names that begin with `prefix`, sorted.
    ///
    /// # Errors
    /// As [`Write::list_entries`].
    fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        Ok(self
            .list_entries(prefix)?
            .into_iter()
            .map(|listed| listed.name)
            .collect())
    }

    /// Removes what writers left unfinished that began more than this long ago and were killed; returns how many
    /// uploads those were. They hold room, but are no objects. A writer that is still at work after that time loses its
    /// upload, so be generous. The default is for stores whose uploads leave nothing.
    ///
    /// # Errors
    /// As the backend finds them.
    fn abort_stale_uploads(&self, _older_than: Duration) -> Result<usize, StoreError> {
        Ok(0)
    }

    /// Removes an object; one that is not there counts as removed.
    ///
    /// # Errors
    /// As the backend finds them.
    fn delete(&self, name: &str) -> Result<(), StoreError>;
}
