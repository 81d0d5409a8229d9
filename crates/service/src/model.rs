//! What a service file says.

use crate::{
    Account, Command, Condition, Guards, Health, Limits, OnFailure, Proxy, Rare, Resources, Schedule, Security, Signal,
    Silent, Sockets,
};

/// One service or target.
#[derive(Debug, Clone, PartialEq)]
pub struct Service {
    /// Its name: letters, digits, `-`, `_`, `.`; at most 64 bytes.
    pub name: String,
    /// The file that it was read from, as the reader named it. Not part of what it does: see [`Service::same`].
    pub file: String,
    /// Identifies the text that it was read from. Not part of what it does either.
    pub source: u64,
    /// What kind of thing it is.
    pub kind: Kind,
    /// What to run; `None` for a target.
    pub command: Option<Command>,
    /// Ready when it says `READY=1` on its notify socket.
    pub notify: bool,
    /// Ready when it writes a newline to this descriptor.
    pub ready_fd: Option<i32>,
    /// Working directory.
    pub directory: String,
    /// Added to the inherited environment, in order of name.
    pub environment: Vec<(String, String)>,
    /// Whom it runs as; as the supervisor when absent.
    pub user: Option<Account>,
    /// The group it runs in; its user's when absent.
    pub group: Option<Account>,
    /// Supplementary groups.
    pub groups: Vec<Account>,
    /// Its file mode creation mask; inherited when absent.
    pub umask: Option<u32>,
    /// Its nice value; inherited when absent.
    pub nice: Option<i32>,
    /// How likely it is killed for memory, -1000 to 1000; inherited when absent.
    pub oom_score_adjust: Option<i32>,
    /// The terminal that is its input, output and controlling terminal.
    pub tty: Option<String>,
    /// What it may do.
    pub security: Rare<Security>,
    /// Limits of each of its processes.
    pub limits: Rare<Limits>,
    /// Limits of all its processes together.
    pub resources: Rare<Resources>,
    /// Its sockets, if it has any.
    pub sockets: Option<Box<Sockets>>,
    /// The service before which it is a proxy, if it is one.
    pub proxy: Option<Box<Proxy>>,
    /// When it is started by itself, if that is not at once.
    pub schedule: Option<Box<Schedule>>,
    /// Whether it is started without being asked.
    pub status: Status,
    /// What becomes of a group when a member fails.
    pub on_failure: OnFailure,
    /// Whose it is.
    pub class: Class,
    /// Without it the node is not ready.
    pub critical: bool,
    /// Its relations to others.
    pub dependencies: Rare<Dependencies>,
    /// What has to be free for it to be started.
    pub guards: Rare<Guards>,
    /// What has to be so for it to be started.
    pub conditions: Vec<Condition>,
    /// Restart and stop.
    pub lifecycle: Lifecycle,
    /// How its health is probed, if it is.
    pub health: Option<Box<Health>>,
    /// Where its output goes.
    pub logging: Logging,
}

impl Service {
    /// True when both would run alike, wherever their files are.
    pub fn same(&self, other: &Self) -> bool {
        // Where it comes from does not count; listing all other fields would miss the next one that is added.
        let moved = Self {
            file: other.file.clone(),
            source: other.source,
            ..self.clone()
        };
        moved == *other
    }

    /// Names that exist because this service names them, if a template describes them.
    pub fn pulls_in(&self) -> impl Iterator<Item = &str> {
        let dependencies = self.dependencies.requires.iter().chain(&self.dependencies.wants);
        let behind = self.proxy.as_ref().map(|proxy| proxy.service.as_str());
        dependencies.map(|dependency| dependency.name.as_str()).chain(behind)
    }

    /// True when it says itself when it is ready.
    pub fn tells_readiness(&self) -> bool {
        self.notify || self.ready_fd.is_some()
    }

    /// How it says that it is ready, in words; empty when it does not.
    pub fn readiness_sign(&self) -> String {
        match (self.notify, self.ready_fd) {
            (true, _) => "READY=1 from it".to_owned(),
            (_, Some(number)) => format!("a newline from it on descriptor {number}"),
            _ => String::new(),
        }
    }

    /// True when being spawned does not yet mean being ready.
    pub fn waits_for_readiness(&self) -> bool {
        self.tells_readiness() || self.health.is_some() || self.kind == Kind::Oneshot
    }
}

/// What kind of thing a service is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A process that stays.
    Process,
    /// A process that does its work and ends.
    Oneshot,
    /// A name for a set of services; no process.
    Target,
    /// Services handled as one, which it requires; no process of its own.
    Group,
}

