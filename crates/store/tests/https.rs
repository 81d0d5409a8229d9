//! `https`: who is believed, and what is said about the others.
#![allow(clippy::unwrap_used, reason = "the helpers here are tests, too")]

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use mos_store::{Authorities, Options, Read, Schedule, StoreError, open_read_with};
use mos_testkit::{Authority, HttpServer, Identity};
use std::path::Path;
use tempfile::TempDir;

/// A server of one object, and a file of authorities.
struct Fixture {
    root: TempDir,
    server: HttpServer,
}

impl Fixture {
    fn new(identity: &Identity, authority: &Authority) -> Self {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("x"), b"content").unwrap();
        std::fs::write(root.path().join("ca.pem"), authority.pem()).unwrap();
        let server = HttpServer::serve_tls(root.path(), identity);
        Self { root, server }
    }

    fn open(&self, url: &str) -> Result<Box<dyn Read>, StoreError> {
        open_read_with(url, &options(&self.root.path().join("ca.pem")))
    }

    fn refusal(&self) -> StoreError {
        let error = self.open(&self.server.url()).unwrap().get("x", 99).unwrap_err();
        assert_eq!(
            self.server.requests(),
            [""; 0],
            "nothing is asked of a server that is not believed"
        );
        error
    }
}

/// One try: what a certificate says does not change by trying again.
fn options(file: &Path) -> Options {
    Options {
        schedule: Schedule {
            tries: 1,
            ..Schedule::default()
        },
        authorities: Authorities {
            file: file.into(),
            hint: "DO-THIS".into(),
        },
        ..Options::default()
    }
}

#[test]
fn server_of_a_believed_authority_is_read() {
    let authority = Authority::new();
    let fixture = Fixture::new(&authority.vouch("127.0.0.1"), &authority);
    let store = fixture.open(&fixture.server.url()).unwrap();
    assert_eq!(store.get("x", 99).unwrap(), b"content");
    assert_eq!(store.get_range("x", 1..3).unwrap(), b"on");
    assert_eq!(store.length("x").unwrap(), Some(7));
}

#[test]
fn server_of_another_authority_is_not() {
    let identity = Authority::new().vouch("127.0.0.1");
    let fixture = Fixture::new(&identity, &Authority::new());
    let error = fixture.refusal();
    assert!(matches!(error, StoreError::Untrusted { .. }), "{error:?}");
    let file = fixture.root.path().join("ca.pem");
    let expected = format!(
        "{}: the server's certificate is not trusted: no authority in {} vouches for it; DO-THIS",
        fixture.server.url(),
        file.display()
    );
    assert_eq!(error.to_string(), expected);
}

#[test]
fn server_of_another_name_is_not() {
    let authority = Authority::new();
    let error = Fixture::new(&authority.vouch("other.example"), &authority).refusal();
    assert!(matches!(error, StoreError::Untrusted { .. }), "{error:?}");
    let text = error.to_string();
    assert!(
        text.contains("other.example") && text.contains(", not for 127.0.0.1"),
        "{text}"
    );
}

#[test]
fn certificates_out_of_date_are_told_from_untrusted_ones() {
    let authority = Authority::new();
    for (from, until, expected) in [
        (
            1990,
            2001,
            "expired at 2001-01-01T00:00:00Z, and the clock here says 20",
        ),
        (
            3000,
            3001,
            "is valid from 3000-01-01T00:00:00Z, and the clock here says 20",
        ),
    ] {
        let error = Fixture::new(&authority.vouch_between("127.0.0.1", from, until), &authority).refusal();
        assert!(matches!(error, StoreError::OutOfDate { .. }), "{error:?}");
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[test]
fn https_without_authorities_says_which_file() {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in [
        ("missing.pem", None),
        ("empty.pem", Some("")),
        ("text.pem", Some("no certificate")),
    ] {
        let file = folder.path().join(name);
        if let Some(content) = content {
            std::fs::write(&file, content).unwrap();
        }
        let error = open_read_with("https://127.0.0.1:1/dev", &options(&file))
            .err()
            .unwrap();
        assert!(matches!(error, StoreError::NoAuthority { .. }), "{error:?}");
        let text = error.to_string();
        assert!(
            text.starts_with("https://127.0.0.1:1/dev: https needs") && text.contains(name),
            "{text}"
        );
        assert!(text.ends_with("DO-THIS"), "{text}");
        assert!(open_read_with("http://127.0.0.1:1/dev", &options(&file)).is_ok());
    }
}

#[test]
fn server_without_tls_is_told_from_an_untrusted_one() {
    let authority = Authority::new();
    let fixture = Fixture::new(&authority.vouch("127.0.0.1"), &authority);
    // As web servers do with what is no request.
    let plain = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}", plain.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut stream in plain.incoming().flatten() {
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    let error = fixture.open(&url).unwrap().get("x", 99).unwrap_err();
    assert!(error.to_string().contains("does not speak https"), "{error}");
}
