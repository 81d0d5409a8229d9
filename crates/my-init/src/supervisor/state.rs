//! What is known of one service.

use std::fmt;

use mos_service::{Kind, Service, Signal, Status};

use super::Id;
use crate::clock::{Millis, seconds};

/// Where a service stands. Each state claims only what was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Not running and not meant to, or about to be looked at.
    Inactive,
    /// Meant to run, but something it needs is not there yet.
    Blocked,
    /// Its process is alive (or about to be), but has not shown that it is ready. A oneshot that runs.
    Starting,
    /// Without a process; its sockets are open, and whoever connects starts it.
    Listening,
    /// Alive, and ready as far as the service file says how to tell.
    Running,
    /// Alive, was ready, and unhealthy.
    Degraded,
    /// Asked to end.
    Stopping,
    /// Failed, and will be started again.
    Restarting,
    /// Ended well.
    Exited,
    /// Left out, because this condition does not hold.
    Skipped(String),
    /// Failed for good.
    Failed(Reason),
}

impl State {
    /// The state's word in the control protocol.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Inactive => "inactive",
            Self::Blocked => "blocked",
            Self::Starting => "starting",
            Self::Listening => "listening",
            Self::Running => "running",
            Self::Degraded => "degraded",
            Self::Stopping => "stopping",
            Self::Restarting => "restarting",
            Self::Exited => "exited",
            Self::Skipped(_) => "skipped",
            Self::Failed(_) => "failed",
        }
    }

    /// Why it is in this state, where that is not plain.
    fn reason(&self) -> Option<String> {
        match self {
            Self::Failed(reason) => Some(reason.to_string()),
            Self::Skipped(condition) => Some(condition.clone()),
            _ => None,
        }
    }

    /// True while it has, or may have, a process; for a target, while it runs.
    pub fn is_active(&self) -> bool {
        matches!(self, Self::Starting | Self::Running | Self::Degraded | Self::Stopping)
    }

    /// True when it has no process and does not wait for anything either.
    pub(super) fn is_at_rest(&self) -> bool {
        matches!(self, Self::Inactive | Self::Exited | Self::Skipped(_) | Self::Failed(_))
    }

    /// True when a service that requires this one may start.
    pub(super) fn satisfies(&self) -> bool {
        matches!(self, Self::Running | Self::Exited | Self::Skipped(_))
    }
}

/// Why a service failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// It ended with this code.
    ExitCode(i32),
    /// A signal ended it.
    Signal(i32),
    /// It ended with code 0 before it was ready.
    EndedEarly,
    /// It was not ready in time (milliseconds).
    StartTimeout(Millis),
    /// Its health probe failed too often; the last error.
    Health(String),
    /// What it requires has failed.
    DependencyFailed(String),
    /// What it requires is not defined.
    MissingDependency(String),
    /// Its process could not be started.
    Spawn(String),
    /// It waits for itself.
    Cycle(String),
    /// This has happened to a service that it follows.
    Followed(String),
    /// It ended so after it had hit a limit.
    Limit(LimitHit, Exit),
}

/// A limit that a service has hit since it was started, and how often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitHit {
    /// Of memory: the kernel killed so many of its processes.
    Memory(u64),
    /// Of processes and threads: the kernel refused it one so many times.
    Tasks(u64),
}

impl Reason {
    /// True when another service is to blame, so that a change there is a reason to look again.
    pub(super) fn is_dependency(&self) -> bool {
        matches!(self, Self::DependencyFailed(_) | Self::MissingDependency(_))
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ExitCode(code) => Exit::Code(*code).fmt(f),
            Self::Signal(number) => Exit::Signal(*number).fmt(f),
            Self::EndedEarly => f.write_str("exit code 0 before it was ready"),
            Self::StartTimeout(limit) => write!(f, "not ready within {}", seconds(*limit)),
            Self::Health(error) => write!(f, "unhealthy: {error}"),
            Self::DependencyFailed(name) => write!(f, "requires {name}, which failed"),
            Self::MissingDependency(name) => write!(f, "requires {name}, which no service file defines"),
            Self::Spawn(error) => write!(f, "cannot be started: {error}"),
            Self::Cycle(walk) => write!(f, "waits for itself: {walk}"),
            Self::Followed(what) => f.write_str(what),
            Self::Limit(LimitHit::Memory(count), exit) => {
                write!(f, "{exit}, out of memory: the kernel killed {count} of its processes")
            }
            Self::Limit(LimitHit::Tasks(count), exit) => {
                write!(
                    f,
                    "{exit}, out of processes: tasks_max kept it from making one {count} times"
                )
            }
        }
    }
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// By itself, with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(number) => write!(f, "killed by {}", Signal(*number)),
        }
    }
}

/// What follows when a service that is being stopped has ended.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) enum AfterStop {
    /// Nothing.
    #[default]
    Rest,
    /// It starts anew.
    Again,
    /// It has failed for this reason; the restart policy decides.
    Fail(Reason),
}

