//! The control socket: bounded requests, bounded answers, several connections, none of them trusted.

use std::collections::BTreeMap;
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use rustix::event::epoll::{self, EventFlags};

use super::turns::Turn;
use super::{Driver, Token, data, unwatch};
use crate::protocol::{self, REQUEST_MAX, Refusal};

/// Connections at a time; the oldest makes room for a new one, so that nobody can keep others out by holding on.
const CONNECTIONS_MAX: usize = 64;
/// So many connections are accepted at a time, so that those before them have their turn.
const ACCEPTS: usize = 16;
/// While this much of its answers waits to be read, a client's further requests wait too. In bytes.
const BACKLOG: usize = 256 * 1024;

#[derive(Debug)]
pub(super) struct Control {
    listener: UnixListener,
    connections: BTreeMap<usize, Connection>,
    next: usize,
    pub(super) turn: Turn,
}

#[derive(Debug)]
struct Connection {
    stream: UnixStream,
    may_write: bool,
    input: Vec<u8>,
    output: Vec<u8>,
    written: usize,
    /// It was asked something, or had a turn to ask.
    served: bool,
    closed: bool,
    /// Its next request is answered in another turn.
    waits: bool,
}

impl Control {
    /// Binds the socket, in place of one that nobody answers on.
    pub(super) fn listen(path: &Path) -> io::Result<Self> {
        if UnixStream::connect(path).is_ok() {
            return Err(io::Error::new(io::ErrorKind::AddrInUse, "another my_init answers here"));
        }
        let _ = std::fs::remove_file(path);
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory)?;
        }
        let listener = UnixListener::bind(path)?;
        listener.set_nonblocking(true)?;
        // Reading is open to all; who may write is decided by peer credentials.
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666))?;
        Ok(Self {
            listener,
            connections: BTreeMap::new(),
            next: 0,
            turn: Turn::default(),
        })
    }

    /// The socket of the last supervisor: whoever connected in between is served.
    pub(super) fn resume(listener: OwnedFd) -> Self {
        Self {
            listener: UnixListener::from(listener),
            connections: BTreeMap::new(),
            next: 0,
            turn: Turn::default(),
        }
    }

    /// True while a connection is open.
    pub(super) fn is_there(&self, index: usize) -> bool {
        self.connections.contains_key(&index)
    }

    /// True when less than `backlog` bytes wait to be read from a connection.
    pub(super) fn takes(&self, index: usize, backlog: usize) -> bool {
        let connection = self.connections.get(&index);
        connection.is_some_and(|connection| !connection.closed && connection.owed() < backlog)
    }

    pub(super) fn listener(&self) -> &UnixListener {
        &self.listener
    }

    /// True when a connection is that of somebody who may change something.
    pub(super) fn may_write(&self, index: usize) -> bool {
        self.connections
            .get(&index)
            .is_some_and(|connection| connection.may_write)
    }

    /// Whose requests wait for another turn, and whether they may change something.
    pub(super) fn waiting(&self) -> impl Iterator<Item = (usize, bool)> {
        let waiting = self.connections.iter().filter(|(_, connection)| connection.waits);
        waiting.map(|(index, connection)| (*index, connection.may_write))
    }

    /// How much waits to be read by each, in bytes, and whether they may change something.
    pub(super) fn debts(&self) -> impl Iterator<Item = (usize, bool, usize)> {
        let each = self.connections.iter();
        each.map(|(index, connection)| (*index, connection.may_write, connection.owed()))
    }
}

impl Connection {
    /// What waits to be read, in bytes.
    fn owed(&self) -> usize {
        self.output.len() - self.written
    }

    fn is_behind(&self) -> bool {
        self.owed() > BACKLOG
    }

    fn wants(&self) -> EventFlags {
        let mut flags = EventFlags::empty();
        if !self.closed && !self.waits && !self.is_behind() {
            flags |= EventFlags::IN;
        }
        if self.written < self.output.len() {
            flags |= EventFlags::OUT;
        }
        flags
    }

    fn flush(&mut self) {
        while self.written < self.output.len() {
            match self.stream.write(&self.output[self.written..]) {
                Ok(0) => break,
                Ok(count) => self.written += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => {
                    self.closed = true;
                    break;
                }
            }
        }
        // A long answer's room is not kept.
        self.output = Vec::new();
        self.written = 0;
    }

    /// The next whole line, if there is one.
    fn line(&mut self) -> Option<Vec<u8>> {
        let end = self.input.iter().position(|byte| *byte == b'\n')?;
        let mut line: Vec<u8> = self.input.drain(..=end).collect();
        line.pop();
        if self.input.is_empty() {
            self.input = Vec::new();
        }
        Some(line)
    }

    fn refuse_and_close(&mut self, message: &str) {
        let refusal = Refusal::new(-32600, message);
        self.output
            .extend(protocol::answer(&serde_json::Value::Null, Err(refusal)).bytes());
        self.input.clear();
        self.closed = true;
    }
}

