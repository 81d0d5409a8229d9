//! Every kind of output starts a node: firmware boots from it as shipped, to the same marker.

use std::fs;
use std::path::Path;

use mos_vm::{Boot, Disk, DiskFormat, Machine, Medium, Output, Vm, VmError};

use crate::system::{BOOT, System};

/// What the node says once its programs run. They come from the initramfs, so the medium was read whole.
const MARKER: &str = "mosnet: network up: eth0";

/// A small system's image, as these outputs.
fn outputs(kinds: &str) -> System {
    let system = System::new(&[]);
    system.mos(&["image", "build", "--env", "dev", "--output", kinds]);
    system
}

/// Boots from a medium of the folder of outputs, until the console says this.
fn boots(system: &System, said: &str, medium: impl FnOnce(&Path) -> Medium) {
    let mut machine = Machine::new(Boot::Media(medium(&system.repository().join("dist"))));
    machine.memory = 512;
    match Vm::start(&machine, Output::default()) {
        Err(VmError::Missing { what, package }) => eprintln!("SKIPPED: {what} is missing (package {package})"),
        vm => drop(vm.unwrap().wait_for(said, BOOT).unwrap()),
    }
}

fn disk(path: &Path, format: DiskFormat) -> Medium {
    Medium::Disk(Disk {
        path: path.to_owned(),
        format,
    })
}

#[test]
fn raw_disk_boots() {
    let system = outputs("raw");
    boots(&system, MARKER, |dist| disk(&dist.join("disk.raw"), DiskFormat::Raw));
}

#[test]
fn qcow2_disk_boots_and_keeps_state_on_its_second_partition() {
    let system = System::new(&[]);
    let path = "environments/dev.toml";
    let environment = fs::read_to_string(system.repository().join(path)).unwrap();
    let settings = "[image]\noutputs = [\"qcow2\"]\nstate_size = 1024\n";
    system.write(path, &format!("{environment}{settings}"));
    system.mos(&["image", "build", "--env", "dev"]);
    let file = system.repository().join("dist/disk.qcow2");
    assert!(fs::metadata(&file).unwrap().len() < 64 << 20);
    boots(&system, "state disk /dev/vda2 is on /var/cache", |_| {
        disk(&file, DiskFormat::Qcow2)
    });
}

#[test]
fn iso_boots_as_a_disc() {
    let system = outputs("iso");
    boots(&system, MARKER, |dist| Medium::Disc(dist.join("boot.iso")));
}

#[test]
fn iso_boots_as_a_usb_stick() {
    let system = outputs("iso");
    boots(&system, MARKER, |dist| Medium::Stick(dist.join("boot.iso")));
}

#[test]
fn firmware_boots_over_the_network() {
    let system = outputs("pxe");
    boots(&system, MARKER, |dist| Medium::Network {
        folder: dist.join("pxe"),
        file: "vmlinuz.efi".to_owned(),
    });
}
