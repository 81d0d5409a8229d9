//! What the boot image is shipped as: disks, ISO images, files for network boot.
//!
//! ```text
//! vmlinuz.efi --fat--> ESP --gpt--> disk --+--> raw, written with holes
//!                       |    + state       +--qcow2--> qcow2
//!                       +--iso--> ISO 9660, El Torito and GPT at once
//! vmlinuz.efi --pxe--> kernel, initramfs, command line, iPXE script
//! ```
//!
//! Everything is planned in memory as [`Sparse`] bytes that borrow the EFI file: a disk of a gigabyte costs what is in
//! it. Identifiers come from the content and times from the build, so the same EFI file gives the same bytes.

mod disk;
mod ext4;
mod fat;
mod gpt;
mod iso;
mod pxe;
mod qcow2;
mod sparse;

pub use disk::{DiskOptions, disk};
pub use iso::iso;
pub use pxe::{NetworkFile, pxe};
pub use qcow2::qcow2;
pub use sparse::Sparse;

use mos_architecture::Architecture;
use sha2::{Digest as _, Sha256};

use crate::pe::PeError;
use crate::uki;

/// Why an image cannot be shipped that way.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum MediaError {
    /// Not something that firmware starts.
    #[error("the boot image: {0}")]
    Pe(#[from] PeError),
    /// A kernel alone starts under firmware with no command line, and so without a console.
    #[error(
        "the boot image has no command line: firmware would start the kernel with none, blind on a serial console; build a unified kernel image with `command_line` set"
    )]
    NoCommandLine,
    /// What should be a kernel is something else.
    #[error("the boot image is no kernel for x86-64 or arm64, which alone can have its initramfs in it")]
    NotAKernel,
    /// A section that is needed is missing.
    #[error("the boot image has no section {0}; network boot takes a unified kernel image apart")]
    NoSection(&'static str),
    /// More than the partition holds.
    #[error("{what}: {needed} bytes do not fit into {room}; make `{setting}` larger")]
    NoRoom {
        /// What is too small.
        what: &'static str,
        /// Bytes needed at least.
        needed: u64,
        /// Bytes there are.
        room: u64,
        /// The setting to change.
        setting: &'static str,
    },
    /// What is wanted cannot be represented in that format.
    #[error("{what}: {bytes} bytes are more than the format holds")]
    TooLarge {
        /// What.
        what: &'static str,
        /// Its size.
        bytes: u64,
    },
    /// A time that the format cannot hold.
    #[error("build time {0}: the format holds the years 1980 to 2107")]
    Time(i64),
    /// The command line means something else to iPXE.
    #[error("kernel command line: iPXE would take `{0}` for itself; leave it out")]
    Ipxe(String),
}

/// A file that firmware starts, with the command line and the initramfs of its kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bootable<'a> {
    efi: &'a [u8],
    /// Sections beside a stub; else a kernel with everything in it.
    is_uki: bool,
    architecture: Architecture,
}

impl<'a> Bootable<'a> {
    /// A unified kernel image.
    ///
    /// # Errors
    /// [`MediaError::NoCommandLine`]: firmware would start the kernel without one.
    pub fn uki(efi: &'a [u8]) -> Result<Self, MediaError> {
        let sections = uki::extract(efi)?;
        let command_line = sections.get(".cmdline").copied().unwrap_or_default();
        has_words(command_line)?;
        Self::new(efi, true)
    }

    /// A kernel that was compiled with its initramfs and with this command line (`CONFIG_INITRAMFS_SOURCE`,
    /// `CONFIG_CMDLINE`). Both are compressed in it, so that there is nothing to check them against.
    ///
    /// # Errors
    /// [`MediaError::NoCommandLine`], [`MediaError::NotAKernel`].
    pub fn kernel(efi: &'a [u8], command_line: &str) -> Result<Self, MediaError> {
        uki::inspect(efi)?;
        if !uki::is_kernel(efi) {
            return Err(MediaError::NotAKernel);
        }
        has_words(command_line.as_bytes())?;
        Self::new(efi, false)
    }

    fn new(efi: &'a [u8], is_uki: bool) -> Result<Self, MediaError> {
        Ok(Self {
            efi,
            is_uki,
            architecture: uki::architecture(efi)?,
        })
    }

    /// Where firmware looks for it on a disk without boot entries.
    fn path(&self) -> [&'static str; 3] {
        ["EFI", "BOOT", self.architecture.boot_file()]
    }
}

fn has_words(command_line: &[u8]) -> Result<(), MediaError> {
    match command_line.trim_ascii() {
        [] => Err(MediaError::NoCommandLine),
        _ => Ok(()),
    }
}

