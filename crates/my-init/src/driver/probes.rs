//! Health probes on the wire. Each takes one step per event; the supervisor watches the clock.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;

use mos_service::{Address, Probe};
use rustix::event::epoll::{self, EventFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};
use rustix::process::{Pid, Signal, kill_process_group};

use super::launch::Role;
use super::{Driver, Id, Owner, Token, data, unwatch};
use crate::supervisor::Exit;

/// What is read of an HTTP answer while its first line is looked for, in bytes.
const STATUS_LINE_MAX: usize = 1024;

/// The probes under way.
#[derive(Debug, Default)]
pub(super) struct Probes(HashMap<Id, Running>);

#[derive(Debug)]
enum Running {
    Connection(File),
    Http {
        stream: File,
        request: Option<String>,
        answer: Vec<u8>,
        status: u16,
    },
    Exec {
        pid: u32,
    },
}

impl Driver {
    pub(super) fn start_probe(&mut self, id: Id) {
        let Some(service) = self.supervisor.unit(id).map(|unit| unit.service().clone()) else {
            return;
        };
        let Some(health) = &service.health else { return };
        let running = match &health.probe {
            Probe::Tcp(address) => self.connect(id, address).map(Running::Connection),
            Probe::Http { address, path, status } => self.connect(id, address).map(|stream| Running::Http {
                stream,
                request: Some(request(address, path)),
                answer: Vec::new(),
                status: *status,
            }),
            Probe::Exec(command) => {
                let start = self.starting.begin();
                let started = self.execute(&service, command, self.pad.nothing(), &[], &Role::Probe, &[]);
                started.map(|pid| {
                    self.own(pid, Owner::Probe(id), start);
                    Running::Exec { pid }
                })
            }
        };
        match running {
            Ok(running) => drop(self.probes.0.insert(id, running)),
            Err(error) => self.supervisor.probed(id, Err(error), self.now()),
        }
    }

    /// A connection that is being made; nobody waits for it.
    fn connect(&self, id: Id, address: &Address) -> Result<File, String> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let open = |family| rustix::net::socket_with(family, SocketType::STREAM, flags, None).map_err(told);
        let (socket, begun) = match address {
            Address::Tcp(address) => {
                let socket = open(if address.is_ipv4() {
                    AddressFamily::INET
                } else {
                    AddressFamily::INET6
                })?;
                let begun = rustix::net::connect(&socket, address);
                (socket, begun)
            }
            Address::Unix(path) => {
                let socket = open(AddressFamily::UNIX)?;
                let begun = rustix::net::connect(&socket, &SocketAddrUnix::new(path.as_str()).map_err(told)?);
                (socket, begun)
            }
        };
        match begun {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            // Only of a unix socket (connect(2)); TCP would go on trying.
            Err(Errno::AGAIN) => return Err("too many connections wait to be accepted".to_owned()),
            Err(error) => return Err(told(error)),
        }
        epoll::add(&self.epoll, &socket, data(Token::Probe(id)), EventFlags::OUT).map_err(told)?;
        Ok(File::from(socket))
    }

    pub(super) fn advance_probe(&mut self, id: Id) {
        let Some(running) = self.probes.0.get_mut(&id) else {
            return;
        };
        if let Some(result) = step(running, &self.epoll, id) {
            self.drop_probe(id);
            self.supervisor.probed(id, result, self.now());
        }
    }

    pub(super) fn probe_command_ended(&mut self, id: Id, exit: Exit) {
        self.probes.0.remove(&id);
        let result = match exit {
            Exit::Code(0) => Ok(()),
            Exit::Code(code) => Err(format!("probe: exit code {code}")),
            Exit::Signal(number) => Err(format!("probe: killed by {}", mos_service::Signal(number))),
        };
        self.supervisor.probed(id, result, self.now());
    }

    pub(super) fn cancel_probe(&mut self, id: Id) {
        self.drop_probe(id);
    }

    fn drop_probe(&mut self, id: Id) {
        match self.probes.0.remove(&id) {
            None => {}
            Some(Running::Connection(stream) | Running::Http { stream, .. }) => unwatch(&self.epoll, &stream),
            Some(Running::Exec { pid }) => {
                // Nobody waits for its answer any more; it is reaped as a stranger.
                let gone = self.is_gone(pid);
                self.family.remove(pid);
                if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw).filter(|_| !gone) {
                    let _ = kill_process_group(pid, Signal::KILL);
                }
            }
        }
    }
}

