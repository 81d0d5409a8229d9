//! `mos-node state` with a real file system on a loop device, and without any.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::fs;
use std::path::Path;
use std::process::Command;

const PROGRAM: &str = env!("CARGO_BIN_EXE_mos-node");

/// One test: while the loop device is there, a program that looks for no disk would find it.
#[test]
fn state_disk_or_memory() {
    no_state_disk_is_fine();
    state_disk_is_mounted_once_with_its_options();
}

fn state_disk_is_mounted_once_with_its_options() {
    let directory = tempfile::tempdir().unwrap();
    let disk = directory.path().join("disk");
    fs::File::create(&disk).unwrap().set_len(16 << 20).unwrap();
    // Everything happens in a mount namespace of its own, and the loop device goes with the script.
    let script = r#"
        mkfs.ext4 -q -F -L mosdata "$1/disk" || exit 77
        loop=$(losetup -f --show "$1/disk") || exit 77
        trap 'umount "$1/var/cache"; losetup -d "$loop"' EXIT
        "$0" state --root "$1" && "$0" state --root "$1" && grep "$loop " /proc/mounts
    "#;
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", script, PROGRAM]).arg(directory.path());
    let Ok(output) = command.output() else {
        println!("skipped: unshare is missing (package util-linux)");
        return;
    };
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    if output.status.code() == Some(77) || text.contains("unshare failed") {
        println!("skipped: needs root, mkfs.ext4 and a loop device: {text}");
        return;
    }
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert_eq!(text.matches("state disk /dev/loop").count(), 2, "{text}");
    assert_eq!(text.matches(" ext4 rw,nosuid,nodev,noatime").count(), 1, "{text}");
}

fn no_state_disk_is_fine() {
    let labelled = Command::new("blkid").args(["-L", "mosdata"]).output();
    if labelled.is_ok_and(|output| output.status.success()) {
        println!("skipped: this machine has a disk labelled mosdata");
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let output = Command::new(PROGRAM)
        .arg("state")
        .arg("--root")
        .arg(root.path())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(
        (output.status.code(), text.as_str()),
        (Some(0), "no state disk: state is kept in memory\n")
    );
    let link = fs::read_link(root.path().join("var/cache/bin")).unwrap();
    assert_eq!(link, Path::new("../../run/mos/current/bin"));
    assert!(root.path().join("var/cache/mos").is_dir());
}
