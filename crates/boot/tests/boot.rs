//! Boots a real kernel: a unified kernel image under OVMF, and every compression of the initramfs directly. In
//! software, so that it runs everywhere. Needs QEMU, OVMF and the network (packages, through the host's apt).

#![allow(clippy::unwrap_used, reason = "helpers of tests stop the test, as tests do")]

use std::fs;
use std::path::Path;
use std::process::Command;

use mos_architecture::Architecture;
use mos_boot::uki::{self, UkiParts};
use mos_boot::{Compression, initramfs, root};
use mos_kernel::Kernel;
use mos_packages::{Apt, LockedPackage, PackageError, Progress, deb};
use mos_tree::{Kind, Tree};

const FIRMWARE: &str = "/usr/share/OVMF/OVMF_CODE_4M.fd";
const VARIABLES: &str = "/usr/share/OVMF/OVMF_VARS_4M.fd";
const STUB: &str = "usr/lib/systemd/boot/efi/linuxx64.efi.stub";
const COMMAND_LINE: &str = "console=ttyS0 panic=-1 mos.test=1";

/// Shows what only a working image shows, then powers off.
const INIT: &str = "#!/bin/sh\n\
    mount -t proc proc /proc\n\
    echo \"marker: $(uname -r) $(stat -c %t:%T /dev/kmsg) $(stat -c %h /etc/one) $(cat /etc/two) $(cat /proc/cmdline)\"\n\
    modprobe virtio_net && echo marker: virtio_net\n\
    poweroff -f\n";

struct Parts {
    kernel: Vec<u8>,
    version: String,
    stub: Vec<u8>,
    root: Tree,
}

fn quiet(_: Progress<'_>) {}

fn package(apt: &Apt, locked: &LockedPackage) -> Result<Tree, PackageError> {
    let fetched = apt.fetch(locked, &mut quiet)?;
    Ok(deb::read(&fetched.path).unwrap().tree)
}

fn parts() -> Result<Parts, PackageError> {
    let apt = Apt::new(
        std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("apt"),
        Architecture::X86_64,
    );
    let found = apt.resolve(&["busybox-static", "systemd-boot-efi"], false, &mut quiet)?;
    let kernel = apt.resolve_kernel("linux-image-6.12-cloud-amd64", &mut quiet)?;
    let (busybox, stub, kernel) = (
        package(&apt, &found[0])?,
        package(&apt, &found[1])?,
        package(&apt, &kernel)?,
    );
    let Kind::File(stub) = &stub.get(STUB).unwrap().kind else {
        panic!("no stub")
    };
    let kernel = Kernel::open(&kernel).unwrap();
    let mut tree = root::base_tree().unwrap();
    tree.overlay(&busybox).unwrap();
    assert!(root::link_busybox(&mut tree).unwrap() > 100);
    tree.overlay(&kernel.select(&["virtio_net"]).unwrap().tree().unwrap())
        .unwrap();
    tree.insert_file("init", 0o755, INIT).unwrap();
    let linked = tree.insert_file("etc/one", 0o644, "hard-linked").unwrap();
    tree.link("etc/two", linked).unwrap();
    Ok(Parts {
        kernel: kernel.image().read().unwrap(),
        version: kernel.version().to_owned(),
        stub: stub.read().unwrap(),
        root: tree,
    })
}

fn qemu(arguments: &[&str]) -> Option<String> {
    let base = [
        "-accel",
        "tcg",
        "-m",
        "768",
        "-nodefaults",
        "-display",
        "none",
        "-serial",
        "stdio",
        "-no-reboot",
    ];
    let output = Command::new("timeout")
        .args(["120", "qemu-system-x86_64"])
        .args(base)
        .args(arguments)
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    if output.status.code() == Some(127) {
        eprintln!("skipped: qemu-system-x86_64 is not installed");
        return None;
    }
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn check(console: &str, version: &str) {
    let marker = format!("marker: {version} 1:b 2 hard-linked ");
    let line = console.lines().find(|line| line.contains(&marker));
    let line = line.unwrap_or_else(|| panic!("no line `{marker}` on the console:\n{console}"));
    assert!(line.contains("mos.test=1"), "{line}");
    assert!(console.contains("marker: virtio_net"), "{console}");
}

fn real_parts() -> Option<Parts> {
    parts().map_err(|error| eprintln!("skipped: {error}")).ok()
}

#[test]
fn kernel_unpacks_every_compression_and_starts_init() {
    let Some(parts) = real_parts() else { return };
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    fs::write(path("linux"), &parts.kernel).unwrap();
    for compression in [Compression::Zstd(22), Compression::Xz, Compression::None] {
        fs::write(path("initrd"), initramfs(&parts.root, compression).unwrap()).unwrap();
        let arguments = [
            "-kernel",
            &path("linux"),
            "-initrd",
            &path("initrd"),
            "-append",
            COMMAND_LINE,
        ];
        let Some(console) = qemu(&arguments) else { return };
        check(&console, &parts.version);
    }
}

#[test]
fn firmware_starts_the_unified_kernel_image() {
    let Some(parts) = real_parts() else { return };
    if !Path::new(FIRMWARE).exists() {
        eprintln!("skipped: {FIRMWARE} is not installed (package ovmf)");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let boot = directory.path().join("esp/EFI/BOOT");
    fs::create_dir_all(&boot).unwrap();
    let image = uki::uki(
        &parts.stub,
        &UkiParts {
            linux: &parts.kernel,
            initrd: &initramfs(&parts.root, Compression::Zstd(3)).unwrap(),
            cmdline: COMMAND_LINE,
            osrelease: "ID=mos\nPRETTY_NAME=\"MOS\"\n",
            uname: &parts.version,
        },
    )
    .unwrap();
    fs::write(boot.join("BOOTX64.EFI"), image).unwrap();
    let variables = directory.path().join("vars.fd");
    fs::copy(VARIABLES, &variables).unwrap();
    let code = format!("if=pflash,format=raw,readonly=on,file={FIRMWARE}");
    let variables = format!("if=pflash,format=raw,file={}", variables.display());
    let esp = format!(
        "if=virtio,format=raw,file=fat:rw:{}",
        directory.path().join("esp").display()
    );
    let arguments = ["-M", "q35", "-drive", &code, "-drive", &variables, "-drive", &esp];
    let Some(console) = qemu(&arguments) else { return };
    check(&console, &parts.version);
}
