//! What Cloud Hypervisor is told of a machine: as JSON for its API, or as a command line. Pure.

use crate::command::{CommandLine, Resources};
use crate::machine::{Boot, Disk, DiskFormat, Machine, Medium};
use serde_json::{Map, Value, json};
use std::ffi::OsString;
use std::path::Path;

/// Where the guest's random numbers come from.
const RANDOM: &str = "/dev/urandom";
const MEBIBYTE: u64 = 1 << 20;

/// A disk as this hypervisor takes it.
struct Drive<'m> {
    path: &'m Path,
    format: DiskFormat,
    is_read_only: bool,
}

impl<'m> Drive<'m> {
    fn of(disk: &'m Disk) -> Self {
        Self {
            path: &disk.path,
            format: disk.format,
            is_read_only: false,
        }
    }
}

/// All disks: what firmware boots from first, for it tries them in order.
fn drives(machine: &Machine) -> Vec<Drive<'_>> {
    let medium = match &machine.boot {
        Boot::Media(Medium::Disk(disk)) => Some(Drive::of(disk)),
        Boot::Media(Medium::Disc(path) | Medium::Stick(path)) => Some(Drive {
            path,
            format: DiskFormat::Raw,
            is_read_only: true,
        }),
        Boot::Media(Medium::Network { .. }) | Boot::Firmware { .. } | Boot::Direct { .. } => None,
    };
    medium.into_iter().chain(machine.disks.iter().map(Drive::of)).collect()
}

/// The body of `vm.create` (schema `VmConfig`). The serial port is a socket at `serial`.
pub(super) fn json(machine: &Machine, resources: &Resources, firmware: Option<&Path>, serial: &Path) -> Value {
    let mut config = json!({
        "cpus": {"boot_vcpus": machine.processors, "max_vcpus": machine.processors},
        "memory": {"size": u64::from(machine.memory) * MEBIBYTE},
        "payload": payload(machine, firmware),
        "rng": {"src": RANDOM},
        "serial": {"mode": "Socket", "socket": serial},
        "console": {"mode": "Off"},
    });
    let drives = drives(machine);
    if !drives.is_empty() {
        config["disks"] = drives.iter().map(disk).collect();
    }
    if let Some(tap) = &resources.tap {
        config["net"] = json!([{"tap": tap.name, "mac": tap.mac}]);
    }
    config
}

fn payload(machine: &Machine, firmware: Option<&Path>) -> Value {
    let mut payload = Map::new();
    if let Some(firmware) = firmware {
        payload.insert("firmware".into(), json!(firmware));
    }
    if let Boot::Direct {
        kernel,
        initrd,
        command_line,
    } = &machine.boot
    {
        payload.insert("kernel".into(), json!(kernel));
        if let Some(initrd) = initrd {
            payload.insert("initramfs".into(), json!(initrd));
        }
        payload.insert("cmdline".into(), json!(command_line.to_string_lossy()));
    }
    Value::Object(payload)
}

fn disk(drive: &Drive<'_>) -> Value {
    let mut disk = json!({"path": drive.path, "image_type": image_type(drive.format)});
    if drive.is_read_only {
        disk["readonly"] = json!(true);
    }
    disk
}

/// Schema `ImageType`.
fn image_type(format: DiskFormat) -> &'static str {
    match format {
        DiskFormat::Raw => "Raw",
        DiskFormat::Qcow2 => "Qcow2",
    }
}

/// The command line that waits for orders at its API.
pub(super) fn api_command(resources: &Resources) -> CommandLine {
    let mut command = CommandLine {
        program: resources.program.clone(),
        arguments: Vec::new(),
    };
    command.option("--api-socket", pair("path", &resources.monitor));
    command
}

/// The command line that runs the machine by itself, on the terminal.
pub(super) fn command(machine: &Machine, resources: &Resources, firmware: Option<&Path>) -> CommandLine {
    let mut command = CommandLine {
        program: resources.program.clone(),
        arguments: Vec::new(),
    };
    command.option("--cpus", format!("boot={}", machine.processors));
    command.option("--memory", format!("size={}M", machine.memory));
    if let Some(firmware) = firmware {
        command.option("--firmware", firmware);
    }
    if let Boot::Direct {
        kernel,
        initrd,
        command_line,
    } = &machine.boot
    {
        command.option("--kernel", kernel);
        if let Some(initrd) = initrd {
            command.option("--initramfs", initrd);
        }
        command.option("--cmdline", command_line);
    }
    for (number, drive) in drives(machine).iter().enumerate() {
        // One option with several values.
        if number == 0 {
            command.arguments.push("--disk".into());
        }
        command.arguments.push(disk_argument(drive));
    }
    if let Some(tap) = &resources.tap {
        command.option("--net", format!("tap={},mac={}", tap.name, tap.mac));
    }
    command.option("--rng", format!("src={RANDOM}"));
    command.option("--serial", "tty");
    command.option("--console", "off");
    command
}

