//! `mos release publish`, and the verbs that read a channel.

use std::fs;

use expect_test::expect;
use mos_testkit::S3Server;

use crate::support::System;
use crate::transcript::transcript;
use crate::{hello, unique};

/// A time long after the keys were made and long before anything expires, seconds since 1970.
const NOW: &str = "1795000000";

fn says(system: &System, arguments: &[&str]) -> String {
    let mut command = system.command(arguments);
    transcript(command.env("SOURCE_DATE_EPOCH", NOW), system.folder())
}

#[test]
fn releases_are_published_shown_verified_and_listed() {
    let system = hello();
    let publish = ["release", "publish", "--env", "dev"];
    expect![[r#"
        put flists/[HEX].fl ([SIZE])
        put boot/[HEX].efi ([SIZE])
        put releases/1.json ([SIZE])
        put release.json ([SIZE])
        release 1 of dev: objects to write: 4 ([SIZE]), already there: 0
        ! hello [HEX]: packed, 0 blobs
        ! Wrote [HERE]/repository/mos.lock.
        ! resolving packages: busybox-static
        ! resolving packages: linux-image-6.12-cloud-amd64
        ! resolving packages: systemd-boot-efi
        ! boot image: made
        ! Wrote [HERE]/repository/mos.lock.
    "#]]
    .assert_eq(&says(&system, &[&publish[..], &["--dry-run"]].concat()));
    assert!(!system.repository().join("dist/channel/dev/release.json").exists());
    expect![[r#"
        put flists/[HEX].fl ([SIZE])
        put boot/[HEX].efi ([SIZE])
        put releases/1.json ([SIZE])
        put release.json ([SIZE])
        release 1 of dev: objects to write: 4 ([SIZE]), already there: 0
        ! hello [HEX]: nothing changed
        ! boot image: nothing changed
    "#]]
    .assert_eq(&says(&system, &publish));
    expect![[r#"
        release 1 of dev is unchanged: nothing to publish
        ! hello [HEX]: nothing changed
        ! boot image: nothing changed
    "#]]
    .assert_eq(&says(&system, &publish));
    system.write("programs/hello/hello", &(unique(&system) + "# changed\n"));
    expect![[r#"
        put flists/[HEX].fl ([SIZE])
        put releases/2.json ([SIZE])
        put release.json ([SIZE])
        release 2 of dev: objects to write: 3 ([SIZE]), already there: 1
        ! hello [HEX]: packed, 0 blobs
        ! boot image: nothing changed
    "#]]
    .assert_eq(&says(&system, &publish));
    expect![[r#"
        Release 2 of dev, created 2026-11-18T11:06:40Z, expires 2026-12-18T11:06:40Z, oldest allowed 1
        PART  VERSION  SIZE  SHA-256
        boot image  [SIZE]  [HEX]
        hello  [HEX]  [SIZE]  [HEX]
    "#]]
    .assert_eq(&says(&system, &["release", "show", "--env", "dev"]));
    expect![[r#"
        ! Release 2 is whole: 4 files, [SIZE].
    "#]]
    .assert_eq(&says(&system, &["release", "verify", "--env", "dev"]));
    expect![[r#"
        SEQUENCE  CREATED  EXPIRES  FLISTS
        2  2026-11-18T11:06:40Z  2026-12-18T11:06:40Z  hello [HEX]
        1  2026-11-18T11:06:40Z  2026-12-18T11:06:40Z  hello [HEX]
    "#]]
    .assert_eq(&says(&system, &["release", "history", "--env", "dev"]));
    expect![[r#"
        SEQUENCE  CREATED  EXPIRES  FLISTS
        2  2026-11-18T11:06:40Z  2026-12-18T11:06:40Z  hello [HEX]
    "#]]
    .assert_eq(&says(&system, &["release", "history", "--env", "dev", "--limit", "1"]));
    let output = system
        .command(&["release", "show", "--env", "dev", "--json"])
        .env("SOURCE_DATE_EPOCH", NOW)
        .output();
    let release: serde_json::Value = serde_json::from_slice(&output.unwrap().stdout).unwrap();
    assert_eq!(release["sequence"], 2);
    assert_eq!(release["flists"][0]["name"], "hello");
}

#[test]
fn part_that_got_lost_is_published_again() {
    let system = hello();
    let publish = ["release", "publish", "--env", "dev"];
    says(&system, &publish);
    fs::remove_dir_all(system.repository().join("dist/channel/dev/flists")).unwrap();
    expect![[r#"
        put flists/[HEX].fl ([SIZE])
        release 1 of dev is unchanged, parts of it are missing: objects to write: 1 ([SIZE]), already there: 1
        ! hello [HEX]: nothing changed
        ! boot image: nothing changed
    "#]]
    .assert_eq(&says(&system, &publish));
}

#[test]
fn release_goes_to_a_real_s3_server_and_comes_back() {
    let system = hello();
    let server = S3Server::start();
    let url = format!("{}/channel", server.url());
    let says = |arguments: &[&str]| {
        let text = says(&system, arguments);
        text.replace(&server.address().to_string(), "[SERVER]")
    };
    expect![[r#"
        put flists/[HEX].fl ([SIZE])
        put boot/[HEX].efi ([SIZE])
        put releases/1.json ([SIZE])
        put release.json ([SIZE])
        release 1 of dev: objects to write: 4 ([SIZE]), already there: 0
        ! hello [HEX]: packed, 0 blobs
        ! Wrote [HERE]/repository/mos.lock.
        ! resolving packages: busybox-static
        ! resolving packages: linux-image-6.12-cloud-amd64
        ! resolving packages: systemd-boot-efi
        ! boot image: made
        ! Wrote [HERE]/repository/mos.lock.
    "#]]
    .assert_eq(&says(&["release", "publish", "--env", "dev", "--to", &url]));
    let readable = format!("{}/channel", server.read_only_url());
    expect![[r#"
        ! Release 1 is whole: 4 files, [SIZE].
    "#]]
    .assert_eq(&says(&["release", "verify", "--env", "dev", "--from", &readable]));
    expect![[r#"
        SEQUENCE  CREATED  EXPIRES  FLISTS
        1  2026-11-18T11:06:40Z  2026-12-18T11:06:40Z  hello [HEX]
    "#]]
    .assert_eq(&says(&["release", "history", "--env", "dev", "--from", &readable]));
    system.write("programs/hello/hello", &(unique(&system) + "# changed\n"));
    let refused = says(&["release", "publish", "--env", "dev", "--to", &readable]);
    expect![[r#"
        ! hello [HEX]: packed, 0 blobs
        ! boot image: nothing changed
        ! error: s3://[SERVER]/bucket/channel: refused flists/[HEX].fl: the server answers 403 Forbidden: AccessDenied: Access Denied
        [exit 1]
    "#]].assert_eq(&refused);
    assert!(!refused.contains("test+secret"), "the secret of a URL is never shown");
}

#[test]
fn store_of_mos_toml_is_the_default() {
    let system = hello();
    let store = system.folder().join("store");
    let text = fs::read_to_string(system.repository().join("mos.toml")).unwrap();
    system.write(
        "mos.toml",
        &format!("{text}\n[stores]\ndefault = \"dir://{}\"\n", store.display()),
    );
    says(&system, &["release", "publish", "--env", "dev"]);
    assert!(store.join("dev/release.json").exists());
}
