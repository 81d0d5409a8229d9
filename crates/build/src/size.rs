//! What an image consists of, in bytes.

use mos_tree::{Kind, Tree};
use serde::{Deserialize, Serialize};

/// A part of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// `package busybox-static`, `kernel modules`, `component my_init`, …
    pub name: String,
    /// Its files, links and devices.
    pub files: usize,
    /// Bytes of its files before compression.
    pub bytes: u64,
}

/// What a boot image is made of; kept beside it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageReport {
    /// Identifies the inputs; the running node shows it.
    pub build_id: String,
    /// When it was built, in seconds since 1970: taken from the inputs, not from the clock.
    pub built: i64,
    /// The kernel's version.
    pub kernel: String,
    /// Bytes of the EFI file.
    pub efi_bytes: u64,
    /// Bytes of the kernel in it.
    pub kernel_bytes: u64,
    /// Bytes of the compressed initramfs in it.
    pub initramfs_bytes: u64,
    /// The parts of the initramfs.
    pub parts: Vec<Part>,
    /// The modules in it, in the order of loading, with the reason for each.
    pub modules: Vec<(String, String)>,
}

/// How many names there are that are no directories.
pub(crate) fn files(tree: &Tree) -> usize {
    tree.walk()
        .filter(|entry| !matches!(entry.inode.kind, Kind::Directory(_)))
        .count()
}

/// Bytes of all regular files, hard links counted once.
pub(crate) fn bytes(tree: &Tree) -> u64 {
    let mut seen = std::collections::BTreeSet::new();
    let each = tree.walk().map(|entry| match &entry.inode.kind {
        Kind::File(content) if seen.insert(entry.id) => content.len(),
        _ => 0,
    });
    each.sum()
}
