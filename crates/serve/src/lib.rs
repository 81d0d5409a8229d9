//! Static files over HTTP/1.1: a channel for a lab or a laptop.
//!
//! Small on purpose: GET and HEAD, ranges, keep-alive, entity tags; one thread for each connection, and a bounded
//! number of those. Behind it can stand any number of nodes of a lab, not the internet.
//!
//! Nothing outside the directory is served: paths are resolved by the kernel below it (`openat2` with
//! `RESOLVE_BENEATH`), links included. Names that begin with a dot are not served at all, which also hides unfinished
//! uploads. Every connection has bounded time and memory for its requests.

mod connection;
mod file;
mod request;
mod response;
mod server;

pub use connection::Entry;
pub use server::{Logger, ServeError, Server};
