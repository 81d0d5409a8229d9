//! The loop: sleeps until something happens, tells the supervisor, does what it says.
//!
//! | file | concern |
//! |---|---|
//! | `setup` | how a driver is set up |
//! | `token` | what an event belongs to |
//! | `words` | what we say ourselves |
//! | `slot` | what a service has in the real world: process, log, notify socket |
//! | `family` | who our processes are |
//! | `ends` | processes that have ended, and what follows |
//! | `conditions` | what a service file asks for, for the kernel |
//! | `launch` | starting processes |
//! | `instances` | instances of templates that somebody asks for |
//! | `guards` | whether anybody is in the way of a service |
//! | `legacy` | what a supervisor leaves to its successor |
//! | `load` | service files, as they are now |
//! | `reload` | reading the service files again |
//! | `events` | what happens, to those who asked |
//! | `inspect` | what a service uses and consists of |
//! | `lines` | the line protocol of zinit up to 0.2.14 |
//! | `define` | services that come and go while we run |
//! | `usage` | how much of a processor a service uses |
//! | `limit_hits` | whether a service ended because of a limit |
//! | `operator` | shells on the consoles, and what follows a critical failure |
//! | `skip` | whether the conditions of a service hold |
//! | `ready` | the newline with which a service says that it is ready |
//! | `farewell` | what asks for an end |
//! | `xinet` | proxies, as the ancestor's clients ask for them |
//! | `sockets` | sockets that are open before their service runs |
//! | `hotplug` | devices that come and go |
//! | `buttons` | power buttons |
//! | `watch` | the hardware watchdog |
//! | `wall_clock` | whoever sets the clock |
//! | `probes` | health probes on the wire |
//! | `descriptors` | room among open files |
//! | `stops` | stops and restarts by hand, and what goes with them |
//! | `streams` | what goes on being sent to those who asked for it |
//! | `strays` | processes that outlive the service they belong to |
//! | `control` | the control socket |
//! | `turns` | whose requests are answered when, and what clients may cost |
//! | `answers` | requests to answers |
//! | `follow` | logs that somebody reads along |
//! | `filter` | lines of a log, chosen by time and text |
//! | `intake` | logs of the kernel, of `/dev/log`, and our own |
//! | `files` | the process that writes logs to files |

mod answers;
mod buttons;
mod conditions;
mod control;
mod define;
mod descriptors;
mod ends;
mod events;
mod family;
mod farewell;
mod files;
mod filter;
mod follow;
mod guards;
mod hotplug;
mod inspect;
mod instances;
mod intake;
mod launch;
mod legacy;
mod limit_hits;
mod lines;
mod load;
mod operator;
mod probes;
mod ready;
mod reload;
mod setup;
mod skip;
mod slot;
mod sockets;
mod stops;
mod strays;
mod streams;
mod token;
mod turns;
mod usage;
mod wall_clock;
mod watch;
mod words;
mod xinet;

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use mos_sys::shared_pid::SharedPid;
use mos_sys::spawn::Pad;
use rustix::event::epoll::{self, EventFlags};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::alarm::Alarm;
use crate::clock::{self, Millis};
use crate::console::Console;
use crate::exits::Exits;
use crate::journal::Journal;
use crate::keeper::Kept;
use crate::logs::syslog;
use crate::power::PowerButtons;
use crate::supervisor::{Action, Goal, Id, Supervisor};
use crate::watchdog::Watchdog;
use control::Control;
use family::Family;
use hotplug::Hotplug;
use operator::Operators;
use probes::Probes;
pub use setup::Setup;
use slot::Slot;
use strays::Strays;
use token::{Token, data};

/// Why a driver has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Everything is down.
    Goal(Goal),
    /// Another program is to go on from here.
    Upgrade,
}

/// So many events are taken at once; more come the next time round.
const EVENTS: usize = 64;
/// So many actions are done before events are looked at again, so that a thousand starts do not make a service wait
/// that writes to its log.
const ACTIONS: usize = 32;
/// The size of the buffer for everything that is read.
const BUFFER: usize = 64 * 1024;

