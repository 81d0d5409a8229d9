//! Runs a boot image in a virtual machine on the build host.
//!
//! ```text
//! Machine (what to run) + Resources (files and ports found for it) --> CommandLine (argv, printable) --> Vm (runs it)
//!                                                                       cloud::config (JSON)              |
//!                                              Scenario (what shall happen) --> whoever plays it <-- console lines --> Timeline
//! ```
//!
//! A [`Machine`], a [`CommandLine`] and a [`Scenario`] are plain values; [`Vm`] is the thin part that finds the firmware,
//! opens ports, starts the hypervisor, reads the console and talks to the monitor. The hypervisor dies with the [`Vm`], and
//! with the thread that started it, so that nothing is left behind however this program ends.

pub mod accel;
pub mod cloud;
pub mod command;
pub mod console;
pub mod disk;
pub mod machine;
pub mod scenario;
pub mod timeline;
pub mod tools;

mod error;
mod launch;
mod qemu;
mod qmp;
mod tap;
mod tpm;
mod vm;

pub use accel::{Accelerator, Verdict};
pub use command::{CommandLine, Resources, TapDevice};
pub use console::Line;
pub use error::VmError;
pub use machine::{Boot, Disk, DiskFormat, Forward, Hypervisor, Machine, Medium, Network};
pub use scenario::{Scenario, Step};
pub use timeline::Timeline;
pub use vm::{Output, Vm};
