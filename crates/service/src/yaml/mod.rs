//! The files of zinit 0.2 and of the ancestor, which are YAML: service files, and `my_init.conf`.
//!
//! | file | concern |
//! |---|---|
//! | `reader` | text to values with their places |
//! | `zinit` | a service file as TOML |
//! | `conf` | `my_init.conf` |

mod conf;
mod reader;
mod zinit;

pub use conf::{Conf, Stage};
pub use reader::{Node, Value, parse};
pub use zinit::{is_yaml, to_toml};
