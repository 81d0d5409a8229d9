//! A mount with a writable layer does what POSIX says, by the test suite pjdfstest: `make test-pjdfs` installs it and
//! runs this. What is expected to fail, and why, is in `pjdfstest/settings.toml`.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use common::{alone, everything, logged, packed, put, source};
use mos_mount::{How, MountOptions, Prefetch, Unmounted, Way, mount};
use mos_tree::Kind;

fn posix(how: How, way: Way) {
    let installed = Command::new("pjdfstest").arg("--version").output();
    if installed.is_err() {
        eprintln!("SKIPPED: pjdfstest is not installed (make test-pjdfs)");
        return;
    }
    if !alone() {
        return;
    }
    let room = tempfile::tempdir().unwrap();
    // In memory: the suite makes and syncs many small files.
    let flags = rustix::mount::MountFlags::empty();
    rustix::mount::mount("tmpfs", room.path(), "tmpfs", flags, None).unwrap();
    let [place, cache, upper, other] = ["place", "cache", "upper", "other"].map(|name| room.path().join(name));
    for path in [&place, &cache, &upper, &other] {
        std::fs::create_dir(path).unwrap();
    }
    let mut tree = everything();
    put(&mut tree, b"home", 0o755, Kind::Directory(Default::default()));
    let packed = packed(tree);
    let options = MountOptions {
        how,
        cache: Some(cache),
        prefetch: Prefetch::All,
        writable: Some(upper),
        ..logged().0
    };
    let mounted = mount(source(&packed.flist, Arc::new(packed.store.clone())), &place, &options).unwrap();
    assert_eq!(mounted.way(), way, "{}", mounted.why());
    // Remounting comes first and by itself: files that other tests of the suite leave open are in its way.
    let settings = include_str!("pjdfstest/settings.toml");
    run(
        &place,
        &other,
        &settings.replace("allow_remount = false", "allow_remount = true"),
        &["erofs"],
    );
    run(&place, &other, settings, &[]);
    assert_eq!(mounted.unmount().unwrap(), Unmounted::Clean);
}

/// Runs the suite, or tests with such names, on a mount; `other` is on another file system.
fn run(place: &Path, other: &Path, settings: &str, names: &[&str]) {
    let file = other.join("settings.toml");
    std::fs::write(&file, settings).unwrap();
    let output = Command::new("pjdfstest")
        .arg("-c")
        .arg(&file)
        .arg("-p")
        .arg(place)
        .arg("-s")
        .arg(other)
        .args(names)
        .env("RUST_BACKTRACE", "0")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    // A test that fails is followed by its reason.
    let failed = said.split("\n").skip_while(|line| !line.contains("FAILED"));
    let failed: Vec<_> = failed.filter(|line| !line.ends_with(" ok")).take(40).collect();
    assert!(output.status.success(), "{}", failed.join("\n"));
    let summary = said.lines().find(|line| line.starts_with("Summary")).unwrap();
    eprintln!("{summary}");
}

#[test]
fn on_the_kernels_mount() {
    posix(How::Kernel, Way::Kernel);
}

#[test]
fn on_a_fuse_mount() {
    posix(How::Fuse, Way::Passthrough);
}
