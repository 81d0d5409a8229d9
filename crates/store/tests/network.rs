//! Stores behind a network that misbehaves.
#![allow(clippy::unwrap_used, reason = "the helpers here are tests, too")]

use mos_store::{Options, Read, Schedule, StoreError, Timeouts, open_read, open_read_with, open_write};
use mos_testkit::{Fault, HttpServer};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const MS: Duration = Duration::from_millis(1);

struct Fixture {
    _root: TempDir,
    server: HttpServer,
    store: Box<dyn Read>,
    /// Tries and reasons, as the observer was told.
    waits: Arc<Mutex<Vec<(u32, String)>>>,
}

/// A server with one object of 100,000 bytes, and a store with three tries.
fn fixture() -> Fixture {
    let root = tempfile::tempdir().unwrap();
    std::fs::write(root.path().join("x"), content()).unwrap();
    let server = HttpServer::serve(root.path());
    let waits: Arc<Mutex<Vec<_>>> = Arc::default();
    let sink = Arc::clone(&waits);
    let mut options = quick();
    options.observer = Some(Arc::new(move |wait| {
        sink.lock().unwrap().push((wait.tries, wait.reason.clone()))
    }));
    let store = open_read_with(&server.url(), &options).unwrap();
    Fixture {
        _root: root,
        server,
        store,
        waits,
    }
}

fn quick() -> Options {
    Options {
        timeouts: Timeouts {
            connect: 500 * MS,
            read: 300 * MS,
            total: 2000 * MS,
        },
        schedule: Schedule {
            first: MS,
            cap: 5 * MS,
            tries: 3,
        },
        ..Options::default()
    }
}

fn content() -> Vec<u8> {
    (0..100_000_u32).map(|n| (n % 251) as u8).collect()
}

impl Fixture {
    fn heals(&self, fault: Fault) {
        self.server.misbehave(fault, 2);
        assert_eq!(self.store.get("x", 100_000).unwrap(), content(), "{fault:?}");
        assert_eq!(
            self.waits
                .lock()
                .unwrap()
                .drain(..)
                .map(|(tries, _)| tries)
                .collect::<Vec<_>>(),
            [1, 2],
            "{fault:?}"
        );
    }
}

#[test]
fn trouble_that_passes_is_overcome_and_told() {
    let fixture = fixture();
    for fault in [
        Fault::Refuse,
        Fault::Status(503),
        Fault::Status(500),
        Fault::Status(429),
        Fault::CutOff(0),
        Fault::CutOff(50_000),
        Fault::Stall(1000 * MS),
        Fault::StallMidBody(50_000, 1000 * MS),
    ] {
        fixture.heals(fault);
    }
}

#[test]
fn trouble_that_stays_is_counted() {
    let fixture = fixture();
    fixture.server.misbehave(Fault::Status(503), 99);
    match fixture.store.get("x", 100_000).unwrap_err() {
        StoreError::Unreachable {
            tries: 3,
            reason,
            address,
        } => {
            assert!(
                reason.contains("503") && address == fixture.server.url(),
                "{address}: {reason}"
            );
        }
        other => panic!("{other}"),
    }
    assert_eq!(fixture.server.requests().len(), 3);
    fixture.server.misbehave(Fault::CutOff(10), 99);
    let error = fixture.store.get_range("x", 5..50).unwrap_err();
    assert!(
        error.to_string().contains("x was cut off after 10 of 45 bytes"),
        "{error}"
    );
}

#[test]
fn an_unreachable_port_is_given_up_in_bounded_time() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let store = open_read_with(&format!("http://{port}/c"), &quick()).unwrap();
    let started = Instant::now();
    assert!(matches!(
        store.length("x"),
        Err(StoreError::Unreachable { tries: 3, .. })
    ));
    assert!(started.elapsed() < 1500 * MS, "{:?}", started.elapsed());
}

