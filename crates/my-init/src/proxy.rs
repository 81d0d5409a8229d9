//! The proxy: takes connections for a service that cannot be handed its sockets, and copies both ways.
//!
//! A process of its own, which is handed the listening sockets like any other service on demand, so that nothing of this
//! burdens the supervisor. Bytes go from socket to socket through pipes in the kernel (splice(2)). When nobody was
//! connected for long enough it ends well; then the supervisor stops the service behind it and waits for the next one.

use std::fmt;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixDatagram;

use mos_service::Listen;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, Shutdown, SocketAddrUnix, SocketFlags, SocketType, sockopt};
use rustix::pipe::{PipeFlags, SpliceFlags, pipe_with, splice};
use rustix::process::{Resource, getrlimit};

use crate::clock::{self, Millis};

/// The option that makes a process a proxy.
pub const OPTION: &str = "--proxy";
/// So many connections at a time at most; the others wait in the sockets.
const CONNECTIONS_MAX: usize = 1024;
/// Descriptors of a connection: two sockets, two pipes.
const DESCRIPTORS: u64 = 6;
/// Descriptors for everything else.
const OTHERS: u64 = 80;
/// Between two tries to reach the service, which may still be starting.
const RETRY: Millis = 25;
/// What is moved at a time, in bytes: what a pipe holds (pipe(7)).
const PIECE: usize = 64 * 1024;
/// Where descriptors that are handed over begin (sd_listen_fds(3)).
const FIRST: i32 = 3;

/// What it does.
#[derive(Debug)]
struct Plan {
    backend: Listen,
    connect_timeout: Millis,
    /// 0 for never.
    idle_timeout: Millis,
    most: usize,
}

impl Plan {
    fn parse(words: &[String]) -> Option<Self> {
        let [backend, connect_timeout, idle_timeout, single] = words else {
            return None;
        };
        let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let room = usize::try_from(files.saturating_sub(OTHERS) / DESCRIPTORS).unwrap_or(CONNECTIONS_MAX);
        Some(Self {
            backend: Listen::parse(backend)?,
            connect_timeout: connect_timeout.parse().ok()?,
            idle_timeout: idle_timeout.parse().ok()?,
            most: if single == "true" {
                1
            } else {
                room.clamp(1, CONNECTIONS_MAX)
            },
        })
    }
}

/// Runs until nobody was connected for long enough; returns the exit code.
pub fn run(words: &[String]) -> u8 {
    let listeners = inherited();
    let Some(plan) = Plan::parse(words).filter(|_| !listeners.is_empty()) else {
        eprintln!("my_init: {OPTION} is for my_init itself");
        return 2;
    };
    match serve(&plan, &listeners) {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("my_init: proxy: {error}");
            1
        }
    }
}

/// The sockets that it was handed, if they are meant for it.
fn inherited() -> Vec<OwnedFd> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u32>().ok());
    let count = number("LISTEN_FDS").filter(|_| number("LISTEN_PID") == Some(std::process::id()));
    let count = count.and_then(|count| i32::try_from(count).ok()).unwrap_or(0);
    let Ok(mut open) = mos_sys::fork::Leftovers::inherited() else {
        return Vec::new();
    };
    (FIRST..FIRST.saturating_add(count))
        .filter_map(|number| open.take(number))
        .collect()
}

fn serve(plan: &Plan, listeners: &[OwnedFd]) -> io::Result<()> {
    for listener in listeners {
        rustix::io::ioctl_fionbio(listener, true)?;
    }
    let mut connections: Vec<Connection> = Vec::new();
    let mut idle_since = clock::now();
    let mut tally = Tally::default();
    loop {
        let now = clock::now();
        connections.retain_mut(|connection| {
            let goes_on = connection.advance(plan, now);
            if !goes_on {
                tally.ended(connection);
            }
            goes_on
        });
        tally.tell(&connections);
        if !connections.is_empty() {
            idle_since = now;
        }
        let idle_until = (plan.idle_timeout > 0 && connections.is_empty()).then(|| idle_since + plan.idle_timeout);
        if idle_until.is_some_and(|until| until <= now) {
            return Ok(());
        }
        let takes = connections.len() < plan.most;
        if takes && accept(plan, listeners, &mut connections, now) {
            tally.total += 1;
            continue;
        }
        wait(listeners, takes, &connections, idle_until, now)?;
    }
}

/// Takes one connection; true when there was one.
fn accept(plan: &Plan, listeners: &[OwnedFd], connections: &mut Vec<Connection>, now: Millis) -> bool {
    for listener in listeners {
        if let Ok(client) = rustix::net::accept_with(listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
            match Connection::begin(client, now + plan.connect_timeout) {
                Ok(connection) => connections.push(connection),
                Err(error) => eprintln!("my_init: proxy: {error}"),
            }
            return true;
        }
    }
    false
}

