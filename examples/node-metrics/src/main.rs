//! `GET /metrics` answers with uptime, load, memory and generation of this node in Prometheus text format (version
//! 0.0.4), `GET /health` with `ok`. Names follow node_exporter where it has one.
//!
//! Usage: `node-metrics [ADDRESS:PORT]`, by default `0.0.0.0:9100`.

#![forbid(unsafe_code)]

mod facts;

use std::io::{self, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use facts::Facts;

const DEFAULT_ADDRESS: &str = "0.0.0.0:9100";
/// Connections served at the same time; more wait in the kernel's queue.
const WORKERS: usize = 4;
/// A client that says nothing for this long is left alone.
const PATIENCE: Duration = Duration::from_secs(2);
/// The longest request read, in bytes.
const MAXIMUM_REQUEST: usize = 8192;

fn main() -> ExitCode {
    let address = std::env::args().nth(1).unwrap_or_else(|| DEFAULT_ADDRESS.to_owned());
    match serve(&address) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("node-metrics: {address}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(address: &str) -> io::Result<()> {
    let listener = TcpListener::bind(address)?;
    println!("listening on {}", listener.local_addr()?);
    let workers: Vec<_> = (0..WORKERS)
        .map(|_| {
            let listener = listener.try_clone()?;
            Ok(thread::spawn(move || work(&listener)))
        })
        .collect::<io::Result<_>>()?;
    for worker in workers {
        if worker.join().is_err() {
            return Err(io::Error::other("a worker panicked"));
        }
    }
    Ok(())
}

fn work(listener: &TcpListener) {
    loop {
        // A client that went away, or too few descriptors for a moment: the next one may fare better.
        let served = listener.accept().and_then(|(stream, _)| answer(stream));
        if served.is_err() {
            thread::sleep(Duration::from_millis(10));
        }
    }
}

fn answer(mut stream: TcpStream) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let request = read_request(&mut stream)?;
    stream.write_all(respond(&request, Facts::read).as_bytes())
}

/// Reads until the empty line that ends a request's head.
fn read_request(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut request = Vec::new();
    let mut buffer = [0; 1024];
    while request.len() < MAXIMUM_REQUEST && !request.windows(4).any(|bytes| bytes == b"\r\n\r\n") {
        match stream.read(&mut buffer)? {
            0 => break,
            count => request.extend_from_slice(&buffer[..count]),
        }
    }
    Ok(request)
}

/// The whole response to a request's head.
fn respond(request: &[u8], facts: impl FnOnce() -> Facts) -> String {
    let head = String::from_utf8_lossy(request);
    let mut words = head.lines().next().unwrap_or_default().split(' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (status, body) = match (method, path) {
        ("GET" | "HEAD", "/metrics") => ("200 OK", facts().to_string()),
        ("GET" | "HEAD", "/health") => ("200 OK", "ok\n".to_owned()),
        ("GET" | "HEAD", _) => ("404 Not Found", "see /metrics\n".to_owned()),
        _ => ("405 Method Not Allowed", "only GET\n".to_owned()),
    };
    let length = body.len();
    let body = if method == "HEAD" { "" } else { &body };
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(request: &str) -> String {
        let response = respond(request.as_bytes(), Facts::default);
        response.lines().next().unwrap_or_default().to_owned()
    }

    #[test]
    fn answers_by_path_and_method() {
        assert_eq!(status("GET /metrics HTTP/1.1\r\n\r\n"), "HTTP/1.1 200 OK");
        assert_eq!(status("GET /health HTTP/1.1\r\n\r\n"), "HTTP/1.1 200 OK");
        assert_eq!(status("GET / HTTP/1.1\r\n\r\n"), "HTTP/1.1 404 Not Found");
        assert_eq!(
            status("POST /metrics HTTP/1.1\r\n\r\n"),
            "HTTP/1.1 405 Method Not Allowed"
        );
        assert_eq!(status("\u{fffd}"), "HTTP/1.1 405 Method Not Allowed");
    }

    #[test]
    fn head_has_a_length_and_no_body() {
        let response = respond(b"HEAD /health HTTP/1.1\r\n\r\n", Facts::default);
        assert!(response.contains("Content-Length: 3\r\n"));
        assert!(response.ends_with("\r\n\r\n"));
    }
}
