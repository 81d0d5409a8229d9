//! What `mos-node fetch` and `mos-node watch` tell: lines for the console, and `/run/mos/fetch.json` for programs.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use mos_sys::durable;
use serde::{Deserialize, Serialize};

/// Everybody may read it.
const MODE: u32 = 0o644;
/// Largest file that is read, in bytes; ours has a few hundred.
const LARGEST: u64 = 64 << 10;
/// So many lines are remembered, so that none is said twice.
const REMEMBERED: usize = 64;

/// What is going on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// The channel or the disk is being read.
    #[default]
    Reading,
    /// The channel cannot be read and nothing can be started without it.
    Waiting,
    /// A release is being fetched.
    Downloading,
    /// The channel's release was started.
    Started,
    /// The channel cannot be read; what was on the disk was started.
    Offline,
    /// The channel's release was refused or cannot work.
    Failed,
}

/// The state of the fetch.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Progress {
    /// What is going on.
    pub phase: Phase,
    /// The newest line for people.
    pub message: String,
    /// What it waits for.
    pub waiting_for: Option<String>,
    /// Failed tries in a row.
    pub tries: u32,
    /// Since when the node has been without a release of its channel that can be run, in seconds since 1970.
    pub offline_since: Option<i64>,
    /// When the channel is tried again at the latest, in seconds since 1970.
    pub next_try: Option<i64>,
    /// The environment.
    pub environment: String,
    /// The release at work, or the one that was started.
    pub release: Option<u64>,
    /// The generation that was started.
    pub generation: Option<u64>,
    #[serde(skip)]
    path: PathBuf,
    #[serde(skip)]
    complained: bool,
    /// The lines that were said.
    #[serde(skip)]
    pub said: Vec<String>,
}

impl Progress {
    /// A fetch that begins. What runs, and since when the node is offline, is taken over from the one before it.
    pub fn new(path: PathBuf, environment: &str) -> Self {
        let earlier = Self::read(&path).unwrap_or_default();
        Self {
            environment: environment.to_owned(),
            release: earlier.release,
            generation: earlier.generation,
            offline_since: earlier.offline_since,
            path,
            ..Self::default()
        }
    }

    /// What was last told; `None` when nothing was, or what is there is not ours.
    pub fn read(path: &Path) -> Option<Self> {
        let mut bytes = Vec::new();
        File::open(path).ok()?.take(LARGEST).read_to_end(&mut bytes).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    /// Prints a line, unless it was said before, and writes the file.
    pub fn say(&mut self, phase: Phase, message: impl Into<String>) {
        self.note(phase, message);
        if self.is_news() {
            println!("{}", self.message);
        }
    }

    /// As [`Progress::say`], for what somebody has to look at.
    pub fn warn(&mut self, phase: Phase, message: impl Into<String>) {
        self.note(phase, message);
        if self.is_news() {
            eprintln!("{}", self.message);
        }
    }

    /// Writes the file only.
    pub fn note(&mut self, phase: Phase, message: impl Into<String>) {
        (self.phase, self.message) = (phase, message.into());
        let written = self.write();
        if let Err(error) = written
            && !std::mem::replace(&mut self.complained, true)
        {
            eprintln!(
                "cannot write {}: {error}; mosctl status will not know what is fetched",
                self.path.display()
            );
        }
    }

    /// Notes that the channel has nothing to run; told with the next line.
    pub fn is_offline(&mut self, channel: &str) {
        self.waiting_for = Some(channel.to_owned());
        self.offline_since.get_or_insert(Timestamp::now().as_second());
    }

    /// Notes when the channel is tried again at the latest; told with the next line.
    pub fn next_try(&mut self, wait: Duration) {
        self.next_try = Some(Timestamp::now().as_second().saturating_add_unsigned(wait.as_secs()));
    }

    /// Notes that the channel's release runs; told with the next line.
    pub fn is_online(&mut self) {
        (self.waiting_for, self.offline_since) = (None, None);
    }

    /// True when the newest line was not said yet. A console is read by people: nothing is repeated there.
    fn is_news(&mut self) -> bool {
        if self.said.contains(&self.message) {
            return false;
        }
        if self.said.len() == REMEMBERED {
            self.said.clear();
        }
        self.said.push(self.message.clone());
        true
    }

    fn write(&self) -> std::io::Result<()> {
        if let Some(parent) = self.path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        durable::write(&self.path, &serde_json::to_vec(self)?, MODE)
    }
}
