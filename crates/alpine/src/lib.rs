//! Alpine Linux packages into a tree: a native apk client. Nothing of a package is ever run.
//!
//! [`Alpine`] reads the signed indexes of repositories, finds the exact set of packages that meets what is wanted, and
//! brings them into a cache; [`install()`] puts them into a [`mos_tree::Tree`], with the database that `apk` itself keeps,
//! so that the result is a system which `apk` can go on with. It works as an ordinary user, on any host, for any
//! architecture.
//!
//! * A package is trusted when a known key signed it. Indexes and packages of format 2 are signed with RSA over SHA-1,
//!   SHA-256 or SHA-512, and index entries name packages by SHA-1; a [`LockedPackage`] has the SHA-256 of the whole file in
//!   addition.
//! * What scripts would do is done by name where it is known (accounts, links to BusyBox); all others are listed.

mod alpine;
mod apk;
mod archive;
mod checksum;
mod dependency;
mod error;
mod fetch;
mod gzip;
pub mod index;
mod install;
mod keys;
mod package;
mod repository;
mod solver;
pub mod version;

pub use alpine::{Alpine, LockedPackage, Progress, parse_world};
pub use apk::{Apk, ScriptKind};
pub use checksum::Checksum;
pub use dependency::{Constraint, Dependency, Relation};
pub use error::AlpineError;
pub use index::Index;
pub use install::{Database, Installed, InstalledPackage, ScriptNotRun, Settings, install};
pub use keys::Keys;
pub use package::Package;
pub use repository::Repository;
pub use solver::{Candidate, Unsatisfied, solve};