fn wait(
    listeners: &[OwnedFd],
    takes: bool,
    connections: &[Connection],
    idle_until: Option<Millis>,
    now: Millis,
) -> io::Result<()> {
    let mut files: Vec<PollFd<'_>> = Vec::new();
    if takes {
        files.extend(listeners.iter().map(|listener| PollFd::new(listener, PollFlags::IN)));
    }
    let mut until = idle_until;
    for connection in connections {
        connection.watch(&mut files);
        until = [until, connection.deadline()].into_iter().flatten().min();
    }
    let timeout = until.map(|until| {
        let wait = until.saturating_sub(now).max(1);
        Timespec {
            tv_sec: i64::try_from(wait / 1000).unwrap_or(i64::MAX),
            tv_nsec: i64::try_from(wait % 1000).unwrap_or(0) * 1_000_000,
        }
    });
    match poll(&mut files, timeout.as_ref()) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// What it has done since it began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Connections that are open.
    pub open: u64,
    /// Connections ever.
    pub total: u64,
    /// Bytes that it brought to the service.
    pub up: u64,
    /// Bytes that it brought back.
    pub down: u64,
}

impl Counts {
    /// Reads what it says of itself.
    pub fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split(' ').filter_map(|word| word.parse().ok());
        let mut next = || numbers.next();
        Some(Self {
            open: next()?,
            total: next()?,
            up: next()?,
            down: next()?,
        })
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { open, total, up, down } = self;
        write!(f, "{open} connected, {total} in all, {up} bytes up, {down} down")
    }
}

/// Counts, and says so when connections come and go.
#[derive(Debug, Default)]
struct Tally {
    total: u64,
    /// Of connections that have ended, in bytes.
    up: u64,
    down: u64,
    told: (u64, usize),
}

impl Tally {
    fn ended(&mut self, connection: &Connection) {
        self.up += connection.up.brought;
        self.down += connection.down.brought;
    }

    /// As sd_notify(3) does. Nobody may listen; then nobody wants to know.
    fn tell(&mut self, connections: &[Connection]) {
        if self.told == (self.total, connections.len()) {
            return;
        }
        self.told = (self.total, connections.len());
        let sum = |brought: fn(&Connection) -> u64| connections.iter().map(brought).sum::<u64>();
        let counts = Counts {
            open: connections.len() as u64,
            total: self.total,
            up: self.up + sum(|connection| connection.up.brought),
            down: self.down + sum(|connection| connection.down.brought),
        };
        let socket = std::env::var_os("NOTIFY_SOCKET").zip(UnixDatagram::unbound().ok());
        if let Some((path, socket)) = socket {
            let _ = socket.set_nonblocking(true);
            let _ = socket.send_to(format!("STATUS={counts}").as_bytes(), path);
        }
    }
}

/// One way from one socket to the other.
#[derive(Debug)]
struct Way {
    reader: OwnedFd,
    writer: OwnedFd,
    /// What the pipe holds, in bytes.
    held: usize,
    /// What it has brought to the other side, in bytes.
    brought: u64,
    /// Nothing more comes.
    ended: bool,
    /// The other side was told so.
    closed: bool,
}

impl Way {
    fn new() -> io::Result<Self> {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        Ok(Self {
            reader,
            writer,
            held: 0,
            brought: 0,
            ended: false,
            closed: false,
        })
    }

    /// Moves what can be moved without waiting.
    fn copy(&mut self, from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<(), Errno> {
        let flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
        loop {
            let mut moved = false;
            if self.held == 0 && !self.ended {
                match splice(from, None, &self.writer, None, PIECE, flags) {
                    Ok(0) => self.ended = true,
                    Ok(count) => (self.held, moved) = (count, true),
                    Err(Errno::AGAIN | Errno::INTR) => {}
                    Err(error) => return Err(error),
                }
            }
            if self.held > 0 {
                match splice(&self.reader, None, to, None, self.held, flags) {
                    Ok(count) => {
                        (self.held, moved) = (self.held - count, true);
                        self.brought += count as u64;
                    }
                    Err(Errno::AGAIN | Errno::INTR) => {}
                    Err(error) => return Err(error),
                }
            }
            if self.ended && self.held == 0 && !self.closed {
                self.closed = true;
                let _ = rustix::net::shutdown(to, Shutdown::Write);
            }
            if !moved {
                return Ok(());
            }
        }
    }
}

#[derive(Debug)]
enum Backend {
    /// It is tried at this time.
    Next(Millis),
    /// It is being tried.
    Trying(OwnedFd),
    Open(OwnedFd),
}

#[derive(Debug)]
struct Connection {
    client: OwnedFd,
    backend: Backend,
    /// It has to be there until then.
    until: Millis,
    up: Way,
    down: Way,
}

impl Connection {
    fn begin(client: OwnedFd, until: Millis) -> io::Result<Self> {
        Ok(Self {
            client,
            backend: Backend::Next(0),
            until,
            up: Way::new()?,
            down: Way::new()?,
        })
    }

