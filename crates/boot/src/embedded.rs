//! The initramfs in a kernel that was made around it (`CONFIG_INITRAMFS_SOURCE`).
//!
//! ```text
//! bzImage: setup | payload: compressed vmlinux, then its length (4 bytes)      Documentation/arch/x86/boot.rst
//! vmlinux: … | initramfs | zeros up to 8 bytes | length of it (8 bytes) | …    include/asm-generic/vmlinux.lds.h, INIT_RAM_FS
//! ```
//!
//! Nothing in vmlinux says where the archive begins once the symbols are gone. It is where a magic number of an archive, or of
//! a compression that the kernel knows, is followed by the right length at the right distance.

/// What an initramfs begins with: cpio, gzip, xz, zstd.
const MAGICS: [&[u8]; 4] = [b"070701", b"\x1f\x8b\x08", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd"];
/// The archive begins at a multiple of this, and its length stands at one.
const ALIGNMENT: usize = 4;
const LENGTH_ALIGNMENT: usize = 8;
/// The kernel's own archive, of a few directories, is smaller than any that was embedded.
const SMALLEST: usize = 1024;

/// The compressed vmlinux in a bzImage, without the length behind it, which gzip alone has as part of its own format.
pub fn payload(image: &[u8]) -> Option<&[u8]> {
    const SECTORS: usize = 0x1f1;
    const MAGIC: usize = 0x202;
    const OFFSET: usize = 0x248;
    const LENGTH: usize = 0x24c;
    if !image.get(MAGIC..)?.starts_with(b"HdrS") {
        return None;
    }
    let number = |at: usize| -> Option<usize> {
        let bytes = image.get(at..at + 4)?.try_into().ok()?;
        usize::try_from(u32::from_le_bytes(bytes)).ok()
    };
    let sectors = match *image.get(SECTORS)? {
        0 => 4,
        sectors => usize::from(sectors),
    };
    let begin = number(OFFSET)?.checked_add((sectors + 1) * 512)?;
    let payload = image.get(begin..begin.checked_add(number(LENGTH)?)?)?;
    match payload.starts_with(b"\x1f\x8b") {
        true => Some(payload),
        false => payload.get(..payload.len().checked_sub(4)?),
    }
}

/// Whatever may be the initramfs in a vmlinux, in the order of their places; whoever reads them as an archive finds out which
/// one is.
pub fn candidates(vmlinux: &[u8]) -> impl Iterator<Item = &[u8]> {
    let places = (0..vmlinux.len()).step_by(ALIGNMENT);
    let begins = places.filter(|begin| MAGICS.iter().any(|magic| vmlinux[*begin..].starts_with(magic)));
    begins.filter_map(|begin| measured(&vmlinux[begin..], begin))
}

/// The first bytes that are followed by their own number; `begin` is where they are in the kernel, which begins at a page.
fn measured(bytes: &[u8], begin: usize) -> Option<&[u8]> {
    let first = (begin + SMALLEST).next_multiple_of(LENGTH_ALIGNMENT) - begin;
    (first..bytes.len().checked_sub(8)?)
        .step_by(LENGTH_ALIGNMENT)
        .find_map(|at| {
            let number = u64::from_le_bytes(bytes[at..at + 8].try_into().ok()?);
            let length = usize::try_from(number).ok()?;
            let fits = length <= at && at - length < LENGTH_ALIGNMENT;
            let zeros = fits && bytes[length..at].iter().all(|byte| *byte == 0);
            zeros.then(|| &bytes[..length])
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A kernel with this at a place that is aligned to 4 bytes and not to 8.
    fn vmlinux(archive: &[u8]) -> Vec<u8> {
        let mut bytes = [
            b"\x7fELF".as_slice(),
            &[7; 4096],
            b"070701 is the magic number of newc",
            &[9; 2],
        ]
        .concat();
        bytes.resize(bytes.len().next_multiple_of(8) + 4, 1);
        bytes.extend_from_slice(archive);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes.extend_from_slice(&(archive.len() as u64).to_le_bytes());
        bytes.extend_from_slice(&[5; 3000]);
        bytes
    }

    #[test]
    fn an_archive_is_found_by_the_length_behind_it() {
        for magic in MAGICS {
            for length in 2000..2009 {
                let mut archive = magic.to_vec();
                archive.resize(length, 3);
                let bytes = vmlinux(&archive);
                assert!(candidates(&bytes).eq([archive.as_slice()]), "{length} {magic:?}");
            }
        }
        assert_eq!(candidates(b"070701").count(), 0);
        assert_eq!(candidates(&vmlinux(&[6; 2000])).count(), 0);
    }

    #[test]
    fn a_payload_is_where_the_setup_header_says() {
        let mut image = vec![0; 0x2000];
        image[0x1f1] = 3;
        image[0x202..0x206].copy_from_slice(b"HdrS");
        image[0x248..0x24c].copy_from_slice(&0x100u32.to_le_bytes());
        image[0x24c..0x250].copy_from_slice(&14u32.to_le_bytes());
        image[0x900..0x90e].copy_from_slice(b"compressed\x01\x02\x03\x04");
        assert_eq!(payload(&image), Some(b"compressed".as_slice()));
        for cut in [0, 0x1f1, 0x210, 0x24e, 0x90d] {
            assert_eq!(payload(&image[..cut]), None, "{cut:#x}");
        }
        image[0x24c..0x250].copy_from_slice(&[0xff; 4]);
        assert_eq!(payload(&image), None);
    }
}
