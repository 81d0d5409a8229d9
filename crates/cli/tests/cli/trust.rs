//! What is not as it was signed is refused, with exit code 3.

use std::fs;
use std::path::Path;

use expect_test::expect;

use crate::hello;
use crate::support::System;
use crate::transcript::transcript;

fn says(system: &System, arguments: &[&str]) -> String {
    let mut command = system.command(arguments);
    transcript(command.arg("--from").arg(system.channel()), system.folder())
}

fn published() -> System {
    let system = hello();
    system.publish();
    system
}

/// Changes one bit in the middle of a file.
fn damage(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn tampered_release_is_refused() {
    let system = published();
    let path = system.channel().join("release.json");
    let mut envelope: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let payload = envelope["payload"].as_str().unwrap();
    // `{"` at its beginning becomes `{2`.
    let changed = payload.replacen("eyJ", "ezJ", 1);
    assert_ne!(payload, changed);
    envelope["payload"] = changed.into();
    fs::write(&path, envelope.to_string()).unwrap();
    expect![[r#"
        ! error: dir://[HERE]/channel: the signature of key [HEX] does not match: the release was changed after it was signed
        [exit 3]
    "#]].assert_eq(&says(&system, &["release", "show", "--env", "dev"]));
    expect![[r#"
        ! error: dir://[HERE]/channel: the signature of key [HEX] does not match: the release was changed after it was signed
        [exit 3]
    "#]].assert_eq(&says(&system, &["release", "verify", "--env", "dev"]));
}

#[test]
fn damaged_part_is_found_and_named() {
    let system = published();
    let flists = fs::read_dir(system.channel().join("flists")).unwrap();
    flists.for_each(|entry| damage(&entry.unwrap().path()));
    expect![[r#"
        flists/[HEX].fl: has BLAKE3 [HEX], the release says [HEX]
        ! error: release 1 is damaged: 1 of 4 files
        [exit 3]
    "#]]
    .assert_eq(&says(&system, &["release", "verify", "--env", "dev"]));
}

#[test]
fn release_of_another_key_is_refused() {
    let system = published();
    fs::remove_dir_all(system.repository().join("keys")).unwrap();
    system.mos(&["keys", "new", "--env", "dev"]);
    expect![[r#"
        ! error: dir://[HERE]/channel: the release is signed by [HEX], which is not a trusted key of `dev` (trusted: [HEX])
        [exit 3]
    "#]].assert_eq(&says(&system, &["release", "show", "--env", "dev"]));
    let published = transcript(&mut system.publish_command(), system.folder());
    expect![[r#"
        ! hello [HEX]: nothing changed
        ! boot image: made
        ! error: dir://[HERE]/channel: the release is signed by [HEX], which is not a trusted key of `dev` (trusted: [HEX]); to take the channel over, remove its release.json first
        [exit 3]
    "#]].assert_eq(&published);
}

#[test]
fn expired_release_is_refused() {
    let system = published();
    let mut command = system.command(&["release", "show", "--env", "dev", "--from"]);
    // The year 2100.
    command.arg(system.channel()).env("SOURCE_DATE_EPOCH", "4102444800");
    let said = transcript(&mut command, system.folder());
    assert!(said.starts_with("! error: ") && said.contains("expired"), "{said}");
    assert!(said.ends_with("[exit 3]\n"), "{said}");
}
