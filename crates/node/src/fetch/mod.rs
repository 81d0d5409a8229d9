//! `mos-node fetch`: the channel's release becomes the current generation, or the last good one is started.
//!
//! | what happens | what runs then | exit |
//! |---|---|---|
//! | a release that is believed | it | 0 |
//! | the channel is unreachable, a sound generation is on the disk | that | 0 |
//! | the channel is unreachable, nothing on the disk | nothing yet; tried again until it answers | |
//! | an `https` server's certificate is out of date | as if the channel were unreachable | |
//! | an `https` server is not vouched for by the image's authorities | the generation before, if it is sound | 3 |
//! | something is not as it was signed | the generation before, if it is sound | 3 |
//! | the release cannot work, or this node's disk | the generation before, if it is sound | 1 |
//!
//! Whenever that is not the channel's release, `mos-node watch` goes on from there, see [`watch`].

mod content;
mod failure;
mod node;
mod pause;
mod progress;
mod stored;
mod wait;
pub mod watch;

use std::time::{Duration, Instant};

use mos_update::{Generation, UpdateError};

use crate::arguments::Arguments;
use crate::exit::Exit;
use failure::Failure;
use node::{Node, OpenError};
use pause::Pause;
use progress::Phase;

/// The help text.
pub const HELP: &str = "\
mos-node fetch: makes the channel's release the current generation and starts it

Reads the release over http, or over https from a server that /etc/mos/ca.pem vouches for; verifies signature,
environment, expiry, sequence; fetches what is missing; switches. With the channel unreachable it starts the last good
generation after checking every file. Exits with 3, and starts nothing of the release, when anything is not as it was
signed, or the server is not vouched for.

Options: --config PATH   settings (default /etc/mos/node.toml): environment, channel, trust = [\"PUBLIC KEY FILE\"],
                         built (seconds since 1970), offline_after (seconds, default 20)
         --state DIR     state directory (default /var/cache/mos)
         --socket PATH   my_init's socket (default /run/my_init.sock)
         --root DIR      look for all of these, and for /proc/cmdline and /run/mos, below DIR

Kernel command line: mos.channel=URL   another mirror of the same channel
";

/// How long to wait for another mos-node to end.
const LOCKED: Duration = Duration::from_secs(30);
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// Runs the verb.
pub fn run(arguments: &Arguments) -> Exit {
    match open(arguments) {
        Ok(mut node) => fetch(&mut node, &Pause::new(arguments)),
        Err(error) => {
            eprintln!("{error}");
            error.exit()
        }
    }
}

/// Opens the node, after another mos-node that is at work has ended.
fn open(arguments: &Arguments) -> Result<Node, OpenError> {
    let since = Instant::now();
    let mut said = false;
    loop {
        match Node::open(arguments) {
            Err(OpenError::State(UpdateError::Locked(_))) if since.elapsed() < LOCKED => {
                if !std::mem::replace(&mut said, true) {
                    println!("another mos-node is at work: waiting for it to end");
                }
                std::thread::sleep(LOOK_AGAIN);
            }
            other => return other,
        }
    }
}

fn fetch(node: &mut Node, pause: &Pause) -> Exit {
    let mut waiting = Waiting::new(node);
    loop {
        match node.attempt() {
            Ok(generation) => {
                let line = format!("starting generation {}", generation.number);
                return started(node.start(&generation, Phase::Started, line));
            }
            Err(Failure::Offline(reason)) => {
                if let Some(generation) = waiting.wait(node, pause, &reason) {
                    return start_offline(node, &generation);
                }
            }
            Err(failure) => return give_up(node, &failure),
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
    fn wait(&mut self, node: &mut Node, pause: &Pause, reason: &str) -> Option<Generation> {
        if node.fetched > self.fetched {
            *self = Self::new(node);
        }
        self.tries += 1;
        let next = wait::BOOT.after(self.tries);
        let channel = node.settings.channel.clone();
        node.progress.is_offline(&channel);
        let over = wait::is_over(self.since.elapsed(), next, node.settings.offline_after);
        if over && !std::mem::replace(&mut self.looked, true) {
            node.progress
                .warn(Phase::Waiting, unreachable(node, self.tries, reason));
            let stored = node.stored();
            if stored.is_some() {
                return stored;
            }
            let line = "no good generation is on the disk: nothing is started until the channel answers";
            node.progress.warn(Phase::Waiting, line);
        }
        node.progress.tries = self.tries;
        node.progress.next_try(next);
        let line = unreachable(node, self.tries, reason);
        match self.looked {
            // Said before, and nobody reads a console on which it is said for ever.
            true => node.progress.note(Phase::Waiting, line),
            false => node
                .progress
                .say(Phase::Waiting, format!("{line}; next try in {} s", next.as_secs())),
        }
        pause.pause(next, wait::BOOT);
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
            .warn(Phase::Offline, format!("{line}, since the channel is unreachable"));
    }
    let line = format!("starting generation {} offline", generation.number);
    let well = node.start(generation, Phase::Offline, line);
    node.have_it_watched();
    started(well)
}

fn started(went_well: bool) -> Exit {
    if went_well { Exit::Fine } else { Exit::Problem }
}

/// Says why, and starts what was good before.
fn give_up(node: &mut Node, failure: &Failure) -> Exit {
    let channel = node.settings.channel.clone();
    let line = failure.line(&channel);
    node.remember_failure(failure);
    node.progress.is_offline(&channel);
    node.progress.warn(Phase::Failed, line.clone());
    match node.stored() {
        Some(generation) => {
            let number = generation.number;
            let sequence = generation.release.sequence;
            let before = format!("starting generation {number} (release {sequence}) from before");
            if node.start(&generation, Phase::Failed, before) {
                node.progress.note(Phase::Failed, line);
            }
        }
        None => {
            node.vouch_for_nothing();
            node.progress
                .warn(Phase::Failed, "no good generation is on the disk: nothing is started");
            node.progress.note(Phase::Failed, line);
        }
    }
    node.have_it_watched();
    match failure {
        Failure::Trust(_) => Exit::Trust,
        _ => Exit::Problem,
    }
}
