//! What a supervisor leaves to its successor: notes in the journal, open files in the keeper, and processes.
//!
//! A service is noted after every change, and before its process is started, whose id the kernel itself writes where the
//! successor finds it; the end of a process is noted together with how far the records of ends were read. So wherever the
//! supervisor is killed, its successor knows of every process that there is or was.

use std::collections::HashSet;
use std::fs;
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::path::Path;

use mos_service::{Kind, Service};
use mos_sys::fork::Leftovers;
use rustix::process::{Pid, Signal, kill_process_group};

use super::launch::Role;
use super::slot::Slot;
use super::{Driver, Id, Owner};
use crate::children::{children_of, user_of};
use crate::journal::{Draft, Notes};
use crate::keeper::{self, PROGRAM};
use crate::note::Note;
use crate::supervisor::{Exit, Known, NodeState};
use crate::watchdog::Watchdog;

/// The name of what concerns the node in the journal; no service can have it.
const NODE: &str = "";
/// The name under which the service is noted that is being started; no service can have it either.
const STARTING: &str = "/starting";

/// Keys in the notes of services and of the node. None ever means anything else: programs of other versions read them.
pub(super) mod key {
    /// In both: how far the records of ends were read.
    pub(super) const PLACE: u8 = 1;
    /// In both: what [`crate::supervisor`] knows.
    pub(super) const KNOWN: u8 = 2;
    /// Of a service: its [`super::Slot`], and its sockets, one by one.
    pub(super) const OPEN: u8 = 3;
    pub(in crate::driver) const SOCKET: u8 = 4;
    /// Of the node.
    pub(super) const LISTENER: u8 = 3;
    pub(in crate::driver) const WRITER: u8 = 4;
    pub(in crate::driver) const WRITER_SOCKET: u8 = 5;
    pub(in crate::driver) const WATCHDOG: u8 = 6;
    pub(in crate::driver) const SYSLOG_SOCKET: u8 = 7;
    pub(in crate::driver) const OWN_LOG: u8 = 8;
    pub(in crate::driver) const KERNEL_LOG: u8 = 9;
    pub(in crate::driver) const SYSLOG_LOG: u8 = 10;
    pub(in crate::driver) const WRITER_START: u8 = 11;
    /// In the note of who is being started: its name, and the number of the start.
    pub(super) const NAME: u8 = 1;
    pub(super) const START: u8 = 2;
}

/// What is compared to know whether the node has to be noted.
pub(super) type NodeMark = (NodeState, Option<(u32, RawFd)>, Option<RawFd>);

impl Driver {
    /// What is known of a service is to be written down.
    fn add_note(&mut self, id: Id) {
        if let (Some(unit), Some(record)) = (self.supervisor.unit(id), self.record(id)) {
            self.journal.add(&unit.service().name, &record);
            self.noted_place = self.place;
        }
    }

    /// Writes down whatever has changed when that is much by now.
    pub(super) fn note_much(&mut self) {
        match self.journal.is_much_waiting() {
            true => self.note_changes(),
            false => self.add_changes(),
        }
    }

    fn commit(&mut self) {
        let noted = self.journal.commit();
        self.complain_once(noted);
        for id in std::mem::take(&mut self.unwritten) {
            if let Some(slot) = self.slots.get_mut(&id) {
                slot.noted();
            }
        }
    }

    /// Writes down what is known of a service.
    pub(super) fn note(&mut self, id: Id) {
        self.add_note(id);
        self.unwritten.push(id);
        self.commit();
    }

    /// Writes down that a service is about to be started. Whoever was started before is known by its own note. Returns the
    /// number of the start, which is now.
    pub(super) fn note_start(&mut self, id: Id) -> u64 {
        let start = self.starting.begin();
        self.add_note(id);
        if let Some(unit) = self.supervisor.unit(id) {
            let mut note = Note::default();
            note.add_text(key::NAME, &unit.service().name);
            note.add(key::START, start);
            self.journal.add(STARTING, &note);
        }
        self.unwritten.push(id);
        self.commit();
        start
    }

