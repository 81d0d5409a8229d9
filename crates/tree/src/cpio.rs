//! cpio "newc" archives: the format of an initramfs.
