//! Alpine's packages: the lock, the cache, and everything that is wrong told at once.

use std::fs;
use std::path::PathBuf;
use std::process::Output;

use mos_testkit::apk::{Hash, PackageBuilder, SigningKey};

use crate::support::{System, alpine, cache};

/// The kernel and the stub are Debian's, from the cache that all tests share.
const KERNEL: &str = "debian:linux-image-6.12-cloud-amd64";

/// A system with these packages beside the usual ones, which wants these.
fn system(wanted: &str, more: &[PackageBuilder]) -> (System, PathBuf) {
    let system = System::new(&[]);
    let packages = [alpine::userland(), more.to_vec()].concat();
    let files = alpine::set_up(&system, wanted, KERNEL, &packages);
    // What the shared cache has of Alpine is not this test's.
    let own = system.folder().join("cache");
    fs::create_dir_all(cache().join("apt")).unwrap();
    fs::create_dir(&own).unwrap();
    std::os::unix::fs::symlink(cache().join("apt"), own.join("apt")).unwrap();
    (system, files)
}

fn mos(system: &System, arguments: &[&str]) -> Output {
    let mut command = system.command(arguments);
    command
        .env("MOS_CACHE", system.folder().join("cache"))
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

const LOCK: [&str; 3] = ["lock", "--env", "dev"];
const BUILD: [&str; 4] = ["image", "build", "--env", "dev"];

#[test]
fn lines_that_cannot_be_had_are_told_at_once_with_their_places() {
    let (system, _) = system("alpine-baselayout\n\nbusybax\n# network\n  greeter>9\n", &[]);
    let output = mos(&system, &LOCK);
    let said = said(&output);
    assert_eq!(output.status.code(), Some(4), "{said}");
    for expected in [
        "image/packages.list:3:1: busybax: no repository has `busybax`; did you mean `busybox`?",
        "image/packages.list:5:3: greeter>9: ",
    ] {
        assert!(said.contains(expected), "{expected} is not in:\n{said}");
    }
    assert!(!system.repository().join("mos.lock").exists());
}

#[test]
fn a_mirror_is_never_guessed() {
    let (system, _) = system("alpine-baselayout\n", &[]);
    let project = fs::read_to_string(system.repository().join("mos.toml")).unwrap();
    system.write("mos.toml", &project.replace("mirror = \"./mirror\"\n", ""));
    let lock = |mirror: Option<PathBuf>| {
        let mut command = system.command(&LOCK);
        command.env("MOS_CACHE", system.folder().join("cache"));
        match mirror {
            Some(folder) => command.env("MOS_ALPINE_MIRROR", folder),
            None => command.env_remove("MOS_ALPINE_MIRROR"),
        };
        command.output().unwrap()
    };
    let output = lock(None);
    let text = said(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(
        text.contains("the repository `v3.22/main` of Alpine is below a mirror, and none is named"),
        "{text}"
    );
    let output = lock(Some(system.repository().join("mirror")));
    assert!(output.status.success(), "{}", said(&output));
}

#[test]
fn a_locked_image_is_built_without_repositories_and_says_what_is_in_it() {
    let (system, files) = system("alpine-baselayout\ngreeter\n", &[]);
    let first = mos(&system, &BUILD);
    assert!(first.status.success(), "{}", said(&first));
    assert!(
        said(&first).contains("scripts of packages are not run")
            && said(&first).contains("greeter-1.0-r0 (post-install)"),
        "{}",
        said(&first)
    );
    let lock = fs::read_to_string(system.repository().join("mos.lock")).unwrap();
    for expected in [
        "[[apk]]\nname = \"busybox\"\nversion = \"1.37.0-r18\"",
        "from = \"alpine x86_64 v3.22/main\"",
    ] {
        assert!(lock.contains(expected), "{lock}");
    }
    // The repository stays, but has nothing any more; and the image is another one.
    fs::remove_dir_all(files).unwrap();
    let environment = "channel = \"http://10.0.2.2:8480\"\n[image]\nhostname = \"another\"\n";
    system.write("environments/dev.toml", environment);
    let second = mos(&system, &BUILD);
    assert!(second.status.success(), "{}", said(&second));
    let explained = mos(&system, &["image", "explain", "bin/busybox"]);
    let text = String::from_utf8_lossy(&explained.stdout).into_owned();
    assert!(text.contains("package busybox"), "{text}{}", said(&explained));
    assert_eq!(fs::read_to_string(system.repository().join("mos.lock")).unwrap(), lock);
}

#[test]
fn a_release_of_another_number_is_asked_for_anew() {
    let (system, _) = system("busybox\n", &[]);
    assert!(mos(&system, &LOCK).status.success());
    let settings = fs::read_to_string(system.repository().join("mos.toml")).unwrap();
    system.write("mos.toml", &format!("{settings}release = \"v3.23\"\n"));
    let output = mos(&system, &LOCK);
    assert!(said(&output).contains("v3.23/main"), "{}", said(&output));
    assert!(!output.status.success());
}

#[test]
fn several_faults_are_told_in_one_go_and_nothing_is_made() {
    let other = PackageBuilder::new("other", "2-r0").file("usr/bin/other", "other");
    let (system, folder) = system("alpine-baselayout\ngreeter\nother\n", std::slice::from_ref(&other));
    assert!(mos(&system, &LOCK).status.success());
    fs::remove_dir_all(system.folder().join("cache/alpine")).unwrap();
    // One byte of the files is another; a package is signed by somebody else; one is another of the same name.
    let damaged = folder.join("musl-1.2.5-r9.apk");
    let mut bytes = fs::read(&damaged).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&damaged, bytes).unwrap();
    fs::write(
        folder.join("other-2-r0.apk"),
        other.build(&SigningKey::second(), Hash::Sha1),
    )
    .unwrap();
    let output = mos(&system, &BUILD);
    let said = said(&output);
    assert_eq!(output.status.code(), Some(3), "a matter of trust: {said}");
    for expected in ["musl-1.2.5-r9: ", "other-2-r0: ", "the lock says"] {
        assert!(said.contains(expected), "{expected} is not in:\n{said}");
    }
    assert!(!system.repository().join("dist").exists());
    let made = fs::read_dir(system.folder().join("cache/steps/image"));
    let made: Vec<_> = made.into_iter().flatten().map(|entry| entry.unwrap().path()).collect();
    assert!(!made.iter().any(|path| path.join("vmlinuz.efi").exists()), "{made:?}");
    // The same without a lock: signatures are all there is.
    fs::remove_file(system.repository().join("mos.lock")).unwrap();
    let output = mos(&system, &LOCK);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(3), "{said}");
    for expected in ["musl-1.2.5-r9: ", "other-2-r0: "] {
        assert!(said.contains(expected), "{expected} is not in:\n{said}");
    }
}

