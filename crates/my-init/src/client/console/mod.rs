//! `console`: the node at a glance on a terminal or a serial line. It sleeps until something happens, a key is pressed or
//! the terminal changes; while something is not as it should be it looks again now and then, because times go on.
//! Without a terminal it prints lines.
//!
//! | file | concern |
//! |---|---|
//! | `facts` | the node itself |
//! | `screen` | what is shown |
//! | `terminal` | the terminal: taken, lent, given back |

mod facts;
mod screen;
mod terminal;

use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::{Value, json};

use super::events::{Events, line};
use super::verbs::print;
use super::{AskError, call};
use crate::boot::command_line::CommandLine;
use crate::clock;
use facts::Facts;
use screen::{View, draw, paint, plain};
use terminal::{Heard, Terminal};

/// Events that are shown.
const RECENT: usize = 5;
/// What is read of the keyboard at once, in bytes: more than a key sends.
const KEYS: usize = 64;
/// From one picture to the next, however much happens.
const PAUSE: Duration = Duration::from_millis(100);
/// To the next look while something is not as it should be.
const AGAIN: Duration = Duration::from_secs(5);
/// To the next look for a supervisor that does not answer.
const AWAY: Duration = Duration::from_millis(500);
/// Ctrl-C, which is a key like others here.
const INTERRUPT: u8 = 3;

/// Shows the node until the key `q`, or for ever.
pub(super) fn run(socket: &Path, out: &mut dyn Write) -> Result<(), AskError> {
    let events = Events::subscribe(socket, &[])?;
    match Terminal::is_there() {
        true => Session::begin(socket, events)?.run(out),
        false => lines(socket, events, out),
    }
}

/// Without a terminal: how it is, and then what happens.
fn lines(socket: &Path, mut events: Events, out: &mut dyn Write) -> Result<(), AskError> {
    let view = View {
        services: list(socket)?,
        ..View::default()
    };
    let all = draw(&Facts::look(), &view, (usize::MAX, usize::MAX), clock::now());
    print(out, &plain(&all))?;
    loop {
        let message = events.next_of_any(socket)?;
        print(out, &line(&message))?;
    }
}

fn list(socket: &Path) -> Result<Vec<Value>, AskError> {
    let mut services = call(socket, "service.list_full", &json!({}))?;
    Ok(services.as_array_mut().map(std::mem::take).unwrap_or_default())
}

/// A person at a terminal.
struct Session<'s> {
    socket: &'s Path,
    terminal: Terminal,
    /// `None` while the supervisor is away.
    events: Option<Events>,
    view: View,
    shell: bool,
}

/// What has ended a wait.
enum Woken {
    Time,
    Event,
    Signal,
    Key(u8),
}

impl<'s> Session<'s> {
    fn begin(socket: &'s Path, events: Events) -> Result<Self, AskError> {
        let shell = may_have_a_shell();
        let keys = ["l logs", if shell { "s shell" } else { "" }, "space more", "q quit"];
        let keys: Vec<&str> = keys.into_iter().filter(|key| !key.is_empty()).collect();
        Ok(Self {
            socket,
            terminal: Terminal::take().map_err(|error| AskError::File("the terminal".to_owned(), error))?,
            events: Some(events),
            view: View {
                help: keys.join("  "),
                ..View::default()
            },
            shell,
        })
    }

    fn run(mut self, out: &mut dyn Write) -> Result<(), AskError> {
        loop {
            self.look();
            let lines = draw(&Facts::look(), &self.view, Terminal::size(), clock::now());
            print(out, &paint(&lines))?;
            let drawn = Instant::now();
            let mut limit = self.patience();
            // Whatever comes is taken at once, and shown together with what comes right after.
            while let Some(goes_on) = self.attend(limit)? {
                if !goes_on {
                    return Ok(());
                }
                let left = PAUSE.saturating_sub(drawn.elapsed());
                if left.is_zero() {
                    break;
                }
                limit = Some(left);
            }
        }
    }

