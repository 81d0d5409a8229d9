//! A web server that misbehaves on demand.
//!
//! The files come from the real server, [`mos_serve`]; a small proxy before it refuses, stalls or damages what passes.

use crate::Identity;
use mos_serve::Server;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// How a server misbehaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Closes the connection without a word.
    Refuse,
    /// Takes the request and says nothing for this long, then closes the connection.
    Stall(Duration),
    /// Waits this long and then answers.
    Delay(Duration),
    /// Sends this many bytes of the body and closes the connection.
    CutOff(usize),
    /// Sends this many bytes of the body, says nothing for this long, then closes the connection.
    StallMidBody(usize, Duration),
    /// Sends the whole file whatever range is asked for.
    IgnoreRange,
    /// Answers with this status and no body.
    Status(u16),
}

/// A static file server on `127.0.0.1`; stops when dropped.
#[derive(Debug)]
pub struct HttpServer {
    address: SocketAddr,
    scheme: &'static str,
    proxy: Arc<Proxy>,
    _files: Server,
}

#[derive(Debug)]
struct Proxy {
    files: SocketAddr,
    tls: Option<Arc<ServerConfig>>,
    ending: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The fault, and how many more requests it holds for.
    fault: Option<(Fault, u32)>,
    requests: Vec<String>,
}

impl HttpServer {
    /// Serves a directory, without faults.
    pub fn serve(directory: &Path) -> Self {
        Self::start(directory, None)
    }

    /// As [`HttpServer::serve`], over `https`, as this server.
    pub fn serve_tls(directory: &Path, identity: &Identity) -> Self {
        Self::start(directory, Some(identity.server_config()))
    }

    fn start(directory: &Path, tls: Option<Arc<ServerConfig>>) -> Self {
        let scheme = if tls.is_some() { "https" } else { "http" };
        let loopback = "127.0.0.1:0".parse().expect("a constant address");
        let files = Server::bind(loopback, directory, Arc::new(|_| {})).expect("a file server on a free port");
        let listener = TcpListener::bind(loopback).expect("a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let (ending, state) = Default::default();
        let proxy = Arc::new(Proxy {
            files: files.address(),
            tls,
            ending,
            state,
        });
        let shared = Arc::clone(&proxy);
        thread::spawn(move || accept(&listener, &shared));
        Self {
            address,
            scheme,
            proxy,
            _files: files,
        }
    }

    /// The URL of the directory.
    pub fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }

    /// From now on, misbehaves for this many requests, and no longer for those of an earlier call.
    pub fn misbehave(&self, fault: Fault, requests: u32) {
        self.proxy.state().fault = (requests > 0).then_some((fault, requests));
    }

    /// The first lines of the requests so far (`GET /path HTTP/1.1`).
    pub fn requests(&self) -> Vec<String> {
        self.proxy.state().requests.clone()
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.proxy.ending.store(true, Ordering::SeqCst);
        // Wakes the listener; when that fails it is gone already.
        let _ = TcpStream::connect(self.address);
    }
}

impl Proxy {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Notes a request, and takes the fault that it meets.
    fn note(&self, head: &str) -> Option<Fault> {
        let mut state = self.state();
        state.requests.push(head.lines().next().unwrap_or_default().to_owned());
        let (fault, left) = state.fault.take()?;
        state.fault = (left > 1).then_some((fault, left - 1));
        Some(fault)
    }

    fn serve(&self, client: TcpStream) -> io::Result<()> {
        let Some(config) = &self.tls else {
            return self.handle(client);
        };
        let connection = ServerConnection::new(Arc::clone(config)).map_err(io::Error::other)?;
        let mut stream = StreamOwned::new(connection, client);
        self.handle(&mut stream)?;
        stream.conn.send_close_notify();
        stream.flush()
    }

    /// One request for each connection: simple, and every client copes.
    fn handle(&self, mut client: impl io::Read + io::Write) -> io::Result<()> {
        let head = read_head(&mut client)?;
        match self.note(&head) {
            None => self.forward(&mut client, &head, usize::MAX),
            Some(Fault::Refuse) => Ok(()),
            Some(Fault::Stall(time)) => {
                thread::sleep(time);
                Ok(())
            }
            Some(Fault::Delay(time)) => {
                thread::sleep(time);
                self.forward(&mut client, &head, usize::MAX)
            }
            Some(Fault::CutOff(bytes)) => self.forward(&mut client, &head, bytes),
            Some(Fault::StallMidBody(bytes, time)) => {
                self.forward(&mut client, &head, bytes)?;
                thread::sleep(time);
                Ok(())
            }
            Some(Fault::IgnoreRange) => self.forward(&mut client, &without(&head, "range:"), usize::MAX),
            Some(Fault::Status(status)) => {
                let answer = format!("HTTP/1.1 {status} On Demand\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
                client.write_all(answer.as_bytes())
            }
        }
    }

    /// Passes a request on, and at most this many bytes of the answer's body back.
    fn forward(&self, client: &mut impl io::Write, head: &str, body: usize) -> io::Result<()> {
        let mut files = TcpStream::connect(self.files)?;
        let head = without(head, "connection:").replacen("\r\n", "\r\nConnection: close\r\n", 1);
        files.write_all(head.as_bytes())?;
        let mut answer = Vec::new();
        files.read_to_end(&mut answer)?;
        let start = answer
            .windows(4)
            .position(|bytes| bytes == b"\r\n\r\n")
            .map_or(answer.len(), |at| at + 4);
        client.write_all(&answer[..start.saturating_add(body).min(answer.len())])
    }
}

fn accept(listener: &TcpListener, proxy: &Arc<Proxy>) {
    while let Ok((client, _)) = listener.accept() {
        if proxy.ending.load(Ordering::SeqCst) {
            return;
        }
        let proxy = Arc::clone(proxy);
        thread::spawn(move || {
            let closer = client.try_clone();
            // A client that goes away is no failure of the server.
            let _ = proxy.serve(client);
            let _ = closer.map(|client| client.shutdown(Shutdown::Both));
        });
    }
}

/// The head of a request, with its empty line.
fn read_head(client: &mut impl io::Read) -> io::Result<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        client.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

/// The head without one header (its name in lower case, with the colon).
fn without(head: &str, header: &str) -> String {
    head.split_inclusive("\r\n")
        .filter(|line| !line.to_ascii_lowercase().starts_with(header))
        .collect()
}
