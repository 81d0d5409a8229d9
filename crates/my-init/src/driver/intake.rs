//! Logs that are no service's: of the kernel, of whoever speaks to `/dev/log`, and our own.
//!
//! They are in slots like those of services, so everything that is done with logs is done with them: reading along,
//! limits, handing over. Their numbers are above those of all services.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use mos_sys::fork::Leftovers;
use rustix::event::epoll::{self, EventFlags};
use rustix::fs::OFlags;

use super::legacy::key;
use super::slot::Slot;
use super::{Driver, Id, Owner, Token, data};
use crate::clock::Millis;
use crate::logs::rate::Rate;
use crate::logs::{kmsg, syslog};
use crate::lossy;
use crate::note::Note;

/// Our own messages.
pub(super) const OWN: Id = FIRST;
/// Messages of the kernel.
pub(super) const KERNEL: Id = FIRST + 1;
/// What was said to `/dev/log` by somebody who is no service.
pub(super) const SYSLOG: Id = FIRST + 2;
/// Below what a token has room for.
const FIRST: Id = 1 << 32;
/// Their names; a service of such a name is found in their place.
const NAMES: [(&str, Id); 3] = [("kernel", KERNEL), ("my_init", OWN), ("syslog", SYSLOG)];

/// What each of them keeps, in bytes.
const CAPACITY: usize = 256 * 1024;
/// Records or messages that are taken at a time.
const AT_A_TIME: usize = 64;
/// It is not asked again for so long whose a process is that says much.
const REMEMBERED: Millis = 1000;

/// Where messages come from.
#[derive(Debug, Default)]
pub(super) struct Intake {
    kmsg: Option<File>,
    socket: Option<UnixDatagram>,
    /// Who spoke last, whose that is, and when that was found out.
    speaker: Option<(u32, Id, Millis)>,
    /// How much each has said.
    rates: HashMap<Id, Rate>,
}

impl Intake {
    /// A log is no more.
    pub(super) fn forget(&mut self, id: Id) {
        self.rates.remove(&id);
        self.speaker = self.speaker.filter(|(_, one, _)| *one != id);
    }
}

impl Driver {
    /// The name of a log.
    pub(super) fn log_name(&self, id: Id) -> Option<&str> {
        match NAMES.iter().find(|(_, one)| *one == id) {
            Some((name, _)) => Some(name),
            None => Some(self.supervisor.unit(id)?.service().name.as_str()),
        }
    }

    /// The log of a name.
    pub(super) fn log_of(&self, name: &str) -> Option<Id> {
        let other = || NAMES.iter().find(|(one, _)| *one == name).map(|(_, id)| *id);
        let there = |id: &Id| self.slots.contains_key(id);
        self.supervisor.find(name).or_else(|| other().filter(there))
    }

    /// All logs, by name.
    pub(super) fn log_ids(&self) -> Vec<Id> {
        let others = NAMES
            .map(|(_, id)| id)
            .into_iter()
            .filter(|id| self.slots.contains_key(id));
        self.sorted().into_iter().chain(others).collect()
    }

    /// Opens everything that messages come from, or takes over what the last supervisor had open.
    pub(super) fn begin_intake(&mut self, memory: &Note, leftovers: &mut Leftovers) {
        self.resume_log("my_init", OWN, memory, leftovers);
        if let Some(path) = self.setup.syslog.clone() {
            self.resume_log("syslog", SYSLOG, memory, leftovers);
            let left = memory
                .small(key::SYSLOG_SOCKET)
                .and_then(|number| leftovers.take(number));
            if let Err(error) = self.listen(&path, left) {
                self.say(&format!("{}: nobody listens: {error}", path.display()));
            }
        }
        if self.setup.machine {
            self.resume_log("kernel", KERNEL, memory, leftovers);
            if let Err(error) = self.open_kmsg() {
                self.say(&format!("/dev/kmsg: {error}"));
            }
        }
        self.count_logs();
    }

    fn resume_log(&mut self, name: &str, id: Id, memory: &Note, leftovers: &mut Leftovers) {
        let mut slot = match memory.part(log_key(id)) {
            Some(memory) => Slot::resume(&memory, leftovers, CAPACITY, PathBuf::new()),
            None => Slot::new(CAPACITY),
        };
        match slot.log.open() {
            Ok(_) => drop(self.slots.insert(id, Box::new(slot))),
            Err(error) => self.console.say(self.now(), &format!("no log {name}: {error}")),
        }
    }

    /// What a successor needs to have the same.
    pub(super) fn remember_intake(&self, node: &mut Note) {
        for (_, id) in NAMES {
            if let Some(slot) = self.slots.get(&id) {
                node.add_part(log_key(id), &slot.remember());
            }
        }
        node.add_file(key::SYSLOG_SOCKET, self.intake.socket.as_ref().map(AsRawFd::as_raw_fd));
    }

