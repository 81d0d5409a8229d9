//! The label of an ext4 file system, from its first bytes. Pure.

/// The label of the disk that keeps a node's state.
pub const STATE_LABEL: &str = "mosdata";
/// Bytes from the start of a device that hold the superblock.
pub const LENGTH: usize = OFFSET + 1024;

/// Where the superblock begins (Linux `Documentation/filesystems/ext4/super.rst`).
const OFFSET: usize = 1024;
/// `s_magic`, 16 bits.
const MAGIC_AT: usize = OFFSET + 0x38;
const MAGIC: [u8; 2] = 0xEF53_u16.to_le_bytes();
/// `s_volume_name`, 16 bytes, padded with zeros.
const LABEL_AT: usize = OFFSET + 0x78;
const LABEL_LENGTH: usize = 16;

/// The label of the ext4 file system that begins with these bytes; `None` when they are no such file system.
pub fn ext4_label(bytes: &[u8]) -> Option<String> {
    if bytes.get(MAGIC_AT..MAGIC_AT + MAGIC.len())? != MAGIC {
        return None;
    }
    let label = bytes.get(LABEL_AT..LABEL_AT + LABEL_LENGTH)?;
    let end = label.iter().position(|byte| *byte == 0).unwrap_or(LABEL_LENGTH);
    String::from_utf8(label[..end].to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn reads_what_mkfs_writes() {
        let directory = tempfile::tempdir().unwrap();
        let image = directory.path().join("disk");
        std::fs::File::create(&image).unwrap().set_len(4 << 20).unwrap();
        let mkfs = Command::new("mkfs.ext4")
            .args(["-q", "-F", "-L", STATE_LABEL])
            .arg(&image)
            .status();
        let Ok(status) = mkfs else {
            println!("skipped: mkfs.ext4 is missing (package e2fsprogs)");
            return;
        };
        assert!(status.success());
        let bytes = std::fs::read(&image).unwrap();
        assert_eq!(ext4_label(&bytes[..LENGTH]).as_deref(), Some(STATE_LABEL));
    }

    #[test]
    fn short_or_foreign_bytes_have_no_label() {
        for length in 0..LENGTH {
            assert_eq!(ext4_label(&vec![0; length]), None);
        }
        let mut bytes = vec![0; LENGTH];
        bytes[MAGIC_AT..MAGIC_AT + 2].copy_from_slice(&MAGIC);
        assert_eq!(ext4_label(&bytes).as_deref(), Some(""));
        bytes[LABEL_AT..LABEL_AT + LABEL_LENGTH].fill(b'x');
        assert_eq!(ext4_label(&bytes).as_deref(), Some("xxxxxxxxxxxxxxxx"));
        assert_eq!(ext4_label(&bytes[..LABEL_AT + 3]), None);
    }
}
