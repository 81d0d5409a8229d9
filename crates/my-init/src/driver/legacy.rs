//! What a supervisor leaves to its successor: notes in the journal, open files in the keeper, and processes.
//!
//! A service is noted before its process is started and when it has a process id, and after every change; the end of a
//! process together with how far the records of ends were read. So wherever the supervisor is killed, its successor knows
//! of every process, or knows for which it has to look.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::time::{Duration, Instant};

use mos_sys::fork::Leftovers;
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};

use super::launch::Role;
use super::operator::Operator;
use super::slot::Slot;
use super::{Driver, Id, Owner};
use crate::journal::Journal;
use crate::supervisor::Exit;

/// The name of what concerns the node in the journal; no service can have it.
const NODE: &str = "";
/// For a process between being forked and executing its program.
const FORKED_LIMIT: Duration = Duration::from_millis(200);
/// Between two looks at it.
const FORKED_STEP: Duration = Duration::from_millis(2);

impl Driver {
    /// Writes down what is known of a service.
    pub(super) fn note(&mut self, id: Id) {
        if let (Some(unit), Some(record)) = (self.supervisor.unit(id), self.record(id)) {
            let noted = self.journal.note(&unit.service().name, &record);
            self.complain_once(noted);
        }
    }

    fn record(&self, id: Id) -> Option<Value> {
        let slot = self.slots.get(&id).map(Slot::remember);
        let service = self.supervisor.remember(id)?;
        Some(json!({ "service": service, "open": slot, "place": self.place }))
    }

    fn node_record(&self) -> Value {
        json!({
            "node": self.supervisor.remember_node(),
            "listener": self.control.listener().as_raw_fd(),
            "place": self.place,
        })
    }

    /// Writes down whatever has changed.
    pub(super) fn note_changes(&mut self) {
        for id in self.supervisor.take_changed() {
            self.note(id);
        }
        let node = self.node_record();
        if node != self.noted {
            let noted = self.journal.note(NODE, &node);
            self.complain_once(noted);
            self.noted = node;
        }
        if self.journal.is_long() {
            self.rewrite_journal();
        }
    }

    /// A service is no more.
    pub(super) fn note_end(&mut self, name: &str) {
        let noted = self.journal.note(name, &Value::Null);
        self.complain_once(noted);
    }

    fn rewrite_journal(&mut self) {
        let units = self.supervisor.units();
        let services = units.filter_map(|(id, unit)| Some((unit.service().name.as_str(), self.record(id)?)));
        let all: Vec<(&str, Value)> = services.chain([(NODE, self.node_record())]).collect();
        let rewritten = self.journal.rewrite(all.into_iter());
        self.complain_once(rewritten);
    }

    fn complain_once(&mut self, noted: std::io::Result<()>) {
        if let Err(error) = noted
            && !std::mem::replace(&mut self.complained, true)
        {
            self.say(&format!("if my_init fails now, services may be started twice: {error}"));
        }
    }

    /// Starts the services, or goes on where the last supervisor ended.
    pub(super) fn begin(&mut self, mut leftovers: Leftovers, last: Option<Exit>) {
        let mut memories = self.journal.read().unwrap_or_default();
        let node = memories.remove(NODE);
        memories.retain(|_, memory| !memory.is_null());
        match node {
            None => drop(self.reload()),
            Some(node) => self.go_on(memories, &node, &mut leftovers),
        }
        drop(leftovers);
        if let Some(last) = last {
            let how = match last {
                Exit::Code(code) => format!("ended with exit code {code}"),
                Exit::Signal(number) => format!("was killed by {}", mos_service::Signal(number)),
            };
            let running = self.children.len();
            self.say(&format!(
                "the supervisor {how}; started again, {running} services go on"
            ));
        }
        self.rewrite_journal();
    }

    fn go_on(&mut self, memories: BTreeMap<String, Value>, node: &Value, leftovers: &mut Leftovers) {
        let places = memories.values().chain([node]);
        self.place = places.filter_map(|memory| memory["place"].as_u64()).max().unwrap_or(0);
        let services = self.load_services();
        let known = memories
            .iter()
            .map(|(name, memory)| (name.clone(), memory["service"].clone()));
        let now = self.now();
        self.supervisor.resume(services, known.collect(), &node["node"], now);
        for (name, memory) in &memories {
            self.take_over(name, &memory["open"], leftovers);
        }
        self.find_processes();
    }

