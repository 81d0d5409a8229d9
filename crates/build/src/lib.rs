//! From a plan to artefacts: runtime flists and the boot image of one environment, each step cached by its inputs.
//!
//! A step's output is kept under the hash of everything that went into it ([`Inputs`]); there are no markers to
//! delete and nothing to remember. A second build with nothing changed reads the config repository, hashes the
//! inputs, finds every output there, and does nothing.

mod cache;
mod inputs;

pub use cache::{Cache, CacheError, Cached};
pub use inputs::Inputs;
