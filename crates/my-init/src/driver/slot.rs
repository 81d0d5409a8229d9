//! What a service has in the real world.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;

use mos_sys::fork::Leftovers;
use rustix::event::epoll;
use rustix::fs::{Mode, OFlags};
use rustix::net::{RecvFlags, recv};
use rustix::pipe::PipeFlags;
use serde_json::{Value, json};

use super::descriptors::leave_for_others;
use super::limit_hits::Counts;
use super::usage::Look;
use super::{Driver, Id, Token, data, unwatch};
use crate::logs::{Log, PipeState, budget, state_of};
use crate::note::Note;

/// Keys in the note of a slot. None ever means anything else: programs of other versions read them.
mod key {
    pub(super) const LOG: u8 = 1;
    pub(super) const PIPE: u8 = 2;
    pub(super) const NOTIFY: u8 = 3;
    pub(super) const READY: u8 = 4;
    pub(super) const COUNTS: u8 = 5;
    pub(super) const START: u8 = 6;
}

/// So often what a pipe holds is taken at a time: a chatty service is not to keep the others waiting.
const READS: usize = 16;
/// The longest line that is relayed to the console in one piece, in bytes.
const LINE_MAX: usize = 1024;
/// Datagrams taken from a notify socket at a time.
const DATAGRAMS: usize = 16;

/// A service's log, process and sockets.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) log: Log,
    /// The end of a line that is still being printed.
    partial: Vec<u8>,
    pipe: Option<OwnedFd>,
    notify: Option<(UnixDatagram, PathBuf)>,
    pub(super) ready: Option<OwnedFd>,
    pub(super) cgroup: Option<PathBuf>,
    /// Descriptors that are still noted under their numbers: closed when they are not any more, because by then a number
    /// may be somebody else's, and a successor would take that.
    retired: Vec<OwnedFd>,
    /// What its control group had counted when its process was started.
    pub(super) counts: Counts,
    /// The number of the start of its process.
    pub(super) start: u64,
    /// What was told last of what it uses.
    pub(super) look: Option<Look>,
}

