//! The watchdog, another kernel without firmware, and halt.

use std::time::Duration;

use mos_tree::{Content, Tree};
use mos_vm::VmError;

use super::{Image, order, signal_supervisor, told, until, wait_end};
use crate::system::{console, wait_all, wait_for};

/// A device that QEMU emulates; its action is a reset.
const WATCHDOG: &str = "i6300esb";

#[test]
fn watchdog_starts_the_machine_anew_when_the_loop_stands_still_and_that_is_said() {
    let mut image = Image::new();
    image.gate();
    let mut vm = image.boot("my_init.watchdog=12", |machine| {
        machine.restarts = true;
        machine.devices = vec![WATCHDOG.to_owned()];
    });
    let armed = told(
        &vm,
        "cat /sys/class/watchdog/watchdog0/state /sys/class/watchdog/watchdog0/timeout",
    );
    assert_eq!(armed, "active\n12\n");
    let boot = told(&vm, "cat /proc/sys/kernel/random/boot_id");
    // Another supervisor goes on feeding it.
    signal_supervisor(&vm, "KILL");
    told(&vm, "sleep 20");
    assert_eq!(told(&vm, "cat /proc/sys/kernel/random/boot_id"), boot);
    assert!(!console(&vm).contains("started the machine anew"), "{}", console(&vm));
    // One that stands still does not.
    signal_supervisor(&vm, "STOP");
    wait_for(
        &mut vm,
        "/dev/watchdog: it has started the machine anew, because nobody had fed it",
    );
    assert_ne!(until(&vm, "cat /proc/sys/kernel/random/boot_id"), boot);
    order(&vm, "/sbin/my_init poweroff");
    wait_end(&mut vm);
}

#[test]
fn another_kernel_is_started_without_firmware_and_the_machine_halts() {
    let image = Image::new();
    let (kernel, initrd) = image.parts();
    let mut content = Tree::default();
    content
        .insert_file("linux", 0o644, Content::file(&kernel).unwrap())
        .unwrap();
    content
        .insert_file("initrd", 0o644, Content::file(&initrd).unwrap())
        .unwrap();
    let disk = image.disk("kernels", &content);
    let mut vm = image.boot("my_init.watchdog=5", |machine| {
        machine.disks = vec![disk];
        machine.devices = vec![WATCHDOG.to_owned()];
    });
    let boot = told(&vm, "cat /proc/sys/kernel/random/boot_id");
    order(
        &vm,
        "mount -t ext4 -o ro /dev/vda /mnt && cd /mnt && \
         /sbin/my_init kexec linux --initrd initrd --append \"$(cat /proc/cmdline) test.second\"",
    );
    wait_all(&vm, &["kexec: stopping services", "] kexec"]);
    until(&vm, "grep -q test.second /proc/cmdline");
    assert_ne!(told(&vm, "cat /proc/sys/kernel/random/boot_id"), boot);
    // Both disarm the watchdog: this machine neither starts anew nor ends.
    assert!(
        !console(&vm).contains("it has started the machine anew"),
        "{}",
        console(&vm)
    );
    assert_eq!(told(&vm, "cat /sys/class/watchdog/watchdog0/state"), "active\n");
    order(&vm, "/sbin/my_init halt");
    wait_for(&mut vm, "] halt");
    wait_for(&mut vm, "System halted");
    let goes_on = vm.wait_exit(Duration::from_secs(10));
    assert!(matches!(goes_on, Err(VmError::StillRuns { .. })), "{goes_on:?}");
}
