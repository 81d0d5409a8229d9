//! Components: from their source to the files of a runtime flist.
//!
//! ```text
//! Source --fetch--> Fetched --build--> Built --stage--> Tree
//! (wanted)          (exact)            (binaries)       (flat, as ARCHITECTURE.md describes)
//! ```
//!
//! * [`fetch`] finds the exact state (a crate's archive and its SHA-256, a commit, the digest of a folder) and brings
//!   it here. What it found out goes into the lock; what the lock already says is not asked for again.
//! * [`build`] runs cargo, checks that the programs are static, and keeps them in the build cache under the hash of
//!   everything that went into them. The same inputs give the same bytes in every directory and for every user.
//! * [`stage`] puts programs, files and the service into a tree.
//!
//! Registries and git servers are reached through the user's own `cargo` and `git`, with the settings and credentials
//! they have. Nothing needs root.
//!
//! What is kept, below the cache's folder:
//!
//! ```text
//! crates/<name>-<version>.crate    archives, checked against the lock each time
//! git/<digest of the URL>.git      bare repositories, one per URL
//! releases/<digest of the URL>/    published files, checked against the lock each time
//! build/<name>-<key>-<process>/    while a component is built
//! build/path-<digest>/target/      cargo's own output for folders, kept for the next build
//! images/<digest>/                 image layouts, one per manifest
//! libraries/<package>_<version>_…/ Rust's standard library for another architecture
//! logs/<name>.log                  what cargo said, last build
//! steps/std/<key>/                 Rust's standard library for musl, compiled here
//! steps/component/<key>/           the result (mos-cache)
//! ```

mod build;
mod cargo;
pub mod download;
mod elf;
mod error;
mod fetch;
mod folder;
pub mod git;
mod library;
mod oci;
mod profile;
mod program;
mod registry;
mod release;
mod run;
mod stage;
mod standard;
mod toolchain;
mod workshop;

pub use build::{Built, build};
pub use elf::{ElfError, check_machine, check_static};
pub use error::ComponentError;
pub use fetch::{Content, Fetched, fetch};
pub use run::{Log, output, require};
pub use stage::{Staged, stage};
pub use toolchain::{Toolchain, tool_prefix};
pub use workshop::{Progress, Workshop};
