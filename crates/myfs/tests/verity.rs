//! Whole files on a file system with fs-verity: the kernel refuses what was damaged behind its back, and `--check-cache`
//! fetches it again.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;

use common::{FILES, Setting, alone, bytes};
use mos_flist::ObjectDigest;
use mos_sys::verity::{self, Verity};

/// Bytes of the file system.
const SIZE: u64 = 64 << 20;

/// A file system with fs-verity at the cache; false, and SKIPPED, where there is none.
fn verity_cache(setting: &Setting) -> bool {
    let image = setting.path("ext4");
    fs::File::create(&image).unwrap().set_len(SIZE).unwrap();
    let made = Command::new("mkfs.ext4")
        .args(["-q", "-O", "verity", "-b", "4096"])
        .arg(&image)
        .status();
    let there = made.is_ok_and(|status| status.success()) && attach(setting) && {
        // A kernel without fs-verity mounts it as well.
        let probe = setting.path("cache/probe");
        fs::write(&probe, "").unwrap();
        Verity::default().protect(&probe).unwrap().is_some()
    };
    if !there {
        eprintln!("SKIPPED: no mkfs.ext4, no loop devices, or a kernel without fs-verity");
    }
    there
}

fn attach(setting: &Setting) -> bool {
    let mut command = Command::new("mount");
    command
        .args(["-o", "loop"])
        .args([setting.path("ext4"), setting.path("cache")]);
    command.status().is_ok_and(|status| status.success())
}

fn detach(setting: &Setting) {
    let status = Command::new("umount").arg(setting.path("cache")).status().unwrap();
    assert!(status.success(), "umount: {status}");
}

fn object(setting: &Setting, seed: usize) -> fs::File {
    let path = setting
        .path("cache/objects")
        .join(ObjectDigest::of(&bytes(seed)).path());
    fs::File::open(path).unwrap()
}

/// Changes a byte in the middle of a file's content, wherever that lies on the device.
fn damage(image: &Path, content: &[u8]) {
    let device = fs::read(image).unwrap();
    let block = &content[4096 * 20..][..4096];
    let place = device.chunks(4096).position(|other| other == block).unwrap() * 4096;
    let file = fs::OpenOptions::new().write(true).open(image).unwrap();
    file.write_all_at(&[!block[100]], place as u64 + 100).unwrap();
}

#[test]
fn a_damaged_object_is_refused_by_the_kernel_and_fetched_again_when_the_cache_is_checked() {
    if !alone() {
        return;
    }
    let setting = Setting::new();
    if !verity_cache(&setting) {
        return;
    }
    let (url, cache) = (setting.url(), setting.cache());
    let options = ["--cache", &cache, "--prefetch-all", "--how", "kernel"];
    setting.mount(&url, &options);
    for seed in 0..FILES {
        let found = verity::measure(&object(&setting, seed)).unwrap();
        assert_eq!(found, Some(*ObjectDigest::of(&bytes(seed)).as_bytes()));
        setting.check(seed);
    }
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(table.contains("verity=on"), "{table}");
    assert!(setting.unmount().status.success());
    detach(&setting);
    damage(&setting.path("ext4"), &bytes(5));
    assert!(attach(&setting));
    // By the kernel, and by passthrough.
    for way in ["kernel", "fuse"] {
        setting.mount(&url, &["--cache", &cache, "--how", way]);
        let error = fs::read(setting.file(5)).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(5), "EIO: {error}");
        setting.check(6);
        assert!(setting.unmount().status.success());
    }
    setting.mount(&url, &[&options[..], &["--check-cache"]].concat());
    (0..FILES).for_each(|seed| setting.check(seed));
    assert!(setting.unmount().status.success());
    detach(&setting);
}
