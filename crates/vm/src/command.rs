//! Command lines, and that of QEMU for a machine. Pure: values that can be printed and compared.

use crate::machine::{Boot, Forward, Machine, Medium, Network};
use mos_architecture::Architecture;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

/// What was found or made on the host for one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resources {
    /// The hypervisor's program.
    pub program: PathBuf,
    /// With [`Boot::Firmware`] and [`Boot::Media`].
    pub firmware: Option<FirmwareFiles>,
    /// Where the monitor (QMP) listens.
    pub monitor: PathBuf,
    /// Where the machine's TPM listens.
    pub tpm: Option<PathBuf>,
    /// The machine's forwards with real host ports.
    pub forwards: Vec<Forward>,
    /// With [`Network::Bridge`].
    pub tap: Option<TapDevice>,
}

/// A TAP interface that is on a bridge of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TapDevice {
    /// Its name.
    pub name: String,
    /// The hardware address of the machine's network card.
    pub mac: String,
}

/// What UEFI firmware needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirmwareFiles {
    /// Its program, read-only.
    pub code: PathBuf,
    /// This machine's own copy of its variables.
    pub variables: PathBuf,
    /// A directory that the machine sees as a FAT disk, with the image in `EFI/BOOT`; with [`Boot::Firmware`].
    pub boot_disk: Option<PathBuf>,
}

/// A program with its arguments. `Display` gives a line for a shell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandLine {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
}

impl CommandLine {
    /// The command line with which QEMU runs this machine with these resources.
    pub fn qemu(machine: &Machine, resources: &Resources) -> Self {
        let mut command = Self {
            program: resources.program.clone(),
            arguments: Vec::new(),
        };
        command.accelerator(machine);
        command.option("-m", machine.memory.to_string());
        command.option("-smp", machine.processors.to_string());
        command.arguments.push("-nodefaults".into());
        if !machine.restarts {
            command.arguments.push("-no-reboot".into());
        }
        command.option("-display", "none");
        command.option("-serial", "stdio");
        command.option(
            "-chardev",
            with_path("socket,id=monitor,server=on,wait=off,path=", &resources.monitor),
        );
        command.option("-mon", "chardev=monitor,mode=control");
        command.disks(machine);
        command.boot(machine, resources.firmware.as_ref());
        match (&machine.network, &resources.tap) {
            (Network::User, _) => command.user_network(&machine.boot, &resources.forwards),
            (Network::Bridge(_), Some(tap)) => command.bridged(tap),
            (Network::Bridge(_), None) | (Network::None, _) => {}
        }
        if let Some(socket) = &resources.tpm {
            command.tpm(machine.architecture, socket);
        }
        for device in &machine.devices {
            command.option("-device", device);
        }
        // Without entropy of its own a guest waits for it at boot.
        command.option("-device", "virtio-rng-pci");
        command
    }

    pub(crate) fn option(&mut self, name: &str, value: impl Into<OsString>) {
        self.arguments.extend([name.into(), value.into()]);
    }

    /// With Secure Boot only the firmware may write its variables: in system management mode, which the system that it
    /// starts cannot enter.
    fn accelerator(&mut self, machine: &Machine) {
        match machine.architecture {
            Architecture::X86_64 if machine.secure_boot.is_some() => {
                self.option("-machine", "q35,smm=on");
                self.option("-global", "driver=cfi.pflash01,property=secure,value=on");
            }
            Architecture::X86_64 => self.option("-machine", "q35"),
            // The oldest interrupt controller, which is the default, serves eight processors at most.
            Architecture::Aarch64 => self.option("-machine", "virt,gic-version=max"),
        }
        self.option("-accel", machine.accelerator.argument());
        self.option("-cpu", machine.accelerator.processor(machine.architecture));
    }

    fn tpm(&mut self, architecture: Architecture, socket: &Path) {
        self.option("-chardev", with_path("socket,id=tpm,path=", socket));
        self.option("-tpmdev", "emulator,id=tpm0,chardev=tpm");
        let device = match architecture {
            Architecture::X86_64 => "tpm-crb",
            Architecture::Aarch64 => "tpm-tis-device",
        };
        self.option("-device", format!("{device},tpmdev=tpm0"));
    }

