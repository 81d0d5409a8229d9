//! The kernel from source.
//!
//! ```text
//! Source (package, archive, commit) --unpack--> source --configure--> .config --make--> kernel, modules
//!     base + image/kernel.config + kernel.d  ------^          |                     |
//!                                  checked: did each take? ---+                     v
//!                                                          the tree of a kernel package, in the cache
//! Kernel::embed: the same with initramfs and command line in it, linked again where it was compiled
//! ```
//!
//! What comes out is what a kernel package holds (`boot/vmlinuz-VERSION`, `lib/modules/VERSION`), so whoever takes modules
//! and firmware from a package takes them from here. It is kept under the hash of all inputs: source, settings, version of
//! compiler and linker. The same inputs give the same bytes in every folder, for every user, on every date.
//!
//! What is kept, below the cache's folder:
//!
//! ```text
//! sources/<sha256>                archives, checked each time
//! git/<digest of the URL>.git     bare repositories, one per URL
//! build/kernel-<key>-<process>/   while a kernel is compiled
//! build/kernel-<key>/             the same, kept for linking again when the initramfs is embedded: 2 GB
//! logs/kernel.log                 what make said, last build
//! steps/kernel/<key>/             the result (mos-cache)
//! ```

mod dotconfig;
mod embed;
mod error;
mod kconfig;
mod kernel;
mod make;
mod source;
mod verdict;
mod work;

pub use embed::Embedded;
pub use error::KbuildError;
pub use kernel::{BuiltKernel, Kernel};
pub use source::Source;
pub use verdict::{Refused, RefusedSetting};
