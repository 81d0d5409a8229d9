//! Makes disks for machines, as an ordinary user.
//!
//! A disk that exists is kept, with all that the machine wrote to it, unless it shall be made anew. It appears under
//! its name only when it is whole.

use crate::error::VmError;
use crate::machine::{Disk, DiskFormat};
use crate::tools;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The label by which a node finds its data disk.
pub const DATA_LABEL: &str = "mosdata";

/// The node's data disk: a raw file with holes that holds an ext4 file system labelled [`DATA_LABEL`].
///
/// `size` is in bytes; `reset` makes it anew.
///
/// # Errors
/// When mkfs.ext4 (e2fsprogs) is missing or fails, or the host has no room.
pub fn data(path: &Path, size: u64, reset: bool) -> Result<Disk, VmError> {
    make(path, DiskFormat::Raw, reset, |temporary| {
        let mkfs = tools::program(tools::MKFS_EXT4)?;
        sparse(temporary, size)?;
        run(
            Command::new(mkfs).args(["-q", "-F", "-L", DATA_LABEL]).arg(temporary),
            tools::MKFS_EXT4.0,
            path,
        )
    })
}

/// An empty disk of `size` bytes; `reset` makes it anew.
///
/// # Errors
/// When qemu-img (qemu-utils) is missing for a qcow2 disk or fails, or the host has no room.
pub fn empty(path: &Path, format: DiskFormat, size: u64, reset: bool) -> Result<Disk, VmError> {
    make(path, format, reset, |temporary| match format {
        DiskFormat::Raw => sparse(temporary, size),
        DiskFormat::Qcow2 => {
            let qemu_img = tools::program(tools::QEMU_IMG)?;
            let mut command = Command::new(qemu_img);
            command
                .args(["create", "-q", "-f", "qcow2"])
                .arg(temporary)
                .arg(size.to_string());
            run(&mut command, tools::QEMU_IMG.0, path)
        }
    })
}

fn make(
    path: &Path,
    format: DiskFormat,
    reset: bool,
    fill: impl FnOnce(&Path) -> Result<(), VmError>,
) -> Result<Disk, VmError> {
    if reset || !path.exists() {
        let temporary = mos_sys::durable::temporary_beside(path).map_err(VmError::io(path))?;
        let made = fill(&temporary).and_then(|()| fs::rename(&temporary, path).map_err(VmError::io(path)));
        if made.is_err() {
            // The first error is the one to report.
            let _ = fs::remove_file(&temporary);
        }
        made?;
    }
    Ok(Disk {
        path: PathBuf::from(path),
        format,
    })
}

fn sparse(path: &Path, size: u64) -> Result<(), VmError> {
    File::create(path)
        .and_then(|file| file.set_len(size))
        .map_err(VmError::io(path))
}

fn run(command: &mut Command, tool: &'static str, path: &Path) -> Result<(), VmError> {
    let failed = |reason: String| VmError::Tool {
        tool,
        path: path.to_owned(),
        reason,
    };
    let output = command.output().map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    Err(failed(format!(
        "{}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;
    use std::os::unix::fs::MetadataExt as _;

    const SIZE: u64 = 64 << 20;

    #[test]
    fn data_disk_is_ext4_with_its_label_and_holes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("data.raw");
        if let Err(VmError::Missing { what, .. }) = data(&path, SIZE, false) {
            return eprintln!("SKIPPED: {what} is missing");
        }
        let mut start = [0; 2048];
        File::open(&path).unwrap().read_exact(&mut start).unwrap();
        // The superblock is at 1024; magic at 0x38, label at 0x78 (ext4, struct ext4_super_block).
        assert_eq!(start[1024 + 0x38..][..2], [0x53, 0xef]);
        assert_eq!(&start[1024 + 0x78..][..7], DATA_LABEL.as_bytes());
        let metadata = fs::metadata(&path).unwrap();
        assert_eq!(metadata.len(), SIZE);
        assert!(metadata.blocks() * 512 < SIZE / 2, "{} blocks", metadata.blocks());
    }

    #[test]
    fn a_disk_is_kept_until_reset() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("disk.raw");
        fs::write(&path, "written by the guest").unwrap();
        empty(&path, DiskFormat::Raw, SIZE, false).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"written by the guest");
        empty(&path, DiskFormat::Raw, SIZE, true).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().len(), SIZE);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_disk_in_a_missing_directory_names_it() {
        let error = empty(Path::new("/nowhere/disk.raw"), DiskFormat::Raw, SIZE, false)
            .unwrap_err()
            .to_string();
        assert!(error.contains("/nowhere/"), "{error}");
    }
}
