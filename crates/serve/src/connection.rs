//! One connection: requests in, answers out, until either side has enough.

use crate::request::{self, MAX_HEAD, Refusal, Request};
use crate::response::{self, Body, Response};
use crate::{Logger, file};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// How long a connection may be idle between requests, and how long a request head may take to arrive.
const HEAD_TIME: Duration = Duration::from_secs(15);
/// How long one write may wait for the client to take something.
const WRITE_TIME: Duration = Duration::from_secs(30);
/// Bytes asked for in one read of a request.
const READ_SIZE: usize = 4 << 10;
/// How long, and how much of, the rest of a refused request is read before the connection is closed.
const LINGER_TIME: Duration = Duration::from_secs(1);
const LINGER_BYTES: u64 = 256 << 10;

/// What the log is told of each request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Who asked.
    pub peer: SocketAddr,
    /// `GET` or `HEAD`; empty when the request made no sense.
    pub method: &'static str,
    /// The path, decoded; control characters escaped.
    pub path: String,
    /// What was answered.
    pub status: u16,
    /// Bytes of the body that were sent.
    pub bytes: u64,
    /// From the request's last byte to the answer's.
    pub elapsed: Duration,
}

/// Serves a connection until it ends. Errors of the connection end it, and nobody else.
pub(crate) fn serve(mut stream: TcpStream, peer: SocketAddr, root: &OwnedFd, log: &Logger) {
    let prepared = stream
        .set_nodelay(true)
        .and_then(|()| stream.set_write_timeout(Some(WRITE_TIME)));
    let mut buffer = Vec::new();
    while prepared.is_ok() {
        let request = match read_request(&mut stream, &mut buffer) {
            Ok(Some(request)) => request,
            Ok(None) | Err(ReadError::Connection) => return,
            Err(ReadError::Refused(Refusal(status))) => {
                refuse(&mut stream, peer, status, log);
                linger(&mut stream);
                return;
            }
        };
        let answered = answer(&mut stream, peer, root, &request, log);
        if answered.is_err() || !request.keep_alive {
            return;
        }
    }
}

/// Answers a client that there is no thread for.
pub(crate) fn turn_away(mut stream: TcpStream, peer: SocketAddr, log: &Logger) {
    refuse(&mut stream, peer, 503, log);
}

enum ReadError {
    Connection,
    Refused(Refusal),
}

/// The next request, or `None` when the client has no more. Bytes beyond it stay in the buffer.
fn read_request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Result<Option<Request>, ReadError> {
    let deadline = Instant::now() + HEAD_TIME;
    loop {
        if let Some((request, length)) = request::parse(buffer).map_err(ReadError::Refused)? {
            buffer.drain(..length);
            return Ok(Some(request));
        }
        let left = deadline.saturating_duration_since(Instant::now());
        match read_some(stream, buffer, left) {
            Ok(0) if buffer.is_empty() => return Ok(None),
            Ok(0) => return Err(ReadError::Connection),
            Ok(_) => {}
            Err(error) if is_timeout(&error) && buffer.is_empty() => return Ok(None),
            Err(error) if is_timeout(&error) => return Err(ReadError::Refused(Refusal(408))),
            Err(_) => return Err(ReadError::Connection),
        }
    }
}

/// The deadline counts for the whole head, so that a client cannot hold a thread by sending byte after byte.
fn read_some(stream: &mut TcpStream, buffer: &mut Vec<u8>, left: Duration) -> io::Result<usize> {
    if left.is_zero() {
        return Err(io::ErrorKind::TimedOut.into());
    }
    stream.set_read_timeout(Some(left))?;
    let mut piece = [0; READ_SIZE];
    let room = READ_SIZE.min(MAX_HEAD - buffer.len().min(MAX_HEAD - 1));
    let got = stream.read(&mut piece[..room])?;
    buffer.extend_from_slice(&piece[..got]);
    Ok(got)
}

/// A timed-out read says `WouldBlock` on Linux.
fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

fn answer(stream: &mut TcpStream, peer: SocketAddr, root: &OwnedFd, request: &Request, log: &Logger) -> io::Result<()> {
    let started = Instant::now();
    let response = match file::open(root, &request.path) {
        Ok(Some(found)) => response::to_file(request, found),
        Ok(None) => response::to_nothing(404, request.head_only, request.keep_alive),
        Err(_) => response::to_nothing(500, request.head_only, request.keep_alive),
    };
    let (status, mut bytes) = (response.status, 0);
    let sent = send(stream, response, &mut bytes);
    let method = if request.head_only { "HEAD" } else { "GET" };
    let path = format!("/{}", request.path.escape_debug());
    log(&Entry {
        peer,
        method,
        path,
        status,
        bytes,
        elapsed: started.elapsed(),
    });
    sent
}

fn refuse(stream: &mut TcpStream, peer: SocketAddr, status: u16, log: &Logger) {
    let mut bytes = 0;
    // The connection ends here anyway.
    let _ = send(stream, response::to_nothing(status, false, false), &mut bytes);
    log(&Entry {
        peer,
        method: "",
        path: String::new(),
        status,
        bytes,
        elapsed: Duration::ZERO,
    });
}

/// Closing a connection with unread bytes in it resets it, and the client would lose the answer.
fn linger(stream: &mut TcpStream) {
    let ready = stream
        .shutdown(Shutdown::Write)
        .and_then(|()| stream.set_read_timeout(Some(LINGER_TIME)));
    if ready.is_ok() {
        // Whatever comes, or fails to come, the connection is closed next.
        let _ = io::copy(&mut stream.take(LINGER_BYTES), &mut io::sink());
    }
}

/// Sends an answer, counting the bytes of its body. A file that has become shorter ends the connection, so that the
/// client sees that something is missing.
fn send(stream: &mut TcpStream, response: Response, sent: &mut u64) -> io::Result<()> {
    stream.write_all(response.head.as_bytes())?;
    match response.body {
        Body::Empty => Ok(()),
        Body::Text(text) => {
            stream.write_all(text.as_bytes())?;
            *sent = text.len() as u64;
            Ok(())
        }
        Body::Part(mut found, range) => {
            found.file.seek(SeekFrom::Start(range.start))?;
            let length = range.end - range.start;
            *sent = io::copy(&mut found.file.take(length), stream)?;
            if *sent == length {
                Ok(())
            } else {
                Err(io::ErrorKind::UnexpectedEof.into())
            }
        }
    }
}
