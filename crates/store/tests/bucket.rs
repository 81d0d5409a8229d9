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
    // The answer to a HEAD request has no room for a reason.
    let error = store.length("x").unwrap_err().to_string();
    assert!(error.contains("its secret is wrong"), "{error}");
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

#[test]
fn large_objects_go_in_parts() {
    let server = S3Server::start();
    let store = open_write(&server.url()).unwrap();
    let bytes: Vec<u8> = (0..40 << 20_u32).map(|n: u32| (n % 251) as u8).collect();
    let before = server.requests();
    store.put("large", &bytes).unwrap();
    assert_eq!(server.requests() - before, 5, "begin, three parts, complete");
    assert_eq!(store.length("large").unwrap(), Some(40 << 20));
    assert_eq!(
        store.get_range("large", 16_777_000..16_778_000).unwrap(),
        bytes[16_777_000..16_778_000]
    );
    assert!(store.get("large", 40 << 20).unwrap() == bytes);
}

#[test]
fn a_part_that_is_lost_is_sent_again_by_itself() {
    let server = S3Server::start();
    let store = open_write(&server.url()).unwrap();
    let bytes = vec![5; 48 << 20];
    // The second connection breaks within a part, the others hold.
    let proxy = cut_second(server.address(), 3 << 20);
    let flaky = server.url().replace(&server.address().to_string(), &proxy.to_string());
    let mut options = mos_store::Options::default();
    options.schedule.first = std::time::Duration::from_millis(1);
    let before = server.requests();
    mos_store::open_write_with(&flaky, &options)
        .unwrap()
        .put("large", &bytes)
        .unwrap();
    assert_eq!(
        server.requests() - before,
        6,
        "begin, three parts and one of them again, complete"
    );
    assert!(store.get("large", 48 << 20).unwrap() == bytes);
}

#[test]
fn a_read_only_key_cannot_begin_an_upload_in_parts() {
    let server = S3Server::start();
    let error = open_write(&server.read_only_url())
        .unwrap()
        .put("large", &vec![0; 17 << 20])
        .unwrap_err();
    assert!(
        matches!(&error, StoreError::Refused { reason, .. } if reason.contains("AccessDenied")),
        "{error}"
    );
}

#[test]
fn without_credentials_requests_are_anonymous_and_a_refusal_says_what_to_set() {
    let server = S3Server::start();
    let Ok(mos_store::Address::S3(address)) = mos_store::Address::parse(&format!("s3://{}/bucket", server.address()))
    else {
        panic!("the address of a bucket")
    };
    let store = mos_store::S3::new(address, &mos_store::Options::default()).unwrap();
    let error = store.get("x", 1).unwrap_err().to_string();
    assert!(error.contains("AWS_ACCESS_KEY_ID"), "{error}");
}

#[test]
fn a_server_with_another_clock_is_told_apart_from_a_wrong_key() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for client in listener.incoming() {
            let mut client = client.unwrap();
            let _ = client.read(&mut [0; 4096]);
            let body = "<Error><Code>RequestTimeTooSkewed</Code></Error>";
            let head = "HTTP/1.1 403 Forbidden\r\nDate: Sat, 01 Jan 2000 00:00:00 GMT\r\nConnection: close";
            let answer = format!("{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            client.write_all(answer.as_bytes()).unwrap();
        }
    });
    let store = open_write(&format!("s3://KEY:hush@{address}/bucket")).unwrap();
    let error = store.get("x", 1).unwrap_err();
    assert!(matches!(&error, StoreError::ClockSkew { .. }), "{error}");
    let shown = error.to_string();
    assert!(
        shown.contains("2000-01-01T00:00:00Z there") && !shown.contains("hush"),
        "{shown}"
    );
}

/// A proxy that cuts its second connection after so many bytes.
fn cut_second(server: SocketAddr, bytes: u64) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for (number, client) in listener.incoming().enumerate() {
            let (client, upstream) = (client.unwrap(), TcpStream::connect(server).unwrap());
            let limit = if number == 1 { bytes } else { u64::MAX };
            pass(client.try_clone().unwrap(), upstream.try_clone().unwrap(), limit);
            pass(upstream, client, u64::MAX);
        }
    });
    address
}

/// Passes so many bytes from one to the other, and then ends both.
fn pass(from: TcpStream, mut to: TcpStream, bytes: u64) {
    thread::spawn(move || {
        let _ = std::io::copy(&mut (&from).take(bytes), &mut to);
        let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
    });
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