impl Slot {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            log: Log::new(capacity),
            partial: Vec::new(),
            pipe: None,
            notify: None,
            ready: None,
            cgroup: None,
            retired: Vec::new(),
            counts: Counts::default(),
            start: 0,
            look: None,
        }
    }

    /// What a successor needs to have the same.
    pub(super) fn remember(&self) -> Note {
        let mut note = Note::default();
        note.add_file(key::LOG, self.log.number());
        note.add_file(key::PIPE, self.pipe.as_ref().map(AsRawFd::as_raw_fd));
        note.add_file(key::NOTIFY, self.notify.as_ref().map(|(socket, _)| socket.as_raw_fd()));
        note.add_file(key::READY, self.ready.as_ref().map(AsRawFd::as_raw_fd));
        note.add_part(key::COUNTS, &self.counts.remember());
        note.add_count(key::START, self.start);
        note
    }

    /// The number of the start of its process, out of what was remembered; 0 when that says nothing.
    pub(super) fn start_of(memory: &Note) -> u64 {
        memory.number(key::START).unwrap_or(0)
    }

    /// What the last supervisor had, out of what it left open. `notify` is where the service's notify socket is.
    pub(super) fn resume(memory: &Note, leftovers: &mut Leftovers, capacity: usize, notify: PathBuf) -> Self {
        let mut take = |key| leftovers.take(memory.small(key)?);
        let log = take(key::LOG).and_then(|file| Log::resume(file, capacity).ok());
        let mut slot = Self::new(capacity);
        slot.log = log.unwrap_or(slot.log);
        slot.counts = Counts::recall(&memory.part(key::COUNTS).unwrap_or_default());
        (slot.pipe, slot.ready) = (take(key::PIPE), take(key::READY));
        slot.notify = take(key::NOTIFY).map(|socket| (UnixDatagram::from(socket), notify));
        slot
    }

    /// Begins to wait for what comes through the pipe and the socket.
    pub(super) fn watch(&self, epoll: &OwnedFd, id: Id) -> io::Result<()> {
        if let Some(pipe) = &self.pipe {
            epoll::add(epoll, pipe, data(Token::Log(id)), epoll::EventFlags::IN)?;
        }
        if let Some((socket, _)) = &self.notify {
            epoll::add(epoll, socket, data(Token::Notify(id)), epoll::EventFlags::IN)?;
        }
        self.watch_ready(epoll, id)
    }

    /// The end of the pipe for a new process. The pipe of the last one goes on while somebody is left who writes to it:
    /// what a service leaves behind is not to fail because of its successor.
    pub(super) fn open_pipe(&mut self, epoll: &OwnedFd, id: Id, logs_to_come: usize) -> io::Result<OwnedFd> {
        if let Some(pipe) = &self.pipe
            && let Ok(writer) = writer_of(pipe)
        {
            return Ok(writer);
        }
        let (reader, writer) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
        if self.pipe.is_none() {
            leave_for_others(writer.as_raw_fd(), logs_to_come)?;
        }
        self.close_pipe(epoll);
        epoll::add(epoll, &reader, data(Token::Log(id)), epoll::EventFlags::IN)?;
        self.pipe = Some(reader);
        Ok(writer)
    }

    pub(super) fn open_notify(&mut self, epoll: &OwnedFd, id: Id, path: PathBuf) -> io::Result<()> {
        self.close_notify(epoll);
        let _ = std::fs::remove_file(&path);
        let socket = UnixDatagram::bind(&path)?;
        socket.set_nonblocking(true)?;
        epoll::add(epoll, &socket, data(Token::Notify(id)), epoll::EventFlags::IN)?;
        self.notify = Some((socket, path));
        Ok(())
    }

    /// What has become of what it printed, in bytes.
    pub(super) fn log_status(&self) -> Value {
        let log = &self.log;
        let mut status = json!({ "printed": log.end(), "dropped": log.dropped(), "memory": log.memory() });
        if log.is_filed() {
            let written = log.written();
            status["written"] = json!(written.place.saturating_sub(written.lost));
            status["lost"] = json!(written.lost);
        }
        status
    }

    /// Nobody is there who could print.
    pub(super) fn is_silent(&self) -> bool {
        self.pipe.is_none()
    }

    /// The log stays open: what the process left behind may still write to it.
    pub(super) fn process_ended(&mut self, epoll: &OwnedFd) {
        self.close_notify(epoll);
        self.close_ready(epoll);
    }

    /// Looks after a descriptor no longer. The service has to be noted after that.
    pub(super) fn retire(&mut self, epoll: &OwnedFd, descriptor: OwnedFd) {
        unwatch(epoll, descriptor.as_fd());
        self.retired.push(descriptor);
    }

    /// The service was noted.
    pub(super) fn noted(&mut self) {
        self.retired = Vec::new();
    }

    fn close_pipe(&mut self, epoll: &OwnedFd) {
        if let Some(pipe) = self.pipe.take() {
            self.retire(epoll, pipe);
        }
    }

    fn close_notify(&mut self, epoll: &OwnedFd) {
        if let Some((socket, path)) = self.notify.take() {
            self.retire(epoll, socket.into());
            let _ = std::fs::remove_file(path);
        }
    }

    pub(super) fn close(mut self, epoll: &OwnedFd) {
        self.close_pipe(epoll);
        self.close_notify(epoll);
        self.close_ready(epoll);
        if let Some(cgroup) = &self.cgroup {
            // Fails while a process is left in it; then an empty group stays, which costs nothing.
            let _ = std::fs::remove_dir(cgroup);
        }
    }
}

