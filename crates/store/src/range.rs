//! Byte ranges.

use crate::{Read, StoreError};
use std::ops::Range;

/// Refuses a range that does not lie inside an object of this length. The error counts the bytes that are there.
pub(crate) fn available(store: &dyn Read, name: &str, wanted: &Range<u64>, length: u64) -> Result<(), StoreError> {
    if wanted.start <= wanted.end && wanted.end <= length {
        return Ok(());
    }
    Err(short(store, name, wanted, length.saturating_sub(wanted.start)))
}

/// The error for a range of which only `got` bytes came.
pub(crate) fn short(store: &dyn Read, name: &str, wanted: &Range<u64>, got: u64) -> StoreError {
    let expected = wanted.end.saturating_sub(wanted.start);
    StoreError::Short {
        address: store.address(),
        name: name.into(),
        got: got.min(expected),
        expected,
    }
}

/// A range without bytes has no HTTP spelling, so only its place is checked, against the object's length.
pub(crate) fn empty(store: &dyn Read, name: &str, wanted: &Range<u64>) -> Result<Vec<u8>, StoreError> {
    let length = store.length(name)?.ok_or_else(|| StoreError::not_found(store, name))?;
    available(store, name, wanted, length)?;
    Ok(Vec::new())
}
