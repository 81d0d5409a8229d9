//! Images at a directory, by the kernel alone or by a daemon.
//!
//! | way | when | what runs |
//! |---|---|---|
//! | [`Way::Kernel`] | root, all content local | nothing: EROFS for the names, overlay for the content |
//! | [`Way::Passthrough`] | root, Linux 6.9 | a daemon for the names and for content that is still missing |
//! | [`Way::Fuse`] | else | a daemon |
//!
//! Where the kernel lacks something for its way, FUSE is taken instead unless only the kernel was asked for.
//!
//! All three give the same tree. [`mount`] does it, [`unmount`] undoes it, also after a daemon died.
//!
//! * **Nothing unverified is read.** Bytes come through [`Image`](mos_flist::Image), which checks them, or from objects,
//!   which were checked when they arrived. What is wrong is `EIO` for the reader and one line in the log.
//! * **Nothing hangs.** Names and attributes come from memory. A read waits for a store for a bounded time, then it
//!   fails with `EIO`; the next one tries again.
//! * **Crashes leave nothing that is wrong**, see [`MountOptions::cache`]. A mount whose daemon died answers
//!   `ENOTCONN` and is replaced by the next mount at its place.
//!
//! Linux stacks two file systems and no more. The kernel's way and passthrough take one, plain FUSE none, so that one
//! more overlay, a container's for instance, fits on each; a writable layer over passthrough takes the second.
//!
//! Where it stands in the code: `way` decides, `mounted` carries it out by `kernel` or by `session`, `system` has the
//! system calls of the former and `refusal` says what it means when one fails, `fuse` answers the kernel from an `index`
//! in memory, `content` and `workers` bring bytes, `ahead`, `around` and `prefetch` before they are asked for, `objects`
//! keeps whole files, `opened` knows which are passed through.

// For tests in here that share their helpers with those of the whole crate.
#[cfg(test)]
extern crate self as mos_mount;

mod ahead;
mod around;
mod content;
pub mod daemon;
mod error;
mod frugal;
mod fuse;
mod given_up;
mod index;
mod kernel;
#[cfg(test)]
mod lacking;
mod mounted;
mod objects;
mod opened;
mod options;
mod prefetch;
mod refusal;
mod session;
mod system;
mod table;
mod trace;
mod unmount;
mod way;
mod workers;

pub use error::MountError;
pub use frugal::{TRIES, patience, reader};
pub use mounted::{Mounted, mount};
pub use options::{How, Log, MountOptions, Prefetch, Source};
pub use trace::parse as parse_list;
pub use unmount::{Unmounted, unmount};
pub use way::Way;