#[test]
fn an_image_begins_with_a_miniroot() {
    let (system, _) = system("greeter\n", &[]);
    let made = system.folder().join("made");
    fs::create_dir_all(made.join("lib/apk/db")).unwrap();
    fs::create_dir_all(made.join("etc/apk")).unwrap();
    let database =
        "C:Q1AAAAAAAAAAAAAAAAAAAAAAAAAAA=\nP:own\nV:1-r0\nA:x86_64\nS:1\nI:1\nT:a test\nU:\nL:MIT\nF:etc\nR:own\n\n";
    fs::write(made.join("lib/apk/db/installed"), database).unwrap();
    fs::write(made.join("etc/apk/world"), "own\n").unwrap();
    fs::write(made.join("etc/own"), "of the miniroot\n").unwrap();
    let tarball = system.repository().join("miniroot.tar.gz");
    crate::support::run(
        std::process::Command::new("tar")
            .arg("-czf")
            .arg(&tarball)
            .arg("-C")
            .arg(&made)
            .arg("."),
    );
    let settings = fs::read_to_string(system.repository().join("mos.toml")).unwrap();
    system.write("mos.toml", &format!("{settings}miniroot = \"miniroot.tar.gz\"\n"));
    let output = mos(&system, &BUILD);
    assert!(output.status.success(), "{}", said(&output));
    for (path, part) in [("etc/own", "package own"), ("usr/bin/greet", "package greeter")] {
        let explained = mos(&system, &["image", "explain", path]);
        let text = String::from_utf8_lossy(&explained.stdout).into_owned();
        assert!(text.contains(part), "{text}{}", said(&explained));
    }
    fs::write(&tarball, "no archive").unwrap();
    let output = mos(&system, &BUILD);
    assert!(
        said(&output).contains("miniroot.tar.gz: not a miniroot"),
        "{}",
        said(&output)
    );
}
