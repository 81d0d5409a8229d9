//! The keeper: the process that stays.
//!
//! As PID 1 of a node, or as the parent of everything elsewhere, it does four things: it forks the supervisor, and forks
//! it again whenever that fails; it takes in every process that has ended and writes down how; it passes signals on; and
//! it keeps open what the supervisor has open, because both share one table of files. It allocates next to nothing and
//! decides nothing, so little can go wrong in it. What can go wrong is in the supervisor, and a new one finds its
//! services, their logs and its own notes as the last one left them.

use std::io;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::time::Duration;

use mos_sys::ended::{self, How};
use mos_sys::fork::{Fork, Leftovers, SharedFiles};
use mos_sys::shared_pid::SharedPid;
use mos_sys::signals::Signals;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

use crate::alarm::Alarm;
use crate::burst::Burst;
use crate::clock::{self, Millis};
use crate::exits::{End, Exits, SIGNAL};
use crate::journal::Journal;
use crate::life;
use crate::note::Note;
use crate::signals;
use crate::supervisor::{Exit, Goal};
use crate::upgrade::{self, Handover};

/// A supervisor that ran this long has not failed at once.
const STABLE: Millis = 10_000;
/// So many supervisors may fail at once, one after the other, before the next has to wait.
const QUICK_MAX: u32 = 3;
/// So many may be killed at once: whoever does it on purpose has stopped by then, want of memory has not.
const KILLED_MAX: u32 = 50;
/// How long. Signals and ends of processes wait for the next supervisor.
const PAUSE: Duration = Duration::from_secs(5);
/// SIGKILL (signal(7)): it did not fail, somebody killed it, or the kernel did for want of memory.
const KILLED: Exit = Exit::Signal(9);
/// So many ends are written down before the supervisor is told, when there are as many.
const ENDS: usize = 32;
/// Between two attempts to write down how a process ended, when there is no memory.
const NO_MEMORY_PAUSE: Duration = Duration::from_millis(20);

/// SIGCHLD (signal(7)).
const CHILD: i32 = 17;
/// SIGINT, which the kernel sends for Ctrl-Alt-Del (reboot(2)).
const CTRL_ALT_DEL: i32 = 2;

/// What every supervisor finds.
#[derive(Debug)]
pub struct Kept {
    /// How processes ended.
    pub exits: &'static Exits,
    /// What the last supervisor knew.
    pub journal: &'static mut Journal,
    /// The process of a service that it made last.
    pub starting: &'static SharedPid,
    /// Rings when executing a program takes too long.
    pub alarm: &'static Alarm,
    /// It had rung, and the last supervisor was ended for it.
    pub rang: bool,
    /// What it had open.
    pub leftovers: Leftovers,
    /// How it ended; `None` for the first.
    pub last: Option<Exit>,
    /// Why the program could not be replaced by another one.
    pub refused: Option<String>,
}

/// The exit code of a supervisor that wants another program in place of this one: see [`set_program`].
pub const UPGRADE: u8 = 42;
const UPGRADED: Exit = Exit::Code(UPGRADE as i32);
/// The name under which the program is in the journal. No service can have it.
pub const PROGRAM: &str = "/program";
/// The key of its path in that note.
const PATH: u8 = 1;

/// Notes the program that is to take over.
///
/// # Errors
/// Whatever the system says.
pub fn set_program(journal: &mut Journal, program: &Path) -> io::Result<()> {
    let mut note = Note::default();
    note.add_text(PATH, &program.to_string_lossy());
    journal.note(PROGRAM, &note)
}

/// How the keeper begins.
#[derive(Debug)]
pub struct Beginning {
    /// What another program has handed over, if one has.
    pub handover: Option<Handover>,
    /// The limit of open files that services get, soft and hard.
    pub open_files: Option<(u64, u64)>,
    /// Whether Ctrl-Alt-Del pressed again and again ends the supervisor and all waiting.
    pub machine: bool,
}

