//! Boot images in a store, for whoever chooses one by name: web pages, scripts, firmware that boots over HTTP.
//!
//! ```text
//! kernel/vmlinuz-6.12.57-ab12….efi                  an image; two images of one name have the same bytes
//! kernel/entries/vmlinuz-6.12.57-ab12….efi.json     what is known of it; written once, before the image
//! kernel/kernels.txt                                the index: a name per line
//! kernel/kernels.json                               the index: { kernels, updated, count, images }
//! ```
//!
//! Names, `kernels`, `updated` and `count` are those of mos_builder, so that its readers and its uploads go on working: an
//! image without an entry is in the index with what the listing says of it.
//!
//! # Two uploads at once
//!
//! Many stores have no compare-and-swap (Garage ignores conditional writes), so nothing that is written twice may hold the
//! truth. Entries are written once, and the index is derived from the listing. Whoever wrote the index lists once more, and
//! writes again when the listing is another one by then. So the last one to write has seen everything: had an entry come
//! after its first listing, it would be in the second; had it come after that, its own uploader would write later.
//!
//! # When a program is killed
//!
//! An entry without an image is ignored, and removed by a clean-up once it is a day old. Killed between writing an index and
//! the second listing, another upload's image may be missing in it until the next upload or [`Catalog::reindex`]; the image
//! itself is there, and [`Catalog::images`] knows it, because it reads no index.

mod catalog;
mod entry;
mod error;
mod index;
mod prune;
mod upload;

pub use catalog::{Catalog, Indexed};
pub use entry::{Entry, Image, is_versioned, name_of};
pub use error::CatalogError;
pub use index::{INDEX_JSON, INDEX_TEXT, read_index};
pub use prune::PrunePlan;
pub use upload::{Upload, Uploaded};
