//! The loop: sleeps until something happens, tells the supervisor, does what it says.
//!
//! | file | concern |
//! |---|---|
//! | `slot` | what a service has in the real world: process, log, notify socket |
//! | `family` | who our processes are |
//! | `conditions` | what a service file asks for, for the kernel |
//! | `launch` | starting processes |
//! | `instances` | instances of templates that somebody asks for |
//! | `guards` | whether anybody is in the way of a service |
//! | `legacy` | what a supervisor leaves to its successor |
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
mod conditions;
mod control;
mod define;
mod descriptors;
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
mod operator;
mod probes;
mod ready;
mod reload;
mod skip;
mod slot;
mod sockets;
mod stops;
mod strays;
mod streams;
mod turns;
mod usage;
mod wall_clock;
mod watch;
mod xinet;

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use mos_sys::shared_pid::SharedPid;
use mos_sys::spawn::Pad;
use rustix::event::epoll::{self, EventFlags};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::alarm::Alarm;
use crate::boot::command_line::CommandLine;
use crate::children;
use crate::clock::{self, Millis};
use crate::console::Console;
use crate::exits::{End as ProcessEnd, Exits, SIGNAL};
use crate::journal::Journal;
use crate::keeper::Kept;
use crate::logs::{Limits, syslog};
use crate::lossy;
use crate::power::PowerButtons;
use crate::supervisor::{Action, Exit, Goal, Id, Settings, Supervisor};
use crate::watchdog::Watchdog;
use control::Control;
use family::Family;
use hotplug::Hotplug;
use operator::Operators;
use probes::Probes;
use slot::Slot;
use strays::Strays;

/// Why a driver has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Everything is down.
    Goal(Goal),
    /// Another program is to go on from here.
    Upgrade,
}

/// How a driver is set up.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Directories of service files, the most important first.
    pub services: Vec<PathBuf>,
    /// The one of them that holds what is added while we run, if any.
    pub state: Option<PathBuf>,
    /// Members of this group may do what root may, as far as the control socket goes.
    pub group: Option<u32>,
    /// Path of the control socket.
    pub socket: PathBuf,
    /// Times.
    pub settings: Settings,
    /// Where the cgroup v2 leaves are made, if anywhere.
    pub cgroups: Option<PathBuf>,
    /// The limit of open files that services get, soft and hard.
    pub open_files: Option<(u64, u64)>,
    /// Listen to the power button, and take every signal as PID 1 does.
    pub machine: bool,
    /// Print every action.
    pub debug: bool,
    /// What the kernel command line says.
    pub line: CommandLine,
    /// This program goes on where another one was.
    pub taken_over: bool,
    /// What all logs together may take.
    pub logs: Limits,
    /// Our own messages are printed on the console up to this level (RFC 5424 section 6.2.1).
    pub log_level: u32,
    /// Where programs say something to us, as to `/dev/log`.
    pub syslog: Option<PathBuf>,
}

/// So many events are taken at once; more come the next time round.
const EVENTS: usize = 64;
/// So many actions are done before events are looked at again, so that a thousand starts do not make a service wait
/// that writes to its log.
const ACTIONS: usize = 32;
/// So many records of ends are taken at once.
const RECORDS: usize = 1024;
/// The size of the buffer for everything that is read.
const BUFFER: usize = 64 * 1024;

/// What an event belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Exits,
    Console,
    Listener,
    Connection(usize),
    Log(Id),
    Notify(Id),
    Ready(Id),
    Holder(Id),
    Probe(Id),
    Socket(Id),
    Clock,
    PowerWatch,
    PowerButton(usize),
    LogWriter,
    Kmsg,
    Syslog,
    Uevents,
}

impl Token {
    const KIND_BITS: u32 = 5;

    fn encode(self) -> u64 {
        let (kind, index) = match self {
            Self::Console => (1, 0),
            Self::Listener => (2, 0),
            Self::Connection(index) => (3, index),
            Self::Log(index) => (4, index),
            Self::Notify(index) => (5, index),
            Self::Probe(index) => (6, index),
            Self::PowerWatch => (7, 0),
            Self::PowerButton(index) => (8, index),
            Self::Exits => (9, 0),
            Self::Ready(index) => (10, index),
            Self::Socket(index) => (11, index),
            Self::LogWriter => (12, 0),
            Self::Holder(index) => (13, index),
            Self::Clock => (14, 0),
            Self::Kmsg => (15, 0),
            Self::Syslog => (16, 0),
            Self::Uevents => (17, 0),
        };
        (index as u64) << Self::KIND_BITS | kind
    }