    /// Waits for the next thing and does what follows: `None` when it was only time, false when it is over.
    fn attend(&mut self, limit: Option<Duration>) -> Result<Option<bool>, AskError> {
        Ok(match self.wait(limit)? {
            Woken::Time => None,
            Woken::Signal => Some(self.terminal.heard() != Heard::End),
            Woken::Key(key) => Some(self.press(key)),
            Woken::Event => {
                self.take_events();
                Some(true)
            }
        })
    }

    /// How long nothing has to be looked at.
    fn patience(&self) -> Option<Duration> {
        match (self.events.is_none(), self.view.stuck() > 0) {
            (true, _) => Some(AWAY),
            (false, true) => Some(AGAIN),
            (false, false) => None,
        }
    }

    /// Asks how it is. One that is away is asked again.
    fn look(&mut self) {
        if self.events.is_none() {
            self.events = Events::subscribe(self.socket, &[]).ok();
        }
        match list(self.socket) {
            Ok(services) => (self.view.services, self.view.away) = (services, false),
            Err(_) => (self.events, self.view.away) = (None, true),
        }
    }

    /// The end of the keyboard is as `q`.
    fn wait(&self, limit: Option<Duration>) -> Result<Woken, AskError> {
        let stdin = std::io::stdin();
        let limit = limit.map(|limit| Timespec {
            tv_sec: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(limit.subsec_nanos()),
        });
        let mut sources = vec![
            PollFd::new(&stdin, PollFlags::IN),
            PollFd::new(self.terminal.signals(), PollFlags::IN),
        ];
        if let Some(stream) = self.events.as_ref() {
            sources.push(PollFd::new(stream.stream(), PollFlags::IN));
        }
        match poll(&mut sources, limit.as_ref()) {
            Ok(0) | Err(rustix::io::Errno::INTR) => return Ok(Woken::Time),
            Ok(_) => {}
            Err(error) => return Err(AskError::Offline(error.into())),
        }
        if !sources[0].revents().is_empty() {
            let mut keys = [0; KEYS];
            let count = rustix::io::read(&stdin, &mut keys).unwrap_or(0);
            return Ok(Woken::Key(if count == 0 { b'q' } else { keys[0] }));
        }
        Ok(match sources[1].revents().is_empty() {
            true => Woken::Event,
            false => Woken::Signal,
        })
    }

    /// Takes what has come.
    fn take_events(&mut self) {
        loop {
            let message = self.events.as_mut().map(Events::next);
            let Some(Ok(message)) = message else {
                self.events = None;
                return;
            };
            self.view.recent.push(line(&message));
            if self.view.recent.len() > RECENT {
                self.view.recent.remove(0);
            }
            if !self.events.as_ref().is_some_and(Events::has_more) {
                return;
            }
        }
    }

    /// False when it is over.
    fn press(&mut self, key: u8) -> bool {
        let heard = match key {
            b'q' | INTERRUPT => return false,
            b'l' => {
                let mut logs = own(self.socket, &["logs", "-n", "200", "-f"]);
                self.terminal.lend(&mut logs, "(Ctrl-C goes back)\r\n")
            }
            b's' if self.shell => {
                let mut shell = Command::new("/bin/sh");
                self.terminal.lend(shell.arg("-i"), "(exit goes back)\r\n")
            }
            b' ' => {
                self.view.pass(Terminal::size().0 / 2);
                Heard::Nothing
            }
            _ => Heard::Nothing,
        };
        heard != Heard::End
    }
}

/// Who sits at a terminal that my_init gave to this program alone gets no shell, unless the command line of the kernel
/// says so: a failure must not be a way into a node. Who started it from a shell has one.
fn may_have_a_shell() -> bool {
    let alone = rustix::process::getsid(None).is_ok_and(|session| session == rustix::process::getpid());
    let debug = || CommandLine::parse(&crate::lossy::read("/proc/cmdline").unwrap_or_default()).debug;
    !alone || debug()
}

/// This program with other words.
fn own(socket: &Path, words: &[&str]) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.arg("--socket").arg(socket).args(words);
    command
}