    fn take_over(&mut self, name: &str, open: &Value, leftovers: &mut Leftovers) {
        let Some(id) = self.supervisor.find(name) else { return };
        let Some(unit) = self.supervisor.unit(id) else { return };
        if let Some(pid) = unit.pid() {
            self.children.insert(pid, Owner::Service(id));
        }
        let capacity = unit.service().logging.buffer_bytes;
        let notify = self.notify_directory().join(name);
        if let Some(mut slot) = Slot::resume(open, leftovers, capacity, notify) {
            slot.cgroup = self.cgroup_leaf(name);
            let watched = slot.watch(&self.epoll, id);
            self.slots.insert(id, slot);
            if let Err(error) = watched {
                self.say(&format!("{name}: its log is not read any more: {error}"));
            }
        }
    }

    /// Finds the processes that the last supervisor started and could not write down any more.
    fn find_processes(&mut self) {
        let mut missing = self.supervisor.unspawned();
        for (pid, role) in self.unknown_children() {
            match role {
                Role::Service(name) => {
                    let found = missing.iter().position(|id| self.is_named(*id, &name));
                    if let Some(id) = found.map(|index| missing.swap_remove(index)) {
                        self.started(id, pid);
                    }
                }
                Role::Operator => {
                    self.children.insert(pid, Owner::Operator);
                    self.operator = Operator::Present(pid, self.now());
                }
                // Nobody waits for its answer any more.
                Role::Probe => kill_group(pid),
            }
        }
        for id in missing {
            self.supervisor.spawn_again(id);
        }
    }

    fn is_named(&self, id: Id, name: &str) -> bool {
        self.supervisor.unit(id).is_some_and(|unit| unit.service().name == name)
    }

    /// Children of the keeper that we started and of which nobody knows.
    fn unknown_children(&self) -> Vec<(u32, Role)> {
        let Some(keeper) = rustix::process::getppid() else {
            return Vec::new();
        };
        let own = std::process::id();
        let children = children_of(keeper.as_raw_nonzero().get().unsigned_abs());
        let unknown = children
            .into_iter()
            .filter(|pid| *pid != own && !self.children.contains_key(pid));
        unknown.filter_map(|pid| Some((pid, role_of(pid)?))).collect()
    }
}

/// The control socket of the last supervisor.
pub(super) fn listener(journal: &Journal, leftovers: &mut Leftovers) -> Option<OwnedFd> {
    let number = journal.read().ok()?.get(NODE)?["listener"].as_i64()?;
    leftovers.take(i32::try_from(number).ok()?)
}

fn kill_group(pid: u32) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process_group(pid, Signal::KILL);
    }
}

/// The children of a process with one thread: from the kernel, if it has such a list (`CONFIG_PROC_CHILDREN`), or
/// everybody, among whom those that are not ours have no mark of ours.
fn children_of(parent: u32) -> Vec<u32> {
    if let Ok(list) = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")) {
        return list
            .split_ascii_whitespace()
            .filter_map(|pid| pid.parse().ok())
            .collect();
    }
    let Ok(all) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let numbers = all
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let child = |pid: &u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // `pid (name) state ppid …`, and a name may hold anything (proc(5)).
        let rest = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
        rest.split(' ').nth(1) == Some(&parent.to_string())
    };
    numbers.filter(child).collect()
}

/// What a process was started as. One that does not yet execute its program is waited for.
fn role_of(pid: u32) -> Option<Role> {
    let program = |pid: &str| fs::read_link(format!("/proc/{pid}/exe")).ok();
    let deadline = Instant::now() + FORKED_LIMIT;
    while program(&pid.to_string()).is_some_and(|one| Some(one) == program("self")) && Instant::now() < deadline {
        std::thread::sleep(FORKED_STEP);
    }
    let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
    let mut variables = environment.split(|byte| *byte == 0);
    variables.find_map(|variable| Role::from_variable(std::str::from_utf8(variable).ok()?))
}
