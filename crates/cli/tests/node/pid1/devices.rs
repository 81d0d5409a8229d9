//! What is set up before services, devices that were there before and devices that come and go, and modules that the
//! kernel asks for by itself; then power off with a service that would not go.

use std::process::Command;

use mos_tree::Tree;
use serde_json::json;

use super::{Image, ask, order, told, until, wait_end};
use crate::support::run;
use crate::system::{wait_all, wait_for};

const ID: &str = "0123456789abcdef0123456789abcdef";
/// What the last boot left.
const SEED: &str = "0123456789ABCDEF0123456789ABCDEF";
/// Where devices can be plugged in.
const PORTS: [&str; 2] = ["pcie-root-port,id=port0,chassis=1", "pcie-root-port,id=port1,chassis=2"];
const GROUPS: &str = "root:x:0:\ntty:x:5:\ndisk:x:6:\nkvm:x:107:\n";
const STATE: &str = "[service]\noneshot = true\nexec = \"mount -t ext4 /dev/vda /var/cache\"\n";
const STUBBORN: &str = "[service]\nexec = \"trap '' TERM HUP; while :; do sleep 1; done\"\nshell = true\n\
                        [lifecycle]\nstop_timeout_ms = 600000\n";

fn image() -> Image {
    let mut image = Image::new();
    image.file("etc/hostname", "# a name\nnode-7\n");
    image.file("etc/group", GROUPS);
    image.file(
        "etc/sysctl.d/50-a.conf",
        "net.ipv4.ip_forward = 1\nkernel/pid_max = 77777\n",
    );
    image.file("etc/sysctl.d/60-b.conf", "kernel.pid_max = 88888\n");
    image.file(
        "etc/tmpfiles.d/a.conf",
        "d /run/made 0751 root disk\nf /run/made/%H 0640 - - - %m\n",
    );
    image.service("state", STATE);
    image.service("stubborn", STUBBORN);
    image
}

/// The seed on the disk, by a tool that knows nothing of us.
fn seed(disk: &mos_vm::Disk) -> Vec<u8> {
    run(Command::new("debugfs").args(["-R", "cat /mos/seed"]).arg(&disk.path)).stdout
}

#[test]
fn machine_is_set_up_and_devices_come_and_go_until_it_is_switched_off() {
    let image = image();
    let mut content = Tree::default();
    content.insert_file("mos/seed", 0o600, SEED).unwrap();
    let disk = image.disk("state", &content);
    assert_eq!(seed(&disk), SEED.as_bytes());
    let mut vm = image.boot(&format!("my_init.watchdog=60 systemd.machine_id={ID}"), |machine| {
        machine.disks = vec![disk.clone()];
        machine.devices = PORTS.map(str::to_owned).to_vec();
    });
    wait_for(&mut vm, "] ready");

    // Settings and files.
    assert_eq!(told(&vm, "hostname; cat /etc/machine-id"), format!("node-7\n{ID}\n"));
    let sysctl = "cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/pid_max";
    assert_eq!(told(&vm, sysctl), "1\n88888\n");
    let made = "cat /run/made/node-7; stat -c '%a %U:%G' /run/made /run/made/node-7";
    assert_eq!(told(&vm, made), format!("{ID}751 root:disk\n640 root:root\n"));
    told(&vm, "ping -c 1 -w 30 127.0.0.1");
    // The seed was taken once the disk was there, and is another one now.
    let used = until(
        &vm,
        "test -e /run/my_init.seeded && stat -c '%a %s' /var/cache/mos/seed && sha256sum </var/cache/mos/seed",
    );
    assert!(used.starts_with("600 32\n"), "{used}");
    assert!(!used.contains(&sha256(SEED.as_bytes())), "{used}");

    // What was plugged in before has its driver, what was not has none.
    let modules = told(&vm, "cut -d ' ' -f 1 /proc/modules");
    let loaded = |name: &str| modules.lines().any(|line| line == name);
    assert!(loaded("virtio_net") && loaded("virtio_blk"), "{modules}");
    assert!(
        !loaded("i6300esb") && !loaded("dummy") && !loaded("squashfs"),
        "{modules}"
    );
    told(&vm, "test $(stat -c %a:%G /dev/vda) = 660:disk");

    plug_in_and_out(&vm);

    // The kernel asks for modules: there is no modprobe, so it asks my_init.
    assert_eq!(
        told(
            &vm,
            "cat /proc/sys/kernel/modprobe; ls /sbin/modprobe 2>/dev/null || true"
        ),
        "/sbin/my_init\n"
    );
    told(&vm, "ip link add lazy0 type dummy && grep '^dummy ' /proc/modules");
    // No such device; but now there is such a file system.
    let (refused, code) = ask(&vm, "mount -t squashfs /dev/zero /mnt; grep squashfs /proc/filesystems");
    assert_eq!(code, 0, "{refused}");
    let (refused, code) = ask(&vm, "ip link add x type nosuchtype");
    assert_ne!(code, 0, "{refused}");

    let before = told(&vm, "sha256sum </var/cache/mos/seed");
    order(&vm, "/sbin/my_init poweroff");
    wait_for(&mut vm, "poweroff: stopping services");
    vm.powerdown().unwrap();
    wait_all(
        &vm,
        &[
            "poweroff asked for again: not waiting",
            "did not end when asked, and is killed",
            "unmounting file systems",
            "] poweroff",
        ],
    );
    wait_end(&mut vm);
    let described = run(Command::new("dumpe2fs").arg("-h").arg(&disk.path)).stdout;
    let described = String::from_utf8_lossy(&described).into_owned();
    assert!(
        !described.contains("needs_recovery"),
        "it was not unmounted: {described}"
    );
    let after = seed(&disk);
    assert_eq!(after.len(), 32);
    assert!(
        !before.contains(&sha256(&after)),
        "the seed was not renewed on the way down"
    );
}

/// A watchdog: its module, its node, and somebody who feeds it. A disk: its node and its link, which go with it.
fn plug_in_and_out(vm: &mos_vm::Vm) {
    let command = |name: &str, arguments: serde_json::Value| {
        vm.monitor(&json!({ "execute": name, "arguments": arguments })).unwrap();
    };
    command(
        "device_add",
        json!({ "driver": "i6300esb", "id": "dog", "bus": "port1" }),
    );
    until(
        vm,
        "grep -q '^i6300esb ' /proc/modules && grep active /sys/class/watchdog/watchdog0/state && test -c /dev/watchdog0",
    );
    command(
        "blockdev-add",
        json!({ "driver": "null-co", "node-name": "empty", "size": 1 << 20, "read-zeroes": true }),
    );
    command(
        "device_add",
        json!({ "driver": "nvme", "id": "hot", "serial": "1", "drive": "empty", "bus": "port0" }),
    );
    until(vm, "test -b /dev/nvme0n1");
    let node = "stat -c %a:%G /dev/nvme0n1; for link in /dev/disk/by-diskseq/*; do readlink -f $link; done";
    until(
        vm,
        &format!("test \"$({{ {node}; }} | grep -v /dev/vda | tr '\\n' ' ')\" = '660:disk /dev/nvme0n1 '"),
    );
    command("device_del", json!({ "id": "hot" }));
    until(
        vm,
        "! test -e /dev/nvme0n1 && ! { readlink /dev/disk/by-diskseq/* | grep nvme; }",
    );
}

fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    sha2::Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
