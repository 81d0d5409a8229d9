//! What a service has in the real world.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;

use rustix::event::epoll;
use rustix::pipe::PipeFlags;

use super::{BUFFER, Driver, Id, Token, data, unwatch};
use crate::ring::Ring;

/// So much of a log is read at a time, in buffers: a chatty service is not to keep the others waiting.
const READS: usize = 16;
/// The longest line that is relayed to the console in one piece, in bytes.
const LINE_MAX: usize = 1024;
/// Datagrams taken from a notify socket at a time.
const DATAGRAMS: usize = 16;

/// A service's log, process and sockets.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) ring: Ring,
    /// The end of a line that is still being printed.
    partial: Vec<u8>,
    pipe: Option<File>,
    notify: Option<(UnixDatagram, PathBuf)>,
    pub(super) cgroup: Option<PathBuf>,
}

impl Slot {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            ring: Ring::new(capacity),
            partial: Vec::new(),
            pipe: None,
            notify: None,
            cgroup: None,
        }
    }

    /// Makes the pipe that a new process writes to, in place of the last one's; returns the end for the process.
    pub(super) fn open_pipe(&mut self, epoll: &OwnedFd, id: Id) -> std::io::Result<OwnedFd> {
        let (reader, writer) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
        rustix::io::ioctl_fionbio(&reader, true)?;
        self.close_pipe(epoll);
        epoll::add(epoll, &reader, data(Token::Log(id)), epoll::EventFlags::IN)?;
        self.pipe = Some(File::from(reader));
        Ok(writer)
    }

    pub(super) fn open_notify(&mut self, epoll: &OwnedFd, id: Id, path: PathBuf) -> std::io::Result<()> {
        self.close_notify(epoll);
        let _ = std::fs::remove_file(&path);
        let socket = UnixDatagram::bind(&path)?;
        socket.set_nonblocking(true)?;
        epoll::add(epoll, &socket, data(Token::Notify(id)), epoll::EventFlags::IN)?;
        self.notify = Some((socket, path));
        Ok(())
    }

    /// The log stays open: what the process left behind may still write to it.
    pub(super) fn process_ended(&mut self, epoll: &OwnedFd) {
        self.close_notify(epoll);
    }

    fn close_pipe(&mut self, epoll: &OwnedFd) {
        if let Some(pipe) = self.pipe.take() {
            unwatch(epoll, pipe.as_fd());
        }
    }

    fn close_notify(&mut self, epoll: &OwnedFd) {
        if let Some((socket, path)) = self.notify.take() {
            unwatch(epoll, socket.as_fd());
            let _ = std::fs::remove_file(path);
        }
    }

    pub(super) fn close(mut self, epoll: &OwnedFd) {
        self.close_pipe(epoll);
        self.close_notify(epoll);
        if let Some(cgroup) = &self.cgroup {
            // Fails while a process is left in it; then an empty group stays, which costs nothing.
            let _ = std::fs::remove_dir(cgroup);
        }
    }
}

impl Driver {
    /// Takes in what a service printed; so much at a time that nobody waits for it to fall silent.
    pub(super) fn read_log(&mut self, id: Id) {
        for _ in 0..READS {
            let Some(slot) = self.slots.get_mut(&id) else { return };
            let Some(pipe) = &mut slot.pipe else { return };
            match pipe.read(&mut self.buffer) {
                Ok(0) => {
                    slot.close_pipe(&self.epoll);
                    return self.relay(id, 0, true);
                }
                Ok(count) => {
                    slot.ring.push(&self.buffer[..count]);
                    self.relay(id, count, false);
                    if count < BUFFER {
                        return;
                    }
                }
                Err(_) => return,
            }
        }
    }

    /// Prints whole lines of the first `count` bytes of the buffer on the console, if the service wants that.
    fn relay(&mut self, id: Id, count: usize, end: bool) {
        let Some(service) = self.supervisor.unit(id).map(|unit| unit.service()) else {
            return;
        };
        let Some(slot) = self.slots.get_mut(&id).filter(|_| service.logging.console) else {
            return;
        };
        for &byte in &self.buffer[..count] {
            if byte == b'\n' || slot.partial.len() == LINE_MAX {
                self.console.relay(&service.name, &slot.partial);
                slot.partial.clear();
            }
            if byte != b'\n' {
                slot.partial.push(byte);
            }
        }
        if end && !slot.partial.is_empty() {
            self.console.relay(&service.name, &slot.partial);
            slot.partial.clear();
        }
    }

    /// Takes in what a service says of itself (sd_notify(3)).
    pub(super) fn read_notify(&mut self, id: Id) {
        for _ in 0..DATAGRAMS {
            let Some((socket, _)) = self.slots.get(&id).and_then(|slot| slot.notify.as_ref()) else {
                return;
            };
            let Ok(count) = socket.recv(&mut self.buffer) else {
                return;
            };
            let text = String::from_utf8_lossy(&self.buffer[..count]);
            let ready = text.lines().any(|line| line == "READY=1");
            let status = text.lines().find_map(|line| line.strip_prefix("STATUS="));
            let now = crate::clock::now();
            self.supervisor.notified(id, ready, status, now);
        }
    }
}