fn disk_argument(drive: &Drive<'_>) -> OsString {
    let mut argument = pair("path", drive.path);
    argument.push(format!(",image_type={}", image_type(drive.format).to_lowercase()));
    if drive.is_read_only {
        argument.push(",readonly=on");
    }
    argument
}

/// An option's `name=path`; a path with a comma is put into quotes, as its parser wants it.
fn pair(name: &str, path: &Path) -> OsString {
    let quote = if path.as_os_str().as_encoded_bytes().contains(&b',') {
        "\""
    } else {
        ""
    };
    let mut pair = OsString::from(format!("{name}={quote}"));
    pair.push(path);
    pair.push(quote);
    pair
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::TapDevice;
    use crate::machine::Network;

    fn resources() -> Resources {
        Resources {
            program: "cloud-hypervisor".into(),
            firmware: None,
            monitor: "/run/vm/api".into(),
            tpm: None,
            forwards: Vec::new(),
            tap: Some(TapDevice {
                name: "mos7t0".into(),
                mac: "52:54:00:00:00:07".into(),
            }),
        }
    }

    fn direct() -> Machine {
        let mut machine = Machine::new(Boot::Direct {
            kernel: "/d/vmlinuz".into(),
            initrd: Some("/d/initramfs".into()),
            command_line: "console=ttyS0 quiet".into(),
        });
        machine.network = Network::Bridge("mosbr".into());
        machine.memory = 2048;
        machine.processors = 2;
        machine.disks = vec![
            Disk {
                path: "/d/disk0.raw".into(),
                format: DiskFormat::Raw,
            },
            Disk {
                path: "/d/a,b.qcow2".into(),
                format: DiskFormat::Qcow2,
            },
        ];
        machine
    }

    #[test]
    fn direct_boot_as_json_and_as_a_command_line() {
        let (machine, resources) = (direct(), resources());
        assert_eq!(
            json(&machine, &resources, None, Path::new("/run/vm/serial")),
            json!({
                "cpus": {"boot_vcpus": 2, "max_vcpus": 2},
                "memory": {"size": 2_147_483_648_u64},
                "payload": {"kernel": "/d/vmlinuz", "initramfs": "/d/initramfs", "cmdline": "console=ttyS0 quiet"},
                "disks": [
                    {"path": "/d/disk0.raw", "image_type": "Raw"},
                    {"path": "/d/a,b.qcow2", "image_type": "Qcow2"}
                ],
                "net": [{"tap": "mos7t0", "mac": "52:54:00:00:00:07"}],
                "rng": {"src": "/dev/urandom"},
                "serial": {"mode": "Socket", "socket": "/run/vm/serial"},
                "console": {"mode": "Off"},
            })
        );
        assert_eq!(
            command(&machine, &resources, None).to_string(),
            "cloud-hypervisor --cpus boot=2 --memory size=2048M --kernel /d/vmlinuz --initramfs /d/initramfs \
             --cmdline 'console=ttyS0 quiet' --disk path=/d/disk0.raw,image_type=raw \
             'path=\"/d/a,b.qcow2\",image_type=qcow2' --net tap=mos7t0,mac=52:54:00:00:00:07 --rng src=/dev/urandom \
             --serial tty --console off"
        );
        assert_eq!(
            api_command(&resources).to_string(),
            "cloud-hypervisor --api-socket path=/run/vm/api"
        );
    }

    #[test]
    fn firmware_finds_the_medium_first() {
        let mut machine = direct();
        machine.boot = Boot::Media(Medium::Disc("/d/boot.iso".into()));
        machine.disks.truncate(1);
        let firmware = Path::new("/f/CLOUDHV.fd");
        let none = Resources {
            tap: None,
            ..resources()
        };
        let config = json(&machine, &none, Some(firmware), Path::new("/s"));
        assert_eq!(config["payload"], json!({"firmware": "/f/CLOUDHV.fd"}));
        assert_eq!(
            config["disks"][0],
            json!({"path": "/d/boot.iso", "image_type": "Raw", "readonly": true})
        );
        assert_eq!(config.get("net"), None);
        let line = command(&machine, &none, Some(firmware)).to_string();
        assert!(
            line.contains(
                " --firmware /f/CLOUDHV.fd --disk path=/d/boot.iso,image_type=raw,readonly=on \
                 path=/d/disk0.raw,image_type=raw --rng "
            ),
            "{line}"
        );
    }
}
