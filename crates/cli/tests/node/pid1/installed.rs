//! A root on a disk, to which the initial file system hands over.

use std::process::Command;

use super::{Image, told, until, wait_end};
use crate::support::run;
use crate::system::console;

#[test]
fn root_on_a_disk_is_switched_to_and_unmounted_at_the_end() {
    let mut installed = Image::new();
    installed.file("etc/hostname", "installed\n");
    installed.file("usr/lib/tmpfiles.d/a.conf", "d /run/installed\n");
    let content = installed.files.clone();
    let mut image = Image::new();
    image.file("etc/hostname", "initial\n");
    image.file("only-initial", "x\n");
    image.service(
        "never",
        "[service]\nexec = \"/bin/echo NEVER\"\n[logging]\nconsole = true\n",
    );
    let disk = image.disk("mosroot", &content);
    let mut vm = image.boot("my_init.root=LABEL=mosroot rw", |machine| {
        machine.disks = vec![disk.clone()]
    });
    let roots = told(
        &vm,
        "hostname; ls -d /run/installed; readlink /proc/1/exe; grep ' / ' /proc/mounts | tail -n 1",
    );
    assert!(
        roots.starts_with("installed\n/run/installed\n/sbin/my_init\n/dev/vda / ext4 rw"),
        "{roots}"
    );
    // What it came from is neither in sight nor in memory.
    told(&vm, "! test -e /only-initial && ! test -e /sysroot/sbin");
    until(
        &vm,
        "test $(grep -c '^proc /proc ' /proc/mounts) = 1 && test $(grep -c ' /dev ' /proc/mounts) = 1",
    );
    // The modules of the initial file system are gone, and there are none on this disk: still somebody is asked.
    assert_eq!(told(&vm, "cat /proc/sys/kernel/modprobe"), "/sbin/my_init\n");
    told(&vm, "echo kept >/kept");
    vm.powerdown().unwrap();
    wait_end(&mut vm);
    assert!(!console(&vm).contains("NEVER"), "{}", console(&vm));
    let read = run(Command::new("debugfs").args(["-R", "cat /kept"]).arg(&disk.path)).stdout;
    assert_eq!(read, b"kept\n");
    let described = run(Command::new("dumpe2fs").arg("-h").arg(&disk.path)).stdout;
    assert!(!String::from_utf8_lossy(&described).contains("needs_recovery"));
}
