//! The machine: image, memory, disks, ports.

use std::path::{Path, PathBuf};

use mos_vm::{Boot, Disk, DiskFormat, Machine, accel, disk};

use super::system::System;
use super::{RunArgs, secure_boot, vm_error};
use crate::context::Context;
use crate::error::{CliError, Result, io};

/// A machine, and the files that live as long as it runs.
pub(super) struct Described {
    pub(super) machine: Machine,
    _directory: Option<tempfile::TempDir>,
}

pub(super) fn describe(context: &Context, args: &RunArgs, system: &System) -> Result<Described> {
    let temporary = || tempfile::tempdir().map_err(io(&std::env::temp_dir()));
    let directory = (args.direct || args.secure_boot).then(temporary).transpose()?;
    let boot = match &directory {
        Some(directory) if args.direct => direct(&system.efi, directory.path())?,
        _ => Boot::Firmware {
            image: system.efi.clone(),
        },
    };
    let verdict = accel::probe().map_err(vm_error)?;
    context.ui.line(format!("Booting {}, {verdict}.", system.efi.display()));
    let mut machine = Machine::new(boot);
    machine.memory = args.memory;
    machine.disks = disks(args)?;
    machine.forwards = args.forward.clone();
    machine.accelerator = verdict.accelerator;
    if let Some(directory) = directory.as_ref().filter(|_| args.secure_boot) {
        machine.secure_boot = Some(secure_boot::variables(context, &system.efi, directory.path())?);
    }
    if args.tpm {
        machine.tpm = Some(secure_boot::tpm(&args.output_dir, args.reset)?);
    }
    Ok(Described {
        machine,
        _directory: directory,
    })
}

/// Takes kernel, initramfs and command line out of the image; a kernel that has them in it is started as it is.
fn direct(efi: &Path, directory: &Path) -> Result<Boot> {
    let bytes = std::fs::read(efi).map_err(io(efi))?;
    if mos_boot::uki::is_kernel(&bytes) {
        return Ok(Boot::Direct {
            kernel: efi.to_owned(),
            initrd: None,
            command_line: std::ffi::OsString::new(),
        });
    }
    let sections =
        mos_boot::uki::extract(&bytes).map_err(|error| CliError::problem(format!("{}: {error}", efi.display())))?;
    let section = |name: &str| {
        sections
            .get(name)
            .copied()
            .ok_or_else(|| CliError::problem(format!("{} has no section {name}", efi.display())))
    };
    let put = |name: &str, file: &str| -> Result<PathBuf> {
        let path = directory.join(file);
        std::fs::write(&path, section(name)?).map_err(io(&path))?;
        Ok(path)
    };
    let command_line = String::from_utf8_lossy(section(".cmdline")?)
        .trim_end_matches(['\0', '\n'])
        .to_owned();
    Ok(Boot::Direct {
        kernel: put(".linux", "vmlinuz")?,
        initrd: Some(put(".initrd", "initramfs")?),
        command_line: command_line.into(),
    })
}

fn disks(args: &RunArgs) -> Result<Vec<Disk>> {
    let folder = args.output_dir.join("disks");
    if args.disks > 0 {
        std::fs::create_dir_all(&folder).map_err(io(&folder))?;
    }
    let size = u64::from(args.disk_size) << 20;
    let make = |number: u32| {
        let path = folder.join(format!("disk{number}.raw"));
        let made = match number {
            0 => disk::data(&path, size, args.reset),
            _ => disk::empty(&path, DiskFormat::Raw, size, args.reset),
        };
        made.map_err(vm_error)
    };
    (0..args.disks).map(make).collect()
}