    fn boot(&mut self, machine: &Machine, firmware: Option<&FirmwareFiles>) {
        if let Some(files) = firmware {
            self.firmware(files);
        }
        match &machine.boot {
            Boot::Direct {
                kernel,
                initrd,
                command_line,
            } => {
                self.option("-kernel", kernel);
                if let Some(initrd) = initrd {
                    self.option("-initrd", initrd);
                }
                self.option("-append", command_line);
            }
            Boot::Firmware { .. } => {
                if let Some(folder) = firmware.and_then(|files| files.boot_disk.as_ref()) {
                    self.boot_drive("format=raw,readonly=on,file=fat:", folder, "virtio-blk-pci");
                }
            }
            Boot::Media(medium) => self.medium(machine.architecture, medium),
        }
    }

    fn firmware(&mut self, files: &FirmwareFiles) {
        self.option(
            "-drive",
            with_path("if=pflash,format=raw,unit=0,readonly=on,file=", &files.code),
        );
        self.option(
            "-drive",
            with_path("if=pflash,format=raw,unit=1,file=", &files.variables),
        );
    }

    fn medium(&mut self, architecture: Architecture, medium: &Medium) {
        match medium {
            Medium::Disk(disk) => {
                let options = format!("format={},discard=unmap,file=", disk.format.name());
                self.boot_drive(&options, &disk.path, "virtio-blk-pci");
            }
            Medium::Disc(path) => {
                let drive = match architecture {
                    Architecture::X86_64 => "ide-cd",
                    Architecture::Aarch64 => {
                        self.option("-device", "virtio-scsi-pci");
                        "scsi-cd"
                    }
                };
                self.boot_drive("media=cdrom,format=raw,readonly=on,file=", path, drive);
            }
            Medium::Stick(path) => {
                self.option("-device", "qemu-xhci");
                self.boot_drive("format=raw,readonly=on,file=", path, "usb-storage");
            }
            // The network card has what is needed.
            Medium::Network { .. } => {}
        }
    }

    /// What firmware tries first.
    fn boot_drive(&mut self, options: &str, path: &Path, device: &str) {
        self.option("-drive", with_path(&format!("if=none,id=boot,{options}"), path));
        self.option("-device", format!("{device},drive=boot,bootindex=0"));
    }

    fn disks(&mut self, machine: &Machine) {
        for (number, disk) in machine.disks.iter().enumerate() {
            let head = format!(
                "if=none,id=disk{number},format={},discard=unmap,file=",
                disk.format.name()
            );
            self.option("-drive", with_path(&head, &disk.path));
            self.option("-device", format!("virtio-blk-pci,drive=disk{number}"));
        }
    }

    fn bridged(&mut self, tap: &TapDevice) {
        let TapDevice { name, mac } = tap;
        self.option("-netdev", format!("tap,id=net0,ifname={name},script=no,downscript=no"));
        self.option("-device", format!("virtio-net-pci,netdev=net0,romfile=,mac={mac}"));
    }

    fn user_network(&mut self, boot: &Boot, forwards: &[Forward]) {
        let mut user = OsString::from("user,id=net0");
        for forward in forwards {
            user.push(format!(",hostfwd=tcp:127.0.0.1:{}-:{}", forward.host, forward.guest));
        }
        // The option ROM is iPXE, which would come before the firmware's own network boot; nobody else needs it.
        let mut card = String::from("virtio-net-pci,netdev=net0,romfile=");
        if let Boot::Media(Medium::Network { folder, file }) = boot {
            user.push(with_path(",tftp=", folder));
            user.push(format!(",bootfile={file}"));
            card.push_str(",bootindex=0");
        }
        self.option("-netdev", user);
        self.option("-device", card);
    }
}

/// An option that ends in a path; commas in it are doubled, as QEMU wants them.
fn with_path(head: &str, path: &Path) -> OsString {
    let mut bytes = head.as_bytes().to_vec();
    for &byte in path.as_os_str().as_bytes() {
        bytes.extend(std::iter::repeat_n(byte, if byte == b',' { 2 } else { 1 }));
    }
    OsString::from_vec(bytes)
}