    /// Goes on as far as it goes; false when it is over.
    fn advance(&mut self, plan: &Plan, now: Millis) -> bool {
        self.connect(plan, now);
        let Backend::Open(backend) = &self.backend else {
            let late = self.until <= now;
            if late {
                eprintln!("my_init: proxy: {} was not reached in time", plan.backend);
            }
            return !late;
        };
        let (client, backend) = (self.client.as_fd(), backend.as_fd());
        let copied = self
            .up
            .copy(client, backend)
            .and_then(|()| self.down.copy(backend, client));
        copied.is_ok() && !(self.up.closed && self.down.closed)
    }

    fn connect(&mut self, plan: &Plan, now: Millis) {
        if let Backend::Next(at) = self.backend
            && at <= now
        {
            self.backend = match open(&plan.backend) {
                Ok((file, true)) => Backend::Open(file),
                Ok((file, false)) => Backend::Trying(file),
                Err(_) => Backend::Next(now + RETRY),
            };
        }
        if let Backend::Trying(file) = &self.backend {
            let mut ready = [PollFd::new(file, PollFlags::OUT)];
            let nothing = Timespec { tv_sec: 0, tv_nsec: 0 };
            if matches!(poll(&mut ready, Some(&nothing)), Ok(1)) {
                let good = matches!(sockopt::socket_error(file), Ok(Ok(())));
                let tried = std::mem::replace(&mut self.backend, Backend::Next(now + RETRY));
                if let (true, Backend::Trying(file)) = (good, tried) {
                    self.backend = Backend::Open(file);
                }
            }
        }
    }

    fn deadline(&self) -> Option<Millis> {
        match self.backend {
            Backend::Next(at) => Some(at.min(self.until)),
            Backend::Trying(_) => Some(self.until),
            Backend::Open(_) => None,
        }
    }

    /// What it waits for. A file for which it waits for nothing is left out: the kernel would tell of its end again and again.
    fn watch<'c>(&'c self, files: &mut Vec<PollFd<'c>>) {
        let backend = match &self.backend {
            Backend::Next(_) => return,
            Backend::Trying(file) => return files.push(PollFd::new(file, PollFlags::OUT)),
            Backend::Open(file) => file,
        };
        for (file, from, to) in [(&self.client, &self.up, &self.down), (backend, &self.down, &self.up)] {
            let mut wants = PollFlags::empty();
            wants.set(PollFlags::IN, from.held == 0 && !from.ended);
            wants.set(PollFlags::OUT, to.held > 0);
            if !wants.is_empty() {
                files.push(PollFd::new(file, wants));
            }
        }
    }
}

/// Begins to connect; true when that is done at once.
fn open(backend: &Listen) -> io::Result<(OwnedFd, bool)> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = |family| rustix::net::socket_with(family, SocketType::STREAM, flags, None);
    let (file, connected) = match backend {
        Listen::Tcp(address) | Listen::Udp(address) => {
            let family = if address.is_ipv4() {
                AddressFamily::INET
            } else {
                AddressFamily::INET6
            };
            let file = socket(family)?;
            let connected = rustix::net::connect(&file, address);
            (file, connected)
        }
        Listen::Unix(path) => {
            let file = socket(AddressFamily::UNIX)?;
            let connected = rustix::net::connect(&file, &SocketAddrUnix::new(path.as_str())?);
            (file, connected)
        }
    };
    match connected {
        Ok(()) => Ok((file, true)),
        Err(Errno::INPROGRESS) => Ok((file, false)),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_counts_are_read_as_they_are_said() {
        let counts = Counts {
            open: 1,
            total: 22,
            up: 333,
            down: 4444,
        };
        assert_eq!(Counts::parse(&counts.to_string()), Some(counts));
        assert_eq!(Counts::parse("1 connected"), None);
    }

    #[test]
    fn its_words_are_read() {
        let words = ["127.0.0.1:80", "30000", "0", "true"].map(str::to_owned);
        let plan = Plan::parse(&words).expect("good");
        assert_eq!((plan.connect_timeout, plan.idle_timeout, plan.most), (30_000, 0, 1));
        assert!(Plan::parse(&words[..3]).is_none());
        assert!(Plan::parse(&["x", "1", "1", "false"].map(str::to_owned)).is_none());
    }
}
