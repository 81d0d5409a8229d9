//! One node at work on its channel: attempts, and what is started in the end.

use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use mos_channel::{Fetched, PublicKey, RELEASE, Release, Trust, fetch_release};
use mos_store::{Options, Read, Schedule, Timeouts, open_read_with};
use mos_sys::durable;
use mos_update::{
    Generation, Installed, Job, Layout, Lock, Observer, Plan, State, Step, UpdateError, Wanted, execute, plan,
    switch_to,
};
use serde_json::Value;

use super::content::{self, Contents};
use super::failure::Failure;
use super::progress::Progress;
use super::stored::Believed;
use crate::arguments::{Arguments, kernel_value};
use crate::rpc::{self, RpcError};
use crate::settings::Settings;

/// A channel that does not answer within these is tried again later.
const TIMEOUTS: Timeouts = Timeouts {
    connect: Duration::from_secs(5),
    read: Duration::from_secs(10),
    total: Duration::from_secs(300),
};
/// Each attempt is one try; the waits in between are ours, so that the console shows them.
const ONE_TRY: Schedule = Schedule {
    first: Duration::ZERO,
    cap: Duration::ZERO,
    tries: 1,
};
/// Largest settings file in bytes.
const LARGEST_SETTINGS: u64 = 64 << 10;

/// The node's settings, what it remembers, and what it may change.
pub struct Node {
    pub settings: Settings,
    pub progress: Progress,
    socket: PathBuf,
    keys: Vec<PublicKey>,
    layout: Layout,
    lock: Lock,
    state: State,
    store: Box<dyn Read>,
    /// Objects fetched so far: a channel that delivers is not unreachable.
    pub fetched: usize,
}

impl Node {
    /// Reads the settings and takes the state directory.
    ///
    /// # Errors
    /// [`UpdateError::Locked`] and others as a phrase for the console.
    pub fn open(arguments: &Arguments) -> Result<Self, OpenError> {
        let settings = read_settings(arguments)?;
        let keys = settings
            .trust
            .iter()
            .map(|path| PublicKey::read(&arguments.below_root(path)));
        let keys = keys
            .collect::<Result<_, _>>()
            .map_err(|error| OpenError::Settings(error.to_string()))?;
        let options = Options {
            timeouts: TIMEOUTS,
            schedule: ONE_TRY,
            observer: None,
        };
        let store = open_read_with(&settings.channel, &options);
        let store = store.map_err(|error| OpenError::Settings(error.to_string()))?;
        let layout = Layout::new(arguments.state());
        let lock = layout.lock()?;
        let loaded = State::load(&layout)?;
        let mut progress = Progress::new(arguments.progress(), &settings.environment);
        if let Some(complaint) = loaded.complaint {
            progress.warn("reading", complaint);
        }
        let (socket, state) = (arguments.socket(), loaded.state);
        Ok(Self {
            settings,
            progress,
            socket,
            keys,
            layout,
            lock,
            state,
            store,
            fetched: 0,
        })
    }

