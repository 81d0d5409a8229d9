//! The host's real apt and real packages, in a private state. Needs the network; says so when there is none.

#![allow(clippy::unwrap_used, reason = "helpers of tests stop the test, as tests do")]

use std::process::Command;

use mos_architecture::Architecture;
use mos_packages::{Apt, LockedPackage, PackageError, Progress, deb};
use mos_tree::{Kind, directory};

/// A cache that is kept between runs, so that lists are fetched once an hour.
fn apt() -> Option<Apt> {
    let apt = Apt::new(
        std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("apt"),
        Architecture::X86_64,
    );
    match apt.resolve(&["busybox-static"], false, &mut |_| {}) {
        Ok(_) => Some(apt),
        Err(error) => {
            eprintln!("skipped: {error}");
            None
        }
    }
}

fn host_status() -> Option<std::time::SystemTime> {
    std::fs::metadata("/var/lib/dpkg/status")
        .and_then(|found| found.modified())
        .ok()
}

#[test]
fn busybox_is_resolved_fetched_and_unpacked_like_dpkg_does() {
    let Some(apt) = apt() else { return };
    let before = host_status();
    let found = apt.resolve(&["busybox-static"], false, &mut |_| {}).unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(
        (found[0].name.as_str(), found[0].architecture.as_str()),
        ("busybox-static", "amd64")
    );
    let fetched = apt.fetch(&found[0], &mut |_| {}).unwrap();
    assert_eq!(std::fs::metadata(&fetched.path).unwrap().len(), found[0].size);
    let package = deb::read(&fetched.path).unwrap();
    assert_eq!((&package.name, &package.version), (&found[0].name, &found[0].version));

    let mut cached = false;
    apt.fetch(&found[0], &mut |step| cached |= matches!(step, Progress::Cached(_)))
        .unwrap();
    assert!(cached, "the second time comes from the cache");
    assert_eq!(host_status(), before, "the host's package state is as before");

    let unpacked = tempfile::tempdir().unwrap();
    let done = Command::new("dpkg-deb")
        .arg("-x")
        .arg(&fetched.path)
        .arg(unpacked.path())
        .status();
    if !done.is_ok_and(|status| status.success()) {
        eprintln!("skipped: dpkg-deb is not installed");
        return;
    }
    let theirs = directory::read(unpacked.path(), directory::Options::default()).unwrap();
    let paths = |tree: &mos_tree::Tree| -> Vec<(Vec<u8>, u32)> {
        let below = tree.walk().filter(|entry| !entry.path.is_empty());
        below
            .map(|entry| (entry.path.clone(), entry.inode.metadata.mode))
            .collect()
    };
    assert_eq!(paths(&package.tree), paths(&theirs));
    for entry in theirs.walk() {
        if let Kind::File(content) = &entry.inode.kind {
            let Kind::File(ours) = &package.tree.get(&entry.path).unwrap().kind else {
                panic!("no file")
            };
            assert!(
                ours.read().unwrap() == content.read().unwrap(),
                "{}",
                String::from_utf8_lossy(&entry.path)
            );
        }
    }
}

#[test]
fn closure_holds_dependencies_and_nothing_recommended() {
    let Some(apt) = apt() else { return };
    let found = apt.resolve(&["kmod"], true, &mut |_| {}).unwrap();
    let names: Vec<&str> = found.iter().map(|package| package.name.as_str()).collect();
    assert!(names.contains(&"kmod") && names.contains(&"libc6"), "{names:?}");
    assert!(!names.contains(&"libidn2-0"), "{names:?}");
    assert!(names.is_sorted());
}

#[test]
fn unknown_names_and_gone_versions_say_what_to_do() {
    let Some(apt) = apt() else { return };
    let error = apt.resolve(&["busybox-sttaic"], false, &mut |_| {}).unwrap_err();
    assert_eq!(
        error.to_string(),
        "package `busybox-sttaic`: no source of this host has it; did you mean `busybox-static`?"
    );
    let wanted = ["no-such-a", "kmod", "kmod=0.1-1", "awk"];
    let error = apt.resolve(&wanted, true, &mut |_| {}).unwrap_err();
    assert!(matches!(error, PackageError::Unsatisfiable(_)), "{error}");
    let text = error.to_string();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 3, "all in one go: {text}");
    assert!(
        lines[0].starts_with("package `no-such-a`: no source of this host has it"),
        "{text}"
    );
    let version = "package `kmod=0.1-1`: no source of this host has version 0.1-1; they have ";
    assert!(
        lines[1].starts_with(version) && lines[1].len() > version.len(),
        "{text}"
    );
    let virtual_one = "package `awk`: it is not a package but what others provide: name one of ";
    assert!(lines[2].starts_with(virtual_one) && lines[2].contains("mawk"), "{text}");
    // Debian says of them that one cannot be installed beside the other.
    let error = apt
        .resolve(&["busybox", "busybox-static"], true, &mut |_| {})
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("package `busybox-static`: Conflicts: busybox"),
        "{error}"
    );

    let mut gone = apt.resolve(&["busybox-static"], false, &mut |_| {}).unwrap().remove(0);
    gone.version = "1:0.1-1".to_owned();
    let error = apt.fetch(&gone, &mut |_| {}).unwrap_err().to_string();
    assert!(error.ends_with("run `mos lock --update busybox-static`"), "{error}");
}

#[test]
fn other_bytes_under_the_same_version_are_refused() {
    let Some(apt) = apt() else { return };
    let cache = tempfile::tempdir().unwrap();
    let wrong = LockedPackage {
        sha256: "0".repeat(64),
        ..apt.resolve(&["busybox-static"], false, &mut |_| {}).unwrap().remove(0)
    };
    let error = Apt::new(cache.path(), Architecture::X86_64)
        .fetch(&wrong, &mut |_| {})
        .unwrap_err();
    assert!(matches!(error, PackageError::Digest { .. }), "{error}");
    assert!(std::fs::read_dir(cache.path().join("debs")).unwrap().next().is_none());
}

#[test]
fn the_meta_package_leads_to_the_kernel() {
    let Some(apt) = apt() else { return };
    let kernel = apt.resolve_kernel("linux-image-cloud-amd64", &mut |_| {}).unwrap();
    assert!(
        kernel.name.starts_with("linux-image-") && kernel.size > 1 << 20,
        "{kernel:?}"
    );
    let direct = apt.resolve_kernel(&kernel.name, &mut |_| {}).unwrap();
    assert_eq!(direct, kernel);
}
