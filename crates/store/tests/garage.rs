//! Against Garage, a server that others wrote for real use: `make test-garage`.
#![cfg(feature = "s3")]
#![allow(clippy::unwrap_used, reason = "the helpers here are tests, too")]

mod contract;

use mos_store::{Address, Digest, Options, Read, StoreError, Write, open_read, open_write, open_write_with};
use mos_testkit::Garage;
use rusty_s3::S3Action as _;
use std::time::Duration;

#[test]
fn garage() {
    let Some(server) = Garage::start() else {
        return eprintln!("SKIPPED garage: MOS_GARAGE does not name the program (`make test-garage` does)");
    };
    contract::writing(&open_write(&server.url("contract")).unwrap());
    read_only(&server);
    many_lengths(&server);
    large(&server);
    stale_uploads(&server);
    wrong_secret(&server);
}

fn read_only(server: &Garage) {
    let writer = open_write(&server.url("keys")).unwrap();
    writer.put("x", b"x").unwrap();
    let reader = open_write(&server.read_only_url("keys")).unwrap();
    assert_eq!(reader.get("x", 1).unwrap(), b"x");
    assert_eq!(reader.list("").unwrap(), ["x"]);
    for error in [
        reader.put("x", b"y").unwrap_err(),
        reader.put("large", &vec![0; 17 << 20]).unwrap_err(),
        reader.delete("x").unwrap_err(),
    ] {
        assert!(matches!(&error, StoreError::Refused { .. }), "{error}");
    }
}

fn many_lengths(server: &Garage) {
    let store = open_write(&server.url("many")).unwrap();
    let blobs: Vec<Vec<u8>> = (0..60_u8).map(|n| vec![n; n.into()]).collect();
    let names: Vec<String> = blobs.iter().map(|bytes| Digest::of(bytes).blob_name()).collect();
    for (name, bytes) in names.iter().zip(&blobs).skip(20) {
        store.put(name, bytes).unwrap();
    }
    let expected: Vec<_> = (0..60).map(|n| (n >= 20).then_some(n)).collect();
    assert_eq!(store.lengths(&names).unwrap(), expected);
    assert_eq!(
        open_read(&server.read_only_url("many"))
            .unwrap()
            .lengths(&names)
            .unwrap(),
        expected
    );
}

fn large(server: &Garage) {
    let store = open_write(&server.url("large")).unwrap();
    let bytes: Vec<u8> = (0..36 << 20_u32).map(|n: u32| (n % 251) as u8).collect();
    store.put("object", &bytes).unwrap();
    assert!(store.get("object", 36 << 20).unwrap() == bytes);
    assert_eq!(
        store.get_range("object", 16_777_000..16_778_000).unwrap(),
        bytes[16_777_000..16_778_000]
    );
    assert_eq!(store.abort_stale_uploads(Duration::ZERO).unwrap(), 0);
}

/// What a killed writer leaves: an upload that was begun.
fn stale_uploads(server: &Garage) {
    begin_upload(&server.url("stale"), "stale/a b&c");
    begin_upload(&server.url("elsewhere"), "elsewhere/object");
    let store = open_write(&server.url("stale")).unwrap();
    assert_eq!(store.list("").unwrap(), [""; 0]);
    assert_eq!(store.abort_stale_uploads(Duration::from_secs(3600)).unwrap(), 0);
    assert_eq!(store.abort_stale_uploads(Duration::ZERO).unwrap(), 1);
    assert_eq!(store.abort_stale_uploads(Duration::ZERO).unwrap(), 0);
    let elsewhere = open_write(&server.url("elsewhere")).unwrap();
    assert_eq!(elsewhere.abort_stale_uploads(Duration::ZERO).unwrap(), 1);
}

fn begin_upload(url: &str, key: &str) {
    let Ok(Address::S3(address)) = Address::parse(url) else {
        panic!("the address of a bucket")
    };
    let endpoint = format!("http://{}", address.host).parse().unwrap();
    let bucket = rusty_s3::Bucket::new(endpoint, rusty_s3::UrlStyle::Path, address.bucket, address.region).unwrap();
    let (id, secret) = address.credentials.unwrap();
    let credentials = rusty_s3::Credentials::new(id, secret);
    let action = bucket.create_multipart_upload(Some(&credentials), key);
    let answer = ureq::post(action.sign(Duration::from_secs(60)).as_str())
        .send_empty()
        .unwrap();
    assert_eq!(answer.status(), 200);
}

fn wrong_secret(server: &Garage) {
    let url = server.url("keys").replace(Garage::SECRET, "hushhushhushhushhush");
    let error = open_write_with(&url, &Options::default())
        .unwrap()
        .get("x", 1)
        .unwrap_err();
    assert!(matches!(error, StoreError::Refused { .. }), "{error}");
    assert!(!error.to_string().contains("hush"), "{error}");
}