/// Another end to write to a pipe of which this is the end to read from.
fn writer_of(pipe: &OwnedFd) -> io::Result<OwnedFd> {
    let path = format!("/proc/self/fd/{}", pipe.as_raw_fd());
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

impl Driver {
    /// Takes in what a service printed; so much at a time that nobody waits for it to fall silent.
    pub(super) fn read_log(&mut self, id: Id) {
        self.change_log(id, |driver| driver.take_log(id));
    }

    /// Adds a line to a log.
    pub(super) fn add_to_log(&mut self, id: Id, line: &[u8]) {
        self.change_log(id, |driver| {
            let now = driver.now();
            // There is nobody to tell that there is no memory.
            if driver.open_log(id).is_ok()
                && let Some(slot) = driver.slots.get_mut(&id)
            {
                let _ = slot.log.append(line, now);
            }
        });
    }

    /// Does something that may add to a log, tells whom that concerns, and keeps all logs within their limit.
    fn change_log(&mut self, id: Id, change: impl FnOnce(&mut Self)) {
        let look = |driver: &Self| {
            driver
                .slots
                .get(&id)
                .map_or((0, 0), |slot| (slot.log.end(), slot.log.memory()))
        };
        let (end, memory) = look(self);
        change(self);
        let (new_end, new_memory) = look(self);
        if new_end != end {
            self.wake_followers(id);
            self.ring_writer(id);
        }
        self.log_memory = self.log_memory.saturating_sub(memory) + new_memory;
        if self.log_memory > self.setup.logs.memory {
            self.shrink_logs();
        }
    }

    /// Has the largest logs forget what is oldest in them, and counts anew.
    fn shrink_logs(&mut self) {
        let sizes = || self.slots.values().map(|slot| slot.log.memory());
        if let Some(size) = budget::cut(sizes(), self.setup.logs.memory) {
            self.slots.values_mut().for_each(|slot| slot.log.shrink_to_memory(size));
        }
        self.log_memory = self.slots.values().map(|slot| slot.log.memory()).sum();
    }

    fn drop_output(&mut self, id: Id) {
        if let Some(pipe) = self.slots.get(&id).and_then(|slot| slot.pipe.as_ref()) {
            let _ = rustix::io::read(pipe, &mut *self.buffer);
        }
    }

    /// Makes the file of a log if there is none. A successor knows it before there is anything in it.
    fn open_log(&mut self, id: Id) -> io::Result<()> {
        let Some(slot) = self.slots.get_mut(&id) else {
            return Ok(());
        };
        if slot.log.open()? {
            self.open_logs += 1;
            self.note(id);
            self.tell_writer(id);
        }
        Ok(())
    }

    /// Room for the files of logs to which nothing was printed yet, which come with the first line.
    pub(super) fn logs_to_come(&self) -> usize {
        self.slots.len().saturating_sub(self.open_logs)
    }

    /// Counts anew what there is of logs.
    pub(super) fn count_logs(&mut self) {
        let logs = || self.slots.values().map(|slot| &slot.log);
        self.log_memory = logs().map(Log::memory).sum();
        self.open_logs = logs().filter(|log| log.number().is_some()).count();
    }

    fn take_log(&mut self, id: Id) {
        for _ in 0..READS {
            let now = self.now();
            let Some(slot) = self.slots.get_mut(&id) else { return };
            let Some(pipe) = &slot.pipe else { return };
            if slot.log.number().is_none() && state_of(pipe.as_fd()).is_ok_and(|state| state == PipeState::Filled) {
                // There was room for it when the service was started. If there is none, nobody is to wait for it.
                if self.open_log(id).is_err() {
                    return self.drop_output(id);
                }
            }
            let Some(slot) = self.slots.get_mut(&id) else { return };
            let Some(pipe) = &slot.pipe else { return };
            match slot.log.take_from(pipe.as_fd(), now) {
                Ok(0) => {
                    slot.close_pipe(&self.epoll);
                    self.supervisor.touch(id);
                    self.wake_followers(id);
                    return self.relay(id, 0, true);
                }
                Ok(count) => self.relay(id, count, false),
                Err(_) => return,
            }
        }
    }

    /// Prints whole lines of the last `count` bytes of the log on the console, if the service wants that.
    fn relay(&mut self, id: Id, count: usize, end: bool) {
        let Some(service) = self.supervisor.unit(id).map(|unit| unit.service()) else {
            return;
        };
        let Some(slot) = self.slots.get_mut(&id).filter(|_| service.logging.console) else {
            return;
        };
        for byte in slot.log.last_bytes(count) {
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
            // It stays in the socket until what it says is noted: whoever is killed in between leaves it to its successor.
            let Ok((count, _)) = recv(socket, &mut *self.buffer, RecvFlags::PEEK) else {
                return;
            };
            let text = String::from_utf8_lossy(&self.buffer[..count]);
            let ready = text.lines().any(|line| line == "READY=1");
            let status = text.lines().find_map(|line| line.strip_prefix("STATUS="));
            let now = crate::clock::now();
            self.supervisor.notified(id, ready, status, now);
            self.note_changes();
            if let Some((socket, _)) = self.slots.get(&id).and_then(|slot| slot.notify.as_ref()) {
                let _ = recv(socket, &mut [0; 1], RecvFlags::empty());
            }
        }
    }
}
