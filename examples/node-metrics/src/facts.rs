//! What the kernel and the node's cache say about themselves.

use std::fmt;
use std::fs;
use std::path::Path;

/// The link that names the running generation: `generations/<n>`.
const CURRENT: &str = "/var/cache/mos/current";

/// A moment's facts; what could not be read is absent.
#[derive(Debug, Default, PartialEq)]
pub struct Facts {
    /// Seconds since the kernel started.
    pub uptime: Option<f64>,
    /// Load averages of 1, 5 and 15 minutes.
    pub load: Option<[f64; 3]>,
    /// Bytes of memory in all.
    pub memory_total: Option<u64>,
    /// Bytes of memory that programs could still have.
    pub memory_available: Option<u64>,
    /// The running generation.
    pub generation: Option<u64>,
}

impl Facts {
    /// Asks the running node.
    pub fn read() -> Self {
        let text = |path| fs::read_to_string(path).unwrap_or_default();
        let memory = text("/proc/meminfo");
        let current = fs::read_link(CURRENT).unwrap_or_default();
        Self {
            uptime: first_number(&text("/proc/uptime")),
            load: load(&text("/proc/loadavg")),
            memory_total: memory_field(&memory, "MemTotal:"),
            memory_available: memory_field(&memory, "MemAvailable:"),
            generation: generation(&current),
        }
    }
}

impl fmt::Display for Facts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [load1, load5, load15] = match self.load {
            Some(load) => load.map(Some),
            None => [None; 3],
        };
        gauge(
            f,
            "node_uptime_seconds",
            "Seconds since the kernel started.",
            self.uptime,
        )?;
        gauge(f, "node_load1", "1 minute load average.", load1)?;
        gauge(f, "node_load5", "5 minute load average.", load5)?;
        gauge(f, "node_load15", "15 minute load average.", load15)?;
        gauge(f, "node_memory_MemTotal_bytes", "Memory in all.", self.memory_total)?;
        gauge(
            f,
            "node_memory_MemAvailable_bytes",
            "Memory that programs could still have.",
            self.memory_available,
        )?;
        gauge(f, "mos_generation", "The running generation.", self.generation)
    }
}

fn gauge(f: &mut fmt::Formatter<'_>, name: &str, help: &str, value: Option<impl fmt::Display>) -> fmt::Result {
    match value {
        Some(value) => writeln!(f, "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}"),
        None => Ok(()),
    }
}

fn first_number(text: &str) -> Option<f64> {
    text.split_whitespace().next()?.parse().ok()
}

fn load(text: &str) -> Option<[f64; 3]> {
    let mut words = text.split_whitespace().map(|word| word.parse().ok());
    Some([words.next()??, words.next()??, words.next()??])
}

/// proc_meminfo(5): `Name:   1234 kB`.
fn memory_field(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kibibytes: u64 = rest.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

fn generation(current: &Path) -> Option<u64> {
    current.file_name()?.to_str()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_kernel_writes() {
        assert_eq!(first_number("12.34 56.78\n"), Some(12.34));
        assert_eq!(load("0.10 0.20 0.30 1/99 1234\n"), Some([0.1, 0.2, 0.3]));
        assert_eq!(
            memory_field("MemTotal:        2048 kB\nMemFree: 1 kB\n", "MemTotal:"),
            Some(2_097_152)
        );
        assert_eq!(memory_field("MemTotal: 99999999999999999999 kB\n", "MemTotal:"), None);
        assert_eq!(generation(Path::new("generations/7")), Some(7));
        assert_eq!(generation(Path::new("")), None);
    }

    #[test]
    fn what_is_unknown_is_left_out() {
        let facts = Facts {
            generation: Some(3),
            ..Facts::default()
        };
        let text = facts.to_string();
        assert_eq!(
            text,
            "# HELP mos_generation The running generation.\n# TYPE mos_generation gauge\nmos_generation 3\n"
        );
    }
}
