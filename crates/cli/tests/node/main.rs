//! Whole nodes: `mos` builds and publishes, QEMU boots the image as shipped, the console tells what happened.
//!
//! Software emulation is enough: a node is ready a few seconds after its kernel started.

#![allow(clippy::unwrap_used, reason = "functions beside the tests are tests too")]

mod aarch64;
mod bases;
mod console;
mod firmware;
mod https;
mod kernel_files;
mod kernel_package;
mod minimal;
mod outputs;
mod pid1;
mod reproducible;
mod run;
mod secure_boot;
mod services;
#[path = "../support/mod.rs"]
mod support;
mod system;
mod trust;
mod unverified;
mod update;
