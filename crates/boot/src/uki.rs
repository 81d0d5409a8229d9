//! The unified kernel image: one PE file that firmware starts (UAPI group specification "Unified Kernel Image").
//!
//! systemd's stub comes first; kernel, initramfs and command line follow as sections. `.linux` is always the last:
//! an older stub (252) starts the kernel where it lies in memory, and the kernel unpacks beyond its own end.

use std::collections::BTreeMap;

use mos_architecture::Architecture;

use crate::pe::{self, Pe};

pub use crate::pe::{PeError, Section};

/// What goes into an image beside the stub.
#[derive(Debug, Clone, Copy)]
pub struct UkiParts<'p> {
    /// The kernel (`vmlinuz`), itself a PE file.
    pub linux: &'p [u8],
    /// The initramfs, compressed.
    pub initrd: &'p [u8],
    /// The kernel's command line, without NUL and line ends.
    pub cmdline: &'p str,
    /// An os-release file: what boot menus show.
    pub osrelease: &'p str,
    /// What `uname -r` says.
    pub uname: &'p str,
}

/// Why an image could not be made.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum UkiError {
    /// The stub cannot be extended.
    #[error("UEFI stub: {0}")]
    Stub(#[from] PeError),
    /// The kernel is no PE file: it was built without `CONFIG_EFI_STUB`, or is something else.
    #[error("kernel image: {0}; a unified kernel image needs one built with CONFIG_EFI_STUB")]
    Linux(PeError),
    /// Stub and kernel are for two machines.
    #[error("the UEFI stub is for {stub}, and the kernel for {linux}: both must be for the same machine")]
    Machines {
        /// What the stub is for.
        stub: &'static str,
        /// What the kernel is for.
        linux: &'static str,
    },
    /// The command line would be cut or misread.
    #[error("kernel command line: it has {0}")]
    CommandLine(&'static str),
}

/// The kernel's `COMMAND_LINE_SIZE` on x86 and arm64, with the final NUL.
const COMMAND_LINE_MAX: usize = 2048;

/// The section with the kernel.
const KERNEL: &str = ".linux";

/// Makes the image. It is not signed. The same input gives the same bytes.
///
/// # Errors
/// See [`UkiError`].
pub fn uki(stub: &[u8], parts: &UkiParts<'_>) -> Result<Vec<u8>, UkiError> {
    if parts.cmdline.len() >= COMMAND_LINE_MAX {
        return Err(UkiError::CommandLine("more than 2047 bytes"));
    }
    if parts.cmdline.contains(['\0', '\n']) {
        return Err(UkiError::CommandLine("a line end or a NUL byte"));
    }
    let linux = Pe::parse(parts.linux).map_err(UkiError::Linux)?.machine;
    let machine = Pe::parse(stub)?.machine;
    if machine != linux {
        let name = |machine| Architecture::of_pe(machine).map_or("another machine", Architecture::name);
        return Err(UkiError::Machines {
            stub: name(machine),
            linux: name(linux),
        });
    }
    let sections = [
        (".osrel", parts.osrelease.as_bytes()),
        (".cmdline", parts.cmdline.as_bytes()),
        (".uname", parts.uname.as_bytes()),
        (".initrd", parts.initrd),
        (KERNEL, parts.linux),
    ];
    Ok(pe::append(stub, &sections)?)
}

/// The image with one more section. Where the kernel is the last it stays so, see above.
///
/// # Errors
/// See [`PeError`].
pub(crate) fn add(image: &[u8], name: &str, content: &[u8]) -> Result<Vec<u8>, PeError> {
    let last = inspect(image)?.pop().filter(|section| section.name == KERNEL);
    let Some(kernel) = last.and_then(|_| extract(image).ok()?.get(KERNEL).copied()) else {
        return pe::append(image, &[(name, content)]);
    };
    pe::append(&pe::without_last(image)?, &[(name, content), (KERNEL, kernel)])
}

/// Lists the sections of an image (or of any PE32+ file), the stub's own included, in the order of the file.
///
/// # Errors
/// [`PeError::Damaged`].
pub fn inspect(bytes: &[u8]) -> Result<Vec<Section>, PeError> {
    Ok(Pe::parse(bytes)?.sections)
}

/// The processor that an image is for.
///
/// # Errors
/// [`PeError::Damaged`]; [`PeError::Machine`] for one that no node has.
pub fn architecture(bytes: &[u8]) -> Result<Architecture, PeError> {
    let machine = Pe::parse(bytes)?.machine;
    Architecture::of_pe(machine).ok_or(PeError::Machine(machine))
}

/// True for a kernel image by itself: x86's has a setup header (`Documentation/arch/x86/boot.rst`), that of arm64 a magic
/// number (`Documentation/arch/arm64/booting.rst`).
pub fn is_kernel(bytes: &[u8]) -> bool {
    let is_at = |offset: usize, magic: &[u8]| bytes.get(offset..).is_some_and(|rest| rest.starts_with(magic));
    is_at(0x202, b"HdrS") || is_at(56, b"ARM\x64")
}

/// What a kernel image for x86 says that it is, such as `6.12.117-mos (mos@mos) #1 SMP …`: a pointer in its setup header
/// (`Documentation/arch/x86/boot.rst`, `kernel_version`) leads there.
pub fn kernel_banner(bytes: &[u8]) -> Option<String> {
    const POINTER: usize = 0x20e;
    const BASE: usize = 0x200;
    const LONGEST: usize = 256;
    if !bytes.get(0x202..)?.starts_with(b"HdrS") {
        return None;
    }
    let pointer = u16::from_le_bytes(bytes.get(POINTER..POINTER + 2)?.try_into().ok()?);
    let text = bytes.get(BASE + usize::from(pointer)..)?;
    let length = text.iter().take(LONGEST).position(|byte| *byte == 0)?;
    let text = std::str::from_utf8(&text[..length]).ok()?;
    (pointer != 0 && !text.is_empty()).then(|| text.to_owned())
}

/// The contents of an image by section name, without padding: `.linux` and `.initrd` boot a kernel directly.
///
/// # Errors
/// [`PeError::Damaged`].
pub fn extract(bytes: &[u8]) -> Result<BTreeMap<String, &[u8]>, PeError> {
    let sections = inspect(bytes)?.into_iter();
    let contents = sections.map(|section| {
        let length = section.size.min(section.file_size) as usize;
        // A section without bytes in the file may point anywhere.
        let start = if length == 0 { 0 } else { section.offset as usize };
        (section.name, &bytes[start..start + length])
    });
    Ok(contents.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pe::tests::{stub, stub_for};

    fn parts(linux: &[u8]) -> UkiParts<'_> {
        UkiParts {
            linux,
            initrd: b"initrd",
            cmdline: "console=ttyS0",
            osrelease: "ID=mos\n",
            uname: "6.12.1",
        }
    }

    #[test]
    fn parts_come_out_as_they_went_in_and_linux_is_last() {
        let linux = stub();
        let image = uki(&stub(), &parts(&linux)).unwrap();
        assert_eq!(image, uki(&stub(), &parts(&linux)).unwrap());
        let contents = extract(&image).unwrap();
        assert_eq!(contents[".linux"], linux);
        assert_eq!(contents[".initrd"], b"initrd");
        assert_eq!(contents[".cmdline"], b"console=ttyS0");
        assert_eq!(contents[".osrel"], b"ID=mos\n");
        assert_eq!(contents[".uname"], b"6.12.1");
        assert_eq!(inspect(&image).unwrap().last().unwrap().name, ".linux");
    }

    #[test]
    fn a_section_is_added_as_if_it_had_been_there_from_the_beginning() {
        let linux = stub();
        let image = |sections: &[(&str, &[u8])]| pe::append(&stub(), sections).unwrap();
        let (first, more, kernel) = (
            (".osrel", &b"ID=mos"[..]),
            (".pcrsig", &b"{}"[..]),
            (KERNEL, &linux[..]),
        );
        let added = add(&image(&[first, kernel]), more.0, more.1).unwrap();
        assert_eq!(added, image(&[first, more, kernel]));
        // Without a kernel at the end, at the end.
        assert_eq!(
            add(&image(&[kernel, first]), more.0, more.1).unwrap(),
            image(&[kernel, first, more])
        );
        assert!(add(&added, more.0, more.1).is_err());
    }

    #[test]
    fn a_kernel_says_what_it_is() {
        let mut kernel = stub();
        kernel.resize(0x1000, 0);
        assert!(!is_kernel(&kernel) && kernel_banner(&kernel).is_none());
        kernel[0x202..0x206].copy_from_slice(b"HdrS");
        assert!(is_kernel(&kernel) && kernel_banner(&kernel).is_none());
        kernel[0x20e..0x210].copy_from_slice(&0x300_u16.to_le_bytes());
        kernel[0x500..0x506].copy_from_slice(b"6.12.7");
        assert_eq!(kernel_banner(&kernel).as_deref(), Some("6.12.7"));
        kernel[0x20e..0x210].copy_from_slice(&0xffff_u16.to_le_bytes());
        assert_eq!(kernel_banner(&kernel), None);
        assert_eq!(kernel_banner(&kernel[..0x20f]), None);
    }

    #[test]
    fn stub_and_kernel_are_for_the_same_machine() {
        let (linux, arm) = (stub(), stub_for(Architecture::Aarch64));
        let error = uki(&arm, &parts(&linux)).unwrap_err().to_string();
        assert!(
            error.contains("stub is for aarch64, and the kernel for x86_64"),
            "{error}"
        );
        let image = uki(&arm, &parts(&arm)).unwrap();
        assert_eq!(architecture(&image), Ok(Architecture::Aarch64));
        assert_eq!(architecture(&linux), Ok(Architecture::X86_64));
    }

    #[test]
    fn wrong_parts_are_refused() {
        let linux = stub();
        assert!(matches!(uki(&stub(), &parts(b"\x1f\x8b")), Err(UkiError::Linux(_))));
        let long = "x".repeat(COMMAND_LINE_MAX);
        let cmdline = UkiParts {
            cmdline: &long,
            ..parts(&linux)
        };
        assert!(matches!(uki(&stub(), &cmdline), Err(UkiError::CommandLine(_))));
        assert!(uki(b"", &parts(&linux)).is_err());
    }
}