fn told(error: Errno) -> String {
    std::io::Error::from(error).to_string()
}

/// Who has no port has no name either (RFC 9112, 3.2).
fn request(address: &Address, path: &str) -> String {
    let host = match address {
        Address::Tcp(address) => address.to_string(),
        Address::Unix(_) => String::new(),
    };
    format!("GET {path} HTTP/1.0\r\nHost: {host}\r\nUser-Agent: my_init\r\n\r\n")
}

/// One step of a probe over a connection; the result when there is one.
fn step(running: &mut Running, epoll: &OwnedFd, id: Id) -> Option<Result<(), String>> {
    let stream = match running {
        Running::Connection(stream) | Running::Http { stream, .. } => stream,
        Running::Exec { .. } => return None,
    };
    match sockopt::socket_error(&*stream) {
        Ok(Ok(())) => {}
        Ok(Err(error)) | Err(error) => return Some(Err(told(error))),
    }
    let Running::Http {
        stream,
        request,
        answer,
        status,
    } = running
    else {
        return Some(Ok(()));
    };
    if let Some(request) = request.take() {
        // A fresh connection takes a request of this size in one piece.
        if let Err(error) = stream.write_all(request.as_bytes()) {
            return Some(Err(error.to_string()));
        }
        let _ = epoll::modify(epoll, &*stream, data(Token::Probe(id)), EventFlags::IN);
        return None;
    }
    let mut buffer = [0; STATUS_LINE_MAX];
    match stream.read(&mut buffer) {
        Ok(0) => Some(Err("the connection was closed without an answer".to_owned())),
        Ok(count) => {
            answer.extend(&buffer[..count]);
            judge(answer, *status)
        }
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => None,
        Err(error) => Some(Err(error.to_string())),
    }
}

/// Compares the status line (RFC 9112, 4) with the status that is good; `None` until the line is whole.
fn judge(answer: &[u8], expected: u16) -> Option<Result<(), String>> {
    let Some(end) = answer.iter().position(|byte| *byte == b'\n') else {
        return (answer.len() >= STATUS_LINE_MAX).then(|| Err("the answer is not HTTP".to_owned()));
    };
    let line = String::from_utf8_lossy(&answer[..end]);
    let mut words = line.split_ascii_whitespace();
    let version = words.next().filter(|version| version.starts_with("HTTP/"));
    let status = words.next().and_then(|status| status.parse::<u16>().ok());
    Some(match (version, status) {
        (Some(_), Some(status)) if status == expected => Ok(()),
        (Some(_), Some(status)) => Err(format!("answers with status {status}, expected {expected}")),
        _ => Err("the answer is not HTTP".to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::judge;

    #[test]
    fn the_real_status_decides() {
        assert_eq!(judge(b"HTTP/1.1 200 OK\r\nA: b\r\n", 200), Some(Ok(())));
        assert_eq!(judge(b"HTTP/1.1 20", 200), None);
        let error = judge(b"HTTP/1.0 503 x\r\n", 200).and_then(Result::err);
        assert_eq!(error.as_deref(), Some("answers with status 503, expected 200"));
        assert!(judge(b"SSH-2.0-x\r\n", 200).is_some_and(|result| result.is_err()));
        assert!(judge(&[b'x'; 2000], 200).is_some_and(|result| result.is_err()));
    }
}
