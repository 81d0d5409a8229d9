//! Whole nodes: `mos` builds and publishes, QEMU boots the image as shipped, the console tells what happened.
//!
//! Software emulation is enough: a node is ready a few seconds after its kernel started.

mod console;
mod reproducible;
mod services;
mod system;
mod trust;
mod unverified;
mod update;
