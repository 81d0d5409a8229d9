//! `mos keys`.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use expect_test::expect;

use crate::support::{mos, run};
use crate::transcript::transcript;

#[test]
fn keys_are_made_once_shown_and_never_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    run(mos(here).args(["new", "--name", "demo", "."]));
    let says = |arguments: &[&str]| transcript(mos(here).args(arguments), here);
    expect![[r#"
        ! error: [HERE]/keys/dev.pub: No such file or directory (os error 2)
        !  hint: `mos keys new --env dev` makes the keys
        [exit 3]
    "#]]
    .assert_eq(&says(&["keys", "show", "--env", "dev"]));
    expect![[r#"
        [HEX]
        ! Wrote [HERE]/keys/dev.key (secret: keep it safe) and [HERE]/keys/dev.pub.
    "#]]
    .assert_eq(&says(&["keys", "new", "--env", "dev"]));
    let secret = fs::read(here.join("keys/dev.key")).unwrap();
    expect![[r#"
        ! error: [HERE]/keys/dev.key is there already
        !  hint: nodes that trust a key accept no other: move it away only if no node does
        [exit 5]
    "#]]
    .assert_eq(&says(&["keys", "new", "--env", "dev"]));
    assert_eq!(fs::read(here.join("keys/dev.key")).unwrap(), secret);
    let mode = fs::metadata(here.join("keys/dev.key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    expect![[r#"
        [HEX]  Ed25519  [HERE]/keys/dev.pub (the secret half is here)
    "#]]
    .assert_eq(&says(&["keys", "show", "--env", "dev"]));
    fs::remove_file(here.join("keys/dev.key")).unwrap();
    expect![[r#"
        {
          "environment": "dev",
          "id": "[HEX]",
          "algorithm": "Ed25519",
          "public": "[HERE]/keys/dev.pub",
          "can_sign": false
        }
    "#]]
    .assert_eq(&says(&["keys", "show", "--env", "dev", "--json"]));
    expect![[r#"
        ! error: [HERE]/keys/dev.pub is there already
        !  hint: nodes that trust a key accept no other: move it away only if no node does
        [exit 5]
    "#]]
    .assert_eq(&says(&["keys", "new", "--env", "dev"]));
}

#[test]
fn file_that_is_no_key_is_a_trust_failure() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    run(mos(here).args(["new", "--name", "demo", "."]));
    fs::create_dir(here.join("keys")).unwrap();
    fs::write(here.join("keys/dev.pub"), "-----BEGIN PUBLIC KEY-----\nrubbish\n").unwrap();
    let shown = transcript(mos(here).args(["keys", "show", "--env", "dev"]), here);
    expect![[r#"
        ! error: [HERE]/keys/dev.pub: not a PEM file: a line `-----BEGIN …-----` and its end are expected
        !  hint: `mos keys new --env dev` makes the keys
        [exit 3]
    "#]]
    .assert_eq(&shown);
}

#[test]
fn secure_boot_keys_are_made_with_all_that_enrols_them_and_sign_an_image() {
    if std::process::Command::new("openssl").arg("version").output().is_err() {
        eprintln!("SKIPPED: openssl is not installed");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    run(mos(here).args(["new", "--name", "demo", "."]));
    let says = |arguments: &[&str]| transcript(mos(here).args(arguments), here);
    expect![[r#"
        ! Wrote PK, KEK, db and pcr to [HERE]/keys/secure-boot; *.key are secret: keep them safe.
        ! Signatures: `secure_boot = "keys/secure-boot/db"` in [image] of an environment.
        ! Policies: `pcr_policy = "keys/secure-boot/pcr"` there; a TPM opens to such an image what is sealed to pcr.pub.
        ! Enrolment: *.auth in loader/keys/auto for systemd-boot, *.cer or *.esl in a firmware's menu.
    "#]]
    .assert_eq(&says(&["keys", "new", "--secure-boot"]));
    expect![[r#"
        ! error: [HERE]/keys/secure-boot/db.key is there already
        !  hint: firmware that knows the old keys accepts no other: move them away only if none does
        [exit 5]
    "#]]
    .assert_eq(&says(&["keys", "new", "--secure-boot"]));
    let place = here.join("keys/secure-boot");
    for name in ["PK", "KEK", "db"] {
        let file = |suffix: &str| fs::read(place.join(format!("{name}.{suffix}"))).unwrap();
        let mode = fs::metadata(place.join(format!("{name}.key")))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(file("esl").ends_with(&file("cer")) && file("auth").ends_with(&file("esl")));
        assert!(file("crt").starts_with(b"-----BEGIN CERTIFICATE-----\n"));
    }
    assert_eq!(fs::read_to_string(place.join(".gitignore")).unwrap(), "*.key\n");
    fs::write(here.join("plain.efi"), crate::signing::program()).unwrap();
    let key = ["--key", "keys/secure-boot/db.key", "--cert", "keys/secure-boot/db.crt"];
    expect![[r#"
        ! plain.efi: signed by `demo db`.
    "#]]
    .assert_eq(&says(&[&["image", "sign"][..], &key, &["plain.efi"]].concat()));
    expect![[r#"
        [HEX]  demo db  valid
    "#]]
    .assert_eq(&says(&[
        "image",
        "verify",
        "--cert",
        "keys/secure-boot/db.cer",
        "plain.efi",
    ]));
    expect![[r#"
        ! error: plain.efi: it has no section .sdmagic: it is no unified kernel image with systemd's stub
        [exit 1]
    "#]]
    .assert_eq(&says(&["image", "pcr", "plain.efi"]));
}