#[test]
fn a_server_that_never_answers_is_given_up_in_bounded_time() {
    let fixture = fixture();
    fixture.server.misbehave(Fault::Stall(60_000 * MS), 99);
    let started = Instant::now();
    assert!(matches!(
        fixture.store.get("x", 1),
        Err(StoreError::Unreachable { tries: 3, .. })
    ));
    assert!(started.elapsed() < 5000 * MS, "{:?}", started.elapsed());
}

#[test]
fn a_server_that_ignores_ranges_is_good_enough() {
    let fixture = fixture();
    fixture.server.misbehave(Fault::IgnoreRange, 99);
    assert_eq!(
        fixture.store.get_range("x", 70_000..70_010).unwrap(),
        content()[70_000..70_010]
    );
    assert!(matches!(
        fixture.store.get_range("x", 99_990..100_010),
        Err(StoreError::Short { got: 10, .. })
    ));
    assert!(matches!(
        fixture.store.get_range("x", 200_000..200_010),
        Err(StoreError::Short { got: 0, .. })
    ));
}

#[test]
fn statuses_mean_what_they_should() {
    let fixture = fixture();
    for status in [403, 404] {
        fixture.server.misbehave(Fault::Status(status), 1);
        assert!(
            matches!(fixture.store.get("x", 1), Err(StoreError::NotFound { .. })),
            "{status}"
        );
        fixture.server.misbehave(Fault::Status(status), 1);
        assert_eq!(fixture.store.length("x").unwrap(), None, "{status}");
    }
    for status in [400, 401, 410, 418] {
        fixture.server.misbehave(Fault::Status(status), 1);
        let error = fixture.store.get("x", 1).unwrap_err();
        assert!(
            matches!(&error, StoreError::Refused { reason, .. } if reason.contains(&status.to_string())),
            "{error}"
        );
    }
    assert_eq!(*fixture.waits.lock().unwrap(), []);
}

#[test]
fn a_web_server_is_not_for_writing() {
    let error = open_write("http://127.0.0.1:9/c").err().unwrap();
    assert!(error.to_string().contains("can only be read"), "{error}");
    assert!(open_read("http://127.0.0.1:9/c").is_ok());
}

#[cfg(feature = "tls")]
#[test]
fn a_server_that_does_not_speak_tls_is_unreachable() {
    let fixture = fixture();
    let store = open_read_with(&fixture.server.url().replace("http:", "https:"), &quick()).unwrap();
    let started = Instant::now();
    assert!(matches!(
        store.get("x", 1),
        Err(StoreError::Unreachable { tries: 3, .. })
    ));
    assert!(started.elapsed() < 5000 * MS, "{:?}", started.elapsed());
}

#[cfg(not(feature = "tls"))]
#[test]
fn https_without_tls_is_a_bad_url() {
    let error = open_read("https://127.0.0.1:9/c").err().unwrap();
    assert!(error.to_string().contains("built without https"), "{error}");
}

#[test]
fn parts_of_an_object_come_over_one_connection() {
    let root = tempfile::tempdir().unwrap();
    std::fs::write(root.path().join("x"), content()).unwrap();
    let peers: Arc<Mutex<Vec<_>>> = Arc::default();
    let sink = Arc::clone(&peers);
    let address = "127.0.0.1:0".parse().unwrap();
    let log: mos_serve::Logger = Arc::new(move |entry| sink.lock().unwrap().push(entry.peer));
    let server = mos_serve::Server::bind(address, root.path(), log).unwrap();
    let store = open_read(&server.url()).unwrap();
    for start in (0..100_000).step_by(10_000) {
        let wanted = start as usize..start as usize + 10_000;
        assert_eq!(store.get_range("x", start..start + 10_000).unwrap(), content()[wanted]);
    }
    drop(server);
    let peers = peers.lock().unwrap();
    assert!(
        peers.len() == 10 && peers.iter().all(|peer| *peer == peers[0]),
        "{peers:?}"
    );
}
