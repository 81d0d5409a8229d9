//! `mos lock`.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use expect_test::expect;

use crate::hello;
use crate::support::{System, cache as shared_cache, run};
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

#[test]
fn an_update_is_shown_before_it_is_written() {
    let system = hello();
    system.mos(&["lock", "--env", "dev"]);
    let path = system.repository().join("mos.lock");
    let newest = fs::read_to_string(&path).unwrap();
    // As if busybox-static had been locked when it had another version.
    let line = newest
        .lines()
        .skip_while(|line| *line != "name = \"busybox-static\"")
        .nth(1)
        .unwrap();
    let old = newest.replacen(line, "version = \"1:1.0-1\"", 1);
    fs::write(&path, &old).unwrap();
    let update = ["lock", "--env", "dev", "--update", "busybox-static"];
    let shown = transcript(&mut system.command(&update), system.folder());
    let version = line.trim_start_matches("version = ").trim_matches('"');
    assert!(
        shown.contains(&format!("~ package busybox-static 1:1.0-1 -> {version}\n")),
        "{shown}"
    );
    assert!(
        shown.contains("! Nothing was written: 1 change would be with --yes.\n"),
        "{shown}"
    );
    assert_eq!(fs::read_to_string(&path).unwrap(), old);
    let written = transcript(
        &mut system.command(&[&update[..], &["--yes"]].concat()),
        system.folder(),
    );
    assert!(written.contains("! Wrote "), "{written}");
    assert_eq!(fs::read_to_string(&path).unwrap(), newest);
    let unknown = says(&system, &["lock", "--env", "dev", "--update", "busybox-statc"]);
    assert!(
        unknown.contains("did you mean `busybox-static`?") && unknown.contains("[exit 4]"),
        "{unknown}"
    );
}

#[test]
fn other_bytes_under_the_same_version_are_shown_before_they_are_written() {
    let system = hello();
    system.mos(&["lock", "--env", "dev"]);
    let path = system.repository().join("mos.lock");
    let newest = fs::read_to_string(&path).unwrap();
    // As if the mirror had replaced busybox-static since.
    let package = newest
        .split("[[package]]")
        .find(|text| text.contains("\"busybox-static\""))
        .unwrap();
    let line = package.lines().find(|line| line.starts_with("sha256")).unwrap();
    let old = newest.replacen(line, &format!("sha256 = \"{}\"", "0123456789abcdef".repeat(4)), 1);
    fs::write(&path, &old).unwrap();
    let update = ["lock", "--env", "dev", "--update", "busybox-static"];
    let shown = transcript(&mut system.command(&update), system.folder());
    assert!(
        shown.contains(", other bytes: [HEX] -> [HEX]\n")
            && shown.contains("Nothing was written: 1 change would be with --yes."),
        "{shown}"
    );
    assert_eq!(fs::read_to_string(&path).unwrap(), old);
    system.mos(&[&update[..], &["--yes"]].concat());
    assert_eq!(fs::read_to_string(&path).unwrap(), newest);
}

#[test]
fn who_waits_for_another_mos_is_told_for_whom() {
    let system = hello();
    let turn = fs::File::open(system.repository()).unwrap();
    turn.lock().unwrap();
    let mut mos = system.command(&["lock", "--env", "dev"]);
    let mut mos = mos.stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(mos.stderr.take().unwrap()).lines();
    let said = lines.next().unwrap().unwrap();
    drop(turn);
    let named = format!("Process {} (`", std::process::id());
    let known = fs::read_to_string("/proc/locks").unwrap_or_default();
    assert!(said.contains("; waiting for it."), "{said}");
    assert!(
        said.starts_with(&named) || said.starts_with("Another mos"),
        "{said}\n{known}"
    );
    lines.for_each(drop);
    assert!(mos.wait().unwrap().success());
}

