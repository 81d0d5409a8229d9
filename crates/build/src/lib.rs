//! From a plan to artefacts: runtime flists and the boot image of one environment.
//!
//! Each step's output is cached by its inputs (`mos-cache`): a second build with nothing changed does nothing.

mod access;
mod error;
mod node_files;

pub use error::BuildError;
pub use node_files::NodeFiles;
