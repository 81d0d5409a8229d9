//! How much of the machine a service may have: `[limits]`, for each of its processes, and `[resources]`, for all of them
//! together.

use mos_toml::{Table, Value};

use crate::Silent;

/// Limits of each process of a service (setrlimit(2)): the kernel's number of the resource, and the value, soft and hard.
/// [`UNLIMITED`] is no limit.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Limits(pub Vec<(u32, u64)>);

/// No limit (`RLIM_INFINITY`, getrlimit(2)).
pub const UNLIMITED: u64 = u64::MAX;

/// Keys, the kernel's numbers (asm-generic/resource.h), and whether they count bytes.
const LIMITS: [(&str, u32, bool); 10] = [
    ("cpu_seconds", 0, false),
    ("file_size", 1, true),
    ("data", 2, true),
    ("stack", 3, true),
    ("core", 4, true),
    ("processes", 6, false),
    ("open_files", 7, false),
    ("locked_memory", 8, true),
    ("address_space", 9, true),
    ("message_queues", 12, true),
];

/// What all processes of a service may use together (cgroup v2, `Documentation/admin-guide/cgroup-v2.rst`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Resources {
    /// `memory.max` in bytes: beyond it the kernel kills.
    pub memory_max: Option<u64>,
    /// `memory.high` in bytes: beyond it the kernel slows down and takes back.
    pub memory_high: Option<u64>,
    /// `memory.swap.max` in bytes.
    pub swap_max: Option<u64>,
    /// `pids.max`: processes and threads.
    pub tasks_max: Option<u32>,
    /// `cpu.max` in percent of one processor.
    pub cpu_percent: Option<u32>,
    /// `cpu.weight`, 1 to 10,000; others have 100.
    pub cpu_weight: Option<u32>,
    /// `io.weight`, 1 to 10,000; others have 100.
    pub io_weight: Option<u32>,
}

/// The period of `cpu.max`, in microseconds: the kernel's default.
const PERIOD: u64 = 100_000;

impl Silent for Limits {
    const SILENT: &'static Self = &Self(Vec::new());
}

impl Silent for Resources {
    const SILENT: &'static Self = &Self {
        memory_max: None,
        memory_high: None,
        swap_max: None,
        tasks_max: None,
        cpu_percent: None,
        cpu_weight: None,
        io_weight: None,
    };
}

impl Resources {
    /// The files of the control group for what is not limited, and what says so in each.
    pub fn unlimited(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let files = [
            ("memory.max", "max", self.memory_max.is_some()),
            ("memory.high", "max", self.memory_high.is_some()),
            ("memory.swap.max", "max", self.swap_max.is_some()),
            ("pids.max", "max", self.tasks_max.is_some()),
            ("cpu.max", "max", self.cpu_percent.is_some()),
            ("cpu.weight", "100", self.cpu_weight.is_some()),
            ("io.weight", "100", self.io_weight.is_some()),
        ];
        let unlimited = files.into_iter().filter(|(_, _, limited)| !limited);
        unlimited.map(|(file, value, _)| (file, value))
    }

    /// The files of the control group and what is to be written into each.
    pub fn files(&self) -> Vec<(&'static str, String)> {
        let number = |value: Option<u64>| value.map(|value| value.to_string());
        let small = |value: Option<u32>| value.map(|value| value.to_string());
        let quota = |percent: u32| format!("{} {PERIOD}", PERIOD * u64::from(percent) / 100);
        let files = [
            ("memory.max", number(self.memory_max)),
            ("memory.high", number(self.memory_high)),
            ("memory.swap.max", number(self.swap_max)),
            ("pids.max", small(self.tasks_max)),
            ("cpu.max", self.cpu_percent.map(quota)),
            ("cpu.weight", small(self.cpu_weight)),
            ("io.weight", small(self.io_weight)),
        ];
        files
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)))
            .collect()
    }
}

/// Reads `[limits]`.
pub(crate) fn limits<'d>(root: &Table<'d>, tables: &mut Vec<Table<'d>>) -> Limits {
    let Some(table) = root.table("limits") else {
        return Limits::default();
    };
    let each = LIMITS
        .iter()
        .filter_map(|(key, number, bytes)| Some((*number, limit(&table, key, *bytes)?)));
    let limits = Limits(each.collect());
    tables.push(table);
    limits
}

fn limit(table: &Table<'_>, key: &'static str, bytes: bool) -> Option<u64> {
    match &table.value(key)?.value {
        Value::String(text) if text == "unlimited" => Some(UNLIMITED),
        Value::Integer(_) => u64::try_from(table.integer(key, 0..=i64::MAX)?).ok(),
        _ if bytes => table.bytes(key),
        _ => {
            table.complain(key, format!("`{key}` is a whole number or \"unlimited\""));
            None
        }
    }
}

/// Reads `[resources]`.
pub(crate) fn resources<'d>(root: &Table<'d>, tables: &mut Vec<Table<'d>>) -> Resources {
    let Some(table) = root.table("resources") else {
        return Resources::default();
    };
    let count = |key, range| table.integer(key, range).and_then(|number| u32::try_from(number).ok());
    let resources = Resources {
        memory_max: table.bytes("memory_max"),
        memory_high: table.bytes("memory_high"),
        swap_max: table.bytes("swap_max"),
        tasks_max: count("tasks_max", 1..=1 << 22),
        cpu_percent: count("cpu_percent", 1..=100_000),
        cpu_weight: count("cpu_weight", 1..=10_000),
        io_weight: count("io_weight", 1..=10_000),
    };
    if let (Some(high), Some(max)) = (resources.memory_high, resources.memory_max)
        && high > max
    {
        table.complain(
            "memory_high",
            "`memory_high` is more than `memory_max`, so it would never be reached",
        );
    }
    tables.push(table);
    resources
}
