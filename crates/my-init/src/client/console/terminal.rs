//! The terminal: keys at once, a screen of its own, lent to other programs, and as it was at the end.

use std::io::Write as _;
use std::process::{Child, Command};

use mos_sys::signals::{Signals, deliver};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr,
};

/// Another screen, without a cursor; and back (xterm's control sequences, which the kernel's console takes too).
const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[2J";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";
/// Rows and columns of a terminal that does not say how many it has, as a serial line does not.
const SIZE: (usize, usize) = (24, 80);
/// What is heard while the terminal is ours: SIGHUP, SIGINT, SIGTERM, SIGWINCH (signal(7)).
const SIGNALS: [i32; 4] = [1, 2, 15, WINDOW];
const WINDOW: i32 = 28;
const TERMINATE: i32 = 15;

/// A terminal that gives keys at once and does not show them.
pub(super) struct Terminal {
    before: Termios,
    signals: Signals,
}

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard {
    Nothing,
    /// The terminal has another size.
    Resized,
    /// It is to end.
    End,
}

impl Terminal {
    /// True when somebody sits at one that understands more than lines.
    pub(super) fn is_there() -> bool {
        let dumb = std::env::var("TERM").is_ok_and(|name| name == "dumb");
        isatty(std::io::stdin()) && isatty(std::io::stdout()) && !dumb
    }

    pub(super) fn take() -> std::io::Result<Self> {
        let terminal = Self {
            before: tcgetattr(std::io::stdin())?,
            signals: Signals::new(&SIGNALS)?,
        };
        terminal.enter();
        Ok(terminal)
    }

    pub(super) fn signals(&self) -> &Signals {
        &self.signals
    }

    /// Everything that was heard, the end above all.
    pub(super) fn heard(&self) -> Heard {
        let mut heard = Heard::Nothing;
        while let Ok(Some(number)) = self.signals.next() {
            match number {
                WINDOW if heard != Heard::End => heard = Heard::Resized,
                WINDOW => {}
                _ => heard = Heard::End,
            }
        }
        heard
    }

    fn enter(&self) {
        let mut now = self.before.clone();
        now.local_modes -= LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG;
        now.special_codes[SpecialCodeIndex::VMIN] = 1;
        now.special_codes[SpecialCodeIndex::VTIME] = 0;
        // Keys then need Enter, which is a nuisance and no more.
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &now);
        write(ENTER);
    }

    fn leave(&self) {
        write(LEAVE);
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &self.before);
    }

    /// Lets another program have the terminal until it ends; `told` is written before. What is heard of signals is for
    /// that one, but for the end, which ends both.
    pub(super) fn lend(&self, command: &mut Command, told: &str) -> Heard {
        self.leave();
        write(told);
        // A child begins with the signals that its parent has blocked.
        let started = deliver(&SIGNALS, || command.spawn());
        let heard = match started {
            Ok(mut child) => self.accompany(&mut child),
            Err(error) => {
                write(&format!("{}: {error}\r\n", command.get_program().display()));
                Heard::Nothing
            }
        };
        self.enter();
        heard
    }

    fn accompany(&self, child: &mut Child) -> Heard {
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let process = pid.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
        let mut end = Heard::Nothing;
        while let Some(process) = &process {
            let mut sources = [
                PollFd::new(process, PollFlags::IN),
                PollFd::new(&self.signals, PollFlags::IN),
            ];
            if poll(&mut sources, None).is_err_and(|error| error != rustix::io::Errno::INTR)
                || !sources[0].revents().is_empty()
            {
                break;
            }
            while let Ok(Some(number)) = self.signals.next() {
                if let Some(pid) = pid.filter(|_| ![2, WINDOW].contains(&number)) {
                    end = Heard::End;
                    let _ = mos_sys::signals::send(pid, TERMINATE);
                }
            }
        }
        let _ = child.wait();
        end
    }

    /// Rows and columns.
    pub(super) fn size() -> (usize, usize) {
        let size = tcgetwinsize(std::io::stdout()).ok();
        let size = size.map(|size| (usize::from(size.ws_row), usize::from(size.ws_col)));
        size.filter(|(rows, columns)| *rows > 0 && *columns > 0).unwrap_or(SIZE)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.leave();
    }
}

/// Nobody may be there to see it.
fn write(text: &str) {
    let mut out = std::io::stdout();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
