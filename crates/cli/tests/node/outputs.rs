//! Every kind of output starts a node: firmware boots from it as shipped, to the same marker.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use mos_vm::{Boot, Disk, DiskFormat, Machine, Medium, Output, Vm, VmError};

use crate::support::{cache, run};
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

/// Every kind of output of a repository, made with a cache of its own, but for downloads.
fn made_alone(system: &System, repository: &Path, environment: &[(&str, &str)]) -> BTreeMap<String, Vec<u8>> {
    let own = repository.join("../cache");
    fs::create_dir_all(&own).unwrap();
    symlink(cache().join("apt"), own.join("apt")).unwrap();
    let mut command = system.command(&["image", "build", "--env", "dev", "--output", "all"]);
    command.current_dir(repository).env("MOS_CACHE", own);
    run(command.envs(environment.iter().copied()));
    let folders = [repository.join("dist"), repository.join("dist/pxe")];
    let entries = folders.iter().flat_map(|folder| fs::read_dir(folder).unwrap());
    let files = entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_file());
    let named = files.map(|path| {
        (
            path.strip_prefix(repository).unwrap().display().to_string(),
            fs::read(&path).unwrap(),
        )
    });
    named.collect()
}

#[test]
fn every_output_has_the_same_bytes_in_another_folder_for_another_user_on_another_date() {
    let system = System::new(&[]);
    let path = "environments/dev.toml";
    let environment = fs::read_to_string(system.repository().join(path)).unwrap();
    system.write(path, &format!("{environment}[image]\nstate_size = 16\n"));
    // Downloads, for both.
    system.mos(&["image", "build", "--env", "dev"]);
    let other = system.folder().join("another/much/longer/repository");
    fs::create_dir_all(other.parent().unwrap()).unwrap();
    run(std::process::Command::new("cp")
        .arg("-r")
        .arg(system.repository())
        .arg(&other));
    let first = made_alone(&system, &system.repository(), &[]);
    let stranger = [
        ("USER", "stranger"),
        ("TZ", "Pacific/Apia"),
        ("LC_ALL", "C"),
        ("SOURCE_DATE_EPOCH", "1"),
    ];
    let second = made_alone(&system, &other, &stranger);
    assert_eq!(first.keys().collect::<Vec<_>>(), second.keys().collect::<Vec<_>>());
    assert!(first.len() >= 11, "{:?}", first.keys());
    let differing: Vec<_> = first
        .iter()
        .filter(|(name, bytes)| second[*name] != **bytes)
        .map(|(name, _)| name)
        .collect();
    assert!(differing.is_empty(), "these differ: {differing:?}");
}
