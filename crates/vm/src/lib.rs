//! Runs a boot image in a virtual machine on the build host.
//!
//! ```text
//! Machine (what to run) + Resources (files and ports found for it) --> QemuCommand (argv, printable) --> Vm (runs it)
//!                                                                                     console lines --> Timeline
//! ```
//!
//! A [`Machine`] and a [`QemuCommand`] are plain values; [`Vm`] is the thin part that finds the firmware, opens ports,
//! starts QEMU, reads the console and talks to the monitor. QEMU dies with the [`Vm`], and with the thread that started
//! it, so that nothing is left behind however this program ends.

pub mod accel;
pub mod command;
pub mod console;
pub mod disk;
pub mod machine;
pub mod timeline;
pub mod tools;

mod error;
mod qmp;
mod tpm;
mod vm;

pub use accel::{Accelerator, Verdict};
pub use command::{QemuCommand, Resources};
pub use console::Line;
pub use error::VmError;
pub use machine::{Boot, Disk, DiskFormat, Forward, Machine, Medium};
pub use timeline::Timeline;
pub use vm::{Output, Vm};
