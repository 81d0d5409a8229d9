//! What an image is that somebody wants booted: told by its first bytes, not by its name.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use mos_architecture::Architecture;
use mos_vm::{Disk, DiskFormat, Medium};

use crate::error::{CliError, Result, io};

/// What is booted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Image {
    /// An EFI file.
    Efi(PathBuf),
    /// A disk or disc that firmware boots from.
    Medium(Medium),
}

/// Bytes of an image's head that are looked at: up to the first volume descriptor of an ISO image.
const HEAD: u64 = 0x8800;
/// Where and what the marks are: PE/COFF (MS-DOS header), QEMU's qcow2 specification, ECMA-119 8.1, UEFI 5.3.2 (sectors of
/// 512 bytes), the signature of a master boot record.
const EFI: (usize, &[u8]) = (0, b"MZ");
const QCOW2: (usize, &[u8]) = (0, b"QFI\xfb");
const ISO: (usize, &[u8]) = (0x8001, b"CD001");
const GPT: (usize, &[u8]) = (512, b"EFI PART");
const MBR: (usize, &[u8]) = (510, &[0x55, 0xaa]);

impl Image {
    /// Looks at a file.
    pub(super) fn of(path: &Path) -> Result<Self> {
        let mut head = Vec::new();
        let read = File::open(path).and_then(|file| file.take(HEAD).read_to_end(&mut head));
        read.map_err(io(path))?;
        Self::with_head(path, &head).ok_or_else(|| {
            let message = format!("{} is no image that firmware boots", path.display());
            CliError::problem(message).with_hint("known are EFI files, ISO images, and disks as raw or qcow2 files")
        })
    }

    fn with_head(path: &Path, head: &[u8]) -> Option<Self> {
        let has = |(at, mark): (usize, &[u8])| head.get(at..).is_some_and(|rest| rest.starts_with(mark));
        let disk = |format| {
            let path = path.to_owned();
            Some(Self::Medium(Medium::Disk(Disk { path, format })))
        };
        if has(EFI) {
            Some(Self::Efi(path.to_owned()))
        } else if has(QCOW2) {
            disk(DiskFormat::Qcow2)
        } else if has(ISO) {
            // It may be a disk at once; as a disc nothing is written to it.
            Some(Self::Medium(Medium::Disc(path.to_owned())))
        } else if has(GPT) || has(MBR) {
            disk(DiskFormat::Raw)
        } else {
            None
        }
    }

    /// What an EFI file is for; disks and discs do not say it in a place that is easily found.
    pub(super) fn architecture(&self) -> Result<Option<Architecture>> {
        let Self::Efi(path) = self else { return Ok(None) };
        let bytes = std::fs::read(path).map_err(io(path))?;
        let found = mos_boot::uki::architecture(&bytes);
        found
            .map(Some)
            .map_err(|error| CliError::problem(format!("{}: {error}", path.display())))
    }

    /// The file.
    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Efi(path) | Self::Medium(Medium::Disc(path) | Medium::Stick(path)) => path,
            Self::Medium(Medium::Disk(disk)) => &disk.path,
            Self::Medium(Medium::Network { folder, .. }) => folder,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(marks: &[(usize, &[u8])]) -> Option<Image> {
        let mut head = vec![0; HEAD as usize];
        for (at, mark) in marks {
            head[*at..at + mark.len()].copy_from_slice(mark);
        }
        Image::with_head(Path::new("i"), &head)
    }

    #[test]
    fn images_are_told_by_their_bytes() {
        let disk = |format| {
            let path = "i".into();
            Some(Image::Medium(Medium::Disk(Disk { path, format })))
        };
        // A kernel has the mark of a boot record too.
        assert_eq!(head(&[EFI, MBR]), Some(Image::Efi("i".into())));
        assert_eq!(head(&[QCOW2]), disk(DiskFormat::Qcow2));
        assert_eq!(head(&[MBR, GPT]), disk(DiskFormat::Raw));
        assert_eq!(head(&[MBR]), disk(DiskFormat::Raw));
        // As `mos image build --output iso` makes them: a disc and a disk at once.
        assert_eq!(head(&[MBR, GPT, ISO]), Some(Image::Medium(Medium::Disc("i".into()))));
        assert_eq!(head(&[]), None);
        assert_eq!(Image::with_head(Path::new("i"), b"M"), None);
    }
}
