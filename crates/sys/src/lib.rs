//! What the standard library lacks: a few system calls, and files that survive a power cut.
//!
//! The only crate of the workspace in which `unsafe` may stand; every other one forbids it. Each module is one
//! concern and knows nothing of MOS.

pub mod child;
pub mod device_mapper;
pub mod durable;
pub mod ended;
pub mod entropy;
pub mod fork;
pub mod kernel_log;
pub mod kexec;
pub mod link;
pub mod loop_device;
pub mod memory;
pub mod peer;
pub mod shared_pid;
pub mod signals;
pub mod socket;
pub mod space;
pub mod spawn;
pub mod swap;
pub mod verity;
pub mod watchdog;
