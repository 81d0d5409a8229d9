//! The machine: image, memory, disks, ports.

use std::path::{Path, PathBuf};

use mos_architecture::Architecture;
use mos_vm::{Accelerator, Boot, Disk, DiskFormat, Forward, Machine, Network, accel, disk};

use super::image::Image;
use super::system::System;
use super::{HypervisorArg, RunArgs, secure_boot, vm_error};
use crate::context::Context;
use crate::error::{CliError, Result, io};

/// A machine, and the files that live as long as it runs.
pub(super) struct Described {
    pub(super) machine: Machine,
    _directory: tempfile::TempDir,
}

pub(super) fn describe(context: &Context, args: &RunArgs, system: &System, pages: &[u16]) -> Result<Described> {
    let directory = tempfile::tempdir().map_err(io(&std::env::temp_dir()))?;
    let mut machine = Machine::new(boot(args, &system.image, directory.path())?);
    machine.architecture = system.architecture;
    machine.hypervisor = args.hypervisor.into();
    machine.accelerator = accelerator(context, args, system)?;
    machine.memory = args.memory;
    machine.processors = args.cpus;
    machine.disks = disks(args)?;
    machine.network = network(context, args);
    machine.forwards = forwards(args, pages)?;
    if args.secure_boot && system.architecture != Architecture::X86_64 {
        return Err(CliError::usage(format!(
            "--secure-boot: the firmware for virtual machines that are {} cannot keep its variables from the system that it \
             starts",
            system.architecture
        ))
        .with_hint("leave it out; images for these machines are signed in the same way, and real ones check it"));
    }
    if args.secure_boot {
        let variables = secure_boot::variables(context, &system.image, directory.path())?;
        machine.secure_boot = Some(variables);
    }
    if args.tpm {
        machine.tpm = Some(secure_boot::tpm(&args.output_dir, args.reset)?);
    }
    Ok(Described {
        machine,
        _directory: directory,
    })
}

fn boot(args: &RunArgs, image: &Image, directory: &Path) -> Result<Boot> {
    match image {
        // Firmware for Cloud Hypervisor boots disks, and no file of this host.
        Image::Efi(efi) if args.direct || args.hypervisor == HypervisorArg::Ch => direct(efi, directory),
        Image::Efi(efi) => Ok(Boot::Firmware { image: efi.clone() }),
        Image::Medium(medium) if !args.direct => Ok(Boot::Media(medium.clone())),
        Image::Medium(_) => Err(CliError::usage(format!(
            "--direct takes kernel and initramfs out of an EFI file, and {} is a disk",
            image.path().display()
        ))),
    }
}

/// Says what runs the guest, and finds out with which accelerator.
fn accelerator(context: &Context, args: &RunArgs, system: &System) -> Result<Accelerator> {
    let image = system.image.path().display();
    if args.hypervisor == HypervisorArg::Ch {
        context
            .ui
            .line(format!("Booting {image}, running with Cloud Hypervisor."));
        return Ok(Accelerator::Kvm);
    }
    let verdict = accel::probe(system.architecture).map_err(vm_error)?;
    context.ui.line(format!("Booting {image}, {verdict}."));
    Ok(verdict.accelerator)
}

fn network(context: &Context, args: &RunArgs) -> Network {
    match (&args.bridge, args.hypervisor) {
        (Some(bridge), _) => Network::Bridge(bridge.clone()),
        (None, HypervisorArg::Qemu) => Network::User,
        (None, HypervisorArg::Ch) => {
            let text = "The node has no network: Cloud Hypervisor has none of its own. --bridge NAME gives it one.";
            context.ui.line(text);
            Network::None
        }
    }
}

/// The ports that were asked for, and those that pages are fetched from.
fn forwards(args: &RunArgs, pages: &[u16]) -> Result<Vec<Forward>> {
    let mut forwards = args.forward.clone();
    let is_forwarded = |port: &u16| args.forward.iter().any(|forward| forward.guest == *port);
    let missing = pages.iter().filter(|port| !is_forwarded(port));
    forwards.extend(missing.map(|guest| Forward { host: 0, guest: *guest }));
    let has_none = args.bridge.is_some() || args.hypervisor == HypervisorArg::Ch;
    match has_none && !forwards.is_empty() {
        true => Err(CliError::usage("ports are forwarded by QEMU's own network only")
            .with_hint("leave out --bridge and --hypervisor ch, or reach the node by its address")),
        false => Ok(forwards),
    }
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
