//! TOML documents that remember where everything stands.
//!
//! Every text file that MOS reads (config repository, service files, node settings) goes through this crate, so that
//! every complaint about one names the file, line and column, and a misspelt key names the nearest valid one.
//!
//! A reader asks a [`Table`] for the keys it understands; [`Table::finish`] then reports what nobody asked for. The
//! list of valid keys is therefore never written down twice.
//!
//! ```
//! let document = mos_toml::Document::parse("web.toml", "nmae = \"web\"\n").unwrap();
//! let problems = mos_toml::Problems::default();
//! let root = document.root(&problems);
//! assert_eq!(root.string("name"), None);
//! root.finish();
//! let text = problems.to_string();
//! assert_eq!(text, "error: web.toml:1:1: unknown key `nmae`\n  hint: did you mean `name`?");
//! ```
//!
//! Pure: nothing here reads a file.

mod nearest;
mod problem;
mod quantity;
mod table;
mod value;

pub use nearest::nearest;
pub use problem::{Position, Problem, Problems, Severity};
pub use quantity::parse_bytes;
pub use table::{Entry, Item, Table};
pub use value::{Document, Node, Span, Value};
