//! Whether a service ended because it had reached a limit: what its control group counts, or, where nothing counts, what
//! the kernel has said.

use std::fs;
use std::path::Path;

use super::{Driver, Id};
use crate::clock::Millis;
use crate::note::Note;
use crate::supervisor::{Exit, LimitHit};

/// So much of the end of the kernel's messages is looked at, in bytes: an out-of-memory report can be this long.
const MESSAGES: usize = 64 * 1024;
/// The first process id namespace, whose ids the kernel uses in its messages (`PROC_PID_INIT_INO`, linux/proc_ns.h).
const FIRST_NAMESPACE: &str = "pid:[4026531836]";

/// What a control group (v2) has counted since it was made; `None` where that controller is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Counts {
    killed: Option<u64>,
    refused: Option<u64>,
}

impl Counts {
    pub(super) fn of(leaf: &Path) -> Self {
        let read = |file: &str, key: &str| counted(&fs::read_to_string(leaf.join(file)).ok()?, key);
        Self {
            killed: read("memory.events", "oom_kill"),
            refused: read("pids.events", "max"),
        }
    }

    pub(super) fn remember(self) -> Note {
        let mut note = Note::default();
        note.add(1, self.killed);
        note.add(2, self.refused);
        note
    }

    pub(super) fn recall(memory: &Note) -> Self {
        Self {
            killed: memory.number(1),
            refused: memory.number(2),
        }
    }

    /// Which limit was hit since `before`, and how often.
    fn since(self, before: Self) -> Option<LimitHit> {
        let more =
            |now: Option<u64>, before: Option<u64>| now?.checked_sub(before.unwrap_or(0)).filter(|more| *more > 0);
        let killed = more(self.killed, before.killed).map(LimitHit::Memory);
        killed.or_else(|| more(self.refused, before.refused).map(LimitHit::Tasks))
    }
}

impl Driver {
    /// The limit that a service which has just ended had hit since it was started.
    pub(super) fn limit_hit(&mut self, id: Id, pid: u32, exit: Exit) -> Option<LimitHit> {
        let slot = self.slots.get(&id)?;
        let now = slot.cgroup.as_deref().map(Counts::of).unwrap_or_default();
        let killed = exit == Exit::Signal(rustix::process::Signal::KILL.as_raw());
        if now.killed.is_some() || !killed {
            return now.since(slot.counts);
        }
        let since = self.supervisor.unit(id)?.spawned_at()?;
        said_by_kernel(pid, since, &mut self.buffer).then_some(LimitHit::Memory(1))
    }
}

/// The number after `key` in a file of a control group with a line for each.
fn counted(text: &str, key: &str) -> Option<u64> {
    let mut lines = text.lines().filter_map(|line| line.split_once(' '));
    lines.find(|(name, _)| *name == key)?.1.trim().parse().ok()
}

/// True when the kernel has said since then that it killed this process for memory.
fn said_by_kernel(pid: u32, since: Millis, buffer: &mut [u8]) -> bool {
    // Elsewhere the process has another number in what the kernel says.
    let first = fs::read_link("/proc/self/ns/pid").is_ok_and(|name| name.as_os_str() == FIRST_NAMESPACE);
    // Reading its messages takes longer than all else that is done when a service ends.
    if !first || !kills_for_memory() {
        return false;
    }
    let length = buffer.len().min(MESSAGES);
    mos_sys::kernel_log::tail(&mut buffer[..length]).is_ok_and(|count| {
        let said = String::from_utf8_lossy(&buffer[..count]);
        said.lines().any(|line| says(line, pid, since))
    })
}

/// False when the kernel has not killed anybody for memory since it was started (Linux 4.13).
fn kills_for_memory() -> bool {
    let text = fs::read_to_string("/proc/vmstat").unwrap_or_default();
    counted(&text, "oom_kill").is_none_or(|count| count > 0)
}

/// True for the line about the end of this process: the summary before it, or the word after it (mm/oom_kill.c).
fn says(line: &str, pid: u32, since: Millis) -> bool {
    let line = line.split_once('>').map_or(line, |(_, line)| line);
    let stamp = line
        .trim_start()
        .strip_prefix('[')
        .and_then(|rest| rest.split_once("] "));
    let seconds = stamp.and_then(|(time, _)| time.split('.').next()?.trim().parse::<u64>().ok());
    let recent = seconds.is_none_or(|seconds| seconds >= since / 1000);
    let text = stamp.map_or(line, |(_, text)| text);
    let summary = text.starts_with("oom-kill:") && text.contains(&format!(",pid={pid},"));
    recent && (summary || text.contains(&format!(": Killed process {pid} (")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_counted_since_the_start_counts() {
        let leaf = tempfile::tempdir().unwrap();
        let write = |file: &str, text: &str| fs::write(leaf.path().join(file), text).unwrap();
        assert_eq!(Counts::of(leaf.path()).since(Counts::default()), None);
        write(
            "memory.events",
            "low 0\nhigh 7\nmax 3\noom 2\noom_kill 2\noom_group_kill 0\n",
        );
        write("pids.events", "max 1\n");
        let first = Counts::of(leaf.path());
        assert_eq!(Counts::recall(&first.remember()), first);
        assert_eq!(Counts::of(leaf.path()).since(first), None);
        write("pids.events", "max 4\n");
        assert_eq!(Counts::of(leaf.path()).since(first), Some(LimitHit::Tasks(3)));
        write("memory.events", "oom 3\noom_kill 4\n");
        assert_eq!(Counts::of(leaf.path()).since(first), Some(LimitHit::Memory(2)));
    }

    #[test]
    fn the_kernel_is_taken_at_its_word_about_this_process_since_its_start() {
        let word =
            "<3>[   74.142255] Memory cgroup out of memory: Killed process 2748 (my_init) total-vm:11376kB, UID:0";
        let summary = "<6>[   74.142200] oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),task=tail,pid=2748,uid=0";
        for line in [word, summary] {
            assert!(says(line, 2748, 74_900) && says(line, 2748, 0), "{line}");
            assert!(
                !says(line, 2748, 75_000) && !says(line, 274, 0) && !says(line, 748, 0),
                "{line}"
            );
        }
        assert!(says(
            "<3>Out of memory: Killed process 7 (x) total-vm:1kB",
            7,
            1_000_000
        ));
        assert!(!says("<6>[    1.0] a[7]: segfault", 7, 0));
    }
}
