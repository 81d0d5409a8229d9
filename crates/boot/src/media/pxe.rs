//! The files for network boot: the image whole, for firmware that fetches it by HTTP or TFTP, and its parts for iPXE.

use std::borrow::Cow;

use super::{Bootable, MediaError};
use crate::uki;

/// A file for the server of network boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkFile<'a> {
    /// Its name.
    pub name: &'static str,
    /// Its content.
    pub bytes: Cow<'a, [u8]>,
}

/// What iPXE splits or expands in a line (ipxe.org/scripting).
const TAKEN_BY_IPXE: [&str; 3] = ["||", "&&", ";"];

/// Takes an image apart: `vmlinuz.efi` as it is, `vmlinuz`, `initramfs.cpio…`, `cmdline`, `boot.ipxe`. Of a kernel with
/// everything in it there are no parts.
///
/// # Errors
/// See [`MediaError`].
pub fn pxe(image: Bootable<'_>) -> Result<Vec<NetworkFile<'_>>, MediaError> {
    let efi = image.efi;
    let file = |name, bytes| NetworkFile { name, bytes };
    if !image.is_uki {
        let script = b"#!ipxe\nkernel vmlinuz.efi\nboot\n".as_slice();
        return Ok(vec![file("vmlinuz.efi", efi.into()), file("boot.ipxe", script.into())]);
    }
    let sections = uki::extract(efi)?;
    let section = |name| sections.get(name).copied().ok_or(MediaError::NoSection(name));
    let (linux, initrd) = (section(".linux")?, section(".initrd")?);
    let command_line = String::from_utf8_lossy(section(".cmdline")?);
    let command_line = command_line.trim_end_matches(['\0', '\n']);
    let initrd_name = initramfs_name(initrd);
    let script = script(command_line, initrd_name)?;
    Ok(vec![
        file("vmlinuz.efi", efi.into()),
        file("vmlinuz", linux.into()),
        file(initrd_name, initrd.into()),
        file("cmdline", format!("{command_line}\n").into_bytes().into()),
        file("boot.ipxe", script.into_bytes().into()),
    ])
}

/// Names are relative: iPXE fetches them from where it had the script. The kernel's UEFI stub finds the initramfs by
/// `initrd=`.
fn script(command_line: &str, initrd: &str) -> Result<String, MediaError> {
    let own = |word: &&str| TAKEN_BY_IPXE.contains(word) || word.starts_with('#') || word.contains("${");
    if let Some(word) = command_line.split_ascii_whitespace().find(own) {
        return Err(MediaError::Ipxe(word.to_owned()));
    }
    Ok(format!(
        "#!ipxe\nkernel vmlinuz initrd={initrd} {command_line}\ninitrd {initrd}\nboot\n"
    ))
}

/// The name says how it is compressed, as the first bytes do.
fn initramfs_name(bytes: &[u8]) -> &'static str {
    match bytes {
        [0x28, 0xb5, 0x2f, 0xfd, ..] => "initramfs.cpio.zst",
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => "initramfs.cpio.xz",
        _ => "initramfs.cpio",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::tests::image;
    use crate::pe::tests::stub;

    #[test]
    fn parts_and_script_fit_together() {
        let efi = image(5000);
        let files = pxe(Bootable::uki(&efi).unwrap()).unwrap();
        let content = |name| &files.iter().find(|file| file.name == name).unwrap().bytes;
        assert!(*content("vmlinuz.efi") == efi);
        assert!(*content("vmlinuz") == stub());
        assert_eq!(content("initramfs.cpio").len(), 5000);
        assert_eq!(&content("cmdline")[..], b"console=ttyS0\n");
        assert_eq!(
            String::from_utf8_lossy(content("boot.ipxe")),
            "#!ipxe\nkernel vmlinuz initrd=initramfs.cpio console=ttyS0\ninitrd initramfs.cpio\nboot\n"
        );
    }

    #[test]
    fn what_ipxe_would_take_for_itself_is_refused() {
        for line in ["a || b", "a ${ip} b", "a #b", "a ; b"] {
            assert!(matches!(script(line, "i"), Err(MediaError::Ipxe(_))), "{line}");
        }
        script("console=ttyS0,115200 mos.channel=http://h/a;b root=#x|y", "i").unwrap();
    }

    #[test]
    fn names_follow_the_compression() {
        for (compression, name) in [
            (crate::Compression::Zstd(1), "initramfs.cpio.zst"),
            (crate::Compression::Xz, "initramfs.cpio.xz"),
            (crate::Compression::None, "initramfs.cpio"),
        ] {
            let bytes = crate::initramfs(&mos_tree::Tree::default(), compression).unwrap();
            assert_eq!(initramfs_name(&bytes), name);
        }
    }
}
