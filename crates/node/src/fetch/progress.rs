//! What `mos-node fetch` tells: lines for the console, and `/run/mos/fetch.json` for programs.

use std::path::PathBuf;

use mos_sys::durable;
use serde::Serialize;

/// Everybody may read it.
const MODE: u32 = 0o644;

/// The state of the fetch.
#[derive(Debug, Default, Serialize)]
pub struct Progress {
    /// `reading`, `waiting`, `downloading`, `started`, `offline` or `failed`.
    pub phase: &'static str,
    /// The newest line for people.
    pub message: String,
    /// What it waits for.
    pub waiting_for: Option<String>,
    /// Failed tries in a row.
    pub tries: u32,
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
}

impl Progress {
    /// A fetch that begins.
    pub fn new(path: PathBuf, environment: &str) -> Self {
        let environment = environment.to_owned();
        Self {
            path,
            environment,
            ..Self::default()
        }
    }

    /// Prints a line and writes the file.
    pub fn say(&mut self, phase: &'static str, message: impl Into<String>) {
        self.note(phase, message);
        println!("{}", self.message);
    }

    /// As [`Progress::say`], for what somebody has to look at.
    pub fn warn(&mut self, phase: &'static str, message: impl Into<String>) {
        self.note(phase, message);
        eprintln!("{}", self.message);
    }

    /// Writes the file only.
    pub fn note(&mut self, phase: &'static str, message: impl Into<String>) {
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

    fn write(&self) -> std::io::Result<()> {
        if let Some(parent) = self.path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        durable::write(&self.path, &serde_json::to_vec(self)?, MODE)
    }
}
