//! What a boot image is shipped as: files in the folder of outputs.
//!
//! Each file is written beside its place and renamed, so that what has its name is whole; a file that has the right
//! bytes already is left alone. Room is asked for before anything is written.

use std::borrow::Cow;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use mos_boot::media::{Bootable, DiskOptions, Sparse, disk, iso, pxe, qcow2};
use mos_config::{ImageOutput, ImagePlan, InitramfsPlace};
use mos_sys::durable;
use serde::Serialize;

use crate::error::BuildError;
use crate::image::{BuiltImage, EFI_FILE};

const RAW_FILE: &str = "disk.raw";
const QCOW2_FILE: &str = "disk.qcow2";
const ISO_FILE: &str = "boot.iso";
const PXE_FOLDER: &str = "pxe";
const MEBIBYTE: u64 = 1 << 20;

/// A file that was made for the user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OutputFile {
    /// What it is.
    pub kind: ImageOutput,
    /// Where it is.
    pub path: PathBuf,
    /// Its bytes, holes included.
    pub bytes: u64,
    /// False when it was there already.
    pub written: bool,
}

/// A file to be made.
struct Planned<'a> {
    kind: ImageOutput,
    path: PathBuf,
    bytes: Sparse<'a>,
}

/// Writes these kinds of output of an image into a folder.
///
/// # Errors
/// [`BuildError`]; a file that has its name is then either the old or the new one, whole.
pub fn write_outputs(
    image: &BuiltImage,
    plan: &ImagePlan,
    kinds: &[ImageOutput],
    folder: &Path,
) -> Result<Vec<OutputFile>, BuildError> {
    let read = |path: &Path| fs::read(path).map_err(BuildError::at(path));
    let (efi, initramfs) = (read(&image.efi)?, read(&image.initramfs)?);
    let options = DiskOptions {
        built: image.report.built,
        esp: plan.esp_size.map(|size| u64::from(size) * MEBIBYTE),
        state: plan.state_size.map(|size| u64::from(size) * MEBIBYTE),
    };
    let bootable = match plan.initramfs {
        InitramfsPlace::Uki => Bootable::uki(&efi)?,
        InitramfsPlace::Embedded => Bootable::kernel(&efi, &plan.command_line)?,
    };
    let wanted = |kind| kinds.contains(&kind);
    let has_disk = wanted(ImageOutput::Raw) || wanted(ImageOutput::Qcow2);
    let whole = has_disk.then(|| disk(bootable, &options)).transpose()?;
    let mut files = Vec::new();
    let mut add = |kind, name: &Path, bytes| {
        let path = folder.join(name);
        files.push(Planned { kind, path, bytes });
    };
    for kind in kinds {
        match (kind, &whole) {
            (ImageOutput::Efi, _) => add(*kind, EFI_FILE.as_ref(), plain(&efi)),
            (ImageOutput::Versioned, _) => add(*kind, image.versioned_name().as_ref(), plain(&efi)),
            (ImageOutput::Initramfs, _) => {
                let name = image.initramfs.file_name().unwrap_or_default();
                add(*kind, name.as_ref(), plain(&initramfs));
            }
            (ImageOutput::Raw, Some(disk)) => add(*kind, RAW_FILE.as_ref(), disk.clone()),
            (ImageOutput::Qcow2, Some(disk)) => add(*kind, QCOW2_FILE.as_ref(), qcow2(disk)),
            (ImageOutput::Raw | ImageOutput::Qcow2, None) => {}
            (ImageOutput::Iso, _) => add(*kind, ISO_FILE.as_ref(), iso(bootable, options.built)?),
            (ImageOutput::Pxe, _) => {
                for file in pxe(bootable)? {
                    add(*kind, &Path::new(PXE_FOLDER).join(file.name), file.bytes.into());
                }
            }
        }
    }
    write(files, folder)
}

fn plain(bytes: &[u8]) -> Sparse<'_> {
    Cow::Borrowed(bytes).into()
}

impl BuiltImage {
    /// The kernel's version and the hash of all inputs: two images of one name have the same bytes.
    pub fn versioned_name(&self) -> String {
        format!("vmlinuz-{}-{}.efi", self.report.kernel, self.id)
    }
}

