//! The flist format, version 2: one file that describes a filesystem, and blobs elsewhere that hold its content.
//!
//! ```text
//! web.fl   [header|superblock, inodes, directories, small files ...|chunks|frames|blobs|files]
//!           1 KiB  '------------- an EROFS image --------------'  '------- tables --------'
//! blob     [frame][frame][frame]...[index][footer]      a frame is 256-1,024 KiB of neighbouring chunks, zstd
//! ```
//!
//! * `mount -t erofs web.fl` lists the tree on any kernel. A table names the whole-file object of each file that is not
//!   inline, by fs-verity digest; [`overlay_image`] says it in overlay attributes, as composefs does.
//! * Files are cut by FastCDC into chunks, known by BLAKE3-256 in the blobs' indexes. Frames and blobs end where a chunk's digest says so,
//!   never at fixed places: two trees that share a part pack that part into the same frames and blobs.
//! * Same tree, same bytes, whatever the number of threads. The identity of an flist is the BLAKE3-256 of the file.
//! * [`Flist::parse`] trusts nothing, [`Reader`] decompresses no byte that its frame's digest does not cover.
//!
//! [`pack`] makes flists (feature `pack`, on by default); a node goes without it. Packing writes blobs before the
//! flist exists, so a crash leaves blobs that nobody names, never an flist whose blobs are missing.
//!
//! | module | charter |
//! |---|---|
//! | `header`, `table`, `varint`, `erofs` | the structures of the file, both ways |
//! | `frame`, `blob` | compressed chunks and where they lie |
//! | `flist` | a parsed file and its entries |
//! | `image` | one interface over every format of images |
//! | `names` | finding a path |
//! | `pack` | a tree into an flist and blobs |
//! | `read`, `cache`, `tree`, `unpack`, `verify` | content back, in memory, to a directory, or only checked |
//! | `diff` | what two images have different, and what has to travel |
//! | `clone`, [`gc`], `claims` | blobs from store to store, and away from one that others pack into |
//! | `prefetch` | what to fetch first |
//! | `overlay` | the image for the kernel's own way |
//! | `verity` | fs-verity digests |

mod blob;
mod cache;
mod claims;
mod clone;
mod diff;
mod erofs;
mod error;
mod flist;
mod frame;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
pub mod gc;
mod header;
mod image;
mod names;
mod overlay;
#[cfg(feature = "pack")]
mod pack;
mod parallel;
mod prefetch;
mod read;
mod slice;
mod table;
mod tree;
mod unpack;
mod varint;
mod verify;
mod verity;

pub use blob::{BLOB_LIMIT, FOOTER_LENGTH};
pub use claims::{Claim, claims};
pub use clone::{CloneError, Cloned, clone};
pub use diff::{Aspect, Change, Difference, Transfer, diff, transfer};
pub use error::{FlistError, Part, ReadError, show};
pub use flist::{Entry, EntryKind, Flist};
pub use header::{ChunkSizes, MAGIC};
pub use image::{Advance, Image, Progress};
pub use overlay::overlay_image;
#[cfg(feature = "pack")]
pub use pack::{Done, PackError, PackOptions, PackStats, Packed, Stamps, Trust, pack};
#[cfg(feature = "pack")]
pub use prefetch::{PrefetchError, with_prefetch};
pub use read::Reader;
pub use slice::Slice;
pub use table::BlobRef;
pub use tree::{TreeReadError, to_tree};
pub use unpack::{Before, Operation, UnpackError, UnpackOptions, Unpacked, unpack, unpack_observed};
pub use verify::{Depth, Finding, verify_files};
pub use verity::{ObjectDigest, VerityHasher};
