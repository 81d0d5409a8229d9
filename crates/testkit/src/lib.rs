//! Servers for tests, on free ports of the loopback interface. Tests only: whatever fails here panics.

mod http;
mod s3;

pub use http::{Fault, HttpServer};
pub use s3::S3Server;
