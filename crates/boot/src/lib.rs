//! What a node boots: the root skeleton, the initramfs and the unified kernel image (UKI).
//!
//! All of it is made from values in memory: no mount, no loop device, no root. The same input gives the same bytes.
//!
//! * [`root`]: the directories, device nodes, accounts and BusyBox commands that every image starts from.
//! * [`embedded`]: the initramfs in a kernel that was made around it.
//! * [`initramfs()`]: a tree as a compressed cpio archive that the kernel unpacks.
//! * [`pcr`]: what the TPM will say after such a start.
//! * [`secure_boot`]: keys, certificates and signatures of EFI programs.
//! * [`uki`]: stub, kernel, initramfs and command line as one PE file that firmware starts; and reading one again.
//! * [`media`]: that file on a disk (raw, qcow2), on an ISO image, on a server for network boot.

pub mod embedded;
mod initramfs;
pub mod media;
pub mod pcr;
mod pe;
pub mod root;
pub mod secure_boot;
pub mod uki;

pub use initramfs::{Compression, InitramfsError, initramfs};
