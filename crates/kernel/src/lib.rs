//! The kernel of a package: its version, and the closure of the modules that an image asks for.
//!
//! A kernel package brings `boot/vmlinuz-VERSION` and `lib/modules/VERSION/`, but not `modules.dep`: that is made by
//! `depmod` when the package is installed, which ours never is. So the facts are read from where `depmod` has them:
//! the `.modinfo` section of each module, and the lists of what is built in.
//!
//! ```text
//! Kernel::open(tree) --facts()--> Facts (what each module says; kept by the digest of the package)
//!     --select(names)--> Selection (plan: which, why, in which order) --tree()--> Tree
//! Library::read(tree) (all modules) ------------------------------------------------------tree()--> Tree
//! ```
//!
//! Modules are decompressed and otherwise left as they are: stripping would remove their signatures, which a kernel
//! under Secure Boot insists on.

mod aliases;
mod closure;
mod companions;
mod elf;
mod facts;
mod firmware;
pub mod glob;
mod index;
mod kernel;
mod library;
mod lists;
mod modinfo;
mod parallel;
mod phy;
mod scan;
mod select;
mod selection;
mod whence;

pub use facts::Facts;
pub use firmware::{Firmware, FirmwareError, FirmwareFile, FirmwareKind, FirmwareSource, MissingFirmware};
pub use kernel::{Kernel, KernelError};
pub use library::Library;
pub use modinfo::ModuleInfo;
pub use select::{Absent, Planned, SelectError};
pub use selection::{Module, Reason, Selection};