    fn listen(&mut self, path: &Path, left: Option<OwnedFd>) -> io::Result<()> {
        let socket = match left {
            Some(socket) => UnixDatagram::from(socket),
            None => {
                let _ = fs::remove_file(path);
                let socket = UnixDatagram::bind(path)?;
                // Everybody may say something.
                fs::set_permissions(path, fs::Permissions::from_mode(0o666))?;
                socket
            }
        };
        socket.set_nonblocking(true)?;
        rustix::net::sockopt::set_socket_passcred(&socket, true)?;
        epoll::add(&self.epoll, &socket, data(Token::Syslog), EventFlags::IN)?;
        self.intake.socket = Some(socket);
        Ok(())
    }

    fn open_kmsg(&mut self) -> io::Result<()> {
        let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or(0);
        let file = File::options().read(true).custom_flags(flags).open("/dev/kmsg")?;
        epoll::add(&self.epoll, &file, data(Token::Kmsg), EventFlags::IN)?;
        self.intake.kmsg = Some(file);
        Ok(())
    }

    /// Takes in what the kernel says. Its number is noted together with the place in the log where it will be, so that
    /// a successor, who reads everything again, knows what is there already. It keeps it meanwhile, and services come
    /// first: at boot it has said hundreds of lines.
    pub(super) fn read_kmsg(&mut self) {
        if self.supervisor.is_busy() {
            return;
        }
        for _ in 0..AT_A_TIME {
            let Some(mut file) = self.intake.kmsg.as_ref() else {
                return;
            };
            let count = match file.read(&mut self.buffer[..kmsg::RECORD_MAX]) {
                Ok(count) => count,
                // The next one is the oldest that is left: its number tells how many there were.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => continue,
                Err(_) => return,
            };
            if let Some((number, line)) = kmsg::line(&self.buffer[..count]) {
                self.take_record(number, &line);
            }
        }
    }

    fn take_record(&mut self, number: u64, line: &[u8]) {
        let Some(slot) = self.slots.get(&KERNEL) else { return };
        let expected = slot.log.expected_record();
        if number < expected {
            return;
        }
        let _ = slot.log.note_record(number);
        match number - expected {
            missed if missed > 0 && expected > 0 => {
                let text = format!("[my_init: {missed} messages of the kernel are missing here]\n");
                self.add_to_log(KERNEL, &[text.as_bytes(), line].concat());
            }
            _ => self.add_to_log(KERNEL, line),
        }
    }

    /// Takes in what programs say. A message stays in the socket until it is in a log.
    pub(super) fn read_syslog(&mut self) {
        for _ in 0..AT_A_TIME {
            let Some(socket) = &self.intake.socket else { return };
            let Ok(received) = mos_sys::peer::peek(socket, &mut self.buffer[..syslog::MESSAGE_MAX]) else {
                return;
            };
            let line = syslog::line(&self.buffer[..received.length]);
            let now = self.now();
            let id = received.process.map_or(SYSLOG, |pid| self.whose(pid, now));
            match self.intake.rates.entry(id).or_default().take(now) {
                None => {}
                Some(0) => self.add_to_log(id, &line),
                Some(dropped) => {
                    let text = format!("[my_init: {dropped} messages were too many and are missing here]\n");
                    self.add_to_log(id, &[text.as_bytes(), &line].concat());
                }
            }
            if let Some(socket) = &self.intake.socket {
                let _ = socket.recv(&mut [0; 1]);
            }
        }
    }

    /// The log for what a process says: its service's, if it is of one.
    fn whose(&mut self, pid: u32, now: Millis) -> Id {
        if let Some((known, id, at)) = self.intake.speaker
            && known == pid
            && now.saturating_sub(at) < REMEMBERED
        {
            return id;
        }
        let id = self
            .service_of(pid)
            .filter(|id| self.slots.contains_key(id))
            .unwrap_or(SYSLOG);
        self.intake.speaker = Some((pid, id, now));
        id
    }

    fn service_of(&self, pid: u32) -> Option<Id> {
        let child = |pid| match self.family.owner(pid) {
            Some(Owner::Service(id)) => Some(id),
            _ => None,
        };
        child(pid)
            .or_else(|| self.service_of_group(pid))
            .or_else(|| child(session(pid)?))
    }

    /// By its control group, which is named like the service.
    fn service_of_group(&self, pid: u32) -> Option<Id> {
        let root = self.setup.cgroups.as_ref()?.strip_prefix("/sys/fs/cgroup").ok()?;
        let text = lossy::read(format!("/proc/{pid}/cgroup")).ok()?;
        let path = text.lines().find_map(|line| line.strip_prefix("0::/"))?;
        let name = Path::new(path).strip_prefix(root).ok()?.iter().next()?;
        self.supervisor.find(name.to_str()?)
    }
}

/// The key of a log in the note of the node.
fn log_key(id: Id) -> u8 {
    match id {
        OWN => key::OWN_LOG,
        KERNEL => key::KERNEL_LOG,
        _ => key::SYSLOG_LOG,
    }
}

/// The session of a process: every service leads one (proc(5), `/proc/PID/stat`).
fn session(pid: u32) -> Option<u32> {
    let stat = lossy::read(format!("/proc/{pid}/stat")).ok()?;
    // `pid (name) state ppid group session …`, and a name may hold anything.
    let (_, rest) = stat.rsplit_once(") ")?;
    rest.split(' ').nth(3)?.parse().ok()
}
