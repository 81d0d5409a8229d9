//! What a service uses and consists of, for those who ask: nothing here is counted beforehand.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::usage::{self, Look};
use super::{Driver, Id};
use crate::protocol::Refusal;
use crate::supervisor::Unit;

/// Processes of a service that are told of at most.
const PROCESSES: usize = 1000;
/// The size of a page in `/proc/PID/statm`, in bytes; both architectures are built for this size.
const PAGE: u64 = 4096;
/// Deeper branches of the tree of services are shown as trees of their own.
const DEPTH: usize = 24;

/// A process, as `/proc` has it.
struct Process {
    pid: u32,
    name: String,
    memory: u64,
}

impl Driver {
    /// Everything about a service, with its relations.
    pub(super) fn status_full(&self, name: &str) -> Result<Value, Refusal> {
        let (id, now) = (self.named(name)?, self.now());
        let mut status = self.status(id);
        status["is_target"] = json!(status["kind"] == "target");
        if let (Some(ready), true) = (status["ready_ms"].as_u64(), status["pid"].is_u64()) {
            status["uptime_secs"] = json!(now.saturating_sub(ready) / 1000);
        }
        status["dependencies"] = self.supervisor.relations(id);
        Ok(status)
    }

    /// Everything about a service that others might want to know.
    pub(super) fn status(&self, id: Id) -> Value {
        let mut status = self.supervisor.status(id, self.now());
        if let Some(slot) = self.slots.get(&id) {
            status["log"] = slot.log_status();
        }
        if let Some(leaf) = self.slots.get(&id).and_then(|slot| slot.cgroup.as_ref()) {
            status["cgroup"] = json!(leaf.display().to_string());
        }
        status
    }

    /// What a service uses: all its processes where it has a control group, else those that are known to be its.
    pub(super) fn stats(&mut self, name: &str) -> Result<Value, Refusal> {
        let (id, now) = (self.named(name)?, self.now());
        let unit = self.supervisor.unit(id);
        let (pid, started) = (unit.and_then(Unit::pid), unit.and_then(Unit::spawned_at));
        let leaf = self.slots.get(&id).and_then(|slot| slot.cgroup.as_ref());
        let grouped = leaf.and_then(|leaf| Some((number(leaf, "memory.current")?, number(leaf, "pids.current")?)));
        let processes = family(pid);
        let (memory, tasks) =
            grouped.unwrap_or_else(|| (processes.iter().map(|one| one.memory).sum(), processes.len() as u64));
        let own = processes.iter().map(|one| usage::of_process(one.pid)).sum();
        let used = leaf.and_then(|leaf| usage::of_group(leaf)).unwrap_or(own);
        let mut percent = 0;
        if let (Some(slot), Some(started), Some(_)) = (self.slots.get_mut(&id), started, pid) {
            let look = Look::after(slot.look, started, now, used, own);
            (slot.look, percent) = (Some(look), look.percent());
        }
        Ok(json!({
            "pid": pid.unwrap_or(0), "memory_bytes": memory, "tasks": tasks,
            "cpu_percent": percent, "cpu_ms": used / 1000,
        }))
    }

    /// The processes that came from a service's process.
    pub(super) fn children(&self, name: &str) -> Result<Value, Refusal> {
        let pid = self.supervisor.unit(self.named(name)?).and_then(Unit::pid);
        let processes = family(pid).into_iter().skip(1);
        let children: Value = processes
            .map(|one| json!({ "pid": one.pid, "name": one.name, "memory_bytes": one.memory }))
            .collect();
        Ok(json!({ "children": children }))
    }

    /// The same as text.
    pub(super) fn process_tree(&self, name: &str) -> Result<Value, Refusal> {
        let pid = self.supervisor.unit(self.named(name)?).and_then(Unit::pid);
        let lines = family(pid);
        let lines = lines
            .iter()
            .map(|one| format!("{:>8} {:>8} KB {}\n", one.pid, one.memory / 1024, one.name));
        Ok(json!({ "output": lines.collect::<String>() }))
    }

    /// A line for each service.
    pub(super) fn debug_state(&self) -> Value {
        let lines = self.sorted().into_iter().map(|id| self.supervisor.describe(id) + "\n");
        json!({ "output": lines.collect::<String>() })
    }

    /// Who needs whom: beneath each service what it waits for. What was shown already is only named again.
    pub(super) fn tree(&self) -> Value {
        let mut roots: Vec<Id> = self.sorted();
        roots.retain(|id| !self.supervisor.is_needed(*id));
        roots.extend(self.sorted());
        let mut shown = vec![false; roots.iter().max().map_or(0, |id| id + 1)];
        let mut text = String::new();
        for root in roots {
            if !shown.get(root).is_some_and(|shown| *shown) {
                self.branch(root, &mut shown, &mut text);
            }
        }
        json!({ "ascii": text })
    }

    fn branch(&self, root: Id, shown: &mut [bool], text: &mut String) {
        let mut stack = vec![(root, 0)];
        while let Some((id, depth)) = stack.pop() {
            let again = shown
                .get_mut(id)
                .is_some_and(|shown| std::mem::replace(shown, depth < DEPTH));
            let needs = self.supervisor.needs(id);
            let more = match (again || depth == DEPTH, needs.is_empty()) {
                (true, false) => " …",
                _ => "",
            };
            text.push_str(&format!(
                "{}{}{more}\n",
                "  ".repeat(depth),
                self.supervisor.describe(id)
            ));
            if more.is_empty() && !again {
                stack.extend(needs.iter().rev().map(|need| (*need, depth + 1)));
            }
        }
    }
}

fn number(leaf: &Path, file: &str) -> Option<u64> {
    fs::read_to_string(leaf.join(file)).ok()?.trim().parse().ok()
}

/// A process and all that it started, as far as they have not left it.
fn family(pid: Option<u32>) -> Vec<Process> {
    let mut found = Vec::new();
    let mut waiting: Vec<u32> = pid.into_iter().collect();
    while let Some(pid) = waiting.pop() {
        if found.len() == PROCESSES {
            break;
        }
        found.extend(process(pid));
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        waiting.extend(
            children
                .split_ascii_whitespace()
                .rev()
                .filter_map(|pid| pid.parse::<u32>().ok()),
        );
    }
    found
}

fn process(pid: u32) -> Option<Process> {
    let read = |file: &str| crate::lossy::read(format!("/proc/{pid}/{file}")).ok();
    let resident = read("statm")?.split(' ').nth(1)?.parse::<u64>().ok()?;
    Some(Process {
        pid,
        name: read("comm")?.trim_end().to_owned(),
        memory: resident * PAGE,
    })
}
