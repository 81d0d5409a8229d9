//! Results on standard output.

use serde::Serialize;

/// Prints a value as indented JSON.
pub(crate) fn json<T: Serialize + ?Sized>(value: &T) {
    match serde_json::to_string_pretty(value) {
        Ok(text) => println!("{text}"),
        // Only maps with keys that are no strings fail, and no output of ours has one.
        Err(error) => unreachable!("a result that is no JSON: {error}"),
    }
}
