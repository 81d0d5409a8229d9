//! Cloud Hypervisor: started with nothing but the socket of its API, then told what to be.
//!
//! ```text
//! cloud-hypervisor --api-socket path=S     PUT vm.create {payload, cpus, memory, disks, net, serial, …}
//!                                          connect to the serial port's socket
//!                                          PUT vm.boot … PUT vm.power-button … PUT vmm.shutdown
//! ```
//!
//! The API is that of `vmm/src/api/openapi/cloud-hypervisor.yaml`, version 0.3.0. The serial port is a socket, for what is typed
//! is lost unless a terminal is connected otherwise; it is connected before the machine boots, since older versions keep nothing
//! for who comes later. The process ends when the machine powers off.

pub(crate) mod api;
mod config;

use crate::command::{CommandLine, Resources};
use crate::error::VmError;
use crate::launch::{Control, Launched, Process, said, stderr};
use crate::machine::{Boot, Machine, Network};
use crate::tap::Tap;
use crate::tools;
use mos_architecture::Architecture;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Its name.
pub(crate) const NAME: &str = "cloud-hypervisor";
/// How long it may take to listen.
const START: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(10);

/// Starts a machine whose sockets and files are in `directory`.
pub(crate) fn launch(machine: &Machine, interactive: bool, directory: &Path) -> Result<Launched, VmError> {
    let program = tools::cloud_hypervisor()?;
    check(machine)?;
    let tap = Tap::of(&machine.network)?;
    let resources = Resources {
        program,
        firmware: None,
        monitor: directory.join("api"),
        tpm: None,
        forwards: Vec::new(),
        tap: tap.as_ref().map(|tap| tap.device.clone()),
    };
    let firmware = firmware(machine)?;
    let serial = directory.join("serial");
    let wanted = config::json(machine, &resources, firmware.as_deref(), &serial);
    let command = config::api_command(&resources);
    let mut started = Command::new(&command.program);
    started
        .args(&command.arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(stderr(directory)?);
    let (mut process, ..) = Process::start(&mut started)?;
    let api = &resources.monitor;
    wait(&mut process, api, directory)?;
    api::put(api, "vm.create", Some(&wanted))?;
    let connect = || UnixStream::connect(&serial).and_then(|console| Ok((console.try_clone()?, console)));
    let (console, keys) = connect().map_err(VmError::io(&serial))?;
    api::put(api, "vm.boot", None)?;
    if interactive {
        type_along(keys.try_clone().map_err(VmError::io(&serial))?);
    }
    Ok(Launched {
        process,
        console: Box::new(console),
        keys: (!interactive).then(|| Box::new(keys) as _),
        command,
        forwards: Vec::new(),
        control: Control::Cloud(resources.monitor),
        tpm: None,
        tap,
    })
}

/// What a command line by hand would be; needs no program.
///
/// # Errors
/// [`VmError::Unsupported`]; when the firmware is missing that a disk image needs.
pub fn command(machine: &Machine, resources: &Resources) -> Result<CommandLine, VmError> {
    check(machine)?;
    Ok(config::command(machine, resources, firmware(machine)?.as_deref()))
}

/// The firmware, where the machine boots through it.
fn firmware(machine: &Machine) -> Result<Option<PathBuf>, VmError> {
    match machine.boot {
        Boot::Media(_) => tools::cloud_firmware().map(Some),
        Boot::Direct { .. } | Boot::Firmware { .. } => Ok(None),
    }
}

/// Refuses what this hypervisor does not have.
fn check(machine: &Machine) -> Result<(), VmError> {
    let wrong = [
        (
            machine.architecture != Architecture::HOST,
            "run a machine with another processor than this one",
        ),
        (
            matches!(machine.boot, Boot::Firmware { .. }),
            "boot an EFI file through firmware: boot it directly, or a disk image",
        ),
        (
            machine.network == Network::User || !machine.forwards.is_empty(),
            "forward ports: it has no network of its own; use a bridge",
        ),
        (machine.secure_boot.is_some(), "do Secure Boot"),
        (machine.tpm.is_some(), "have its TPM measure a boot without firmware"),
        (!machine.devices.is_empty(), "take devices of QEMU"),
    ];
    match wrong.into_iter().find(|(wrong, _)| *wrong) {
        Some((_, what)) => Err(unsupported(what)),
        None => Ok(()),
    }
}

pub(crate) fn unsupported(what: &'static str) -> VmError {
    VmError::Unsupported { hypervisor: NAME, what }
}

/// Waits until its API answers.
fn wait(process: &mut Process, api: &Path, directory: &Path) -> Result<(), VmError> {
    let failed = |reason: String| VmError::Monitor {
        hypervisor: NAME,
        what: "start",
        reason: format!("{reason} {}", said(directory)).trim_end().to_owned(),
    };
    let end = Instant::now() + START;
    loop {
        if UnixStream::connect(api).is_ok() {
            return Ok(());
        }
        match process.try_wait() {
            Ok(None) if Instant::now() < end => std::thread::sleep(POLL),
            Ok(None) => return Err(failed(format!("it does not listen after {} s", START.as_secs()))),
            Ok(Some(status)) => return Err(failed(format!("it ended: {status}"))),
            Err(error) => return Err(failed(error.to_string())),
        }
    }
}

/// Gives the user's lines to the console until either ends.
fn type_along(mut keys: UnixStream) {
    std::thread::spawn(move || {
        // Nobody is left to be told when the machine no longer listens.
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut keys);
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::{Forward, Medium};

    #[test]
    fn what_it_does_not_have_is_refused_in_words() {
        let direct = Boot::Direct {
            kernel: "k".into(),
            initrd: None,
            command_line: "".into(),
        };
        let mut machine = Machine::new(direct);
        let refused = |machine: &Machine| check(machine).unwrap_err().to_string();
        assert!(refused(&machine).contains("use a bridge"), "{}", refused(&machine));
        machine.network = Network::None;
        check(&machine).unwrap();
        machine.forwards = vec![Forward { host: 0, guest: 80 }];
        assert!(refused(&machine).starts_with("cloud-hypervisor cannot forward ports"));
        machine.forwards.clear();
        machine.secure_boot = Some("keys".into());
        assert_eq!(refused(&machine), "cloud-hypervisor cannot do Secure Boot");
        machine.secure_boot = None;
        machine.boot = Boot::Firmware { image: "a.efi".into() };
        assert!(refused(&machine).contains("boot it directly"));
        machine.boot = Boot::Media(Medium::Disc("a.iso".into()));
        check(&machine).unwrap();
    }
}
