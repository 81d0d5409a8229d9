//! Pointers to stores are stores.

use crate::{Listed, Read, StoreError, Write};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

macro_rules! forward {
    ($($pointer:ty),*) => {$(
        impl<S: Read + ?Sized> Read for $pointer {
            fn get(&self, name: &str, limit: u64) -> Result<Vec<u8>, StoreError> {
                (**self).get(name, limit)
            }

            fn get_range(&self, name: &str, range: Range<u64>) -> Result<Vec<u8>, StoreError> {
                (**self).get_range(name, range)
            }

            fn length(&self, name: &str) -> Result<Option<u64>, StoreError> {
                (**self).length(name)
            }

            fn lengths(&self, names: &[String]) -> Result<Vec<Option<u64>>, StoreError> {
                (**self).lengths(names)
            }

            fn report_bad(&self, name: &str) -> bool {
                (**self).report_bad(name)
            }

            fn address(&self) -> String {
                (**self).address()
            }
        }

        impl<S: Write + ?Sized> Write for $pointer {
            fn put(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
                (**self).put(name, bytes)
            }

            fn holds(&self, name: &str, bytes: &[u8]) -> Result<bool, StoreError> {
                (**self).holds(name, bytes)
            }

            fn list_entries(&self, prefix: &str) -> Result<Vec<Listed>, StoreError> {
                (**self).list_entries(prefix)
            }

            fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
                (**self).list(prefix)
            }

            fn abort_stale_uploads(&self, older_than: Duration) -> Result<usize, StoreError> {
                (**self).abort_stale_uploads(older_than)
            }

            fn delete(&self, name: &str) -> Result<(), StoreError> {
                (**self).delete(name)
            }
        }
    )*};
}

forward!(&S, Box<S>, Arc<S>);
