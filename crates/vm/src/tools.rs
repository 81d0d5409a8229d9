//! Finds programs and firmware on the host; what is missing is told with the Debian package that brings it.

use crate::error::VmError;
use mos_architecture::Architecture;
use std::env;
use std::path::{Path, PathBuf};

/// The emulator of machines of an architecture.
pub const fn qemu(architecture: Architecture) -> (&'static str, &'static str) {
    match architecture {
        Architecture::X86_64 => ("qemu-system-x86_64", "qemu-system-x86"),
        Architecture::Aarch64 => ("qemu-system-aarch64", "qemu-system-arm"),
    }
}
/// The other hypervisor; Debian has no package of it.
pub const CLOUD_HYPERVISOR: &str = "cloud-hypervisor";
/// Where its programs and firmware are.
const CLOUD_RELEASES: &str = "https://github.com/cloud-hypervisor (releases of cloud-hypervisor and edk2)";
/// Shows and changes network interfaces.
pub const IP: (&str, &str) = ("ip", "iproute2");
/// Does what only root may.
pub const SUDO: (&str, &str) = ("sudo", "sudo");
/// Makes qcow2 files.
pub const QEMU_IMG: (&str, &str) = ("qemu-img", "qemu-utils");
/// Makes ext4 file systems.
pub const MKFS_EXT4: (&str, &str) = ("mkfs.ext4", "e2fsprogs");

/// A TPM in software.
pub const SWTPM: (&str, &str) = ("swtpm", "swtpm");

/// Directories of system programs, which an ordinary user's search path often lacks.
const SYSTEM_DIRECTORIES: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// UEFI firmware: its program and the template of its variables, which belong together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Firmware {
    /// The program.
    pub code: PathBuf,
    /// The variables, to be copied for each machine.
    pub variables: PathBuf,
}

/// Where distributions keep OVMF for x86-64, without Secure Boot keys enrolled.
const FIRMWARE: [(&str, &str); 5] = [
    ("/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"), // Debian, Ubuntu
    (
        "/usr/share/edk2/x64/OVMF_CODE.4m.fd",
        "/usr/share/edk2/x64/OVMF_VARS.4m.fd",
    ), // Arch
    ("/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd"), // Fedora
    (
        "/usr/share/qemu/ovmf-x86_64-code.bin",
        "/usr/share/qemu/ovmf-x86_64-vars.bin",
    ), // openSUSE
    ("/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"),       // Alpine, older Debian
];

/// Where distributions keep EDK2's firmware for QEMU's machine `virt`, as images of 64 MiB, which is what that machine has
/// room for.
const ARM_FIRMWARE: [(&str, &str); 4] = [
    ("/usr/share/AAVMF/AAVMF_CODE.fd", "/usr/share/AAVMF/AAVMF_VARS.fd"), // Debian, Ubuntu
    (
        "/usr/share/edk2/aarch64/QEMU_CODE.fd",
        "/usr/share/edk2/aarch64/QEMU_VARS.fd",
    ), // Arch
    (
        "/usr/share/edk2/aarch64/QEMU_EFI-pflash.raw",
        "/usr/share/edk2/aarch64/vars-template-pflash.raw",
    ), // Fedora
    (
        "/usr/share/qemu/aavmf-aarch64-code.bin",
        "/usr/share/qemu/aavmf-aarch64-vars.bin",
    ), // openSUSE
];

/// Where distributions keep OVMF with Secure Boot and system management mode, and the variables without keys for it.
const SECURE_FIRMWARE: [(&str, &str); 4] = [
    (
        "/usr/share/OVMF/OVMF_CODE_4M.secboot.fd",
        "/usr/share/OVMF/OVMF_VARS_4M.fd",
    ), // Debian, Ubuntu
    (
        "/usr/share/edk2/x64/OVMF_CODE.secboot.4m.fd",
        "/usr/share/edk2/x64/OVMF_VARS.4m.fd",
    ), // Arch
    (
        "/usr/share/edk2/ovmf/OVMF_CODE.secboot.fd",
        "/usr/share/edk2/ovmf/OVMF_VARS.fd",
    ), // Fedora
    ("/usr/share/OVMF/OVMF_CODE.secboot.fd", "/usr/share/OVMF/OVMF_VARS.fd"), // older Debian
];

