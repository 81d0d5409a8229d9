//! Outputs of build steps, kept under the hash of their inputs.
//!
//! A step names everything that goes into it ([`Inputs`]); its output is kept under the hash of that ([`Cache`]). There
//! are no markers to delete and nothing to remember: a second build with nothing changed hashes the inputs, finds every
//! output there, and does nothing.

mod cache;
mod inputs;

pub use cache::{Cache, CacheError, Cached};
pub use inputs::Inputs;