/// An identifier that depends on the content alone: the hash of the EFI file and of a purpose, as a UUID of version 8
/// (RFC 9562, section 5.8), in the order of its text.
fn uuid(efi_hash: &[u8], purpose: &str) -> [u8; 16] {
    let hash = Sha256::new().chain_update(efi_hash).chain_update(purpose).finalize();
    let mut uuid = [0; 16];
    uuid.copy_from_slice(&hash[..16]);
    uuid[6] = uuid[6] & 0x0f | 0x80;
    uuid[8] = uuid[8] & 0x3f | 0x80;
    uuid
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::pe::tests::{stub, stub_for};
    use crate::uki::{UkiParts, uki};
    use std::process::Command;

    /// 2025-11-21 17:00:02 UTC.
    pub(crate) const TIME: i64 = 1_763_744_402;

    /// A unified kernel image whose initramfs has this many bytes.
    pub(crate) fn image(bytes: usize) -> Vec<u8> {
        image_for(Architecture::X86_64, bytes)
    }

    fn image_for(architecture: Architecture, bytes: usize) -> Vec<u8> {
        let initrd: Vec<u8> = (0..bytes).map(|at| (at * 7 + at / 251) as u8 | 1).collect();
        let parts = UkiParts {
            linux: &stub_for(architecture),
            initrd: &initrd,
            cmdline: "console=ttyS0",
            osrelease: "ID=mos\n",
            uname: "6.12.1",
        };
        uki(&stub_for(architecture), &parts).unwrap()
    }

    /// A PE file that says it is a kernel.
    fn kernel() -> Vec<u8> {
        let mut kernel = stub();
        kernel[0x202..0x206].copy_from_slice(b"HdrS");
        kernel
    }

    /// Runs a tool which must be content; `None` when it is missing.
    pub(crate) fn tool(program: &str, arguments: &[&str]) -> Option<String> {
        let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
        let run = Command::new(program)
            .args(arguments)
            .env("PATH", path)
            .env("LC_ALL", "C")
            .output();
        match run {
            Ok(output) => {
                let said = [output.stdout, output.stderr].concat();
                let said = String::from_utf8_lossy(&said).into_owned();
                assert!(output.status.success(), "{program} {arguments:?}: {said}");
                Some(said)
            }
            Err(error) => {
                eprintln!("SKIPPED: cannot run {program}: {error}");
                None
            }
        }
    }

    /// Writes bytes to a file of a directory; the file's path as text.
    pub(crate) fn written(directory: &tempfile::TempDir, name: &str, bytes: &Sparse<'_>) -> String {
        let path = directory.path().join(name);
        bytes.write(&mut std::fs::File::create(&path).unwrap()).unwrap();
        path.to_str().unwrap().to_owned()
    }

    #[test]
    fn a_bare_kernel_without_command_line_is_refused() {
        assert_eq!(Bootable::uki(&stub()), Err(MediaError::NoCommandLine));
        assert!(Bootable::uki(&image(10)).is_ok());
        assert!(matches!(Bootable::uki(b"MZ"), Err(MediaError::Pe(_))));
    }

    #[test]
    fn a_kernel_with_a_command_line_in_it_is_as_good() {
        let kernel = kernel();
        assert_eq!(Bootable::kernel(&kernel, " "), Err(MediaError::NoCommandLine));
        assert_eq!(Bootable::kernel(&image(10), "quiet"), Err(MediaError::NotAKernel));
        let bootable = Bootable::kernel(&kernel, "console=ttyS0").unwrap();
        assert!(iso(bootable, TIME).unwrap().length() > kernel.len() as u64);
        let files = pxe(bootable).unwrap();
        let names: Vec<&str> = files.iter().map(|file| file.name).collect();
        assert_eq!(names, ["vmlinuz.efi", "boot.ipxe"]);
        assert_eq!(&files[1].bytes[..], b"#!ipxe\nkernel vmlinuz.efi\nboot\n");
    }

    #[test]
    fn firmware_of_each_machine_finds_its_own_file() {
        let options = DiskOptions {
            built: TIME,
            esp: None,
            state: None,
        };
        for (_, architecture) in Architecture::ALL {
            let efi = image_for(architecture, 10);
            let bootable = Bootable::uki(&efi).unwrap();
            for medium in [disk(bootable, &options).unwrap(), iso(bootable, TIME).unwrap()] {
                let mut bytes = vec![0; usize::try_from(medium.length()).unwrap()];
                medium.read(0, &mut bytes);
                // Entries of a FAT directory have 32 bytes, their name first.
                let has = |name: &[u8]| bytes.chunks_exact(32).any(|entry| entry.starts_with(name));
                let x86 = architecture == Architecture::X86_64;
                assert_eq!(
                    (has(b"BOOTX64 EFI"), has(b"BOOTAA64EFI")),
                    (x86, !x86),
                    "{architecture}"
                );
            }
        }
    }

    #[test]
    fn identifiers_depend_on_content_and_purpose_alone() {
        assert_eq!(uuid(b"a", "disk"), uuid(b"a", "disk"));
        assert_ne!(uuid(b"a", "disk"), uuid(b"a", "esp"));
        assert_ne!(uuid(b"a", "disk"), uuid(b"b", "disk"));
        assert_eq!((uuid(b"a", "x")[6] >> 4, uuid(b"a", "x")[8] >> 6), (8, 2));
    }
}
