//! A node that is aarch64, made by another machine: Debian's kernel for arm64, and our own programs, cross-compiled.

use std::fs;
use std::path::Path;
use std::time::Instant;

use mos_architecture::Architecture;

use crate::support::{node_programs, run};
use crate::system::{System, dead_port};

/// What one file for virtual machines may take, in bytes. Debian does not compress this kernel, of 35 MB; nodes that are
/// x86-64 take less than half.
const LARGEST: u64 = 48_000_000;

/// The system of `mos new` with its modules, without packages.
fn system() -> System {
    let system = System::new(&[]);
    let settings = "[project]\nname = \"arm\"\n[image]\narchitecture = \"aarch64\"\nbase = \"empty\"\n";
    system.write("mos.toml", settings);
    for file in ["image/packages.list", "image/files/etc/motd"] {
        fs::remove_file(system.repository().join(file)).unwrap();
    }
    let channel = format!("channel = \"http://10.0.2.2:{}\"\n", dead_port());
    system.write("environments/dev.toml", &channel);
    system
}

/// Why the test cannot run here; nothing when it can.
fn missing() -> Option<String> {
    let programs = node_programs().with_file_name("node-aarch64");
    if !programs.join("my_init").is_file() {
        return Some(format!(
            "{} is missing: cargo xtask build node --architecture aarch64",
            programs.display()
        ));
    }
    let qemu = mos_vm::tools::program(mos_vm::tools::qemu(Architecture::Aarch64));
    let firmware = mos_vm::tools::firmware(Architecture::Aarch64);
    qemu.err().or(firmware.err()).map(|error| error.to_string())
}

/// Boots until the console says something, and powers off by the button.
fn boot(system: &System, until: &str, arguments: &[&str]) -> String {
    let begin = Instant::now();
    let mut command = system.command(&["run", "--disks", "0", "--until", until, "--timeout", "300"]);
    let output = run(command.args(arguments));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    println!("{arguments:?}: {:.1} s\n{said}", begin.elapsed().as_secs_f64());
    for expected in ["BdsDxe: starting", "Linux version 6.12", "-cloud-arm64", "poweroff"] {
        assert!(
            said.contains(expected),
            "{arguments:?}: `{expected}` is missing:\n{said}"
        );
    }
    said
}

/// As it is shipped, through firmware: an EFI file, and a disc whose EFI system partition has `BOOTAA64.EFI`. The latter is
/// booted without a channel.
#[test]
#[ignore = "cross-compiles and emulates another processor: make test-long"]
fn a_node_for_another_processor_is_made_here_and_gets_ready() {
    if let Some(why) = missing() {
        return eprintln!("SKIPPED: {why}");
    }
    let system = system();
    let said = boot(&system, "ready", &["--env", "dev"]);
    assert!(said.contains("] ready"), "{said}");
    let efi = fs::read(system.repository().join("dist/vmlinuz.efi")).unwrap();
    assert_eq!(mos_boot::uki::architecture(&efi), Ok(Architecture::Aarch64));
    println!("vmlinuz.efi: {} bytes", efi.len());
    assert!(efi.len() as u64 <= LARGEST, "{} bytes", efi.len());
    system.mos(&["image", "build", "--env", "dev", "--output", "iso"]);
    let disc = ["--image", "dist/boot.iso", "--architecture", "aarch64"];
    boot(&system, "mosnet: network up: eth0", &disc);
    check_lock(&system.repository());
}

/// All packages are those of the node, and the lock says so.
fn check_lock(repository: &Path) {
    let lock = fs::read_to_string(repository.join("mos.lock")).unwrap();
    assert!(lock.contains("from = \"debian arm64\""), "{lock}");
    assert!(
        lock.contains("architecture = \"arm64\"") && !lock.contains("amd64"),
        "{lock}"
    );
}