    fn record(&self, id: Id) -> Option<Note> {
        let mut note = Note::default();
        note.add(key::PLACE, self.place);
        note.add_part(key::KNOWN, &self.supervisor.remember(id)?);
        if let Some(slot) = self.slots.get(&id) {
            note.add_part(key::OPEN, &slot.remember());
        }
        self.remember_sockets(id, &mut note);
        Some(note)
    }

    /// What [`Driver::node_record`] says, but how far the records of ends were read, and the listener, which stays.
    fn node_mark(&self) -> NodeMark {
        let watchdog = self.watchdog.as_ref().map(Watchdog::number);
        (self.supervisor.node_state(), self.writer.number(), watchdog)
    }

    fn node_record(&self) -> Note {
        let mut note = Note::default();
        note.add(key::PLACE, self.place);
        note.add_part(key::KNOWN, &self.supervisor.remember_node());
        note.add_file(key::LISTENER, Some(self.control.listener().as_raw_fd()));
        let writer = self.writer.number();
        note.add(key::WRITER, writer.map(|(pid, _)| pid.into()));
        note.add_file(key::WRITER_SOCKET, writer.map(|(_, socket)| socket));
        note.add_count(key::WRITER_START, self.writer.start);
        note.add_file(key::WATCHDOG, self.watchdog.as_ref().map(Watchdog::number));
        self.remember_intake(&mut note);
        note
    }

    /// Whatever has changed is to be written down, before whatever is added later.
    pub(super) fn add_changes(&mut self) {
        for name in self.supervisor.take_forgotten() {
            self.journal.add(&name, &Note::default());
        }
        let changed = self.supervisor.take_changed();
        for id in &changed {
            self.add_note(*id);
        }
        let node = self.node_mark();
        if self.noted.as_ref() != Some(&node) || self.noted_place != self.place {
            self.journal.add(NODE, &self.node_record());
            (self.noted, self.noted_place) = (Some(node), self.place);
        }
        self.unwritten.extend(changed);
    }

    /// Writes down whatever has changed.
    pub(super) fn note_changes(&mut self) {
        self.add_changes();
        self.commit();
        self.retired = Vec::new();
        if self.journal.is_long() {
            self.rewrite_journal();
        }
    }

    fn rewrite_journal(&mut self) {
        // What is older than the draft is not to come behind it.
        self.commit();
        let rewritten = self.draft().and_then(|draft| self.journal.replace(draft));
        self.complain_once(rewritten);
    }

    /// Everything that is known, piece by piece: all of it at once would be most of our memory.
    fn draft(&self) -> std::io::Result<Draft> {
        let mut draft = Draft::new()?;
        draft.add(NODE, &self.node_record())?;
        for (id, unit) in self.supervisor.units() {
            if let Some(record) = self.record(id) {
                draft.add(&unit.service().name, &record)?;
            }
        }
        Ok(draft)
    }

    fn complain_once(&mut self, noted: std::io::Result<()>) {
        if let Err(error) = noted
            && !std::mem::replace(&mut self.complained, true)
        {
            self.say(&format!("if my_init fails now, services may be started twice: {error}"));
        }
    }

    /// Starts the services, or goes on where the last supervisor ended.
    pub(super) fn begin(&mut self, mut memories: Notes, mut leftovers: Leftovers, rang: bool) {
        // Whoever was killed may have been writing.
        let ended = self.journal.cut_off_torn();
        self.complain_once(ended);
        self.tell_clock();
        let node = memories.remove(NODE);
        let starting = memories.remove(STARTING).unwrap_or_default();
        memories.retain(|name, memory| !memory.is_empty() && name != PROGRAM);
        self.arm_watchdog(node.as_ref(), Some(&mut leftovers));
        self.begin_intake(node.as_ref().unwrap_or(&Note::default()), &mut leftovers);
        match node {
            None => drop(self.reload(false)),
            Some(node) => {
                let started = found(&starting, self.starting.get());
                if rang {
                    self.tell_standstill(started.as_ref());
                }
                self.go_on(memories, &node, started.as_ref(), &mut leftovers);
                for id in self.supervisor.unspawned() {
                    self.supervisor.spawn_again(id);
                }
                self.resume_writer(&node, &mut leftovers);
                self.find_others();
                self.count_logs();
                // Whoever was found is known by its own note from here on, before its end can be read.
                self.note_changes();
                self.starting.done();
                // The last supervisor may have heard the bell and not come to what it rang for.
                self.take_exits();
            }
        }
        self.watch_clock();
        // It may have been set while nobody looked.
        self.tell_clock();
        leftovers.close();
        self.rewrite_journal();
    }

