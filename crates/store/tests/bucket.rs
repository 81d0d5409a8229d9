//! What only buckets do.
#![cfg(feature = "s3")]
#![allow(clippy::unwrap_used, reason = "the helpers here are tests, too")]

use mos_store::{Read, StoreError, Write, open_write};
use mos_testkit::S3Server;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;

#[test]
fn a_read_only_key_reads_and_is_refused_writing() {
    let server = S3Server::start();
    open_write(&server.url()).unwrap().put("x", b"x").unwrap();
    let store = open_write(&server.read_only_url()).unwrap();
    assert_eq!(store.get("x", 1).unwrap(), b"x");
    assert_eq!(store.list("").unwrap(), ["x"]);
    for error in [store.put("x", b"y").unwrap_err(), store.delete("x").unwrap_err()] {
        assert!(
            matches!(&error, StoreError::Refused { reason, .. } if reason.contains("AccessDenied")),
            "{error}"
        );
    }
    assert_eq!(store.get("x", 1).unwrap(), b"x");
}

#[test]
fn a_wrong_secret_is_refused_and_not_shown() {
    let server = S3Server::start();
    let store = open_write(&server.url_for("TESTKEY", "hushhush")).unwrap();
    for error in [
        store.put("x", b"").unwrap_err(),
        store.get("x", 1).unwrap_err(),
        store.list("").unwrap_err(),
    ] {
        assert!(matches!(error, StoreError::Refused { .. }), "{error}");
        let shown = format!("{error} {error:?} {}", store.address());
        assert!(shown.contains(&format!("s3://{}/bucket", server.address())), "{shown}");
        assert!(!shown.contains("hushhush") && !shown.contains("TESTKEY"), "{shown}");
    }
}

#[test]
fn a_missing_bucket_is_not_a_missing_object() {
    let server = S3Server::start();
    let store = open_write(&server.url().replace("/bucket", "/bocket")).unwrap();
    let error = store.list("").unwrap_err();
    assert!(
        matches!(&error, StoreError::Refused { reason, .. } if reason.contains("NoSuchBucket")),
        "{error}"
    );
}

#[test]
fn listings_of_many_pages() {
    let server = S3Server::start();
    let store = open_write(&server.url()).unwrap();
    let names: Vec<_> = (0..2100).map(|n| format!("many/{n:04}")).collect();
    std::fs::create_dir(server.directory().join("many")).unwrap();
    for name in &names {
        std::fs::write(server.directory().join(name), b"").unwrap();
    }
    assert_eq!(store.list("many/").unwrap(), names);
}

#[test]
fn the_lengths_of_many_objects_come_with_few_requests() {
    let server = S3Server::start();
    let directory = server.directory().join("blobs");
    std::fs::create_dir(&directory).unwrap();
    let names: Vec<_> = (0..3000).rev().map(|n| format!("blobs/{n:04}")).collect();
    for n in (0..3000).filter(|n| n % 3 != 0) {
        std::fs::write(directory.join(format!("{n:04}")), vec![0; n % 5]).unwrap();
    }
    let expected: Vec<_> = (0..3000).rev().map(|n| (n % 3 != 0).then_some(n as u64 % 5)).collect();
    let store = open_write(&server.url()).unwrap();
    let before = server.requests();
    assert_eq!(store.lengths(&names).unwrap(), expected);
    assert!(server.requests() - before <= 6, "{}", server.requests() - before);
    // Too far apart for listings to pay.
    let sparse: Vec<_> = names.iter().step_by(250).cloned().collect();
    let lengths: Vec<_> = expected.iter().step_by(250).copied().collect();
    assert_eq!(store.lengths(&sparse).unwrap(), lengths);
}

#[test]
fn a_killed_upload_leaves_the_old_object() {
    let server = S3Server::start();
    let store = open_write(&server.url()).unwrap();
    store.put("x", b"old").unwrap();
    let cut = server.url().replace(
        &server.address().to_string(),
        &cut_after(server.address(), 200_000).to_string(),
    );
    let error = mos_store::open_write_with(&cut, &one_try())
        .unwrap()
        .put("x", &vec![1; 1_000_000])
        .unwrap_err();
    assert!(matches!(error, StoreError::Unreachable { tries: 1, .. }), "{error}");
    let error = mos_store::open_write_with(&cut, &one_try())
        .unwrap()
        .put("new", &vec![1; 1_000_000])
        .unwrap_err();
    assert!(matches!(error, StoreError::Unreachable { tries: 1, .. }), "{error}");
    assert_eq!(store.get("x", 3).unwrap(), b"old");
    assert_eq!(store.length("new").unwrap(), None);
    assert_eq!(store.list("").unwrap(), ["x"]);
}

fn one_try() -> mos_store::Options {
    let mut options = mos_store::Options::default();
    options.schedule.tries = 1;
    options
}

/// A proxy that passes so many bytes of each connection to the server and then cuts it.
fn cut_after(server: SocketAddr, bytes: u64) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for client in listener.incoming() {
            let (mut client, mut upstream) = (client.unwrap(), TcpStream::connect(server).unwrap());
            let mut passed = Vec::new();
            (&mut client).take(bytes).read_to_end(&mut passed).unwrap();
            upstream.write_all(&passed).unwrap();
            upstream.shutdown(Shutdown::Both).unwrap();
            client.shutdown(Shutdown::Both).unwrap();
        }
    });
    address
}