    fn decode(value: u64) -> Self {
        let index = usize::try_from(value >> Self::KIND_BITS).unwrap_or(usize::MAX);
        match value & ((1 << Self::KIND_BITS) - 1) {
            1 => Self::Console,
            2 => Self::Listener,
            3 => Self::Connection(index),
            4 => Self::Log(index),
            5 => Self::Notify(index),
            6 => Self::Probe(index),
            7 => Self::PowerWatch,
            9 => Self::Exits,
            10 => Self::Ready(index),
            11 => Self::Socket(index),
            12 => Self::LogWriter,
            13 => Self::Holder(index),
            14 => Self::Clock,
            15 => Self::Kmsg,
            16 => Self::Syslog,
            17 => Self::Uevents,
            _ => Self::PowerButton(index),
        }
    }
}

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

    /// Learns who has ended, one after the other: what follows from an end is noted together with how far we have read, and
    /// in the same order. So many at a time that a flood of them leaves time for others.
    fn take_exits(&mut self) {
        for _ in 0..RECORDS {
            let Some((end, next)) = self.next_exit() else {
                self.note_changes();
                return self.end_strays();
            };
            self.take_exit(end, next);
        }
        self.note_changes();
        // There may be more, for which it has rung before we fell silent.
        let _ = self.exits.ring();
        self.end_strays();
    }

    /// The bell falls silent when there is nothing more; what is written in between has rung in vain, so we look again.
    fn next_exit(&self) -> Option<(ProcessEnd, u64)> {
        self.exits.read(self.place).or_else(|| {
            self.exits.hear();
            self.exits.read(self.place)
        })
    }

    fn take_exit(&mut self, end: ProcessEnd, next: u64) {
        let owner = self.whose_end(end);
        let ProcessEnd { pid, exit, .. } = end;
        if let Some(Owner::Service(id)) = owner {
            self.hear_last_words(id);
        }
        // What happened before is noted before: of notes that are written together the last ones are lost when their writer
        // is killed between two pages, and this end would count as read in the note of somebody else.
        self.add_changes();
        self.place = next;
        match (owner, exit) {
            (Some(Owner::Service(id)), _) => self.service_ended(id, pid, exit),
            (Some(Owner::Probe(id)), _) => self.probe_command_ended(id, exit),
            (Some(Owner::Operator), _) => self.operator_left(pid),
            (Some(Owner::Plug), _) => self.plug_ended(),
            (Some(Owner::LogWriter), _) => self.writer_ended(),
            (None, Exit::Signal(number)) if pid == SIGNAL => self.take_signal(number),
            (None, _) => self.strays.ended(pid),
        }
        self.note_much();
        if Exits::ends_piece(next) {
            self.note_changes();
            self.exits.forget_before(next);
        }
    }

    /// What a service said right before it ended may still wait to be read. It is noted while its end still counts as unread.
    fn hear_last_words(&mut self, id: Id) {
        self.read_log(id);
        self.read_notify(id);
        self.read_ready(id);
    }

    fn service_ended(&mut self, id: Id, pid: u32, exit: Exit) {
        let stays = self
            .supervisor
            .unit(id)
            .is_some_and(|unit| unit.service().kind == mos_service::Kind::Process);
        let limit = self.limit_hit(id, pid, exit);
        if let Some(group) = i32::try_from(pid).ok().and_then(Pid::from_raw).filter(|_| stays) {
            // What it left behind would run beside its successor.
            // When the id is another's by now, nobody was left: while somebody is in a group, nobody gets its number.
            if !children::is_alive(pid) {
                let _ = kill_process_group(group, Signal::KILL);
            }
            self.kill_cgroup(id);
            self.look_for_strays(id);
        }
        if let Some(slot) = self.slots.get_mut(&id) {
            slot.process_ended(&self.epoll);
        }
        self.supervisor.exited_at(id, exit, limit, clock::now());
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

    fn say(&mut self, line: &str) {
        self.say_at(syslog::INFO, line);
    }

    /// Says something on the console, if it is serious enough, and in our own log in any case.
    fn say_at(&mut self, level: u32, line: &str) {
        self.add_to_log(intake::OWN, format!("{}\n", lossy::printable(line)).as_bytes());
        if level > self.setup.log_level && !self.setup.debug {
            return;
        }
        self.console.say(clock::now(), line);
    }

    fn say_with_log(&mut self, id: Id, line: String) {
        let last = self.slots.get(&id).and_then(|slot| slot.log.last_line());
        let line = match last {
            Some(last) => format!("{line}; last line: {last}"),
            None => line,
        };
        self.say_at(syslog::ERROR, &line);
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

    /// The services that the files describe, with the identity of the files each would run, and what else there is to
    /// know of the files; `requested` are instances of templates that no file names.
    fn load_services(&mut self, requested: &[String]) -> (mos_service::Loaded, Vec<(mos_service::Service, u64)>) {
        self.loaded = true;
        let mut loaded = self.load_files(requested);
        self.say_all(&loaded.problems);
        self.templates = std::mem::take(&mut loaded.templates);
        let services = self.stamped(std::mem::take(&mut loaded.services));
        (loaded, services)
    }

    /// What the service files say, with instances of the templates among them.
    fn load_files(&self, requested: &[String]) -> mos_service::Loaded {
        let mut loaded = crate::services::load(&self.setup.services);
        for name in requested {
            loaded.instantiate(name);
        }
        let said = self.setup.line.target.apply(loaded.services.iter_mut());
        loaded.problems.extend(said.map(crate::services::warning));
        loaded
    }

    fn stamped(&self, services: Vec<mos_service::Service>) -> Vec<(mos_service::Service, u64)> {
        let path = self.environment.path();
        let stamped = services.into_iter().map(|service| {
            let unit = self
                .supervisor
                .find(&service.name)
                .and_then(|id| self.supervisor.unit(id));
            let stamp = match unit.filter(|unit| unit.is_unread() && service.command.is_none()) {
                // What it runs is not known; it is what it was.
                Some(unit) => unit.stamp(),
                None => crate::services::stamp(&service, path),
            };
            (service, stamp)
        });
        stamped.collect()
    }

    fn find_power_buttons(&mut self) {
        let Some(power) = &mut self.power else { return };
        for index in power.refresh() {
            if let Some(button) = power.button(index) {
                let _ = epoll::add(&self.epoll, button, data(Token::PowerButton(index)), EventFlags::IN);
            }
        }
    }

    fn read_power_button(&mut self, index: usize) {
        let pressed = self.power.as_mut().is_some_and(|power| power.pressed(index));
        if pressed {
            self.shut_down(Goal::Poweroff, "the power button");
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

fn data(token: Token) -> epoll::EventData {
    epoll::EventData::new_u64(token.encode())
}

/// Stops watching a descriptor that is about to be closed; closing alone does not do it while a copy is open.
fn unwatch(epoll: &OwnedFd, source: impl AsFd) {
    let _ = epoll::delete(epoll, source);
}
