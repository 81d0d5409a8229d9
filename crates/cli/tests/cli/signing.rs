//! `mos image sign` and `mos image verify`.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use expect_test::expect;

use crate::support::{mos, run};
use crate::transcript::transcript;

const SOFTHSM: &str = "/usr/lib/softhsm/libsofthsm2.so";

/// The smallest PE32+ file: headers of 512 bytes, and one section.
pub(crate) fn program() -> Vec<u8> {
    let mut bytes = vec![0; 0x400];
    let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    put(0, b"MZ");
    put(0x3c, &[0x40]);
    put(0x40, b"PE\0\0\x64\x86\x01");
    put(0x54, &[240]); // length of the optional header
    put(0x58, &[0x0b, 0x02]);
    put(0x58 + 33, &[0x10]); // sections in memory at multiples of 4096
    put(0x58 + 37, &[0x02]); // and in the file of 512
    put(0x58 + 57, &[0x20]); // image
    put(0x58 + 61, &[0x02]); // headers
    put(0x58 + 108, &[16]); // directories
    put(0x58 + 240, b".text\0\0\0\0\x02\0\0\0\x10\0\0\0\x02\0\0\0\x02\0\0");
    bytes
}

/// The unsigned program, and NAME.key with NAME.crt; nothing without openssl.
fn bench(names: &[&str]) -> Option<tempfile::TempDir> {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("plain.efi"), program()).unwrap();
    for name in names {
        let (key, cert, subject) = (format!("{name}.key"), format!("{name}.crt"), format!("/CN={name}"));
        let mut command = Command::new("openssl");
        command.args([
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", &key, "-out", &cert, "-subj", &subject,
        ]);
        let Ok(output) = command.current_dir(folder.path()).output() else {
            eprintln!("SKIPPED: openssl is not installed");
            return None;
        };
        assert!(output.status.success());
        private(&folder.path().join(key));
    }
    Some(folder)
}

fn private(key: &Path) {
    fs::set_permissions(key, fs::Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn an_image_is_signed_once_and_verified_and_a_change_is_found() {
    let Some(folder) = bench(&["db", "foreign"]) else {
        return;
    };
    let here = folder.path();
    let says = |arguments: &str| transcript(mos(here).args(arguments.split(' ')), here);
    expect![[r#"
        ! error: plain.efi is not signed
        [exit 3]
    "#]]
    .assert_eq(&says("image verify --cert db.crt plain.efi"));
    expect![[r#"
        ! signed.efi: signed by `db`.
    "#]]
    .assert_eq(&says("image sign --key db.key --cert db.crt plain.efi -o signed.efi"));
    expect![[r#"
        [HEX]  db  valid
    "#]]
    .assert_eq(&says("image verify --cert db.crt signed.efi"));
    let signed = fs::read(here.join("signed.efi")).unwrap();
    expect![[r#"
        ! signed.efi: already signed by `db`.
    "#]]
    .assert_eq(&says("image sign --key db.key --cert db.crt signed.efi"));
    assert_eq!(fs::read(here.join("signed.efi")).unwrap(), signed);
    expect![[r#"
        [HEX]  db  valid, but its certificate is not trusted
        ! error: signed.efi has no valid signature by a trusted certificate
        [exit 3]
    "#]]
    .assert_eq(&says("image verify --cert foreign.crt signed.efi"));
    expect![[r#"
        ! error: the private key does not belong to the certificate of `db`
        [exit 3]
    "#]]
    .assert_eq(&says("image sign --key foreign.key --cert db.crt plain.efi"));
    let mut changed = signed;
    changed[0x300] ^= 1;
    fs::write(here.join("changed.efi"), changed).unwrap();
    expect![[r#"
        {
          "digest": "[HEX]",
          "trusted": false,
          "signatures": [
            {
              "signer": "db",
              "fingerprint": "[HEX]",
              "holds": false,
              "trusted": false
            }
          ]
        }
        ! error: changed.efi has no valid signature by a trusted certificate
        [exit 3]
    "#]]
    .assert_eq(&says("image verify --cert db.crt changed.efi --json"));
    expect![[r#"
        ! error: changed.efi: the EFI program was changed after `db` signed it: sign the unsigned file anew
        [exit 3]
    "#]]
    .assert_eq(&says("image sign --key foreign.key --cert foreign.crt changed.efi"));
    assert_eq!(fs::read(here.join("plain.efi")).unwrap(), program());
}

#[test]
fn an_encrypted_key_and_a_token_sign_the_same_bytes_as_the_file() {
    let works = |program: &str| Command::new(program).arg("--help").output().is_ok();
    if !works("pkcs11-tool") || !works("softhsm2-util") || !Path::new(SOFTHSM).exists() {
        eprintln!("SKIPPED: needs opensc and softhsm2");
        return;
    }
    let Some(folder) = bench(&["db"]) else { return };
    let here = folder.path();
    fs::create_dir(here.join("tokens")).unwrap();
    let configuration = here.join("softhsm.conf");
    fs::write(
        &configuration,
        format!("directories.tokendir = {}\n", here.join("tokens").display()),
    )
    .unwrap();
    fs::write(here.join("pin"), "4711\n").unwrap();
    fs::write(here.join("passphrase"), "open sesame\n").unwrap();
    for line in [
        "softhsm2-util --init-token --free --label 'mos test' --so-pin 1234 --pin 4711",
        "openssl pkcs8 -topk8 -in db.key -out locked.key -passout file:passphrase",
        "openssl pkcs8 -topk8 -nocrypt -in db.key -out db.p8",
        "softhsm2-util --import db.p8 --token 'mos test' --label db --id 01 --pin 4711",
    ] {
        let mut command = Command::new("sh");
        run(command
            .args(["-e", "-c", line])
            .env("SOFTHSM2_CONF", &configuration)
            .current_dir(here));
    }
    private(&here.join("locked.key"));
    let sign = |key: &str, output: &str| {
        let mut command = mos(here);
        command.args([
            "image",
            "sign",
            "--key",
            key,
            "--cert",
            "db.crt",
            "plain.efi",
            "-o",
            output,
        ]);
        command.env("SOFTHSM2_CONF", &configuration);
        command
    };
    let bytes = |name: &str| fs::read(here.join(name)).unwrap();
    run(&mut sign("db.key", "file.efi"));
    run(sign("locked.key", "locked.efi").env("MOS_KEY_PASSPHRASE_FILE", here.join("passphrase")));
    let token = format!("pkcs11:token=mos%20test;object=db?module-path={SOFTHSM}");
    run(&mut sign(
        &format!("{token}&pin-source=file:{}", here.join("pin").display()),
        "token.efi",
    ));
    run(sign(&token, "token2.efi").env("MOS_PKCS11_PIN", "4711"));
    for name in ["locked.efi", "token.efi", "token2.efi"] {
        assert!(bytes(name) == bytes("file.efi"), "{name}");
    }
    let refused = sign("locked.key", "no.efi")
        .env("MOS_KEY_PASSPHRASE", "wrong")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(3) && !said.contains("wrong"), "{said}");
    assert!(!here.join("no.efi").exists());
}
