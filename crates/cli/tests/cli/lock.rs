//! `mos lock`.

use std::fs;

use expect_test::expect;

use crate::hello;
use crate::support::System;
use crate::transcript::transcript;

fn says(system: &System, arguments: &[&str]) -> String {
    let text = transcript(&mut system.command(arguments), system.folder());
    // Versions of Debian packages change, and with them the kernel's name.
    let version = |line: &str| match line.split_once(" package ") {
        Some((sign, rest)) if rest.starts_with("linux-image-") => format!("{sign} package [KERNEL]\n"),
        Some((sign, rest)) => format!("{sign} package {}\n", rest.split(' ').next().unwrap_or_default()),
        None => format!("{line}\n"),
    };
    text.lines().map(version).collect()
}

#[test]
fn lock_is_written_once_and_updated_when_asked() {
    let system = hello();
    let lock = ["lock", "--env", "dev"];
    expect![[r#"
        + package busybox-static
        + package [KERNEL]
        + package systemd-boot-efi
        ! resolving packages: busybox-static
        ! resolving packages: linux-image-6.12-cloud-amd64
        ! resolving packages: systemd-boot-efi
        ! Wrote [HERE]/repository/mos.lock.
    "#]]
    .assert_eq(&says(&system, &lock));
    let text = fs::read_to_string(system.repository().join("mos.lock")).unwrap();
    expect![[r#"
        ! The lock is up to date.
    "#]]
    .assert_eq(&says(&system, &lock));
    expect![[r#"
        ! resolving packages: busybox-static
        ! resolving packages: linux-image-6.12-cloud-amd64
        ! resolving packages: systemd-boot-efi
        ! The lock is up to date.
    "#]]
    .assert_eq(&says(&system, &["lock", "--env", "dev", "--update", "--dry-run"]));
    expect![[r#"
        ! error: mos.lock has neither component nor package `nothing`
        [exit 4]
    "#]]
    .assert_eq(&says(&system, &["lock", "--env", "dev", "--update", "nothing"]));
    assert_eq!(fs::read_to_string(system.repository().join("mos.lock")).unwrap(), text);
}

#[test]
fn wanted_package_shows_as_a_change() {
    let system = hello();
    system.mos(&["lock", "--env", "dev"]);
    let lock = || fs::read_to_string(system.repository().join("mos.lock")).unwrap();
    let before = lock();
    system.write("image/packages.list", "busybox-static\nbash-static\n");
    expect![[r#"
        + package bash-static
        + package debconf
        + package debianutils
        + package gcc-12-base
        + package libaudit-common
        + package libaudit1
        + package libbz2-1.0
        + package libc6
        + package libcap-ng0
        + package libcrypt1
        + package libdb5.3
        + package libgcc-s1
        + package libpam-modules
        + package libpam-modules-bin
        + package libpam0g
        + package libpcre2-8-0
        + package libselinux1
        + package libsemanage-common
        + package libsemanage2
        + package libsepol2
        + package passwd
        ! resolving packages: busybox-static bash-static
    "#]]
    .assert_eq(&says(&system, &["lock", "--env", "dev", "--dry-run"]));
    assert_eq!(lock(), before);
    says(&system, &["lock", "--env", "dev"]);
    assert!(lock().contains("bash-static"), "{}", lock());
}