/// Where UEFI firmware for Cloud Hypervisor is looked for: EDK2's, then the small one in Rust.
const CLOUD_FIRMWARE: [&str; 4] = [
    "/usr/share/cloud-hypervisor/CLOUDHV.fd",
    "/usr/local/share/cloud-hypervisor/CLOUDHV.fd",
    "/usr/share/cloud-hypervisor/hypervisor-fw",
    "/usr/local/share/cloud-hypervisor/hypervisor-fw",
];

/// The path of Cloud Hypervisor's program.
///
/// # Errors
/// When it is in none of the usual directories.
pub fn cloud_hypervisor() -> Result<PathBuf, VmError> {
    find(directories(), CLOUD_HYPERVISOR).ok_or(VmError::NotPackaged {
        what: "the program cloud-hypervisor",
        from: CLOUD_RELEASES,
    })
}

/// UEFI firmware for Cloud Hypervisor.
///
/// # Errors
/// When there is none in a place known here.
pub fn cloud_firmware() -> Result<PathBuf, VmError> {
    let mut places = CLOUD_FIRMWARE.iter().map(PathBuf::from);
    places.find(|path| path.is_file()).ok_or(VmError::NotPackaged {
        what: "/usr/local/share/cloud-hypervisor/CLOUDHV.fd, UEFI firmware for cloud-hypervisor,",
        from: CLOUD_RELEASES,
    })
}

/// The path of a program, given with its package.
///
/// # Errors
/// When it is in none of the usual directories.
pub fn program((name, package): (&str, &'static str)) -> Result<PathBuf, VmError> {
    find(directories(), name).ok_or_else(|| VmError::Missing {
        what: format!("the program {name}"),
        package,
    })
}

/// Where programs are looked for.
fn directories() -> impl Iterator<Item = PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let named: Vec<PathBuf> = env::split_paths(&path).collect();
    named.into_iter().chain(SYSTEM_DIRECTORIES.map(PathBuf::from))
}

/// UEFI firmware for machines of an architecture.
///
/// # Errors
/// When none is installed in a place known here.
pub fn firmware(architecture: Architecture) -> Result<Firmware, VmError> {
    match architecture {
        Architecture::X86_64 => known(&FIRMWARE, "UEFI firmware for virtual machines (OVMF)", "ovmf"),
        Architecture::Aarch64 => known(
            &ARM_FIRMWARE,
            "UEFI firmware for virtual machines (AAVMF)",
            "qemu-efi-aarch64",
        ),
    }
}

/// UEFI firmware for x86-64 with Secure Boot, in whose variables keys can be enrolled.
///
/// # Errors
/// When none is installed in a place known here.
pub fn secure_firmware() -> Result<Firmware, VmError> {
    known(
        &SECURE_FIRMWARE,
        "UEFI firmware with Secure Boot for virtual machines (OVMF)",
        "ovmf",
    )
}

fn known(places: &[(&str, &str)], what: &str, package: &'static str) -> Result<Firmware, VmError> {
    let known = places.iter().map(|(code, variables)| Firmware {
        code: code.into(),
        variables: variables.into(),
    });
    let there = |firmware: &Firmware| firmware.code.is_file() && firmware.variables.is_file();
    known.into_iter().find(there).ok_or_else(|| VmError::Missing {
        what: what.to_owned(),
        package,
    })
}

fn find(directories: impl Iterator<Item = PathBuf>, name: &str) -> Option<PathBuf> {
    directories
        .map(|directory| directory.join(name))
        .find(|path| Path::is_file(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_program_names_its_package() {
        let error = program(("no-such-emulator", "qemu-system-x86")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the program no-such-emulator is missing; install the Debian package qemu-system-x86"
        );
    }

    #[test]
    fn programs_outside_an_ordinary_search_path_are_found() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("mkfs"), "").unwrap();
        let directories = [PathBuf::from("/nowhere"), directory.path().to_owned()];
        assert_eq!(
            find(directories.into_iter(), "mkfs"),
            Some(directory.path().join("mkfs"))
        );
    }
}