/// Whether a service is started without being asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Status {
    /// Started at boot and kept running.
    #[default]
    Start,
    /// Only started by hand, not restarted; stopped by a reload that brings this status.
    Stop,
    /// Only started by hand, not restarted; a reload leaves it as it is.
    Ignore,
}

/// Whose a service is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Class {
    /// An application's.
    #[default]
    User,
    /// The node's own: never given up on.
    System,
}

/// The name of another service, and where the file says it.
#[derive(Debug, Clone)]
pub struct Dependency {
    /// The other service's name.
    pub name: String,
    /// Line, from 1.
    pub line: u32,
    /// Column, from 1.
    pub column: u32,
    /// What follows for a service that runs when something happens to this one that it requires.
    pub follow: Follow,
}

impl PartialEq for Dependency {
    fn eq(&self, other: &Self) -> bool {
        (&self.name, self.follow) == (&other.name, other.follow)
    }
}

/// What a service that runs does when something happens to one that it requires.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Follow {
    /// That one was stopped, or has ended well.
    pub on_stop: Reaction,
    /// That one has failed for good.
    pub on_failure: Reaction,
    /// That one is, or was, started again.
    pub on_restart: Reaction,
}

/// What to do. Of several at the same time the strongest, which is the last, counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Reaction {
    /// It goes on.
    #[default]
    Keep,
    /// It ends, and starts again as soon as it may.
    Restart,
    /// It ends, and stays down until somebody starts it.
    Stop,
}

/// A service's relations to others.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Dependencies {
    /// Must run, or have ended well.
    pub requires: Vec<Dependency>,
    /// Must have settled, well or badly.
    pub after: Vec<Dependency>,
    /// Noted, never waited for.
    pub wants: Vec<Dependency>,
    /// Must not be active.
    pub conflicts: Vec<Dependency>,
}

impl Silent for Dependencies {
    const SILENT: &'static Self = &Self {
        requires: Vec::new(),
        after: Vec::new(),
        wants: Vec::new(),
        conflicts: Vec::new(),
    };
}

/// When to restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restart {
    /// However it ended.
    Always,
    /// When it ended with an exit code other than 0 or by a signal.
    OnFailure,
    /// Not at all.
    Never,
}

/// Restart and stop. All times in milliseconds.
#[derive(Debug, Clone, PartialEq)]
pub struct Lifecycle {
    /// When to restart.
    pub restart: Restart,
    /// Before the second restart in a row; doubles with each further one.
    pub restart_delay_ms: u64,
    /// The doubling's cap.
    pub restart_delay_max_ms: u64,
    /// By how much a delay is shortened at random, at most, in percent.
    pub restart_jitter_percent: u32,
    /// Restarts in a row before giving up; 0 for no limit.
    pub max_restarts: u32,
    /// A run this long starts the counting anew.
    pub stability_period_ms: u64,
    /// Until ready; 0 for no limit.
    pub start_timeout_ms: u64,
    /// How it is asked to end.
    pub stop_signal: Signal,
    /// Between asking and killing.
    pub stop_timeout_ms: u64,
}

impl Default for Lifecycle {
    /// As zinit 0.3.9, but for the start timeout (30 s there): at the boot deadline of 30 s a slow service is to be
    /// named, not killed.
    fn default() -> Self {
        Self {
            restart: Restart::OnFailure,
            restart_delay_ms: 1000,
            restart_delay_max_ms: 300_000,
            restart_jitter_percent: crate::jitter::STANDARD_PERCENT,
            max_restarts: crate::backoff::default_max_restarts(Class::User),
            stability_period_ms: 30_000,
            start_timeout_ms: 90_000,
            stop_signal: Signal::TERM,
            stop_timeout_ms: 10_000,
        }
    }
}

/// Where a service's output goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logging {
    /// Bytes kept in memory.
    pub buffer_bytes: usize,
    /// Also to the console.
    pub console: bool,
    /// Also into a file.
    pub file: Option<Box<LogFile>>,
}

/// Where a service's output is kept on a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFile {
    /// Its absolute path.
    pub path: String,
    /// When it has so many bytes another one is begun.
    pub bytes: u64,
    /// So many are kept, the one that is written to included.
    pub count: u32,
}

impl Default for Logging {
    fn default() -> Self {
        Self {
            buffer_bytes: 64 * 1024,
            console: false,
            file: None,
        }
    }
}
