//! `mos-node fetch`: the channel's release becomes the current generation, or the last good one is started.
//!
//! | what happens | what runs then | exit |
//! |---|---|---|
//! | a release that is believed | it | 0 |
//! | the channel is unreachable, a sound generation is on the disk | that | 0 |
//! | the channel is unreachable, nothing on the disk | nothing; tried again for ever | |
//! | something is not as it was signed | the generation before, if it is sound | 3 |
//! | the release cannot work, or this node's disk | the generation before, if it is sound | 1 |

mod content;
mod failure;
mod node;
mod progress;
mod stored;
mod wait;

use std::time::Instant;

use mos_update::{Generation, UpdateError};

use crate::arguments::Arguments;
use crate::exit::Exit;
use failure::Failure;
use node::{Node, OpenError};

/// The help text.
pub const HELP: &str = "\
mos-node fetch: makes the channel's release the current generation and starts it

Reads the release, verifies signature, environment, expiry and sequence, fetches what is missing, switches. With the
channel unreachable it starts the last good generation after checking every file. Exits with 3, and starts nothing of
the release, when anything is not as it was signed.

Options: --config PATH   settings (default /etc/mos/node.toml): environment, channel, trust = [\"PUBLIC KEY FILE\"],
                         built (seconds since 1970), offline_after (seconds, default 20)
         --state DIR     state directory (default /var/cache/mos)
         --socket PATH   my_init's socket (default /run/my_init.sock)
         --root DIR      look for all of these, and for /proc/cmdline and /run/mos, below DIR

Kernel command line: mos.channel=URL   another mirror of the same channel
";

/// Runs the verb.
pub fn run(arguments: &Arguments) -> Exit {
    match Node::open(arguments) {
        Ok(mut node) => fetch(&mut node),
        Err(error) => {
            eprintln!("{error}");
            match error {
                OpenError::Settings(_) => Exit::Usage,
                OpenError::State(UpdateError::Locked(_)) => Exit::Locked,
                OpenError::State(_) => Exit::Problem,
            }
        }
    }
}

fn fetch(node: &mut Node) -> Exit {
    let mut waiting = Waiting::new(node);
    loop {
        match node.attempt() {
            Ok(generation) => {
                let line = format!("starting generation {}", generation.number);
                return started(node.start(&generation, "started", line));
            }
            Err(Failure::Offline(reason)) => {
                if let Some(generation) = waiting.wait(node, &reason) {
                    return start_offline(node, &generation);
                }
            }
            Err(Failure::Trust(reason)) => {
                let line = format!("trust failure: {reason}; nothing of it was started");
                return give_up(node, line, Exit::Trust);
            }
            Err(Failure::Release(sequence, reason)) => {
                node.remember_failure(sequence, &reason);
                return give_up(node, format!("release {sequence} cannot work: {reason}"), Exit::Problem);
            }
            Err(Failure::Node(reason)) => return give_up(node, format!("the update failed: {reason}"), Exit::Problem),
        }
    }
}

/// The waits for a channel that cannot be read.
struct Waiting {
    since: Instant,
    tries: u32,
    fetched: usize,
    looked: bool,
}

impl Waiting {
    fn new(node: &Node) -> Self {
        let (since, fetched) = (Instant::now(), node.fetched);
        Self {
            since,
            tries: 0,
            fetched,
            looked: false,
        }
    }

    /// Waits for the next try, or gives the generation to start without the channel.
    fn wait(&mut self, node: &mut Node, reason: &str) -> Option<Generation> {
        if node.fetched > self.fetched {
            *self = Self::new(node);
        }
        self.tries += 1;
        let next = wait::after(self.tries);
        let over = wait::is_over(self.since.elapsed(), next, node.settings.offline_after);
        if over && !std::mem::replace(&mut self.looked, true) {
            node.progress.warn("waiting", unreachable(node, self.tries, reason));
            let stored = node.stored();
            if stored.is_some() {
                return stored;
            }
            node.progress
                .warn("waiting", "no good generation is on the disk: waiting for the channel");
        }
        node.progress.tries = self.tries;
        node.progress.waiting_for = Some(node.settings.channel.clone());
        let line = format!(
            "{}; next try in {} s",
            unreachable(node, self.tries, reason),
            next.as_secs()
        );
        node.progress.say("waiting", line);
        std::thread::sleep(next);
        None
    }
}

fn unreachable(node: &Node, tries: u32, reason: &str) -> String {
    format!("channel {} unreachable (try {tries}): {reason}", node.settings.channel)
}

fn start_offline(node: &mut Node, generation: &Generation) -> Exit {
    let release = &generation.release;
    if node.now() >= release.expires {
        let line = format!(
            "release {} expired at {}; started all the same",
            release.sequence, release.expires
        );
        node.progress
            .warn("offline", format!("{line}, since the channel is unreachable"));
    }
    let line = format!("starting generation {} offline", generation.number);
    started(node.start(generation, "offline", line))
}

fn started(went_well: bool) -> Exit {
    if went_well { Exit::Fine } else { Exit::Problem }
}

/// Says why, and starts what was good before.
fn give_up(node: &mut Node, line: String, exit: Exit) -> Exit {
    node.progress.warn("failed", line.clone());
    match node.stored() {
        Some(generation) => {
            let number = generation.number;
            let sequence = generation.release.sequence;
            let before = format!("starting generation {number} (release {sequence}) from before");
            if !node.start(&generation, "failed", before) {
                return exit;
            }
        }
        None => {
            node.vouch_for_nothing();
            node.progress
                .warn("failed", "no good generation is on the disk: nothing is started");
        }
    }
    node.progress.note("failed", line);
    exit
}
