//! `top`: what services use. It is found out here, from control groups or `/proc`; my_init itself does nothing for it.

use std::collections::HashMap;
use std::fs;
use std::io::{IsTerminal as _, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::render::text;
use super::verbs::print;
use super::{AskError, call};
use crate::options::Question;

/// From one look to the next.
const PERIOD: Duration = Duration::from_secs(2);
/// With `--once`: long enough for a percentage that means something.
const SHORT: Duration = Duration::from_millis(500);
/// The unit of processor time in `/proc/PID/stat`, in microseconds: `USER_HZ` is 100 on both architectures (time(7)).
const TICK_US: u64 = 10_000;
/// The size of a page there, in bytes.
const PAGE: u64 = 4096;
/// Clears a terminal and goes to its upper left corner (ECMA-48).
const CLEAR: &str = "\x1b[H\x1b[J";

/// What a service has used until now, and uses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Use {
    cpu_us: u64,
    memory: u64,
    tasks: u64,
}

/// A look at all services.
struct Sample {
    at: Instant,
    services: Vec<(String, String, Use)>,
}

pub(super) fn run(socket: &Path, question: &Question, json: bool, out: &mut dyn Write) -> Result<(), AskError> {
    let clear = if std::io::stdout().is_terminal() && !json && !question.once {
        CLEAR
    } else {
        ""
    };
    let mut last = look(socket)?;
    loop {
        std::thread::sleep(if question.once { SHORT } else { PERIOD });
        let sample = look(socket)?;
        let rows = rows(&last, &sample);
        let text = match json {
            true => format!("{}\n", rows.iter().map(as_json).collect::<Value>()),
            false => format!("{clear}{}", table(&rows)),
        };
        print(out, &text)?;
        if question.once {
            return Ok(());
        }
        last = sample;
    }
}

fn look(socket: &Path) -> Result<Sample, AskError> {
    let services = call(socket, "service.list_full", &json!({}))?;
    let at = Instant::now();
    let running = || {
        services
            .as_array()
            .into_iter()
            .flatten()
            .filter(|service| service["pid"].is_u64())
    };
    let ungrouped = running().any(|service| service["cgroup"].is_null());
    let groups = if ungrouped { process_groups() } else { HashMap::new() };
    let services = running().map(|service| {
        let pid = service["pid"].as_u64().unwrap_or(0);
        let leaf = service["cgroup"].as_str().and_then(|leaf| of_leaf(Path::new(leaf)));
        let used = leaf.unwrap_or_else(|| groups.get(&pid).copied().unwrap_or_default());
        (text(&service["name"]), text(&service["state"]), used)
    });
    Ok(Sample {
        at,
        services: services.collect(),
    })
}

fn of_leaf(leaf: &Path) -> Option<Use> {
    let read = |file: &str| fs::read_to_string(leaf.join(file)).ok();
    let number = |file: &str| read(file)?.trim().parse().ok();
    let cpu = read("cpu.stat")?;
    let cpu = cpu
        .lines()
        .find_map(|line| line.strip_prefix("usage_usec ")?.parse().ok());
    Some(Use {
        cpu_us: cpu?,
        memory: number("memory.current")?,
        tasks: number("pids.current")?,
    })
}

/// What each process group uses: without control groups a service is the group of its process.
fn process_groups() -> HashMap<u64, Use> {
    let mut groups: HashMap<u64, Use> = HashMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let stat = crate::lossy::read(entry.path().join("stat")).unwrap_or_default();
        if let Some((group, used)) = understood(&stat) {
            let sum = groups.entry(group).or_default();
            sum.cpu_us += used.cpu_us;
            sum.memory += used.memory;
            sum.tasks += used.tasks;
        }
    }
    groups
}

/// Process group and use out of `/proc/PID/stat`: `pid (name) state ppid pgrp …`, fields 14, 15, 20 and 24 (proc(5)).
fn understood(stat: &str) -> Option<(u64, Use)> {
    let (_, rest) = stat.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split(' ').collect();
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    let used = Use {
        cpu_us: (field(14)? + field(15)?) * TICK_US,
        memory: field(24)? * PAGE,
        tasks: field(20)?,
    };
    Some((field(5)?, used))
}

/// A service with the share of one processor that it used, in tenths of a percent.
struct Row {
    name: String,
    state: String,
    share: u64,
    used: Use,
}

/// The busiest first, then the largest.
fn rows(last: &Sample, sample: &Sample) -> Vec<Row> {
    let before: HashMap<&str, u64> = last
        .services
        .iter()
        .map(|(name, _, used)| (name.as_str(), used.cpu_us))
        .collect();
    let span = u64::try_from((sample.at - last.at).as_micros())
        .unwrap_or(u64::MAX)
        .max(1);
    let row = |(name, state, used): &(String, String, Use)| {
        let before = before.get(name.as_str()).copied().unwrap_or(used.cpu_us);
        Row {
            name: name.clone(),
            state: state.clone(),
            share: used.cpu_us.saturating_sub(before).saturating_mul(1000) / span,
            used: *used,
        }
    };
    let mut rows: Vec<Row> = sample.services.iter().map(row).collect();
    rows.sort_by_key(|row| std::cmp::Reverse((row.share, row.used.memory)));
    rows
}

fn as_json(row: &Row) -> Value {
    json!({
        "name": row.name, "state": row.state, "cpu_permille": row.share, "cpu_ms": row.used.cpu_us / 1000,
        "memory_bytes": row.used.memory, "tasks": row.used.tasks,
    })
}

fn table(rows: &[Row]) -> String {
    let mut lines = format!(
        "{:>6} {:>9} {:>9} {:>5}  SERVICE\n",
        "CPU %", "CPU s", "MEMORY", "TASKS"
    );
    for row in rows {
        let (share, seconds) = (row.share, row.used.cpu_us / 1_000_000);
        let memory = format!("{} K", row.used.memory / 1024);
        lines.push_str(&format!(
            "{:>4}.{} {seconds:>9} {memory:>9} {:>5}  {} ({})\n",
            share / 10,
            share % 10,
            row.used.tasks,
            row.name,
            row.state
        ));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_proc_is_understood_whatever_the_name() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194304 1 2 3 4 50 25 0 0 20 0 3 0 100 1000 11 0";
        let used = Use {
            cpu_us: 750_000,
            memory: 11 * PAGE,
            tasks: 3,
        };
        assert_eq!(understood(stat), Some((7, used)));
        assert_eq!(understood("7 (a) S 1"), None);
    }

    #[test]
    fn the_busiest_comes_first() {
        let used = |cpu_us, memory| Use {
            cpu_us,
            memory,
            tasks: 1,
        };
        let sample = |at, web, db| Sample {
            at,
            services: vec![
                ("web".into(), "running".into(), used(web, 2048)),
                ("db".into(), "running".into(), used(db, 4096)),
            ],
        };
        let start = Instant::now();
        let (first, second) = (
            sample(start, 0, 0),
            sample(start + Duration::from_secs(2), 1_010_000, 2000),
        );
        let table = table(&rows(&first, &second));
        let lines: Vec<&str> = table.lines().skip(1).collect();
        assert_eq!(
            lines,
            [
                "  50.5         1       2 K     1  web (running)",
                "   0.1         0       4 K     1  db (running)",
            ]
        );
    }
}