/// One service and all that is known of it.
#[derive(Debug)]
pub struct Unit {
    pub(super) service: Service,
    pub(super) state: State,
    /// It is meant to run.
    pub(super) wanted: bool,
    /// Why it is not meant to run, when something has happened to that end; otherwise its file says so.
    pub(super) put_down: Option<Box<str>>,
    /// It is to be forgotten as soon as it has ended.
    pub(super) gone: bool,
    pub(super) pid: Option<u32>,
    pub(super) since: Millis,
    pub(super) spawned: Option<Millis>,
    pub(super) ready: Option<Millis>,
    /// How often it has begun or ended.
    pub(super) turns: u64,
    /// The turns of those that it follows, at its own start.
    pub(super) seen: Vec<(String, u64)>,
    /// Restarts in a row.
    pub(super) attempts: u32,
    /// Restarts ever, by hand or not.
    pub(super) restarts: u64,
    /// Those of them that somebody asked for.
    pub(super) restarts_by_hand: u64,
    pub(super) last_failure: Option<Reason>,
    /// It has ended well, or not at all, since it failed.
    pub(super) ended_well: bool,
    pub(super) after_stop: AfterStop,
    pub(super) notified: bool,
    /// What it last said of itself (`STATUS=`).
    pub(super) status: String,
    pub(super) probing: bool,
    /// Failed probes in a row.
    pub(super) probe_failures: u32,
    pub(super) probe_error: String,
    /// Good answers in a row since it is unhealthy.
    pub(super) probe_successes: u32,
    /// When the last probe was answered, well or badly.
    pub(super) probed_at: Option<Millis>,
    /// Its probes failed so often that it is taken for ill.
    pub(super) unhealthy: bool,
    /// Identity of the files it runs: another value means it should be restarted.
    pub(super) stamp: u64,
    pub(super) needs: Vec<Id>,
    pub(super) dependents: Vec<Id>,
    pub(super) rivals: Vec<Id>,
    /// Something has changed since a successor was last told.
    pub(super) touched: bool,
    /// It counts among those that `ready` waits for.
    pub(super) unsettled: bool,
    /// The group that it is in.
    pub(super) group: Option<Id>,
    /// It has ended without being asked, and its group has not done yet what follows from that.
    pub(super) drags: bool,
    /// When it is started, for one that is started at times.
    pub(super) timing: Option<Box<super::schedule::Timing>>,
    /// Those before which it is a service.
    pub(super) proxies: Vec<Id>,
    /// A proxy has started it, and stops it again.
    pub(super) pulled: bool,
    /// It is to go, once those have gone that go with it.
    pub(super) leaving: Option<super::leave::Leaving>,
    /// Its sockets are open.
    pub(super) bound: bool,
    /// Somebody has connected or asked for it: it is to have a process, not only sockets.
    pub(super) triggered: bool,
    /// It is an instance of a template that exists because somebody asked for it.
    pub(super) requested: bool,
    /// When the last supervisor meant to start it again.
    pub(super) restart_at: Option<Millis>,
}

impl Unit {
    pub(super) fn new(service: Service, stamp: u64, now: Millis) -> Self {
        Self {
            wanted: service.status == Status::Start && service.schedule.is_none(),
            service,
            state: State::Inactive,
            put_down: None,
            gone: false,
            pid: None,
            since: now,
            spawned: None,
            ready: None,
            turns: 0,
            seen: Vec::new(),
            attempts: 0,
            restarts: 0,
            restarts_by_hand: 0,
            last_failure: None,
            ended_well: false,
            after_stop: AfterStop::Rest,
            notified: false,
            status: String::new(),
            probing: false,
            probe_failures: 0,
            probe_error: String::new(),
            probe_successes: 0,
            probed_at: None,
            unhealthy: false,
            stamp,
            needs: Vec::new(),
            dependents: Vec::new(),
            rivals: Vec::new(),
            touched: false,
            unsettled: false,
            group: None,
            drags: false,
            timing: None,
            proxies: Vec::new(),
            pulled: false,
            leaving: None,
            bound: false,
            triggered: false,
            requested: false,
            restart_at: None,
        }
    }

    /// It is not meant to run any more, for this reason.
    pub(super) fn put_down(&mut self, why: impl Into<Box<str>>) {
        self.wanted = false;
        self.put_down = Some(why.into());
    }

    /// Why it is in this state, where that is not plain.
    pub(super) fn cause(&self, state: &State) -> Option<String> {
        match state {
            State::Restarting if self.ended_well => Some(Exit::Code(0).to_string()),
            State::Restarting => self.last_failure.as_ref().map(ToString::to_string),
            State::Degraded if !self.probe_error.is_empty() => {
                Some(Reason::Health(self.probe_error.clone()).to_string())
            }
            state => state.reason(),
        }
    }

    /// What the service file says.
    pub fn service(&self) -> &Service {
        &self.service
    }

    /// Where it stands.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Identity of the files it runs.
    pub fn stamp(&self) -> u64 {
        self.stamp
    }

    /// True when it is known that it is there, but not what its file says.
    pub fn is_unread(&self) -> bool {
        self.service.command.is_none() && matches!(self.service.kind, Kind::Process | Kind::Oneshot)
    }

    /// True when it is only there until it has ended.
    pub fn is_gone(&self) -> bool {
        self.gone
    }

    /// When its process was started last.
    pub fn spawned_at(&self) -> Option<Millis> {
        self.spawned
    }

    /// What it last said of itself.
    pub fn status_text(&self) -> &str {
        &self.status
    }

    /// Its process.
    pub fn pid(&self) -> Option<u32> {
        self.pid
    }

    /// True when nothing more is going to happen by itself.
    pub(super) fn is_settled(&self) -> bool {
        match self.state {
            State::Inactive => !self.wanted,
            State::Exited | State::Skipped(_) | State::Failed(_) | State::Running | State::Listening => true,
            _ => false,
        }
    }

    /// Restarts in a row that count now: none once it has run long enough.
    pub(super) fn counted_attempts(&self, now: Millis) -> u32 {
        let ran = match (self.pid, self.ready) {
            (Some(_), Some(ready)) => now.saturating_sub(ready),
            _ => 0,
        };
        self.service.lifecycle.counted(self.attempts, ran)
    }
}
