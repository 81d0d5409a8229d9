//! The server as a client sees it, over a real socket.
#![allow(clippy::unwrap_used, reason = "the helpers here are tests, too")]

use mos_serve::{Entry, Server};
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::symlink;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tempfile::TempDir;

struct Fixture {
    directory: TempDir,
    server: Server,
    log: Arc<Mutex<Vec<Entry>>>,
}

fn fixture() -> Fixture {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir_all(directory.path().join("site/sub")).unwrap();
    fs::write(directory.path().join("secret"), "outside").unwrap();
    let site = directory.path().join("site");
    fs::write(site.join("ten"), "0123456789").unwrap();
    fs::write(site.join("sub/index.html"), "<p>sub</p>").unwrap();
    fs::write(site.join(".tmp-1-0-x"), "unfinished").unwrap();
    let log: Arc<Mutex<Vec<Entry>>> = Arc::default();
    let sink = Arc::clone(&log);
    let logger = Arc::new(move |entry: &Entry| sink.lock().unwrap().push(entry.clone()));
    let server = Server::bind("127.0.0.1:0".parse().unwrap(), &site, logger).unwrap();
    Fixture { directory, server, log }
}

impl Fixture {
    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.server.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream
    }

    /// Status, head and body of one request on its own connection.
    fn ask(&self, line: &str, headers: &str) -> (u16, String, String) {
        let mut stream = self.connect();
        stream
            .write_all(format!("{line} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n{headers}\r\n").as_bytes())
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head[9..12].parse().unwrap(), head.to_owned(), body.to_owned())
    }

    fn get(&self, path: &str) -> (u16, String) {
        let (status, _, body) = self.ask(&format!("GET {path}"), "");
        (status, body)
    }
}

#[test]
fn files_ranges_and_heads() {
    let fixture = fixture();
    assert_eq!(fixture.get("/ten"), (200, "0123456789".into()));
    assert_eq!(fixture.get("/sub/"), (200, "<p>sub</p>".into()));
    let (status, head, body) = fixture.ask("HEAD /ten", "");
    assert!(
        status == 200 && body.is_empty() && head.contains("Content-Length: 10"),
        "{head}"
    );
    let (status, head, body) = fixture.ask("GET /ten", "Range: bytes=2-4\r\n");
    assert!(
        status == 206 && body == "234" && head.contains("Content-Range: bytes 2-4/10"),
        "{head}"
    );
    let (status, head, _) = fixture.ask("GET /ten", "Range: bytes=10-\r\n");
    assert!(status == 416 && head.contains("bytes */10"), "{head}");
}

#[test]
fn entity_tags_save_a_transfer_and_guard_ranges() {
    let fixture = fixture();
    let (_, head, _) = fixture.ask("HEAD /ten", "");
    let etag = head
        .lines()
        .find_map(|line| line.strip_prefix("ETag: "))
        .unwrap()
        .to_owned();
    let (status, _, body) = fixture.ask("GET /ten", &format!("If-None-Match: \"x\", {etag}\r\n"));
    assert_eq!((status, body.as_str()), (304, ""));
    let (status, _, _) = fixture.ask("GET /ten", &format!("Range: bytes=0-0\r\nIf-Range: {etag}\r\n"));
    assert_eq!(status, 206);
    fs::write(fixture.directory.path().join("site/ten"), "9876543210+").unwrap();
    let (status, _, body) = fixture.ask("GET /ten", &format!("Range: bytes=0-0\r\nIf-Range: {etag}\r\n"));
    assert_eq!((status, body.as_str()), (200, "9876543210+"));
}

#[test]
fn nothing_outside_the_directory_is_served() {
    let fixture = fixture();
    let site = fixture.directory.path().join("site");
    symlink("../secret", site.join("relative")).unwrap();
    symlink(fixture.directory.path().join("secret"), site.join("absolute")).unwrap();
    symlink("ten", site.join("inside")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        site.join("pipe"),
        rustix::fs::FileType::Fifo,
        0o644.into(),
        0,
    )
    .unwrap();
    for path in [
        "/../secret",
        "/sub/../../secret",
        "/%2e%2e/secret",
        "/sub/..%2f..%2fsecret",
        "/relative",
        "/absolute",
    ] {
        assert_eq!(fixture.get(path).0, 404, "{path}");
    }
    for path in ["/.tmp-1-0-x", "/missing", "/ten/deeper", "/", "/pipe", "//etc/passwd"] {
        assert_eq!(fixture.get(path).0, 404, "{path}");
    }
    assert_eq!(fixture.get("/inside"), (200, "0123456789".into()));
}

#[test]
fn one_connection_serves_many_requests_even_sent_at_once() {
    let fixture = fixture();
    let mut stream = fixture.connect();
    stream
        .write_all(b"GET /ten HTTP/1.1\r\n\r\nHEAD /ten HTTP/1.1\r\n\r\nGET /no HTTP/1.1\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 3, "{answer}");
    let statuses: Vec<_> = fixture
        .log
        .lock()
        .unwrap()
        .iter()
        .map(|entry| (entry.method, entry.status, entry.bytes))
        .collect();
    assert_eq!(statuses, [("GET", 200, 10), ("HEAD", 200, 0), ("GET", 404, 14)]);
}

#[test]
fn bad_requests_are_answered_and_end_the_connection() {
    let fixture = fixture();
    let (status, head, _) = fixture.ask("DELETE /ten", "");
    assert!(status == 405 && head.contains("Allow: GET, HEAD"), "{head}");
    assert_eq!(
        fixture.ask("GET /ten", &format!("X: {}\r\n", "x".repeat(20_000))).0,
        431
    );
    assert!(fixture.directory.path().join("site/ten").exists());
}

#[test]
fn dropping_the_server_ends_idle_connections_at_once() {
    let fixture = fixture();
    let mut idle = fixture.connect();
    idle.write_all(b"GET /ten HTTP/1.1\r\n").unwrap();
    let started = Instant::now();
    let address = fixture.server.address();
    drop(fixture.server);
    assert!(started.elapsed() < Duration::from_secs(5));
    let mut rest = Vec::new();
    // Closed, with or without a reset; what matters is that nothing more comes.
    let _ = idle.read_to_end(&mut rest);
    assert!(rest.is_empty() && TcpStream::connect(address).is_err());
}

#[test]
fn more_connections_than_threads_are_told_to_come_back() {
    let fixture = fixture();
    let held: Vec<_> = (0..300).map(|_| fixture.connect()).collect();
    let started = Instant::now();
    while !fixture.log.lock().unwrap().iter().any(|entry| entry.status == 503) {
        assert!(started.elapsed() < Duration::from_secs(10), "nobody was turned away");
        std::thread::sleep(Duration::from_millis(10));
    }
    drop(held);
    let served = || fixture.get("/ten").0 == 200;
    while !served() {
        assert!(started.elapsed() < Duration::from_secs(20), "no connection became free");
    }
}
