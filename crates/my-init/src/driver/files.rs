//! The process that writes logs to files ([`crate::logs::writer`]), as the supervisor sees it.
//!
//! It is started when the first log wants it. It is told of every log with a file, and rung for when there is something
//! new; nobody waits for it. When it ends, another one is started, which goes on where it was.

use std::collections::VecDeque;
use std::ffi::CString;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd, RawFd};
use std::time::Duration;

use mos_sys::fork::Leftovers;
use mos_sys::spawn::{Conditions, Spawn};
use rustix::event::epoll::{self, EventFlags};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, Shutdown, SocketFlags, SocketType,
    recv, send, sendmsg, shutdown, socketpair,
};
use serde_json::{Value, json};

use super::launch::Role;
use super::legacy::key;
use super::{Driver, Id, Owner, Token, data, unwatch};
use crate::clock::Millis;
use crate::logs::writer::{BELL, OPTION};
use crate::note::Note;

/// From one's end to the start of the next one.
const PAUSE: Millis = 1000;
/// At the end, for what is not on the disk yet.
const FAREWELL: Duration = Duration::from_secs(3);
/// The longest complaint that is read, in bytes.
const COMPLAINT_MAX: usize = 8 * 1024;

/// The process, if there is one.
#[derive(Debug, Default)]
pub(super) struct LogWriter {
    process: Option<(u32, OwnedFd)>,
    /// The number of its start.
    pub(super) start: u64,
    /// When another one is to be started.
    due: Option<Millis>,
    /// Of which logs it has not been told yet.
    untold: VecDeque<Id>,
}

impl LogWriter {
    pub(super) fn deadline(&self) -> Option<Millis> {
        self.due
    }

    /// What a successor needs to have the same.
    pub(super) fn number(&self) -> Option<(u32, RawFd)> {
        let process = self.process.as_ref();
        process.map(|(pid, socket)| (*pid, socket.as_raw_fd()))
    }

    fn is_told(&mut self, id: Id) {
        if !self.untold.contains(&id) {
            self.untold.push_back(id);
        }
    }
}

impl Driver {
    /// The last supervisor's, with which we go on.
    pub(super) fn resume_writer(&mut self, node: &Note, leftovers: &mut Leftovers) {
        let socket = node.small(key::WRITER_SOCKET).and_then(|number| leftovers.take(number));
        if let Some((pid, socket)) = node.small(key::WRITER).zip(socket) {
            self.writer.start = node.number(key::WRITER_START).unwrap_or(0);
            self.family.insert(pid, Owner::LogWriter, self.writer.start);
            self.watch_writer(&socket, EventFlags::IN);
            self.writer.process = Some((pid, socket));
        }
        if self.setup.taken_over
            && let Some((_, socket)) = &self.writer.process
        {
            // It is of the program before. It writes what it has, and then one of this program takes its place.
            let _ = shutdown(socket, Shutdown::Write);
        }
        self.tell_of_all();
    }

    fn tell_of_all(&mut self) {
        let filed = |id: &Id| {
            self.supervisor
                .unit(*id)
                .is_some_and(|unit| unit.service().logging.file.is_some())
        };
        let ids: Vec<Id> = self.slots.keys().copied().filter(filed).collect();
        ids.into_iter().for_each(|id| self.tell_writer(id));
    }

    /// A log has a file, or another one, or none any more.
    pub(super) fn tell_writer(&mut self, id: Id) {
        let filed = self
            .supervisor
            .unit(id)
            .is_some_and(|unit| unit.service().logging.file.is_some());
        let Some(slot) = self.slots.get_mut(&id) else { return };
        slot.log.set_filed(filed);
        if filed && self.writer.process.is_none() && self.writer.due.is_none() {
            self.writer.due = Some(0);
        }
        if filed || self.writer.process.is_some() {
            self.writer.is_told(id);
            self.tell_untold();
        }
    }