/// Whom a child process belongs to.
#[derive(Debug, Clone, Copy)]
enum Owner {
    Service(Id),
    Probe(Id),
    Operator,
    LogWriter,
    Plug,
}

/// The loop and everything it looks after.
#[derive(Debug)]
pub struct Driver {
    setup: Setup,
    supervisor: Supervisor,
    console: Console,
    console_watched: bool,
    epoll: OwnedFd,
    exits: &'static Exits,
    /// How far the records of ends were read.
    place: u64,
    journal: &'static mut Journal,
    /// The process that was started last.
    starting: &'static SharedPid,
    /// Rings when executing a program takes too long.
    alarm: &'static Alarm,
    /// What was last noted of the node.
    noted: Option<legacy::NodeMark>,
    /// Services of which something is to be written, see [`Journal::commit`].
    unwritten: Vec<Id>,
    /// How far the records of ends had been read when that was last noted.
    noted_place: u64,
    /// Service files were read, and much memory freed that nobody will need again soon.
    loaded: bool,
    /// Another program is to take over.
    upgrading: bool,
    /// It was said that nothing can be noted.
    complained: bool,
    control: Control,
    slots: HashMap<Id, Box<Slot>>,
    intake: intake::Intake,
    /// Who writes logs to files.
    writer: files::LogWriter,
    /// Who is sent logs or events.
    streams: Vec<streams::Stream>,
    sockets: HashMap<Id, Vec<sockets::Bound>>,
    /// Tells when somebody sets the clock.
    clock: Option<OwnedFd>,
    /// Where the directories of service files were when they were read last.
    places: reload::Places,
    /// What the logs take of memory, in bytes.
    log_memory: u64,
    /// How many logs have a file.
    open_logs: usize,
    /// Sockets of services that may still be noted.
    retired: Vec<OwnedFd>,
    family: Family,
    /// Services for which somebody has to make way.
    clearings: Vec<guards::Clearing>,
    probes: Probes,
    strays: Strays,
    power: Option<PowerButtons>,
    watchdog: Option<Watchdog>,
    hotplug: Option<Hotplug>,
    operators: Operators,
    pad: Pad,
    environment: launch::Environment,
    /// What instances are made of when somebody asks for one.
    templates: Vec<mos_service::Template>,
    buffer: Vec<u8>,
}