impl Driver {
    /// Sends a line that nobody asked for just now.
    pub(super) fn push(&mut self, index: usize, line: &str) {
        if let Some(connection) = self.control.connections.get_mut(&index) {
            // What was read of a queue that is never empty would otherwise be kept for ever.
            connection.output.drain(..connection.written);
            connection.written = 0;
            connection.output.extend(line.bytes());
            connection.flush();
            self.rewatch(index);
        }
    }

    /// Closes a connection: of those who may only read, if there are any, the oldest that waits for nothing, or the oldest.
    /// So nobody else can drive out those who look after the node.
    fn make_room(&mut self) {
        let idle = |connection: &Connection| connection.served && connection.output.is_empty();
        let order = |connection: &Connection| (connection.may_write, !idle(connection));
        let connections = self.control.connections.iter();
        let victim = connections.min_by_key(|(index, connection)| (order(connection), **index));
        if let Some(victim) = victim.map(|(index, _)| *index) {
            self.hang_up(victim);
        }
    }

    pub(super) fn hang_up(&mut self, index: usize) {
        if let Some(victim) = self.control.connections.remove(&index) {
            unwatch(&self.epoll, &victim.stream);
        }
    }

    pub(super) fn accept(&mut self) {
        for round in 0..ACCEPTS {
            let stream = match self.control.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if round == 0 && error.kind() != io::ErrorKind::WouldBlock => {
                    // Somebody is there, and nothing is left to accept with: it would be tried for ever without this.
                    self.make_room();
                    return;
                }
                Err(_) => return,
            };
            if self.control.connections.len() >= CONNECTIONS_MAX {
                self.make_room();
            }
            let may_write = self.may_write(&stream);
            let index = self.control.next;
            self.control.next += 1;
            let watched = epoll::add(&self.epoll, &stream, data(Token::Connection(index)), EventFlags::IN);
            if stream.set_nonblocking(true).is_err() || watched.is_err() {
                continue;
            }
            let connection = Connection {
                stream,
                may_write,
                input: Vec::new(),
                output: Vec::new(),
                written: 0,
                served: false,
                closed: false,
                waits: false,
            };
            self.control.connections.insert(index, connection);
        }
    }

    /// Root may; whoever runs this may, where it is no machine's PID 1; members of a group may, if there is one for that.
    fn may_write(&self, stream: &UnixStream) -> bool {
        let own = rustix::process::geteuid().as_raw();
        let user = mos_sys::peer::user(stream);
        let owns = user.is_ok_and(|user| user == 0 || (!self.setup.machine && user == own));
        let in_group = |group: &u32| mos_sys::peer::groups(stream).is_ok_and(|groups| groups.contains(group));
        owns || self.setup.group.as_ref().is_some_and(in_group)
    }

    pub(super) fn serve(&mut self, index: usize, flags: EventFlags) {
        let Some(connection) = self.control.connections.get_mut(&index) else {
            return;
        };
        connection.served = true;
        if flags.intersects(EventFlags::OUT) {
            connection.flush();
        }
        let comes = flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR);
        if comes && !connection.closed && !connection.waits {
            match connection.stream.read(&mut self.buffer) {
                Ok(0) => connection.closed = true,
                Ok(count) => connection.input.extend(&self.buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => connection.closed = true,
            }
        }
        self.answer_lines(index);
        self.rewatch(index);
    }

    pub(super) fn answer_lines(&mut self, index: usize) {
        loop {
            let Some(connection) = self.control.connections.get_mut(&index) else {
                return;
            };
            connection.waits = false;
            if connection.is_behind() {
                return;
            }
            if connection.input.contains(&b'\n') && self.control.turn.is_over() {
                connection.waits = true;
                return;
            }
            let Some(line) = connection.line() else { break };
            let may_write = connection.may_write;
            if line.len() > REQUEST_MAX {
                connection.refuse_and_close("the request is longer than 65536 bytes");
                return;
            }
            if let Some(answer) = self.answer_words(&line, may_write) {
                return self.answer_last(index, &answer);
            }
            if let Some(answer) = self.answer(index, &line, may_write)
                && let Some(connection) = self.control.connections.get_mut(&index)
            {
                connection.output.extend(answer.bytes());
                connection.flush();
                self.bound_debts();
            }
        }
        if let Some(connection) = self.control.connections.get_mut(&index)
            && connection.input.len() > REQUEST_MAX
        {
            connection.refuse_and_close("the request is longer than 65536 bytes");
            connection.flush();
        }
    }

    /// Answers and hangs up, as zinit did: its clients read until then.
    fn answer_last(&mut self, index: usize, answer: &str) {
        if let Some(connection) = self.control.connections.get_mut(&index) {
            connection.input.clear();
            connection.output.extend(answer.bytes());
            connection.closed = true;
            connection.flush();
        }
    }

    pub(super) fn rewatch(&mut self, index: usize) {
        let Some(connection) = self.control.connections.get(&index) else {
            return;
        };
        let wants = connection.wants();
        let watched = epoll::modify(&self.epoll, &connection.stream, data(Token::Connection(index)), wants);
        let done = connection.closed && !connection.waits && !wants.contains(EventFlags::OUT);
        if done || watched.is_err() {
            self.hang_up(index);
        }
    }
}
