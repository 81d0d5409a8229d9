//! Sleeping until the next try, or until something has happened that makes another one worth while.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};

use super::progress::{Phase, Progress};
use super::wait::{Backoff, jittered};
use crate::arguments::Arguments;

/// Room for the events of one reading; what is in them does not matter.
const EVENTS: usize = 4096;

/// The files whose change ends a sleep early; all in `/run/mos`.
pub struct Pause {
    progress: PathBuf,
    network: PathBuf,
}

impl Pause {
    pub fn new(arguments: &Arguments) -> Self {
        Self {
            progress: arguments.progress(),
            network: arguments.below_root(mos_net::status::PATH),
        }
    }

    /// Sleeps for nearly `wait`. It ends early when the network has changed, though not before the first wait of
    /// `backoff` is over, and at once when another mos-node has started the channel's release.
    pub fn pause(&self, wait: Duration, backoff: Backoff) {
        let (since, wait) = (Instant::now(), jittered(wait, random()));
        let changes = self.progress.parent().and_then(|directory| watch(directory).ok());
        let network = fs::read(&self.network).ok();
        while let Some(left) = wait.checked_sub(since.elapsed()).filter(|left| !left.is_zero()) {
            if !changed(changes.as_ref(), left) || is_online(&self.progress) {
                return;
            }
            if fs::read(&self.network).ok() != network {
                return std::thread::sleep(backoff.hastened(since.elapsed(), wait));
            }
        }
    }
}

/// True when the channel's release was the last thing to be started.
pub fn is_online(progress: &Path) -> bool {
    Progress::read(progress).is_some_and(|told| told.phase == Phase::Started)
}

/// Files that appear in a directory, or go: all of ours are replaced by a rename.
fn watch(directory: &Path) -> rustix::io::Result<OwnedFd> {
    let changes = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
    inotify::add_watch(&changes, directory, WatchFlags::MOVED_TO | WatchFlags::DELETE)?;
    Ok(changes)
}

/// Waits for a change, for no longer than `limit`; false when there was none.
fn changed(changes: Option<&OwnedFd>, limit: Duration) -> bool {
    let Some(changes) = changes else {
        std::thread::sleep(limit);
        return false;
    };
    let mut descriptors = [PollFd::new(changes, PollFlags::IN)];
    let timeout = Timespec {
        tv_sec: limit.as_secs().try_into().unwrap_or(i64::MAX),
        tv_nsec: limit.subsec_nanos().into(),
    };
    match poll(&mut descriptors, Some(&timeout)) {
        Ok(0) => false,
        // What happened is read from the files themselves.
        Ok(_) => rustix::io::read(changes, &mut [0; EVENTS]).is_ok(),
        Err(_) => true,
    }
}

/// A number that is another one on each node and each time.
fn random() -> u32 {
    use std::hash::BuildHasher as _;
    let number = std::hash::RandomState::new().hash_one(std::process::id());
    u32::try_from(number >> 32).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::wait::WATCH;
    use super::*;
    use mos_sys::durable;

    const LONG: Duration = Duration::from_secs(60);

    fn pause_while(change: impl FnOnce(&Pause) + Send) -> Duration {
        let directory = tempfile::tempdir().unwrap();
        let pause = Pause {
            progress: directory.path().join("fetch.json"),
            network: directory.path().join("network.json"),
        };
        let since = Instant::now();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(200));
                change(&pause);
            });
            let quick = Backoff {
                first: Duration::from_millis(500),
                ..WATCH
            };
            pause.pause(LONG, quick);
        });
        since.elapsed()
    }

    #[test]
    fn a_release_started_by_another_ends_it_at_once() {
        let waited = pause_while(|pause| {
            let told = br#"{"phase": "started"}"#;
            durable::write(&pause.progress, told, 0o644).unwrap();
        });
        assert!(waited >= Duration::from_millis(200) && waited < LONG / 4, "{waited:?}");
    }

    #[test]
    fn a_network_that_changes_ends_it_after_the_first_wait() {
        let waited = pause_while(|pause| {
            // Neither of these is a reason.
            durable::write(&pause.progress, br#"{"phase": "offline"}"#, 0o644).unwrap();
            durable::write(&pause.progress.with_extension("x"), b"", 0o644).unwrap();
            durable::write(&pause.network, b"{}", 0o644).unwrap();
        });
        assert!(waited >= Duration::from_millis(450) && waited < LONG / 4, "{waited:?}");
    }

    #[test]
    fn nothing_that_happens_leaves_a_quarter_of_jitter() {
        let directory = tempfile::tempdir().unwrap();
        let pause = Pause {
            progress: directory.path().join("fetch.json"),
            network: directory.path().join("network.json"),
        };
        let since = Instant::now();
        pause.pause(Duration::from_millis(400), WATCH);
        assert!(since.elapsed() >= Duration::from_millis(300));
    }
}
