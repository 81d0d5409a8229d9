//! Generations on a node: what to do is a plan, doing it survives a power cut at any moment.
//!
//! ```text
//! <state>/objects/aa/<digest>      whole files by fs-verity digest, verified on arrival
//! <state>/channel/release.json     the newest envelope that was believed
//! <state>/channel/state.json       highest sequence, releases that failed, time floor
//! <state>/generations/<n>/         bin/ services/ etc/ share/ flists/ release.json; never changed once it is there
//! <state>/generations/.tmp-<n>     one being built; swept after a crash
//! <state>/current                  -> generations/<n>; replaced by one atomic rename
//! <state>/lock                     held by the one process that may change any of this
//! ```
//!
//! [`Wanted`] (what a verified release asks for) and [`Installed`] (what is there) go into [`plan`], which touches
//! nothing; [`execute`] takes the steps one by one. Everything of a generation is on the disk before `current` is
//! switched to it, and nothing of the old one is removed before the switch is on the disk: after a crash at any point
//! the complete old or the complete new generation is current. A damaged generation is never mended in place; the same
//! release is built again as the next generation, with the damaged objects fetched anew.

mod check;
mod disk;
mod error;
mod execute;
mod generation;
mod installed;
mod layout;
mod plan;
mod state;
mod wanted;

pub use check::{Damage, check};
pub use disk::{Observer, Operation};
pub use error::UpdateError;
pub use execute::{Content, Job, execute, switch_to};
pub use generation::{Generation, load};
pub use installed::{Installed, Object};
pub use layout::{Layout, Lock};
pub use mos_service::{MAX_ROUTES, PLACES, ROUTES};
pub use plan::{Fetch, Plan, Step, plan};
pub use state::{Failure, Loaded, State};
pub use wanted::{File, Item, Kind, Link, Wanted, WantedFlist};
