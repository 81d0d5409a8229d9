//! Keys as files, and as OpenSSL sees them.
#![cfg(feature = "publish")]
#![allow(clippy::unwrap_used, reason = "the helpers here are tests, too")]

use mos_channel::{KeyError, KeyPair, PublicKey};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

/// Runs openssl in a directory; `None`, with a visible reason, when it is not installed.
fn openssl(directory: &Path, arguments: &str) -> Option<()> {
    let output = Command::new("openssl")
        .args(arguments.split(' '))
        .current_dir(directory)
        .output();
    match output {
        Ok(output) => {
            assert!(
                output.status.success(),
                "openssl {arguments}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
            Some(())
        }
        Err(error) => {
            eprintln!("SKIPPED: openssl: {error}");
            None
        }
    }
}

#[test]
fn keys_survive_their_files() {
    let directory = tempfile::tempdir().unwrap();
    let (private, public) = (directory.path().join("dev.key"), directory.path().join("dev.pub"));
    let key = KeyPair::generate().unwrap();
    key.write(&private, &public).unwrap();
    assert_eq!(fs::metadata(&private).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(KeyPair::read(&private).unwrap().to_pem(), key.to_pem());
    assert_eq!(PublicKey::read(&public).unwrap(), key.public());
    assert!(matches!(
        KeyPair::generate().unwrap().write(&private, &public),
        Err(KeyError::Io { .. })
    ));
    assert_eq!(KeyPair::read(&private).unwrap().id(), key.id());
    fs::set_permissions(&private, Permissions::from_mode(0o640)).unwrap();
    let error = KeyPair::read(&private).unwrap_err().to_string();
    assert!(error.contains("chmod 600") && error.contains("dev.key"), "{error}");
}

#[test]
fn private_keys_are_not_shown() {
    let key = KeyPair::generate().unwrap();
    let secret = key.to_pem().lines().nth(1).unwrap().to_owned();
    assert!(format!("{key:?}").contains(&key.id().to_string()) && !format!("{key:?}").contains(&secret));
}

#[test]
fn openssl_reads_our_keys_and_we_read_its() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let key = KeyPair::generate().unwrap();
    key.write(&at("ours.key"), &at("ours.pub")).unwrap();
    let Some(()) = openssl(directory.path(), "pkey -in ours.key -pubout -out ours.again") else {
        return;
    };
    assert_eq!(fs::read(at("ours.pub")).unwrap(), fs::read(at("ours.again")).unwrap());
    openssl(directory.path(), "genpkey -algorithm ed25519 -out theirs.key").unwrap();
    openssl(directory.path(), "pkey -in theirs.key -pubout -out theirs.pub").unwrap();
    let theirs = KeyPair::from_pem(&fs::read_to_string(at("theirs.key")).unwrap()).unwrap();
    assert_eq!(theirs.public(), PublicKey::read(&at("theirs.pub")).unwrap());
    assert_eq!(theirs.to_pem(), fs::read_to_string(at("theirs.key")).unwrap());
}

#[test]
fn other_kinds_of_keys_are_named() {
    let directory = tempfile::tempdir().unwrap();
    for (arguments, label) in [
        ("genpkey -algorithm x25519 -out key", "not an Ed25519 key"),
        (
            "genpkey -algorithm ec -pkeyopt ec_paramgen_curve:P-256 -out key",
            "not an Ed25519 key",
        ),
        ("ecparam -name prime256v1 -genkey -noout -out key", "EC PRIVATE KEY"),
        (
            "genpkey -algorithm ed25519 -aes256 -pass pass:x -out key",
            "decrypt it first",
        ),
    ] {
        let Some(()) = openssl(directory.path(), arguments) else {
            return;
        };
        let text = fs::read_to_string(directory.path().join("key")).unwrap();
        let error = KeyPair::from_pem(&text).unwrap_err().to_string();
        assert!(error.contains(label), "{arguments}: {error}");
    }
}

#[test]
fn halves_mixed_up_and_damaged_texts_are_named() {
    let key = KeyPair::generate().unwrap();
    let (private, public) = (key.to_pem(), key.public().to_pem());
    for (error, expected) in [
        (
            KeyPair::from_pem(&public).unwrap_err(),
            "public half; give the .key file",
        ),
        (
            PublicKey::from_pem(&private).unwrap_err(),
            "private half; give the .pub file",
        ),
        (
            KeyPair::from_pem("-----BEGIN OPENSSH PRIVATE KEY-----\n").unwrap_err(),
            "SSH keys do not sign",
        ),
        (KeyPair::from_pem("").unwrap_err(), "not a PEM file"),
        (KeyPair::from_pem(&private[..60]).unwrap_err(), "not a PEM file"),
        (
            KeyPair::from_pem(&private.replacen('M', "!", 1)).unwrap_err(),
            "damaged",
        ),
        (PublicKey::from_pem(&"x".repeat(1 << 20)).unwrap_err(), "not a PEM file"),
    ] {
        assert!(error.to_string().contains(expected), "{error}");
    }
    assert_eq!(
        PublicKey::from_pem(&format!("# a comment\n{public}\nrest")).unwrap(),
        key.public()
    );
}

#[test]
fn weak_public_keys_are_refused() {
    // The point of order one (RFC 8032, 5.1.4: the neutral element) as SubjectPublicKeyInfo.
    let pem = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAAQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n-----END PUBLIC KEY-----\n";
    assert!(matches!(PublicKey::from_pem(pem), Err(KeyError::NotEd25519(_))));
}
