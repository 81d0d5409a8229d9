//! Every kind of output starts a node: firmware boots from it as shipped, to the same marker.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, lchown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use mos_vm::{Boot, Disk, DiskFormat, Machine, Medium, Output, Vm, VmError};

use crate::support::{cache, run};
use crate::system::{System, wait_for};

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
        vm => drop(wait_for(&mut vm.unwrap(), said)),
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

/// Who builds the second time: as far as this machine can tell, somebody else on another day.
struct Stranger {
    /// What stands before the program.
    prefix: Vec<&'static str>,
}

/// Nobody; any other user would do.
const NOBODY: u32 = 65_534;
const AS_NOBODY: [&str; 4] = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
/// A clock that says so from the beginning of a process.
const ANOTHER_DATE: [&str; 3] = ["faketime", "-f", "@2033-03-03 03:03:03"];

impl Stranger {
    /// Takes over a folder.
    fn new(folder: &Path) -> Self {
        let works = |prefix: &[&'static str]| {
            let mut command = Command::new(prefix[0]);
            command
                .args(&prefix[1..])
                .arg(env!("CARGO_BIN_EXE_mos"))
                .arg("--version");
            let works = command.output().is_ok_and(|output| output.status.success());
            if !works {
                eprintln!("SKIPPED in part: {} does not work here", prefix[0]);
            }
            works
        };
        let mut prefix = vec!["sh", "-c", "umask 077; exec \"$@\"", "sh"];
        if works(&ANOTHER_DATE) {
            prefix.extend(ANOTHER_DATE);
        }
        if works(&AS_NOBODY) {
            prefix.extend(AS_NOBODY);
            for entry in walk(folder) {
                lchown(entry, Some(NOBODY), Some(NOBODY)).unwrap();
            }
        }
        Self { prefix }
    }

    fn command(&self, plain: &Command) -> Command {
        let mut command = Command::new(self.prefix[0]);
        command
            .args(&self.prefix[1..])
            .arg(plain.get_program())
            .args(plain.get_args());
        let set = plain.get_envs().filter_map(|(name, value)| Some((name, value?)));
        command.envs(set);
        command.envs([("USER", "stranger"), ("TZ", "Pacific/Apia"), ("LC_ALL", "C")]);
        command.env("HOME", "/nonexistent");
        command
    }
}

/// A folder and all below it.
fn walk(folder: &Path) -> Vec<PathBuf> {
    let mut found = vec![folder.to_owned()];
    let mut next = 0;
    while let Some(path) = found.get(next).cloned() {
        if path.is_dir() && !path.is_symlink() {
            found.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        }
        next += 1;
    }
    found
}

/// Every kind of output of a repository, made with a cache of its own, but for downloads.
fn made_alone(system: &System, repository: &Path, stranger: bool) -> BTreeMap<String, Vec<u8>> {
    let home = repository.parent().unwrap();
    let own = home.join("cache");
    fs::create_dir_all(&own).unwrap();
    symlink(cache().join("apt"), own.join("apt")).unwrap();
    let mut command = system.command(&["image", "build", "--env", "dev", "--output", "all"]);
    command.env("MOS_CACHE", own);
    if stranger {
        command = Stranger::new(home).command(&command);
    }
    run(command.current_dir(repository));
    let dist = repository.join("dist");
    let files = walk(&dist).into_iter().filter(|path| path.is_file());
    let named = files.map(|path| {
        let name = path.strip_prefix(&dist).unwrap().display().to_string();
        (name, fs::read(&path).unwrap())
    });
    named.collect()
}

#[test]
fn every_output_has_the_same_bytes_in_another_folder_for_another_user_on_another_date() {
    let system = System::new(&[]);
    fs::set_permissions(system.folder(), fs::Permissions::from_mode(0o755)).unwrap();
    let path = "environments/dev.toml";
    let environment = fs::read_to_string(system.repository().join(path)).unwrap();
    let settings =
        "[image]\nstate_size = 16\nsecure_boot = \"keys/secure-boot/db\"\npcr_policy = \"keys/secure-boot/pcr\"\n";
    system.write(path, &format!("{environment}{settings}"));
    system.mos(&["keys", "new", "--secure-boot"]);
    // Downloads, for both.
    system.mos(&["image", "build", "--env", "dev"]);
    fs::remove_dir_all(system.repository().join("dist")).unwrap();
    let other = system.folder().join("another/much/longer/repository");
    fs::create_dir_all(other.parent().unwrap()).unwrap();
    run(Command::new("cp").arg("-r").arg(system.repository()).arg(&other));
    let first = made_alone(&system, &system.repository(), false);
    let second = made_alone(&system, &other, true);
    assert_eq!(first.keys().collect::<Vec<_>>(), second.keys().collect::<Vec<_>>());
    assert!(first.len() >= 11, "{:?}", first.keys());
    let differing: Vec<_> = first
        .iter()
        .filter(|(name, bytes)| second[*name] != **bytes)
        .map(|(name, _)| name)
        .collect();
    assert!(differing.is_empty(), "these differ: {differing:?}");
}
