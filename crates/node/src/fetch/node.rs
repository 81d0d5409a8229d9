//! One node at work on its channel: attempts, and what is started in the end.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use mos_channel::{Fetched, PublicKey, RELEASE, Release, Trust, fetch_release};
use mos_store::{Authorities, Options, Read, Schedule, Timeouts, open_read_with};
use mos_sys::durable;
use mos_update::{
    Generation, Installed, Job, Layout, Lock, Observer, Plan, State, Step, UpdateError, Wanted, execute, plan,
    switch_to,
};
use serde_json::{Value, json};

use super::content::{self, Contents};
use super::failure::Failure;
use super::progress::{Phase, Progress};
use super::stored::Believed;
use crate::arguments::{Arguments, kernel_value};
use crate::exit::Exit;
use crate::rpc::{self, NOT_FOUND, RpcError};
use crate::settings::Settings;

/// A channel that does not answer within these is tried again later.
const TIMEOUTS: Timeouts = Timeouts {
    connect: Duration::from_secs(5),
    read: Duration::from_secs(10),
    total: Duration::from_secs(300),
};
/// The release is small: a server that trickles it is no better than one that is silent.
const RELEASE_TIMEOUTS: Timeouts = Timeouts {
    total: Duration::from_secs(15),
    ..TIMEOUTS
};
/// Each attempt is one try; the waits in between are ours, so that the console shows them.
const ONE_TRY: Schedule = Schedule {
    first: Duration::ZERO,
    cap: Duration::ZERO,
    tries: 1,
};
/// The service of the image that runs `mos-node fetch`.
pub const FETCH: &str = "runtime-fetch";
/// The service of the image that runs `mos-node watch`.
pub const WATCH: &str = "runtime-watch";
/// Who may vouch for the channel's server, from the signed boot image.
const AUTHORITIES: &str = "/etc/mos/ca.pem";
const AUTHORITIES_HINT: &str =
    "name a PEM file with the server's authority in `ca` of the environment, and make a new image";
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
    store: Arc<dyn Read>,
    releases: Box<dyn Read>,
    verified: PathBuf,
    sets_clock: bool,
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
        let store = open_store(arguments, &settings.channel, TIMEOUTS)?;
        let releases = open_store(arguments, &settings.channel, RELEASE_TIMEOUTS)?;
        let layout = Layout::new(arguments.state());
        let lock = layout.lock()?;
        let loaded = State::load(&layout);
        let mut progress = Progress::new(arguments.progress(), &settings.environment);
        if let Some(complaint) = loaded.complaint {
            progress.warn(Phase::Reading, complaint);
        }
        let mut node = Self {
            settings,
            progress,
            socket: arguments.socket(),
            keys,
            layout,
            lock,
            state: loaded.state,
            store: store.into(),
            releases,
            verified: arguments.verified(),
            // Below another root there is no machine whose clock would be ours.
            sets_clock: arguments.root.is_none(),
            fetched: 0,
        };
        // The state file is not signed and may be lost; the releases beside it are, and say the same.
        for release in node.believed().seen(&node.layout) {
            node.state.learn(&release);
        }
        node.correct_clock();
        Ok(node)
    }

    /// A clock that says what cannot be is set to the earliest time that can: certificates and logs depend on it.
    fn correct_clock(&mut self) {
        let (says, floor) = (Timestamp::now(), self.floor());
        if says >= floor || !self.sets_clock {
            return;
        }
        let time = rustix::time::Timespec {
            tv_sec: floor.as_second(),
            tv_nsec: 0,
        };
        let line = match rustix::time::clock_settime(rustix::time::ClockId::Realtime, time) {
            Ok(()) => {
                format!("the clock said {says:.0}; set to {floor}, when the newest known release or image was made")
            }
            Err(error) => format!("the clock says {says:.0}, which is before {floor}, and cannot be set: {error}"),
        };
        self.progress.warn(Phase::Reading, line);
    }

    /// It is at least this late.
    fn floor(&self) -> Timestamp {
        latest(&[self.settings.built, self.state.time_floor])
    }

    /// The time, as far as it is known.
    pub fn now(&self) -> Timestamp {
        Timestamp::now().max(self.floor())
    }

    /// One attempt to have the channel's release current. Says which generation that is.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn attempt(&mut self) -> Result<Generation, Failure> {
        self.progress
            .note(Phase::Reading, format!("reading {}", self.settings.channel));
        let trust = self.trust();
        let Fetched { release, envelope } = fetch_release(&*self.releases, &trust, self.now())?;
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
                self.progress.say(Phase::Reading, line);
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
            .map_err(|lines| {
                lines
                    .into_iter()
                    .for_each(|line| self.progress.warn(Phase::Reading, line))
            })
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
        let contents = Contents::new(&self.store, &release, flists, current.is_none());
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

    /// Has my_init start a verified generation; false when that did not work, which is said.
    #[must_use]
    pub fn start(&mut self, generation: &Generation, phase: Phase, line: String) -> bool {
        self.progress.release = Some(generation.release.sequence);
        self.progress.generation = Some(generation.number);
        (self.progress.tries, self.progress.next_try) = (0, None);
        if phase == Phase::Started {
            self.progress.is_online();
        }
        self.progress.say(phase, line);
        if let Err(error) = self.vouch_for(generation.number) {
            let path = self.verified.display();
            self.progress.warn(
                Phase::Failed,
                format!("cannot link {path}: {error}; nothing is started"),
            );
            return false;
        }
        match rpc::call(&self.socket, "system.reload", Value::Null) {
            Ok(_) => {}
            Err(RpcError::Absent(path)) => println!("{}: no my_init here, nothing to start", path.display()),
            Err(error) => {
                let line = format!("my_init could not start it: {error}; try: my_init reload");
                self.progress.warn(Phase::Failed, line);
                return false;
            }
        }
        true
    }

    /// Has my_init see to it that the channel is tried on after this program has ended.
    pub fn have_it_watched(&self) {
        let params = json!({ "name": WATCH });
        if let Err(RpcError::Refused { code: NOT_FOUND, .. }) = rpc::call(&self.socket, "service.start", params) {
            eprintln!("this image has no service {WATCH}: once the channel answers again, mosctl restart {FETCH}");
        }
    }

    /// Links a generation to where my_init reads services and `/var/cache/bin` points. That is in memory: at the next
    /// boot nothing is vouched for until it was verified again.
    fn vouch_for(&self, number: u64) -> std::io::Result<()> {
        if let Some(parent) = self.verified.parent() {
            std::fs::create_dir_all(parent)?;
        }
        let generation = std::path::absolute(self.layout.generation(number))?;
        durable::symlink(&generation, &self.verified)
    }

    /// Takes back what was vouched for: what runs goes on, but nothing is started from there any more.
    pub fn vouch_for_nothing(&mut self) {
        self.progress.generation = None;
        match std::fs::remove_file(&self.verified) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                eprintln!("cannot remove {}: {error}", self.verified.display());
            }
            _ => {}
        }
    }

    /// A generation that may be started without the channel, made current.
    pub fn stored(&mut self) -> Option<Generation> {
        let mut complaints = Vec::new();
        let best = self.believed().best(&self.layout, &mut |line| complaints.push(line));
        complaints
            .into_iter()
            .for_each(|line| self.progress.warn(Phase::Reading, line));
        let best = best?;
        if self.layout.current_number().ok().flatten() != Some(best.number)
            && let Err(error) = switch_to(&self.lock, &self.layout, best.number)
        {
            self.progress.warn(Phase::Failed, error.to_string());
            return None;
        }
        Some(best)
    }

    /// Remembers a release that cannot work, so that it is not tried again.
    pub fn remember_failure(&mut self, failure: &Failure) {
        let Failure::Release(sequence, reason) = failure else {
            return;
        };
        let sequence = *sequence;
        if self.state.failure(sequence).is_none() {
            self.state.fail(sequence, reason.clone());
            if let Err(error) = self.state.save(&self.layout) {
                self.progress.warn(Phase::Failed, error.to_string());
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
        trust.not_before(self.floor())
    }

    /// Writes down what a believed release tells, before anything of it is fetched.
    fn remember(&mut self, release: &Release, envelope: &[u8]) -> Result<(), Failure> {
        self.state.learn(release);
        self.correct_clock();
        self.state.last_verified = self.now().as_second();
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

impl OpenError {
    /// How the program ends.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Settings(_) => Exit::Usage,
            Self::State(UpdateError::Locked(_)) => Exit::Locked,
            Self::State(_) => Exit::Problem,
        }
    }
}

fn open_store(arguments: &Arguments, channel: &str, timeouts: Timeouts) -> Result<Box<dyn Read>, OpenError> {
    let options = Options {
        timeouts,
        schedule: ONE_TRY,
        observer: None,
        authorities: Authorities {
            file: arguments.below_root(AUTHORITIES),
            hint: AUTHORITIES_HINT.into(),
        },
    };
    open_read_with(channel, &options).map_err(|error| OpenError::Settings(error.to_string()))
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
    progress.say(Phase::Downloading, line);
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
                .note(Phase::Downloading, format!("step {number} of {total}: {step}"));
        }
    }
}

/// The latest of these seconds since 1970; one that no clock can show does not count.
fn latest(seconds: &[i64]) -> Timestamp {
    let times = seconds.iter().filter_map(|second| Timestamp::from_second(*second).ok());
    times.max().unwrap_or(Timestamp::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forged_time_floor_does_not_take_away_the_image_s_own() {
        assert_eq!(latest(&[1_790_000_000, i64::MAX]).as_second(), 1_790_000_000);
        assert_eq!(latest(&[1_790_000_000, 1_800_000_000]).as_second(), 1_800_000_000);
        assert_eq!(latest(&[i64::MAX, i64::MIN]), Timestamp::UNIX_EPOCH);
    }
}
