//! Servers for tests, on free ports of the loopback interface, and packages for them. Tests only: whatever fails here
//! panics.

pub mod apk;
mod certificates;
mod garage;
mod http;
mod s3;

pub use certificates::{Authority, Identity};
pub use garage::Garage;
pub use http::{Fault, HttpServer};
pub use s3::S3Server;