#[test]
fn a_broken_lock_is_an_error_once() {
    let system = hello();
    system.write("mos.lock", "format = 1\nnothing\n");
    expect![[r#"
        ! error: mos.lock:2:8: key with no value, expected `=`
        [exit 1]
    "#]]
    .assert_eq(&says(&system, &["lock", "--env", "dev"]));
}

#[test]
fn what_other_environments_have_locked_survives_an_update() {
    let system = hello();
    let dev = fs::read_to_string(system.repository().join("environments/dev.toml")).unwrap();
    let testing = format!("{dev}[image]\npackages = [\"wireless-regdb\"]\n");
    system.write("environments/testing.toml", &testing);
    system.mos(&["lock", "--env", "dev"]);
    system.mos(&["lock", "--env", "testing"]);
    let lock = || fs::read_to_string(system.repository().join("mos.lock")).unwrap();
    let before = lock();
    assert!(before.contains("wireless-regdb"), "{before}");
    let updated = says(&system, &["lock", "--env", "dev", "--update", "--yes"]);
    assert!(updated.contains("The lock is up to date."), "{updated}");
    assert_eq!(lock(), before);
}

#[test]
fn what_no_environment_asks_for_any_more_is_dropped_by_an_update_of_all() {
    let system = hello();
    let dev = fs::read_to_string(system.repository().join("environments/dev.toml")).unwrap();
    let testing = format!("{dev}[image]\npackages = [\"wireless-regdb\"]\n");
    system.write("environments/testing.toml", &testing);
    system.mos(&["lock", "--env", "dev"]);
    let without = fs::read_to_string(system.repository().join("mos.lock")).unwrap();
    system.mos(&["lock", "--env", "testing"]);
    system.write("environments/testing.toml", &dev);
    let update = ["lock", "--env", "dev", "--update"];
    let said = says(&system, &[&update[..], &["--dry-run"]].concat());
    for gone in [
        "- package wireless-regdb\n",
        "- request busybox-static wireless-regdb\n",
    ] {
        assert!(said.contains(gone), "{said}");
    }
    system.mos(&[&update[..], &["--yes"]].concat());
    let lock = fs::read_to_string(system.repository().join("mos.lock")).unwrap();
    assert_eq!(lock, without);
}

#[test]
fn lines_of_debian_that_cannot_be_had_are_told_at_once_with_their_places() {
    let system = hello();
    system.write(
        "image/packages.list",
        "busybox-static\nbusybox-sttaic\n\n  bash-sttaic\n",
    );
    let project = fs::read_to_string(system.repository().join("mos.toml")).unwrap();
    let line = project.lines().count() + 2;
    let kernel = "linux-image-6.12-clod-amd64";
    system.write("mos.toml", &format!("{project}[kernel]\npackage = \"{kernel}\"\n"));
    let none = "no source of this host has it; did you mean";
    let said = transcript(&mut system.command(&["lock", "--env", "dev"]), system.folder());
    for expected in [
        format!("image/packages.list:2:1: package `busybox-sttaic`: {none} `busybox-static`?"),
        format!("image/packages.list:4:3: package `bash-sttaic`: {none} `bash-static`?"),
        format!("mos.toml:{line}:11: package `{kernel}`: {none} `linux-image-6.12-cloud-amd64`?"),
        "[exit 4]".to_owned(),
    ] {
        assert!(said.contains(&expected), "{expected} is not in:\n{said}");
    }
    assert!(!system.repository().join("mos.lock").exists());
}

/// A network namespace of its own has no way out: not even the loopback device is up.
#[test]
fn a_build_from_the_lock_and_a_warm_cache_needs_no_network() {
    let alone = ["--net", "--map-root-user", "cat", "/proc/net/dev"];
    let works = Command::new("unshare").args(alone).output();
    let devices = works.ok().filter(|output| output.status.success());
    let Some(devices) = devices.map(|output| String::from_utf8(output.stdout).unwrap()) else {
        return eprintln!("SKIPPED: unshare --net does not work here");
    };
    assert_eq!(
        devices.lines().filter(|line| line.contains(':')).count(),
        1,
        "{devices}"
    );
    let system = hello();
    let cache = system.folder().join("cache");
    fs::create_dir_all(shared_cache().join("apt")).unwrap();
    fs::create_dir(&cache).unwrap();
    std::os::unix::fs::symlink(shared_cache().join("apt"), cache.join("apt")).unwrap();
    let image = system.repository().join("dist/vmlinuz.efi");
    run(system.command(&["build", "--env", "dev"]).env("MOS_CACHE", &cache));
    let first = fs::read(&image).unwrap();
    // What was downloaded stays, what was made of it does not; but reading all modules again would only take long.
    let steps = fs::read_dir(cache.join("steps"))
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let made: Vec<_> = steps.filter(|step| !step.ends_with("kernel facts")).collect();
    assert!(made.len() > 2, "{made:?}");
    for folder in made.into_iter().chain([system.repository().join("dist")]) {
        fs::remove_dir_all(folder).unwrap();
    }
    let mos = system.command(&["build", "--env", "dev"]);
    let mut command = Command::new("unshare");
    command
        .args(["--net", "--map-root-user"])
        .arg(mos.get_program())
        .args(mos.get_args());
    command.current_dir(system.repository());
    for (name, value) in mos.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let output = run(command.env("MOS_CACHE", &cache));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("boot image: made"), "{said}");
    assert!(fs::read(&image).unwrap() == first, "the image is another one");
}
