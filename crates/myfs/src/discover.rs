//! `myfs discover`: modules and firmware that came later, for devices that were there before.
//!
//! | step | for | what it does |
//! |---|---|---|
//! | modules | devices without a driver | `modprobe` with the alias of each, as the kernel's own requests do |
//! | probes | devices that still have none | their bus tries its drivers again: one may have missed its firmware |
//! | events | all devices | `add` once more, for whoever listens to the kernel's events |

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What the kernel itself runs to load a module.
const MODPROBE: &str = "proc/sys/kernel/modprobe";

/// A device of a bus.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Device {
    /// `/sys/bus/BUS/devices/NAME`.
    path: PathBuf,
    /// What a driver for it is found by.
    alias: Option<String>,
    driver: bool,
}

/// What was done.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Discovered {
    /// All devices.
    pub(crate) devices: usize,
    /// Those that have a driver now and had none before.
    pub(crate) served: usize,
}

/// Does all three steps. Whatever one device has against it stops nothing for the others.
pub(crate) fn discover(root: &Path) -> Discovered {
    let before = devices(root);
    load(root, &aliases(&before));
    for device in before.iter().filter(|device| !has_driver(&device.path)) {
        probe(&device.path);
    }
    for device in &before {
        // Refused by devices that went away in the meantime.
        let _ = fs::write(device.path.join("uevent"), "add");
    }
    let without = before.iter().filter(|device| !device.driver);
    Discovered {
        devices: before.len(),
        served: without.filter(|device| has_driver(&device.path)).count(),
    }
}

fn devices(root: &Path) -> Vec<Device> {
    let buses = list(&root.join("sys/bus"));
    let paths = buses.iter().flat_map(|bus| list(&bus.join("devices")));
    let device = |path: PathBuf| Device {
        alias: fs::read_to_string(path.join("modalias")).ok(),
        driver: has_driver(&path),
        path,
    };
    paths.map(device).collect()
}

fn list(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

fn has_driver(device: &Path) -> bool {
    device.join("driver").exists()
}

/// What to ask `modprobe` for: once each, however many devices are alike.
fn aliases(devices: &[Device]) -> BTreeSet<&str> {
    let idle = devices.iter().filter(|device| !device.driver);
    let aliases = idle.filter_map(|device| device.alias.as_deref().map(str::trim));
    aliases.filter(|alias| !alias.is_empty()).collect()
}

/// One call for all, so that the indexes are read once. Most devices have no driver anywhere, and that is no error.
fn load(root: &Path, aliases: &BTreeSet<&str>) {
    let program = fs::read_to_string(root.join(MODPROBE)).unwrap_or_default();
    if program.trim().is_empty() || aliases.is_empty() {
        return;
    }
    let mut command = Command::new(program.trim());
    command.args(["-a", "-q", "-b", "--"]).args(aliases);
    let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    if let Err(error) = quiet.status() {
        eprintln!("myfs: {}: {error}; no module is loaded for devices", program.trim());
    }
}

/// Has the bus of a device look for a driver among those that are loaded.
fn probe(device: &Path) {
    let bus = device.parent().and_then(Path::parent);
    if let (Some(bus), Some(name)) = (bus, device.file_name()) {
        // Buses without drivers have no such file, and a driver that does not work is in the kernel's log.
        let _ = fs::write(bus.join("drivers_probe"), name.as_encoded_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn idle_devices_get_modules_and_a_second_look_and_all_are_announced() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let asked = root.join("asked");
        let devices = [
            ("served", "pci:x", true),
            ("idle", "pci:y", false),
            ("twin", "pci:y", false),
        ];
        for (name, alias, driver) in devices {
            let device = root.join("sys/bus/pci/devices").join(name);
            write(&device.join("modalias"), &format!("{alias}\n"));
            write(&device.join("uevent"), "");
            if driver {
                write(&device.join("driver"), "");
            }
        }
        write(&root.join("sys/bus/dumb/devices/odd/uevent"), "");
        write(&root.join("sys/bus/pci/drivers_probe"), "");
        let modprobe = root.join("modprobe");
        let twin = root.join("sys/bus/pci/devices/twin/driver");
        let script = format!(
            "#!/bin/sh\necho \"$@\" >{}\ntouch {}\n",
            asked.display(),
            twin.display()
        );
        write(&modprobe, &script);
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(&modprobe, fs::Permissions::from_mode(0o755)).unwrap();
        write(&root.join(MODPROBE), &format!("{}\n", modprobe.display()));

        assert_eq!(discover(root), Discovered { devices: 4, served: 1 });
        assert_eq!(fs::read_to_string(&asked).unwrap(), "-a -q -b -- pci:y\n");
        assert_eq!(
            fs::read_to_string(root.join("sys/bus/pci/drivers_probe")).unwrap(),
            "idle"
        );
        for device in ["pci/devices/served", "pci/devices/idle", "dumb/devices/odd"] {
            let uevent = root.join("sys/bus").join(device).join("uevent");
            assert_eq!(fs::read_to_string(uevent).unwrap(), "add", "{device}");
        }
    }

    #[test]
    fn a_node_without_devices_or_modprobe_is_fine() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(discover(folder.path()), Discovered { devices: 0, served: 0 });
        write(&folder.path().join("sys/bus/pci/devices/idle/modalias"), "pci:y\n");
        assert_eq!(discover(folder.path()), Discovered { devices: 1, served: 0 });
    }
}
