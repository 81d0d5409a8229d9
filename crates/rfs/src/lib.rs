//! The flist format of rfs and myfs: a SQLite database that describes a filesystem, and encrypted blocks elsewhere.
//!
//! ```text
//! web.fl   tables inode, extra (link targets), block, tag, route
//! block    at most 512 KiB of a file, Snappy, AES-256-GCM under its own hash; named by the hash of what is stored
//! ```
//!
//! Kept so that a fleet of rfs or myfs reads what we pack and we read what it packed. New work uses `mos-flist`, whose
//! [`Image`](mos_flist::Image) this crate's [`Reader`] is too: whoever unpacks, mounts, verifies or compares does not
//! see which format it has.
//!
//! * [`Rfs`] is a parsed flist. It is read from bytes, never from the file in place: no journal beside it is replayed,
//!   nobody changes it meanwhile, and SQLite runs no view, trigger, or expression of the file.
//! * The same checks hold for what is read and for what is packed: one root, every parent there and a directory, no
//!   name twice, no name that leads elsewhere.
//! * A block is verified three ways before a byte of it is handed on, see `block`.
//! * Writing always makes the whole file anew, sorted and in one transaction, and replaces the old one in one rename:
//!   a removed secret is not left behind in free pages, and a crash leaves the old file or the new one.
//!
//! What the format cannot hold is reported as [`Loss`]es when packing, never dropped in silence.
//!
//! | module | charter |
//! |---|---|
//! | `block` | compression, encryption, names |
//! | `database` | SQLite: the schema, bytes to rows and back |
//! | `catalogue` | [`Rfs`]: rows checked, paths, entries |
//! | `route`, `stores` | where blocks are: the grammar, and the stores behind it |
//! | `read`, `cache`, `verify` | content, verified |
//! | `pack` | a tree into an flist and blocks |
//! | `clone` | blocks to other stores |
//! | `convert`, `loss` | any image into a tree, for either packer, and what the new flist has no place for |
//! | `edit` | routes and tags of a file |
//! | `conf` | the `rfs.conf` and `myfs.conf` of older builders |

mod block;
mod cache;
mod catalogue;
#[cfg(feature = "pack")]
mod clone;
mod conf;
#[cfg(feature = "pack")]
mod convert;
mod database;
mod edit;
mod error;
#[cfg(feature = "pack")]
mod loss;
#[cfg(feature = "pack")]
mod pack;
mod read;
mod route;
mod stores;
mod verify;

pub use block::{BLOCK_SIZE, BlockRef};
pub use catalogue::Rfs;
#[cfg(feature = "pack")]
pub use clone::{CloneError, Cloned, clone};
pub use conf::{Conf, ConfError, Endpoint, KERNELS, KeyPair, ROUTE_PATH, ROUTE_REGION, flag};
#[cfg(feature = "pack")]
pub use convert::{ConvertError, Spooled};
pub use edit::{FileError, edit, warning};
pub use error::RfsError;
#[cfg(feature = "pack")]
pub use loss::{Loss, LossCount, Lost, summary};
#[cfg(feature = "pack")]
pub use pack::{PackError, PackOptions, PackStats, Packed, Targets, pack};
pub use read::Reader;
pub use route::{Route, RouteError};
pub use stores::{Layout, Stores};