    /// The last supervisor stood still while it executed a program, whose process goes on by itself.
    fn tell_standstill(&mut self, started: Option<&Found>) {
        let what = match started {
            Some(found) => format!("the program of {} (process {})", found.name, found.pid),
            None => "a program".to_owned(),
        };
        self.say(&format!(
            "{what} was not executed in time, as if its file system did not answer; the supervisor, which waited for it, was \
             started again and does not"
        ));
    }

    /// Says why there is a new supervisor.
    pub(super) fn tell_last(&mut self, last: Option<Exit>, refused: Option<String>) {
        let running = match self.family.services() {
            1 => "1 service goes on".to_owned(),
            count => format!("{count} services go on"),
        };
        let what = match (last, refused) {
            (_, Some(error)) => format!("no upgrade: {error}"),
            (None, None) => match self.setup.taken_over {
                true => format!("my_init {} has taken over, {running}", env!("CARGO_PKG_VERSION")),
                false => return,
            },
            (Some(Exit::Code(code)), None) => {
                format!("the supervisor ended with exit code {code}; started again, {running}")
            }
            (Some(Exit::Signal(number)), None) => {
                let signal = mos_service::Signal(number);
                format!("the supervisor was killed by {signal}; started again, {running}")
            }
        };
        self.say(&what);
    }

    /// Has another program take over as soon as everything that is to be done has been done.
    ///
    /// # Errors
    /// When the program cannot.
    pub(super) fn upgrade(&mut self, program: &Path) -> Result<(), String> {
        crate::upgrade::check(program)?;
        keeper::set_program(self.journal, program).map_err(|error| error.to_string())?;
        self.say(&format!("{} takes over", program.display()));
        self.upgrading = true;
        Ok(())
    }

    /// Services go on as they were noted; `started` is the one of which the last supervisor may have made a process without
    /// noting it, and that process.
    fn go_on(&mut self, memories: Notes, node: &Note, started: Option<&Found>, leftovers: &mut Leftovers) {
        let places = memories.values().chain([node]);
        self.place = places.filter_map(|memory| memory.number(key::PLACE)).max().unwrap_or(0);
        let known = |memory: &Note| memory.part(key::KNOWN).unwrap_or_default();
        let requested = memories
            .iter()
            .filter(|(_, memory)| Known::of(&known(memory)).requested);
        let (loaded, mut services) = self.load_services(&requested.map(|(name, _)| name.clone()).collect::<Vec<_>>());
        services.extend(unreadable(&memories, &loaded, &services));
        let known = memories.iter().map(|(name, memory)| (name.clone(), known(memory)));
        let now = self.now();
        self.supervisor.resume(
            services,
            known.collect(),
            &node.part(key::KNOWN).unwrap_or_default(),
            started.map(|found| (&*found.name, found.pid)),
            now,
        );
        for (name, memory) in &memories {
            let started = started.filter(|found| found.name == *name);
            self.take_over(name, memory.part(key::OPEN), started, leftovers);
            if let Some(id) = self.supervisor.find(name) {
                self.take_over_sockets(id, memory, leftovers);
            }
        }
    }

    fn take_over(&mut self, name: &str, open: Option<Note>, started: Option<&Found>, leftovers: &mut Leftovers) {
        let Some(id) = self.supervisor.find(name) else { return };
        let Some(unit) = self.supervisor.unit(id) else { return };
        let found = started.filter(|found| unit.pid() == Some(found.pid));
        let noted = || open.as_ref().map_or(0, Slot::start_of);
        let start = found.map_or_else(noted, |found| found.start);
        if let Some(pid) = unit.pid() {
            self.family.insert(pid, Owner::Service(id), start);
        }
        let capacity = unit.service().logging.buffer_bytes;
        let notify = self.notify_directory().join(name);
        if let Some(open) = open {
            let mut slot = Slot::resume(&open, leftovers, capacity, notify);
            slot.start = start;
            slot.cgroup = self.cgroup_leaf(name);
            let watched = slot.watch(&self.epoll, id);
            self.slots.insert(id, Box::new(slot));
            if let Err(error) = watched {
                self.say(&format!("{name}: its log is not read any more: {error}"));
            }
        }
    }

