//! What is not as it was signed is not run.

use std::fs;
use std::path::{Path, PathBuf};

use mos_vm::Vm;

use crate::system::{BOOT, Script, System, console, wait_all};

/// Says on the console that it ran, which it must not.
const EVIL: Script = Script {
    name: "payload",
    script: "#!/bin/sh\necho PAYLOAD-RAN >/dev/console\nexec sleep 100000\n",
    service: "[service]\nname = \"payload\"\nexec = \"/var/cache/bin/payload\"\n",
};

fn published() -> System {
    let system = System::new(&[EVIL]);
    // Larger than what lies inside the flist itself, so that there is a chunk in a blob.
    system.write("programs/payload/payload", &format!("{}{}", EVIL.script, noise()));
    system.publish();
    system
}

/// Comment lines that do not compress well: the middle of their blob is content, and not its index.
fn noise() -> String {
    let mut state = 1_u64;
    let mut line = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        format!("# {state:016x}\n")
    };
    (0..8000).map(|_| line()).collect()
}

/// Changes one bit in the middle of a file.
fn damage(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}

/// The only file below a folder of the channel.
fn only_file(folder: &Path) -> PathBuf {
    let mut folder = folder.to_owned();
    loop {
        let entries: Vec<_> = fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        assert_eq!(entries.len(), 1, "{entries:?}");
        if entries[0].is_file() {
            return entries[0].clone();
        }
        folder = entries[0].clone();
    }
}

/// Boots, and expects one line that says why nothing is started.
fn refused(system: &System, why: &str) {
    let server = system.serve();
    let mut vm: Vm = system.boot(server.address().port(), Vec::new());
    let line = vm.wait_for("trust failure", BOOT).unwrap().text;
    assert!(line.contains(why), "{line}");
    vm.wait_for("runtime-fetch: failed", BOOT).unwrap();
    let said = console(&vm);
    assert!(!said.contains("PAYLOAD-RAN"), "{said}");
    assert_eq!(
        said.matches("trust failure:").count(),
        1,
        "one clear line, not more:\n{said}"
    );
}

#[test]
fn tampered_chunk_stops_on_the_console() {
    let system = published();
    damage(&only_file(&system.channel().join("blobs")));
    refused(&system, "payload");
}

#[test]
fn tampered_flist_stops_on_the_console() {
    let system = published();
    damage(&only_file(&system.channel().join("flists")));
    refused(&system, "payload");
}

#[test]
fn tampered_release_stops_on_the_console() {
    let system = published();
    let path = system.channel().join("release.json");
    let text = fs::read_to_string(&path).unwrap();
    let start = text.find("\"payload\"").unwrap() + 40;
    let mut bytes = text.into_bytes();
    bytes[start] = if bytes[start] == b'A' { b'B' } else { b'A' };
    fs::write(&path, bytes).unwrap();
    refused(&system, "release");
}

#[test]
fn expired_release_stops_on_the_console() {
    let system = published();
    fs::remove_dir_all(system.channel()).unwrap();
    let sixty_days_ago = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs() as i64 - 60 * 86_400;
    system.publish_at(sixty_days_ago);
    refused(&system, "expired");
}

#[test]
fn release_that_replaces_an_expired_one_starts_without_a_reboot() {
    let system = published();
    fs::remove_dir_all(system.channel()).unwrap();
    let sixty_days_ago = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs() as i64 - 60 * 86_400;
    system.publish_at(sixty_days_ago);
    let server = system.serve();
    let mut vm: Vm = system.boot(server.address().port(), Vec::new());
    vm.wait_for("runtime-fetch: failed", BOOT).unwrap();
    vm.wait_for("until it has a release that can be started", BOOT).unwrap();
    assert!(!console(&vm).contains("PAYLOAD-RAN"), "{}", console(&vm));
    system.publish();
    wait_all(&vm, &["PAYLOAD-RAN", "] ready"]);
}

#[test]
fn release_signed_with_another_environments_key_stops_on_the_console() {
    let system = published();
    // The image keeps the first key; the channel gets a release of the same name, signed with another.
    let server_side = System::new(&[EVIL]);
    server_side.publish();
    fs::remove_dir_all(system.channel()).unwrap();
    let copied = std::process::Command::new("cp")
        .arg("-r")
        .args([server_side.channel(), system.channel()])
        .status();
    assert!(copied.unwrap().success());
    refused(&system, "key");
}