/// Runs supervisors, each in a new process, until one ends with an exit code for which `retry` is false; returns that
/// code. `retry` is told whether any supervisor had begun to work.
///
/// # Errors
/// When the first one cannot be started. Later it tries for ever.
pub fn keep(beginning: &Beginning, supervise: impl Fn(Kept) -> u8, retry: impl Fn(u8, bool) -> bool) -> io::Result<u8> {
    let (exits, journal, count) = match &beginning.handover {
        None => (Exits::new()?, Journal::new()?, 0),
        Some(handover) => handover.take()?,
    };
    let exits: &'static Exits = Box::leak(Box::new(exits));
    let journal: &'static mut Journal = Box::leak(Box::new(journal));
    let starting: &'static SharedPid = Box::leak(Box::new(SharedPid::new(count)?));
    let alarm: &'static Alarm = Box::leak(Box::new(Alarm::new()?));
    let mut all = vec![CHILD];
    all.extend(signals::NUMBERS);
    let signals = Signals::new(&all)?;
    let [records, bell] = exits.files();
    let files = SharedFiles::except(&[records, bell, journal.file(), signals.as_fd(), alarm.as_fd()]);
    let (mut last, mut quick, mut killed, mut refused) = (None, 0, 0, None);
    let mut rang = false;
    loop {
        let started = clock::now();
        match files.fork() {
            Ok(Fork::Child(leftovers)) => {
                // Nobody would tell it of any end any more.
                let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
                // Before anything is opened or closed here.
                starting.settle();
                let kept = Kept {
                    exits,
                    journal,
                    starting,
                    alarm,
                    rang,
                    leftovers,
                    last,
                    refused,
                };
                #[expect(
                    clippy::exit,
                    reason = "what is left of the keeper in this process is not to be dropped"
                )]
                std::process::exit(i32::from(supervise(kept)));
            }
            Ok(Fork::Parent(supervisor)) => {
                let end;
                (end, rang) = Watch {
                    supervisor,
                    signals: &signals,
                    exits,
                    starting,
                    alarm,
                }
                .watch(beginning.machine);
                match end {
                    UPGRADED => refused = Some(upgrade(exits, journal, starting.count(), beginning)),
                    Exit::Code(code) => {
                        let code = u8::try_from(code).unwrap_or(u8::MAX);
                        if !retry(code, journal.has_begun()) {
                            return Ok(code);
                        }
                        refused = None;
                    }
                    _ => refused = None,
                }
                last = Some(end);
            }
            Err(error) if last.is_none() => return Err(error),
            Err(_) => {
                // No memory, or no process to be had: whatever ended the last one, this is not to be tried without a pause.
                std::thread::sleep(PAUSE);
                continue;
            }
        }
        (quick, killed) = match last {
            _ if clock::now().saturating_sub(started) >= STABLE => (0, 0),
            Some(UPGRADED) => (0, 0),
            Some(KILLED) => (0, killed + 1),
            _ => (quick + 1, 0),
        };
        if quick > QUICK_MAX || killed > KILLED_MAX {
            std::thread::sleep(PAUSE);
        }
    }
}

/// Executes the program that is to take over; returns why that failed.
fn upgrade(exits: &Exits, journal: &Journal, count: u64, beginning: &Beginning) -> String {
    let note = journal.read().unwrap_or_default().remove(PROGRAM);
    match note.unwrap_or_default().text(PATH).as_str() {
        "" => "nobody said to which program".to_owned(),
        program => {
            let handover = Handover::of(exits, journal, count, beginning.open_files);
            let error = upgrade::replace(Path::new(program), &handover);
            format!("{program}: {error}")
        }
    }
}

/// What the keeper waits for while there is a supervisor.
struct Watch<'w> {
    supervisor: Pid,
    signals: &'w Signals,
    exits: &'w Exits,
    starting: &'w SharedPid,
    alarm: &'w Alarm,
}

impl Watch<'_> {
    /// Writes down signals and takes in the dead until the supervisor has ended; returns how, and whether it was ended
    /// because it stood still. Signals are written down rather than passed on: so none is lost with a supervisor that is
    /// killed, and none counts twice that a terminal sends to both.
    fn watch(&self, machine: bool) -> (Exit, bool) {
        let (mut burst, mut rang) = (Burst::default(), false);
        // Its predecessor's.
        self.alarm.stop();
        loop {
            while let Ok(Some(number)) = self.signals.next() {
                if machine && number == CTRL_ALT_DEL && burst.press(clock::now()) {
                    let _ = kill_process(self.supervisor, Signal::KILL);
                    return (Exit::Code(i32::from(life::code(Goal::Reboot))), false);
                }
                if number != CHILD {
                    let (pid, exit) = (SIGNAL, Exit::Signal(number));
                    write_down(self.exits, End { pid, exit, mark: 0 });
                    ring(self.exits);
                }
            }
            if let Some(end) = self.take_in() {
                return (end, rang);
            }
            if self.alarm.has_rung() {
                rang = true;
                let _ = kill_process(self.supervisor, Signal::KILL);
            }
            let (signals, alarm) = (
                PollFd::new(self.signals, PollFlags::IN),
                PollFd::new(self.alarm, PollFlags::IN),
            );
            let _ = poll(&mut [signals, alarm], None);
        }
    }

    /// Takes in everybody who has ended. Returns how the supervisor did, if it is among them. How a process ended is
    /// written down before its id can become another's.
    fn take_in(&self) -> Option<Exit> {
        let (mut end, mut written) = (None, 0);
        while let Ok(Some((pid, how))) = ended::look() {
            let exit = match how {
                How::Code(code) => Exit::Code(code),
                How::Signal(number) => Exit::Signal(number),
            };
            let number = i32::try_from(pid).ok().and_then(Pid::from_raw)?;
            if number == self.supervisor {
                end = Some(exit);
            } else {
                let mark = self.starting.mark(pid);
                write_down(self.exits, End { pid, exit, mark });
                written += 1;
            }
            let _ = waitpid(Some(number), WaitOptions::NOHANG);
            if written == ENDS {
                ring(self.exits);
                written = 0;
            }
        }
        if written > 0 {
            ring(self.exits);
        }
        end
    }
}

fn write_down(exits: &Exits, end: End) {
    while exits.append(end).is_err() {
        std::thread::sleep(NO_MEMORY_PAUSE);
    }
}

/// A bell that cannot be rung any louder has been heard.
fn ring(exits: &Exits) {
    let _ = exits.ring();
}