impl fmt::Display for CommandLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", quoted(self.program.as_ref()))?;
        self.arguments
            .iter()
            .try_for_each(|argument| write!(f, " {}", quoted(argument)))
    }
}

fn quoted(argument: &OsStr) -> String {
    let text = Path::new(argument).display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=,.:/+@%".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text;
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accel::Accelerator;
    use crate::machine::{Disk, DiskFormat};

    fn resources() -> Resources {
        Resources {
            program: "qemu-system-x86_64".into(),
            firmware: None,
            monitor: "/run/vm/qmp".into(),
            tpm: None,
            forwards: Vec::new(),
            tap: None,
        }
    }

    #[test]
    fn direct_boot() {
        let mut machine = Machine::new(Boot::Direct {
            kernel: "vmlinuz".into(),
            initrd: Some("my initrd".into()),
            command_line: "console=ttyS0 quiet".into(),
        });
        machine.forwards = vec![Forward { host: 0, guest: 80 }];
        let found = Resources {
            forwards: vec![Forward { host: 40001, guest: 80 }],
            ..resources()
        };
        assert_eq!(
            CommandLine::qemu(&machine, &found).to_string(),
            "qemu-system-x86_64 -machine q35 -accel tcg,thread=multi -cpu max -m 1024 -smp 1 -nodefaults -no-reboot \
             -display none -serial stdio -chardev socket,id=monitor,server=on,wait=off,path=/run/vm/qmp \
             -mon chardev=monitor,mode=control -kernel vmlinuz -initrd 'my initrd' -append 'console=ttyS0 quiet' \
             -netdev user,id=net0,hostfwd=tcp:127.0.0.1:40001-:80 -device virtio-net-pci,netdev=net0,romfile= \
             -device virtio-rng-pci"
        );
    }

    #[test]
    fn firmware_boot_with_disks_and_kvm() {
        let mut machine = Machine::new(Boot::Firmware {
            image: "vmlinuz.efi".into(),
        });
        machine.accelerator = Accelerator::Kvm;
        machine.network = Network::None;
        machine.devices = vec!["i82551,romfile=".into()];
        machine.disks = vec![
            Disk {
                path: "/d/a,b.raw".into(),
                format: DiskFormat::Raw,
            },
            Disk {
                path: "/d/c.qcow2".into(),
                format: DiskFormat::Qcow2,
            },
        ];
        let firmware = FirmwareFiles {
            code: "/fw/code.fd".into(),
            variables: "/run/vm/vars.fd".into(),
            boot_disk: Some("/run/vm/boot".into()),
        };
        let found = Resources {
            firmware: Some(firmware),
            ..resources()
        };
        assert_eq!(
            CommandLine::qemu(&machine, &found).to_string(),
            "qemu-system-x86_64 -machine q35 -accel kvm -cpu host -m 1024 -smp 1 -nodefaults -no-reboot \
             -display none -serial stdio -chardev socket,id=monitor,server=on,wait=off,path=/run/vm/qmp \
             -mon chardev=monitor,mode=control \
             -drive if=none,id=disk0,format=raw,discard=unmap,file=/d/a,,b.raw -device virtio-blk-pci,drive=disk0 \
             -drive if=none,id=disk1,format=qcow2,discard=unmap,file=/d/c.qcow2 -device virtio-blk-pci,drive=disk1 \
             -drive if=pflash,format=raw,unit=0,readonly=on,file=/fw/code.fd \
             -drive if=pflash,format=raw,unit=1,file=/run/vm/vars.fd \
             -drive if=none,id=boot,format=raw,readonly=on,file=fat:/run/vm/boot \
             -device virtio-blk-pci,drive=boot,bootindex=0 -device i82551,romfile= -device virtio-rng-pci"
        );
    }

    #[test]
    fn media() {
        let disk = Disk {
            path: "/d/disk.qcow2".into(),
            format: DiskFormat::Qcow2,
        };
        let network = Medium::Network {
            folder: "/d/a,b".into(),
            file: "vmlinuz.efi".into(),
        };
        for (medium, expected) in [
            (
                Medium::Disk(disk),
                "-drive if=none,id=boot,format=qcow2,discard=unmap,file=/d/disk.qcow2 \
                 -device virtio-blk-pci,drive=boot,bootindex=0",
            ),
            (
                Medium::Disc("/d/boot.iso".into()),
                "-drive if=none,id=boot,media=cdrom,format=raw,readonly=on,file=/d/boot.iso \
                 -device ide-cd,drive=boot,bootindex=0",
            ),
            (
                Medium::Stick("/d/boot.iso".into()),
                "-device qemu-xhci -drive if=none,id=boot,format=raw,readonly=on,file=/d/boot.iso \
                 -device usb-storage,drive=boot,bootindex=0",
            ),
            (
                network,
                "-netdev user,id=net0,tftp=/d/a,,b,bootfile=vmlinuz.efi \
                 -device virtio-net-pci,netdev=net0,romfile=,bootindex=0",
            ),
        ] {
            let machine = Machine::new(Boot::Media(medium));
            let command = CommandLine::qemu(&machine, &resources()).to_string();
            assert!(command.contains(expected), "{command}");
        }
    }

    #[test]
    fn secure_boot_locks_the_variables_and_a_tpm_is_a_device() {
        let mut machine = Machine::new(Boot::Firmware {
            image: "vmlinuz.efi".into(),
        });
        machine.secure_boot = Some("vars.fd".into());
        let found = Resources {
            tpm: Some("/run/vm/tpm".into()),
            ..resources()
        };
        let line = CommandLine::qemu(&machine, &found).to_string();
        for expected in [
            "-machine q35,smm=on -global driver=cfi.pflash01,property=secure,value=on -accel",
            "-chardev socket,id=tpm,path=/run/vm/tpm -tpmdev emulator,id=tpm0,chardev=tpm -device tpm-crb,tpmdev=tpm0",
        ] {
            assert!(line.contains(expected), "{line}");
        }
    }

    #[test]
    fn a_machine_with_an_arm_processor_has_no_parts_of_a_pc() {
        let mut machine = Machine::new(Boot::Media(Medium::Disc("/d/boot.iso".into())));
        machine.architecture = Architecture::Aarch64;
        let found = Resources {
            program: "qemu-system-aarch64".into(),
            tpm: Some("/run/vm/tpm".into()),
            ..resources()
        };
        let line = CommandLine::qemu(&machine, &found).to_string();
        for expected in [
            "qemu-system-aarch64 -machine virt,gic-version=max -accel tcg,thread=multi -cpu max,pauth-impdef=on -m 1024",
            "-serial stdio",
            "-device virtio-scsi-pci -drive if=none,id=boot,media=cdrom,format=raw,readonly=on,file=/d/boot.iso \
             -device scsi-cd,drive=boot,bootindex=0",
            "-device tpm-tis-device,tpmdev=tpm0",
        ] {
            assert!(line.contains(expected), "{expected} is not in: {line}");
        }
        assert!(!line.contains("q35") && !line.contains("ide-cd"), "{line}");
    }

    #[test]
    fn quotes_for_a_shell() {
        assert_eq!(quoted(OsStr::new("it's")), r"'it'\''s'");
        assert_eq!(quoted(OsStr::new("")), "''");
    }

    #[test]
    fn a_bridge_is_reached_through_a_tap_interface() {
        let mut machine = Machine::new(Boot::Direct {
            kernel: "vmlinuz".into(),
            initrd: None,
            command_line: "quiet".into(),
        });
        machine.network = Network::Bridge("mosbr".into());
        let found = Resources {
            tap: Some(TapDevice {
                name: "mos7t0".into(),
                mac: "52:54:00:00:00:07".into(),
            }),
            ..resources()
        };
        let line = CommandLine::qemu(&machine, &found).to_string();
        assert!(
            line.contains(
                " -netdev tap,id=net0,ifname=mos7t0,script=no,downscript=no \
                 -device virtio-net-pci,netdev=net0,romfile=,mac=52:54:00:00:00:07 "
            ),
            "{line}"
        );
        assert!(!line.contains("user,"), "{line}");
    }
}
