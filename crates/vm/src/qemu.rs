//! Starts QEMU: finds it and its firmware, opens ports, lays out the machine's directory.

use crate::command::{CommandLine, FirmwareFiles, Resources};
use crate::error::VmError;
use crate::launch::{Control, Launched, Process, stderr};
use crate::machine::{Boot, Forward, Machine};
use crate::tap::Tap;
use crate::tools;
use crate::tpm::Tpm;
use mos_architecture::Architecture;
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where firmware looks for what to boot from a disk without boot entries (UEFI specification, 3.5.1.1).
const BOOT_FOLDER: &str = "EFI/BOOT";

/// Starts a machine whose sockets and files are in `directory`.
pub(crate) fn launch(machine: &Machine, interactive: bool, directory: &Path) -> Result<Launched, VmError> {
    let state = machine.tpm.as_ref();
    let tpm = state.map(|state| Tpm::start(state, directory)).transpose()?;
    let tap = Tap::of(&machine.network)?;
    let mut resources = prepare(machine, directory)?;
    resources.tpm = tpm.as_ref().map(|tpm| tpm.socket.clone());
    resources.tap = tap.as_ref().map(|tap| tap.device.clone());
    let command = CommandLine::qemu(machine, &resources);
    let mut process = Command::new(&command.program);
    let input = if interactive { Stdio::inherit() } else { Stdio::piped() };
    process
        .args(&command.arguments)
        .stdin(input)
        .stdout(Stdio::piped())
        .stderr(stderr(directory)?);
    let (process, console, keys) = Process::start(&mut process)?;
    Ok(Launched {
        process,
        console,
        keys,
        command,
        forwards: resources.forwards,
        control: Control::Qmp(resources.monitor),
        tpm,
        tap,
    })
}

/// Finds programs and firmware, opens ports, and lays out the machine's directory.
fn prepare(machine: &Machine, directory: &Path) -> Result<Resources, VmError> {
    let firmware = match &machine.boot {
        Boot::Firmware { image } => Some(prepare_firmware(Some(image), machine, directory)?),
        Boot::Media(_) => Some(prepare_firmware(None, machine, directory)?),
        Boot::Direct { .. } => None,
    };
    Ok(Resources {
        program: tools::program(tools::qemu(machine.architecture))?,
        firmware,
        monitor: directory.join("monitor"),
        tpm: None,
        tap: None,
        forwards: machine
            .forwards
            .iter()
            .copied()
            .map(choose_port)
            .collect::<Result<_, _>>()?,
    })
}

fn prepare_firmware(image: Option<&PathBuf>, machine: &Machine, directory: &Path) -> Result<FirmwareFiles, VmError> {
    let enrolled = machine.secure_boot.as_ref();
    let found = match enrolled {
        Some(_) => tools::secure_firmware()?,
        None => tools::firmware(machine.architecture)?,
    };
    let (template, variables) = (
        enrolled.unwrap_or(&found.variables),
        directory.join("firmware-variables"),
    );
    fs::copy(template, &variables).map_err(VmError::io(template))?;
    Ok(FirmwareFiles {
        code: found.code,
        variables,
        boot_disk: image
            .map(|image| prepare_boot_disk(image, machine.architecture, directory))
            .transpose()?,
    })
}

/// A folder that the machine sees as a FAT disk, with the image where firmware looks.
fn prepare_boot_disk(image: &Path, architecture: Architecture, directory: &Path) -> Result<PathBuf, VmError> {
    if directory.as_os_str().as_encoded_bytes().contains(&b':') {
        return Err(VmError::Colon {
            path: directory.to_owned(),
        });
    }
    let boot_disk = directory.join("boot");
    let folder = boot_disk.join(BOOT_FOLDER);
    fs::create_dir_all(&folder).map_err(VmError::io(&folder))?;
    fs::copy(image, folder.join(architecture.boot_file())).map_err(VmError::io(image))?;
    Ok(boot_disk)
}

/// Finds a free port for 0, and checks that the others are free: QEMU's own message is less clear.
fn choose_port(forward: Forward) -> Result<Forward, VmError> {
    let bound = TcpListener::bind((Ipv4Addr::LOCALHOST, forward.host)).and_then(|listener| listener.local_addr());
    match bound {
        Ok(address) => Ok(Forward {
            host: address.port(),
            ..forward
        }),
        Err(source) => Err(VmError::Port {
            port: forward.host,
            source,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_boot_disk_has_what_the_firmware_of_the_machine_looks_for() {
        let directory = tempfile::tempdir().unwrap();
        let image = directory.path().join("vmlinuz.efi");
        fs::write(&image, "image").unwrap();
        for (architecture, name) in [
            (Architecture::X86_64, "BOOTX64.EFI"),
            (Architecture::Aarch64, "BOOTAA64.EFI"),
        ] {
            let disk = prepare_boot_disk(&image, architecture, directory.path()).unwrap();
            assert_eq!(fs::read(disk.join("EFI/BOOT").join(name)).unwrap(), b"image");
        }
    }

    #[test]
    fn any_free_port_is_chosen_and_a_taken_one_refused() {
        let chosen = choose_port(Forward { host: 0, guest: 80 }).unwrap();
        assert!(chosen.host > 0);
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let error = choose_port(Forward { host: port, guest: 80 }).unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("port {port} of 127.0.0.1 cannot be forwarded: ")),
            "{error}"
        );
    }
}
