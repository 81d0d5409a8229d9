//! What a node remembers of its channel from one start to the next: `channel/state.json`.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use mos_channel::Release;
use mos_sys::durable;
use serde::{Deserialize, Serialize};

use crate::{Layout, UpdateError};

/// Largest state file in bytes; ours has a few hundred.
const MAX_STATE: u64 = 1 << 20;
/// How many failed releases are remembered.
const MAX_FAILURES: usize = 16;

/// What is remembered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// The newest release that was believed; older ones are refused.
    pub highest_sequence: u64,
    /// The newest release said never to go back below this one.
    pub minimum_sequence: u64,
    /// It is at least this late: when the newest believed release was made, in seconds since 1970.
    pub time_floor: i64,
    /// When the channel was last verified, in seconds since 1970 of the node's clock.
    pub last_verified: i64,
    /// Releases that cannot work, oldest first; not tried again.
    pub failed: Vec<Failure>,
}

/// A release that cannot work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Its sequence number.
    pub sequence: u64,
    /// Why.
    pub reason: String,
}

/// A state that was read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Loaded {
    /// The state; empty when there was none.
    pub state: State,
    /// What was wrong with the file, and where it was set aside to.
    pub complaint: Option<String>,
}

impl State {
    /// Reads the state. A file that is torn, senseless or unreadable is set aside, never an error: a node must start.
    /// What it kept from being forgotten is also in the signed releases on the disk, see [`State::learn`].
    pub fn load(layout: &Layout) -> Loaded {
        let path = path(layout);
        match read(&path) {
            Ok(None) => Loaded::default(),
            Ok(Some(state)) => Loaded { state, complaint: None },
            Err(error) => set_aside(&path, &error),
        }
    }

    /// Takes in what a believed release tells: numbers only grow. The state file is not signed and may be lost, so this
    /// is done for every signed release that is found on the disk as well.
    pub fn learn(&mut self, release: &Release) {
        self.highest_sequence = self.highest_sequence.max(release.sequence);
        self.minimum_sequence = self.minimum_sequence.max(release.minimum_sequence);
        self.time_floor = self.time_floor.max(release.created.as_second());
    }

    /// Writes the state; a crash leaves the old or the new one.
    ///
    /// # Errors
    /// [`UpdateError::Io`].
    pub fn save(&self, layout: &Layout) -> Result<(), UpdateError> {
        let path = path(layout);
        let bytes = serde_json::to_vec_pretty(self).map_err(|error| UpdateError::io("encode", &path)(error.into()))?;
        durable::write(&path, &bytes, 0o644).map_err(UpdateError::io("write", &path))
    }

    /// Remembers that a release cannot work.
    pub fn fail(&mut self, sequence: u64, reason: String) {
        self.failed.retain(|failure| failure.sequence != sequence);
        self.failed.push(Failure { sequence, reason });
        let surplus = self.failed.len().saturating_sub(MAX_FAILURES);
        self.failed.drain(..surplus);
    }

    /// Why this release is known not to work.
    pub fn failure(&self, sequence: u64) -> Option<&Failure> {
        self.failed.iter().find(|failure| failure.sequence == sequence)
    }
}

fn path(layout: &Layout) -> PathBuf {
    layout.channel().join("state.json")
}

/// `None` when there is no file.
fn read(path: &Path) -> io::Result<Option<State>> {
    let mut bytes = Vec::new();
    match File::open(path).and_then(|file| file.take(MAX_STATE).read_to_end(&mut bytes)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    Ok(Some(serde_json::from_slice(&bytes)?))
}

fn set_aside(path: &Path, error: &io::Error) -> Loaded {
    let aside = path.with_extension("json.damaged");
    let moved = match fs::rename(path, &aside) {
        Ok(()) => format!("set aside as {}", aside.display()),
        Err(error) => format!("cannot be set aside: {error}"),
    };
    Loaded {
        state: State::default(),
        complaint: Some(format!(
            "{} is damaged ({error}); {moved}; starting with an empty one",
            path.display()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn layout() -> (tempfile::TempDir, Layout) {
        let directory = tempfile::tempdir().unwrap();
        let layout = Layout::new(directory.path());
        fs::create_dir(layout.channel()).unwrap();
        (directory, layout)
    }

    #[test]
    fn what_is_saved_is_loaded() {
        let (_directory, layout) = layout();
        assert_eq!(State::load(&layout), Loaded::default());
        let mut state = State {
            highest_sequence: 7,
            time_floor: 9,
            ..State::default()
        };
        for sequence in 0..30 {
            state.fail(sequence, "two components want bin/a".into());
        }
        assert_eq!(state.failed.len(), MAX_FAILURES);
        assert!(state.failure(29).is_some() && state.failure(0).is_none());
        state.save(&layout).unwrap();
        assert_eq!(State::load(&layout), Loaded { state, complaint: None });
    }

    #[test]
    fn a_state_that_cannot_even_be_read_does_not_keep_a_node_from_starting() {
        let (_directory, layout) = layout();
        fs::create_dir(path(&layout)).unwrap();
        let loaded = State::load(&layout);
        assert_eq!(loaded.state, State::default());
        assert!(loaded.complaint.unwrap().contains("set aside"));
        State::default().save(&layout).unwrap();
    }

    #[test]
    fn unknown_keys_of_newer_programs_do_no_harm() {
        let (_directory, layout) = layout();
        fs::write(path(&layout), br#"{"highest_sequence": 3, "new": 1}"#).unwrap();
        assert_eq!(State::load(&layout).state.highest_sequence, 3);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn garbage_is_set_aside_and_reported(cut in 0usize..100, garbage: Vec<u8>) {
            let (_directory, layout) = layout();
            State::default().save(&layout).unwrap();
            let mut bytes = fs::read(path(&layout)).unwrap();
            bytes.truncate(cut.min(bytes.len() - 2));
            bytes.extend(garbage.iter().filter(|byte| **byte != b'}'));
            fs::write(path(&layout), &bytes).unwrap();
            let loaded = State::load(&layout);
            prop_assert_eq!(loaded.state, State::default());
            prop_assert!(loaded.complaint.unwrap().contains("set aside"));
            prop_assert_eq!(fs::read(path(&layout).with_extension("json.damaged")).unwrap(), bytes);
            prop_assert_eq!(State::load(&layout), Loaded::default());
        }
    }
}
