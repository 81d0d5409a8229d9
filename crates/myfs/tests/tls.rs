//! Mounts whose content comes over TLS.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::fs;
use std::process::Command;

use common::{FILES, Setting, alone};
use mos_testkit::{Authority, HttpServer};

/// Mounts with a file of authorities.
fn mount(setting: &Setting, store: &str, authority: &Authority) {
    let file = setting.path("ca.pem");
    fs::write(&file, authority.pem()).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_myfs"));
    command
        .arg("mount")
        .args([setting.path("x.fl"), setting.path("place")])
        .args(["--store", store, "--daemon", "--how", "fuse", "--wait", "2"])
        .arg("--log")
        .arg(setting.path("log"))
        .arg("--pidfile")
        .arg(setting.path("pid"))
        .env("SSL_CERT_FILE", file);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_store_of_https_is_mounted_when_its_authority_is_known_and_else_not() {
    if !alone() {
        return;
    }
    let setting = Setting::new();
    let authority = Authority::new();
    let server = HttpServer::serve_tls(&setting.path("store"), &authority.vouch("127.0.0.1"));
    mount(&setting, &server.url(), &Authority::new());
    assert_eq!(fs::read(setting.file(0)).unwrap_err().raw_os_error(), Some(5), "EIO");
    let log = fs::read_to_string(setting.path("log")).unwrap();
    assert!(log.contains("the server's certificate is not trusted"), "{log}");
    assert_eq!(server.requests(), [""; 0]);
    assert!(setting.unmount().status.success());
    mount(&setting, &server.url(), &authority);
    (0..FILES).for_each(|seed| setting.check(seed));
    assert!(!server.requests().is_empty());
}

#[test]
fn a_bucket_is_mounted_over_tls() {
    if !alone() {
        return;
    }
    let setting = Setting::new();
    let authority = Authority::new();
    // Reading a bucket is getting files below its name.
    fs::create_dir(setting.path("server")).unwrap();
    fs::rename(setting.path("store"), setting.path("server/bucket")).unwrap();
    let server = HttpServer::serve_tls(&setting.path("server"), &authority.vouch("127.0.0.1"));
    let host = server.url().replace("https://", "");
    let store = format!("s3s://KEY:SECRET@{host}/bucket");
    mount(&setting, &store, &authority);
    (0..FILES).for_each(|seed| setting.check(seed));
    assert!(
        server
            .requests()
            .iter()
            .any(|request| request.contains("/bucket/blobs/"))
    );
}