    /// Finds who else was started: probes, for whose answers nobody waits any more, and a shell.
    fn find_others(&mut self) {
        for (pid, role) in self.unknown_children() {
            match role {
                Role::Service(name) => self.end_if_stray(pid, &name),
                // Its socket was not taken over, which it hears, and ends.
                Role::LogWriter => {}
                // Anybody may have such a variable, and nobody else is to stand in the way of a shell.
                Role::Operator(_) if user_of(pid) != Some(rustix::process::geteuid().as_raw()) => {}
                Role::Operator(terminal) => {
                    self.family.insert(pid, Owner::Operator, 0);
                    let now = self.now();
                    self.operators.found(terminal, pid, now);
                }
                Role::Probe => kill_group(pid),
            }
        }
    }

    /// Children of the keeper that we started, or whose parents we did, and of which nobody knows.
    pub(super) fn unknown_children(&self) -> Vec<(u32, Role)> {
        let Some(keeper) = rustix::process::getppid() else {
            return Vec::new();
        };
        let own = std::process::id();
        let children = children_of(keeper.as_raw_nonzero().get().unsigned_abs());
        let unknown = children
            .into_iter()
            .filter(|pid| *pid != own && self.family.owner(*pid).is_none());
        unknown.filter_map(|pid| Some((pid, role_of(pid)?))).collect()
    }
}

/// Services that are known and whose files cannot be used now: they go on, until they end by themselves.
fn unreadable(memories: &Notes, loaded: &mos_service::Loaded, services: &[(Service, u64)]) -> Vec<(Service, u64)> {
    let names: HashSet<&str> = services.iter().map(|(service, _)| service.name.as_str()).collect();
    let recall = |(name, memory): (&String, &Note)| {
        let file = loaded.may_be_in(name).filter(|_| !names.contains(name.as_str()))?;
        let known = Known::of(&memory.part(key::KNOWN).unwrap_or_default());
        let service = Service {
            kind: match known.oneshot {
                true => Kind::Oneshot,
                false => Kind::Process,
            },
            file: file.to_owned(),
            source: known.source,
            ..Service::forgotten(name)
        };
        Some((service, known.stamp))
    };
    memories.iter().filter_map(recall).collect()
}

/// A process that the last supervisor made and may not have noted.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    /// Of the service.
    name: String,
    pid: u32,
    /// The number of its start.
    start: u64,
}

/// The process in the place where they are announced, if it is that of the service that was to be started last: the place
/// also has probes and shells, which have starts of their own.
fn found(noted: &Note, place: Option<(u64, u32)>) -> Option<Found> {
    let (start, pid) = place.filter(|(start, _)| noted.number(key::START) == Some(*start))?;
    let name = noted.text(key::NAME);
    Some(Found { name, pid, start })
}

/// The control socket of the last supervisor.
pub(super) fn listener(memories: &Notes, leftovers: &mut Leftovers) -> Option<OwnedFd> {
    leftovers.take(memories.get(NODE)?.small(key::LISTENER)?)
}

fn kill_group(pid: u32) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process_group(pid, Signal::KILL);
    }
}

/// What a process was started as.
pub(super) fn role_of(pid: u32) -> Option<Role> {
    let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
    let mut variables = environment.split(|byte| *byte == 0);
    variables.find_map(|variable| Role::from_variable(std::str::from_utf8(variable).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_process_of_this_very_start_is_taken_for_a_services() {
        let mut noted = Note::default();
        noted.add_text(key::NAME, "web");
        noted.add(key::START, 7);
        let (name, pid, start) = ("web".to_owned(), 42, 7);
        assert_eq!(found(&noted, Some((7, 42))), Some(Found { name, pid, start }));
        // A probe's, which was started after it, or one of before, which nobody came to clear.
        for place in [None, Some((9, 42)), Some((5, 42))] {
            assert_eq!(found(&noted, place), None);
        }
        assert_eq!(found(&Note::default(), Some((7, 42))), None);
    }
}