    /// One attempt to have the channel's release current. Says which generation that is.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn attempt(&mut self) -> Result<Generation, Failure> {
        self.progress
            .note("reading", format!("reading {}", self.settings.channel));
        let trust = self.trust();
        let Fetched { release, envelope } = fetch_release(&*self.store, &trust, Timestamp::now())?;
        self.progress.release = Some(release.sequence);
        self.remember(&release, &envelope)?;
        if let Some(failure) = self.state.failure(release.sequence) {
            return Err(Failure::Release(
                release.sequence,
                format!("{} (found before; not tried again)", failure.reason),
            ));
        }
        let current = self.current();
        match current {
            Some(generation) if generation.release == release => {
                let number = generation.number;
                let line = format!(
                    "release {} is generation {number} already; every file verified",
                    release.sequence
                );
                self.progress.say("reading", line);
                Ok(generation)
            }
            current => self.update(release, envelope, current.as_ref()),
        }
    }

    /// The current generation, if it is sound; what is wrong with it is said.
    fn current(&mut self) -> Option<Generation> {
        let number = self.layout.current_number().ok().flatten()?;
        let sound = self.believed().sound(&self.layout, number);
        sound
            .map_err(|lines| lines.into_iter().for_each(|line| self.progress.warn("reading", line)))
            .ok()
    }

    fn update(
        &mut self,
        release: Release,
        envelope: Vec<u8>,
        current: Option<&Generation>,
    ) -> Result<Generation, Failure> {
        let sequence = release.sequence;
        let flists = content::flists(&*self.store, &self.layout, &release)?;
        let contents = Contents::new(&*self.store, &release, &flists, current.is_none());
        let wanted = contents.wanted(&release, envelope)?;
        let of_update = |error| Failure::of_update(sequence, error);
        let plan = make_plan(&self.layout, &wanted, current).map_err(of_update)?;
        say_plan(&mut self.progress, &plan);
        let job = Job {
            layout: &self.layout,
            wanted: &wanted,
            content: &contents,
        };
        let mut watch = Watch {
            progress: &mut self.progress,
            fetched: &mut self.fetched,
            fetching: false,
        };
        execute(&self.lock, &job, &plan, &mut watch).map_err(of_update)?;
        let number = plan.generation;
        Ok(Generation {
            number,
            release,
            wanted,
        })
    }

    /// Has my_init start what is current.
    pub fn start(&mut self, generation: &Generation, phase: &'static str, line: String) {
        self.progress.release = Some(generation.release.sequence);
        self.progress.generation = Some(generation.number);
        (self.progress.waiting_for, self.progress.tries) = (None, 0);
        self.progress.say(phase, line);
        match rpc::call(&self.socket, "system.reload", Value::Null) {
            Ok(_) => {}
            Err(RpcError::Absent(path)) => println!("{}: no my_init here, nothing to start", path.display()),
            Err(error) => eprintln!("my_init could not start it: {error}; try: my_init reload"),
        }
    }

    /// A generation that may be started without the channel, made current.
    pub fn stored(&mut self) -> Option<Generation> {
        let mut complaints = Vec::new();
        let best = self.believed().best(&self.layout, &mut |line| complaints.push(line));
        complaints
            .into_iter()
            .for_each(|line| self.progress.warn("reading", line));
        let best = best?;
        if self.layout.current_number().ok().flatten() != Some(best.number)
            && let Err(error) = switch_to(&self.lock, &self.layout, best.number)
        {
            self.progress.warn("failed", error.to_string());
            return None;
        }
        Some(best)
    }

    /// Remembers a release that cannot work.
    pub fn remember_failure(&mut self, sequence: u64, reason: &str) {
        if self.state.failure(sequence).is_none() {
            self.state.fail(sequence, reason.to_owned());
            if let Err(error) = self.state.save(&self.layout) {
                self.progress.warn("failed", error.to_string());
            }
        }
    }

    fn believed(&self) -> Believed<'_> {
        Believed {
            environment: &self.settings.environment,
            keys: &self.keys,
            minimum_sequence: self.state.minimum_sequence,
        }
    }

    fn trust(&self) -> Trust {
        let mut trust = Trust::new(self.settings.environment.clone(), self.keys.clone());
        trust.sequence = self.state.highest_sequence.max(self.state.minimum_sequence);
        // A damaged state file must not open the way back: what is installed was trusted once.
        let number = self.layout.current_number().ok().flatten();
        if let Some(release) = number.and_then(|number| self.believed().release(&self.layout, number)) {
            trust = trust.seen(&release);
        }
        let floor = self.settings.built.max(self.state.time_floor);
        trust.not_before(Timestamp::from_second(floor).unwrap_or(Timestamp::UNIX_EPOCH))
    }

    /// Writes down what a believed release tells, before anything of it is fetched.
    fn remember(&mut self, release: &Release, envelope: &[u8]) -> Result<(), Failure> {
        let state = &mut self.state;
        state.highest_sequence = state.highest_sequence.max(release.sequence);
        state.minimum_sequence = state.minimum_sequence.max(release.minimum_sequence);
        state.time_floor = state.time_floor.max(release.created.as_second());
        state.last_verified = Timestamp::now().as_second();
        let path = self.layout.channel().join(RELEASE);
        let written = durable::write(&path, envelope, 0o644);
        written.map_err(|error| Failure::Node(format!("cannot write {}: {error}", path.display())))?;
        self.state
            .save(&self.layout)
            .map_err(|error| Failure::Node(error.to_string()))
    }
}

/// Why a node cannot even begin.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The settings.
    #[error("{0}")]
    Settings(String),
    /// The state directory.
    #[error(transparent)]
    State(#[from] UpdateError),
}

fn read_settings(arguments: &Arguments) -> Result<Settings, OpenError> {
    use std::io::Read as _;
    let path = arguments.config();
    let mut text = String::new();
    let read = std::fs::File::open(&path).and_then(|file| file.take(LARGEST_SETTINGS).read_to_string(&mut text));
    read.map_err(|error| OpenError::Settings(format!("cannot read {}: {error}", path.display())))?;
    let mut settings = Settings::parse(&path.display().to_string(), &text).map_err(OpenError::Settings)?;
    // Another mirror; the signature still decides.
    if let Some(channel) = kernel_value(&arguments.kernel_command_line(), "mos.channel") {
        settings.channel = channel.to_owned();
    }
    Ok(settings)
}

fn make_plan(layout: &Layout, wanted: &Wanted, current: Option<&Generation>) -> Result<Plan, UpdateError> {
    let mut installed = Installed::scan(layout, current)?;
    installed.verify(layout, wanted);
    plan(layout.root(), &installed, wanted)
}

fn say_plan(progress: &mut Progress, plan: &Plan) {
    let (sequence, objects, bytes) = (plan.sequence, plan.fetches().count(), plan.fetch_bytes);
    let line = format!(
        "release {sequence}: {objects} files to fetch ({bytes} bytes), {} there already",
        plan.present
    );
    progress.say("downloading", line);
}

/// Shows the steps.
struct Watch<'a> {
    progress: &'a mut Progress,
    fetched: &'a mut usize,
    fetching: bool,
}

impl Observer for Watch<'_> {
    fn step(&mut self, step: &Step, number: usize, total: usize) {
        // The step before is done when the next begins.
        *self.fetched += usize::from(self.fetching);
        self.fetching = matches!(step, Step::Fetch(_));
        if matches!(step, Step::Fetch(_) | Step::Begin | Step::Switch) {
            self.progress
                .note("downloading", format!("step {number} of {total}: {step}"));
        }
    }
}