    /// A log that may have a file has something new.
    pub(super) fn ring_writer(&mut self, id: Id) {
        let filed = self.slots.get(&id).is_some_and(|slot| slot.log.is_filed());
        if let Some((_, socket)) = self.writer.process.as_ref().filter(|_| filed) {
            // When there is no room for it, enough of them are there that it has not heard yet.
            let _ = send(socket, BELL, SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
        }
    }

    /// A service is no more.
    pub(super) fn untell_writer(&self, name: &str) {
        if let Some((_, socket)) = &self.writer.process {
            // If there is no room for it, the log is written to its end all the same, and is kept a little longer.
            let message = json!({ "name": name }).to_string();
            let _ = send(socket, message.as_bytes(), SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
        }
    }

    /// Starts the process when it is time.
    pub(super) fn attend_writer(&mut self) {
        if self.writer.due.is_none_or(|due| due > self.now()) {
            return;
        }
        self.writer.due = None;
        match self.start_writer() {
            Ok(()) => self.tell_of_all(),
            Err(error) => {
                self.writer.due = Some(self.now() + PAUSE);
                self.say(&format!("logs are not written to files: {error}"));
            }
        }
    }

    fn start_writer(&mut self) -> io::Result<()> {
        let flags = SocketFlags::CLOEXEC;
        let (ours, its) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        rustix::io::ioctl_fionbio(&ours, true)?;
        let limit = self.setup.logs.files.to_string();
        let arguments = ["my_init", OPTION, "--log-files", &limit].map(crate::services::c_string);
        let environment: [CString; 1] = [Role::LogWriter.variable()];
        let start = self.starting.begin();
        let pid = mos_sys::spawn::spawn(&Spawn {
            // What we were started from may be another program by now.
            program: c"/proc/self/exe",
            arguments: &arguments,
            environment: &environment,
            directory: c"/",
            input: its.as_fd(),
            output: self.pad.nothing(),
            pad: Some(&self.pad),
            descriptors: &[],
            tells_pid: false,
            conditions: Conditions::default(),
            cgroup: None,
            terminal: false,
            sibling: Some(self.starting),
            dies_with_parent: false,
        })
        .map_err(|error| io::Error::other(error.to_string()))?;
        self.own(pid, Owner::LogWriter, start);
        self.watch_writer(&ours, EventFlags::IN);
        (self.writer.process, self.writer.start) = (Some((pid, ours)), start);
        self.note_changes();
        Ok(())
    }

    fn watch_writer(&self, socket: &OwnedFd, flags: EventFlags) {
        let token = data(Token::LogWriter);
        if epoll::modify(&self.epoll, socket, token, flags).is_err() {
            let _ = epoll::add(&self.epoll, socket, token, flags);
        }
    }

    fn tell_untold(&mut self) {
        while let Some(id) = self.writer.untold.front().copied() {
            let Some((_, socket)) = &self.writer.process else {
                return;
            };
            if self.tell_one(socket, id).is_err() {
                return self.watch_for_room(true);
            }
            self.writer.untold.pop_front();
        }
        self.watch_for_room(false);
    }

    fn watch_for_room(&self, wanted: bool) {
        if let Some((_, socket)) = &self.writer.process {
            let room = if wanted { EventFlags::OUT } else { EventFlags::empty() };
            self.watch_writer(socket, EventFlags::IN | room);
        }
    }

    fn tell_one(&self, socket: &OwnedFd, id: Id) -> rustix::io::Result<()> {
        let (Some(unit), Some(slot)) = (self.supervisor.unit(id), self.slots.get(&id)) else {
            return Ok(());
        };
        let service = unit.service();
        let message = match &service.logging.file {
            Some(file) => {
                json!({ "name": service.name, "path": file.path, "bytes": file.bytes, "count": file.count })
            }
            None => json!({ "name": service.name }),
        };
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let Some(log) = slot.log.file() else {
            // It is told when there is something in it.
            return Ok(());
        };
        let files = [log];
        if service.logging.file.is_some() {
            control.push(SendAncillaryMessage::ScmRights(&files));
        }
        let message = message.to_string();
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        match sendmsg(socket, &[IoSlice::new(message.as_bytes())], &mut control, flags) {
            Err(error @ rustix::io::Errno::AGAIN) => Err(error),
            // It is gone, and its end on its way to us; the next one is told of all.
            _ => Ok(()),
        }
    }

    /// It has something to say, or room for what it is to be told.
    pub(super) fn hear_writer(&mut self, flags: EventFlags) {
        let Some((_, socket)) = &self.writer.process else {
            return;
        };
        let mut text = [0; COMPLAINT_MAX];
        match recv(socket, &mut text[..], RecvFlags::DONTWAIT) {
            Ok((count, _)) if count > 0 => {
                let message: Value = serde_json::from_slice(&text[..count]).unwrap_or_default();
                if let Some(text) = message["say"].as_str() {
                    self.say(text);
                }
            }
            // Its end comes by itself.
            Ok(_) => unwatch(&self.epoll, socket),
            Err(_) if flags.contains(EventFlags::OUT) => self.tell_untold(),
            Err(_) => {}
        }
    }

    pub(super) fn writer_ended(&mut self) {
        if let Some((_, socket)) = self.writer.process.take() {
            unwatch(&self.epoll, &socket);
        }
        self.writer.untold.clear();
        self.writer.due = Some(self.now() + PAUSE);
    }

    /// At the end of everything: lets it write what it has.
    pub(super) fn dismiss_writer(&mut self) {
        let Some((_, socket)) = &self.writer.process else {
            return;
        };
        let _ = shutdown(socket, Shutdown::Write);
        if let Ok(limit) = Timespec::try_from(FAREWELL) {
            // Its end hangs up; what it says now nobody can hear any more.
            let _ = poll(&mut [PollFd::new(socket, PollFlags::RDHUP)], Some(&limit));
        }
    }
}