impl Driver {
    /// Sets everything up, or takes over what the last supervisor left; services start when it runs.
    ///
    /// # Errors
    /// Whatever the system says, with what it was about.
    pub fn new(setup: Setup, console: Console, kept: Kept) -> io::Result<Self> {
        let named =
            |what: &'static str| move |error: io::Error| io::Error::new(error.kind(), format!("{what}: {error}"));
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)
            .map_err(io::Error::from)
            .map_err(named("epoll"))?;
        let Kept {
            exits,
            journal,
            starting,
            alarm,
            rang,
            mut leftovers,
            last,
            refused,
        } = kept;
        // Who goes on without knowing what there was would start everything twice: then rather not at all, and anew.
        let memories = journal.read().map_err(named("what the last supervisor knew"))?;
        let pad = Pad::new().map_err(named("/dev/null"))?;
        let control = match legacy::listener(&memories, &mut leftovers) {
            Some(listener) => Control::resume(listener),
            None => Control::listen(&setup.socket)
                .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", setup.socket.display())))?,
        };
        let power = setup.machine.then(PowerButtons::watch).transpose();
        let mut driver = Self {
            supervisor: Supervisor::new(setup.settings.clone()),
            console,
            console_watched: false,
            epoll,
            exits,
            place: 0,
            journal,
            starting,
            alarm,
            noted: None,
            noted_place: 0,
            unwritten: Vec::new(),
            loaded: false,
            upgrading: false,
            complained: false,
            control,
            slots: HashMap::new(),
            intake: intake::Intake::default(),
            writer: files::LogWriter::default(),
            streams: Vec::new(),
            sockets: HashMap::new(),
            clock: None,
            places: reload::places(&setup.services),
            log_memory: 0,
            open_logs: 0,
            retired: Vec::new(),
            family: Family::default(),
            clearings: Vec::new(),
            probes: Probes::default(),
            strays: Strays::default(),
            power: None,
            watchdog: None,
            hotplug: None,
            operators: Operators::default(),
            pad,
            environment: launch::Environment::inherited(),
            templates: Vec::new(),
            buffer: vec![0; BUFFER],
            setup,
        };
        match power {
            Ok(power) => driver.power = power,
            Err(error) => driver.say(&format!("the power button is not listened to: {error}")),
        }
        if let Err(error) = driver.watch_all() {
            // The control socket is the next supervisor's.
            std::mem::forget(driver);
            return Err(error);
        }
        driver.expect_operators();
        driver.expect_devices();
        driver.begin(memories, leftovers, rang);
        // What the last supervisor had for itself is closed by now: its low numbers are free again.
        driver.pad = Pad::new().unwrap_or(driver.pad);
        descriptors::leave_for_successor();
        driver.tell_last(last.filter(|_| !rang), refused);
        Ok(driver)
    }

    fn watch_all(&self) -> io::Result<()> {
        epoll::add(&self.epoll, self.exits, data(Token::Exits), EventFlags::IN)?;
        epoll::add(
            &self.epoll,
            self.control.listener(),
            data(Token::Listener),
            EventFlags::IN,
        )?;
        if let Some(power) = &self.power {
            epoll::add(&self.epoll, power.watcher(), data(Token::PowerWatch), EventFlags::IN)?;
            for (index, button) in power.buttons() {
                epoll::add(&self.epoll, button, data(Token::PowerButton(index)), EventFlags::IN)?;
            }
        }
        Ok(())
    }

    /// Starts the services and goes on until the machine is to be taken down; then every service has ended or its time
    /// to do so is over.
    ///
    /// # Errors
    /// When epoll itself fails, which leaves nothing to wait with.
    pub fn run(&mut self) -> io::Result<End> {
        let mut events = Vec::with_capacity(EVENTS);
        loop {
            if let Some(goal) = self.act() {
                self.dismiss_writer();
                return Ok(End::Goal(goal));
            }
            if self.upgrading && !self.supervisor.is_busy() {
                self.note_changes();
                return Ok(End::Upgrade);
            }
            self.feed_watchdog();
            self.meet_emergency();
            self.attend_devices();
            self.attend_operators();
            self.attend_writer();
            self.watch_console();
            events.clear();
            self.attend_streams();
            let busy = self.supervisor.is_busy() || self.is_sending() || self.control.waiting().next().is_some();
            if !busy && std::mem::take(&mut self.loaded) {
                mos_sys::memory::trim();
            }
            match epoll::wait(
                &self.epoll,
                rustix::buffer::spare_capacity(&mut events),
                self.timeout(busy).as_ref(),
            ) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            self.begin_turn();
            for event in &events {
                self.handle(Token::decode(event.data.u64()), event.flags);
            }
            self.supervisor.tick(clock::now());
            self.note_changes();
        }
    }

    fn timeout(&self, busy: bool) -> Option<rustix::event::Timespec> {
        let deadlines = [
            self.supervisor.next_deadline(),
            self.operators.deadline(),
            self.writer.deadline(),
            self.watchdog.as_ref().map(Watchdog::due),
            self.hotplug.as_ref().and_then(Hotplug::deadline),
        ];
        let deadline = deadlines.into_iter().flatten().min();
        let wait = if busy {
            0
        } else {
            deadline?.saturating_sub(clock::now())
        };
        Some(rustix::event::Timespec {
            tv_sec: i64::try_from(wait / 1000).unwrap_or(i64::MAX),
            tv_nsec: i64::try_from(wait % 1000).unwrap_or(0) * 1_000_000,
        })
    }

    /// The console is only waited for while something is left to write.
    fn watch_console(&mut self) {
        let behind = self.console.is_behind();
        if behind == self.console_watched {
            return;
        }
        let changed = match behind {
            true => epoll::add(&self.epoll, &self.console, data(Token::Console), EventFlags::OUT),
            false => epoll::delete(&self.epoll, &self.console),
        };
        // A plain file cannot be waited for, and never makes anybody wait either.
        self.console_watched = behind && changed.is_ok();
    }

    fn handle(&mut self, token: Token, flags: EventFlags) {
        match token {
            Token::Exits => self.take_exits(),
            Token::Console => self.console.flush(),
            Token::Listener => self.accept(),
            Token::Connection(index) => self.serve(index, flags),
            Token::Log(id) => self.read_log(id),
            Token::Notify(id) => self.read_notify(id),
            Token::Ready(id) => self.read_ready(id),
            Token::Holder(id) => self.holder_ended(id),
            Token::Probe(id) => self.advance_probe(id),
            Token::Socket(id) => self.connection(id),
            Token::LogWriter => self.hear_writer(flags),
            Token::Clock => self.clock_was_set(),
            Token::Kmsg => self.read_kmsg(),
            Token::Syslog => self.read_syslog(),
            Token::Uevents => self.hear_devices(),
            Token::PowerWatch => self.find_power_buttons(),
            Token::PowerButton(index) => self.read_power_button(index),
        }
    }

    /// Does what the supervisor says, up to a limit; what is left is done the next time round.
    fn act(&mut self) -> Option<Goal> {
        for _ in 0..ACTIONS {
            let action = self.supervisor.take()?;
            if self.setup.debug {
                self.say_at(syslog::DEBUG, &format!("debug: {action:?}"));
            }
            match action {
                Action::Print(line) => self.say(&line),
                Action::PrintWithLog(id, line) => self.say_with_log(id, line),
                Action::Spawn(id) => self.spawn(id),
                Action::Signal(id, signal) => self.signal(id, signal.0),
                Action::Kill(id) => self.kill(id),
                Action::Probe(id) => self.start_probe(id),
                Action::CancelProbe(id) => self.cancel_probe(id),
                Action::CloseSockets(id) => self.close_sockets(id),
                Action::Forget(id, name) => self.forget(id, &name),
                Action::Finish(goal) => return Some(goal),
            }
        }
        None
    }

    fn signal(&mut self, id: Id, number: i32) {
        let pid = self.supervisor.unit(id).and_then(|unit| unit.pid());
        // Who has ended, or does just now: its end is on its way to us.
        let pid = pid.filter(|pid| !self.is_gone(*pid));
        let pid = pid.and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
        let signal = Signal::from_named_raw(number);
        if let (Some(pid), Some(signal)) = (pid, signal) {
            let _ = kill_process_group(pid, signal);
        }
    }

    fn kill(&mut self, id: Id) {
        self.signal(id, Signal::KILL.as_raw());
        self.kill_cgroup(id);
    }

    fn forget(&mut self, id: Id, name: &str) {
        // Its descriptors are closed, and their numbers are somebody else's from then on.
        self.note_changes();
        self.close_sockets(id);
        self.give_up_clearing(id);
        if let Some(slot) = self.slots.remove(&id) {
            self.log_memory = self.log_memory.saturating_sub(slot.log.memory());
            self.open_logs -= usize::from(slot.log.number().is_some());
            slot.close(&self.epoll);
            self.forget_log(id);
            self.untell_writer(name);
        }
    }

    /// For taking the machine down: the console, to say the last words on.
    pub fn into_console(self) -> Console {
        self.console
    }

    /// Removes the control socket.
    pub fn close(&self) {
        let _ = std::fs::remove_file(&self.setup.socket);
        let _ = std::fs::remove_dir_all(self.notify_directory());
    }

    fn now(&self) -> Millis {
        clock::now()
    }
}

/// Stops watching a descriptor that is about to be closed; closing alone does not do it while a copy is open.
fn unwatch(epoll: &OwnedFd, source: impl AsFd) {
    let _ = epoll::delete(epoll, source);
}