fn write(files: Vec<Planned<'_>>, folder: &Path) -> Result<Vec<OutputFile>, BuildError> {
    let (mut written, mut needed) = (Vec::new(), 0);
    for file in &files {
        sweep(&file.path);
        let is_new = !is_there(&file.path, &file.bytes);
        needed += if is_new { file.bytes.content() } else { 0 };
        written.push(is_new);
    }
    let free = mos_sys::space::free(&std::path::absolute(folder).map_err(BuildError::at(folder))?);
    let free = free.map_err(BuildError::at(folder))?;
    if needed > free {
        let folder = folder.to_owned();
        return Err(BuildError::NoRoom { folder, needed, free });
    }
    let made = files.into_iter().zip(written).map(|(file, written)| {
        if written {
            place(&file.path, &file.bytes).map_err(BuildError::at(&file.path))?;
        }
        Ok(OutputFile {
            kind: file.kind,
            bytes: file.bytes.length(),
            path: file.path,
            written,
        })
    });
    made.collect()
}

/// A file that cannot be read counts as another.
fn is_there(path: &Path, bytes: &Sparse<'_>) -> bool {
    File::open(path)
        .and_then(|mut file| bytes.is_in(&mut file))
        .unwrap_or(false)
}

fn place(path: &Path, bytes: &Sparse<'_>) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    durable::write_with(path, 0o644, |file| bytes.write(file))
}

/// Removes what a build that was killed had begun beside this file.
fn sweep(path: &Path) {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return;
    };
    let suffix = format!("-{}", name.to_string_lossy());
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let found = entry.file_name();
        let found = found.to_string_lossy();
        let rest = found
            .strip_prefix(durable::TEMPORARY_PREFIX)
            .and_then(|rest| rest.strip_suffix(&suffix));
        let process = rest.and_then(|rest| rest.split('-').next()?.parse::<u32>().ok());
        if process.is_some_and(|process| !Path::new("/proc").join(process.to_string()).exists()) {
            // What cannot be removed does no harm: it never has the name of an output.
            let _ = fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt as _;
    use std::process::{Command, Stdio};

    fn planned(folder: &Path, name: &str, bytes: &'static [u8]) -> Planned<'static> {
        Planned {
            kind: ImageOutput::Efi,
            path: folder.join(name),
            bytes: plain(bytes),
        }
    }

    #[test]
    fn files_are_written_once_and_leftovers_removed() {
        let directory = tempfile::tempdir().unwrap();
        let folder = directory.path().join("dist");
        let files = || vec![planned(&folder, "a", b"one"), planned(&folder.join("pxe"), "b", b"two")];
        assert!(write(files(), &folder).unwrap().iter().all(|file| file.written));
        let inode = fs::metadata(folder.join("a")).unwrap().ino();
        // No process has this id: it is above the limit (PID_MAX_LIMIT).
        let (dead, alive) = (
            ".tmp-4999999-0-a".to_owned(),
            format!(".tmp-{}-7-a", std::process::id()),
        );
        for name in [&dead, &alive] {
            fs::write(folder.join(name), "half").unwrap();
        }
        assert!(!write(files(), &folder).unwrap().iter().any(|file| file.written));
        assert_eq!(fs::metadata(folder.join("a")).unwrap().ino(), inode);
        assert_eq!(fs::read(folder.join("pxe/b")).unwrap(), b"two");
        assert!(!folder.join(dead).exists() && folder.join(alive).exists());
    }

    fn succeeds(command: &mut Command) -> bool {
        command
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    }

    #[test]
    fn what_does_not_fit_is_not_begun() {
        let directory = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=64k", "none"]);
        if !succeeds(mount.arg(directory.path())) {
            return eprintln!("SKIPPED: cannot mount a tmpfs");
        }
        let folder = directory.path().join("dist");
        let files = vec![planned(&folder, "a", b"one"), planned(&folder, "b", &[1; 100_000])];
        let refused = write(files, &folder).unwrap_err();
        let begun = folder.exists();
        assert!(succeeds(Command::new("umount").arg(directory.path())));
        let BuildError::NoRoom { needed, free, .. } = refused else {
            panic!("{refused}")
        };
        assert_eq!(needed, 100_003);
        assert!(free <= 65_536 && !begun);
    }
}
