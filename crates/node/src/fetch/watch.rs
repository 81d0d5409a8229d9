//! `mos-node watch`: a node that could not start its channel's release tries on until it can.
//!
//! The boot is bounded by `mos-node fetch`; this goes on where that gave up. Each turn takes the state directory, makes
//! the same attempt (verify, fetch, write the generation, switch) and lets go again, so that a fetch by hand can come in
//! between at any time. Nothing is started here: when the release is on the disk, my_init runs `runtime-fetch` again,
//! which verifies it once more and starts it. So there is one road to a start, and what requires `runtime-fetch` (the
//! target `ready`) comes up also when the fetch of the boot has failed.
//!
//! It ends as soon as the channel's release was started, by whomever; on a node that is online it never wakes up.

use mos_update::{Generation, UpdateError};
use serde_json::json;

use super::failure::Failure;
use super::node::{FETCH, Node, OpenError};
use super::pause::{Pause, is_online};
use super::progress::{Phase, Progress};
use super::wait::WATCH;
use crate::arguments::Arguments;
use crate::exit::Exit;
use crate::rpc;

/// The help text.
pub const HELP: &str = "\
mos-node watch: tries an unreachable channel again until its release runs

Ends at once when the last `mos-node fetch` started the channel's release. Otherwise it tries again after 5 seconds,
then after waits that double up to 5 minutes, sooner when the network changes. When the channel has a release that is
believed, it becomes the current generation, and my_init runs the service runtime-fetch again, which starts it.

Options: as mos-node fetch
";

/// Runs the verb.
pub fn run(arguments: &Arguments) -> Exit {
    let progress = arguments.progress();
    let pause = Pause::new(arguments);
    let mut watch = Watch::new(Progress::read(&progress).unwrap_or_default());
    while !is_online(&progress) {
        match Node::open(arguments) {
            Ok(node) => watch.turn(arguments, node),
            // Whoever is at work may bring the release.
            Err(OpenError::State(UpdateError::Locked(_))) => {}
            Err(OpenError::State(error)) => watch.complain(error.to_string()),
            Err(OpenError::Settings(error)) => {
                eprintln!("{error}");
                return Exit::Usage;
            }
        }
        pause.pause(WATCH.after(watch.failed), WATCH);
    }
    Exit::Fine
}

/// What is remembered from one turn to the next.
struct Watch {
    /// The first turn only says what goes on: the fetch has tried just now.
    begun: bool,
    /// Failed tries in a row.
    failed: u32,
    /// What stands in the way.
    phase: Phase,
    message: String,
    /// Lines of the turns before this one.
    said: Vec<String>,
}

impl Watch {
    fn new(told: Progress) -> Self {
        let phase = match told.phase {
            Phase::Failed => Phase::Failed,
            _ => Phase::Offline,
        };
        Self {
            begun: false,
            failed: 0,
            phase,
            message: told.message,
            said: Vec::new(),
        }
    }

    fn turn(&mut self, arguments: &Arguments, mut node: Node) {
        node.progress.said = std::mem::take(&mut self.said);
        let there = match std::mem::replace(&mut self.begun, true) {
            false => self.begin(&mut node),
            true => self.attempt(&mut node),
        };
        node.progress.tries = self.failed;
        node.progress.next_try(WATCH.after(self.failed));
        node.progress.note(self.phase, self.message.clone());
        self.said = std::mem::take(&mut node.progress.said);
        // The fetch needs the state directory.
        drop(node);
        if there && let Err(error) = rpc::call(&arguments.socket(), "service.restart", json!({ "name": FETCH })) {
            self.complain(format!("my_init could not run {FETCH}: {error}"));
        }
    }

    fn begin(&mut self, node: &mut Node) -> bool {
        let (channel, longest) = (node.settings.channel.clone(), WATCH.cap.as_secs());
        node.progress.is_offline(&channel);
        let until = match self.phase {
            Phase::Failed => "it has a release that can be started",
            _ => "it answers",
        };
        let line = format!("trying {channel} again until {until}, every {longest} s at least");
        node.progress.say(self.phase, line);
        false
    }

    /// One more attempt; true when the channel's release is there.
    fn attempt(&mut self, node: &mut Node) -> bool {
        let (release, fetched) = (node.progress.release, node.fetched);
        let result = node.attempt();
        // Until it is started, it is not the node's release.
        node.progress.release = release;
        let failure = match result {
            Ok(generation) => {
                self.arrived(node, &generation);
                return true;
            }
            Err(failure) => failure,
        };
        node.remember_failure(&failure);
        // A channel that delivers is tried again soon.
        self.failed = if node.fetched > fetched {
            1
        } else {
            self.failed.saturating_add(1)
        };
        self.note_failure(&failure, &node.settings.channel);
        false
    }

    fn arrived(&mut self, node: &mut Node, generation: &Generation) {
        self.failed = 0;
        let (sequence, number) = (generation.release.sequence, generation.number);
        let channel = &node.settings.channel;
        self.message = format!("{channel} answers: release {sequence} is there as generation {number}");
        println!("{}; {FETCH} starts it", self.message);
    }

    /// Says on the console what is new in it, and that is not the time or the number of a port.
    fn note_failure(&mut self, failure: &Failure, channel: &str) {
        let phase = match failure {
            Failure::Offline(_) => Phase::Offline,
            _ => Phase::Failed,
        };
        let line = failure.line(channel);
        if phase != self.phase || (phase == Phase::Failed && shape(&line) != shape(&self.message)) {
            eprintln!("{line}");
        }
        (self.phase, self.message) = (phase, line);
    }

    fn complain(&mut self, line: String) {
        self.failed = self.failed.saturating_add(1);
        if shape(&line) != shape(&self.message) {
            eprintln!("{line}");
        }
        self.message = line;
    }
}

/// A line without its numbers.
fn shape(line: &str) -> String {
    line.chars().filter(|letter| !letter.is_ascii_digit()).collect()
}
