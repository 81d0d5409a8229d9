//! A running machine: the thin part that does what a [`Machine`] describes.

use crate::command::CommandLine;
use crate::console::{Console, Line};
use crate::error::VmError;
use crate::launch::{self, Control, Keys, Process};
use crate::machine::{Forward, Machine};
use crate::tap::Tap;
use crate::tpm::Tpm;
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How often a machine is asked whether it has ended.
const POLL: Duration = Duration::from_millis(20);

/// Where the console goes beside the memory of [`Vm`].
#[derive(Default)]
pub struct Output {
    /// Receives the console's bytes as they come.
    pub echo: Option<Box<dyn Write + Send>>,
    /// A file that receives them too; made anew.
    pub log: Option<PathBuf>,
    /// Connects this program's standard input to the console.
    pub interactive: bool,
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Output")
            .field("log", &self.log)
            .field("interactive", &self.interactive)
            .finish_non_exhaustive()
    }
}

/// A machine that was started. Dropping it cuts the power.
#[derive(Debug)]
pub struct Vm {
    process: Process,
    command: CommandLine,
    forwards: Vec<Forward>,
    control: Control,
    /// Where what is typed goes; `None` when that is the user's terminal itself.
    keys: Option<Box<dyn Keys>>,
    shared: Arc<Shared>,
    reader: Option<JoinHandle<()>>,
    /// Lines before this one were already waited for.
    searched: usize,
    /// What the console must never say.
    never: Vec<String>,
    /// Lines before this one said none of it.
    watched: usize,
    /// These end after the hypervisor, which is dropped before them.
    _tpm: Option<Tpm>,
    _tap: Option<Tap>,
    /// Holds the monitor's socket, the firmware's variables, the boot disk, and what the hypervisor says.
    directory: TempDir,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    console: Console,
    /// The hypervisor closed the console: nothing more will come.
    closed: bool,
}

impl Shared {
    /// A reader that panicked leaves lines that are still worth reading.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// After this long without a byte an unfinished line is a prompt.
const QUIET: Duration = Duration::from_millis(100);

impl Vm {
    /// Starts a machine.
    ///
    /// The hypervisor is killed when the thread that calls this ends, however it ends.
    ///
    /// # Errors
    /// When the hypervisor or its firmware is missing, a file cannot be read, a port is taken, there is no such bridge, or the
    /// hypervisor does not start or cannot do what the machine asks for.
    pub fn start(machine: &Machine, output: Output) -> Result<Self, VmError> {
        let directory = tempfile::Builder::new()
            .prefix("mos-vm-")
            .tempdir()
            .map_err(VmError::io(std::env::temp_dir()))?;
        let log = output
            .log
            .map(|path| File::create(&path).map_err(VmError::io(path)))
            .transpose()?;
        let begin = Instant::now();
        let launched = launch::launch(machine, output.interactive, directory.path())?;
        let shared = Arc::new(Shared::default());
        let sinks = Sinks { echo: output.echo, log };
        let reader = std::thread::spawn({
            let (shared, console) = (Arc::clone(&shared), launched.console);
            move || read_console(console, sinks, &shared, begin)
        });
        Ok(Self {
            process: launched.process,
            command: launched.command,
            forwards: launched.forwards,
            control: launched.control,
            keys: launched.keys,
            shared,
            reader: Some(reader),
            searched: 0,
            never: Vec::new(),
            watched: 0,
            _tpm: launched.tpm,
            _tap: launched.tap,
            directory,
        })
    }

    /// The command line that runs.
    pub fn command(&self) -> &CommandLine {
        &self.command
    }

    /// The forwards with the host ports that were chosen for them.
    pub fn forwards(&self) -> &[Forward] {
        &self.forwards
    }

    /// The hypervisor's process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Types on the console.
    ///
    /// # Errors
    /// When the machine has ended, or the console is connected to the user's terminal.
    pub fn send(&mut self, text: &str) -> Result<(), VmError> {
        let typed = match &mut self.keys {
            Some(keys) => keys.write_all(text.as_bytes()).and_then(|()| keys.flush()),
            None => Err(io::Error::other("the console belongs to the terminal")),
        };
        typed.map_err(|error| VmError::Monitor {
            hypervisor: "the console",
            what: "take what was typed",
            reason: error.to_string(),
        })
    }

    /// The console so far, an unfinished line last.
    pub fn console(&self) -> Vec<Line> {
        self.shared.lock().console.lines()
    }

    /// From now on, whoever waits fails when the console says one of these.
    pub fn fail_on(&mut self, never: Vec<String>) {
        self.never = never;
    }

    /// Looks whether the console said what it must never say.
    ///
    /// # Errors
    /// [`VmError::Unwanted`].
    pub fn check_console(&mut self) -> Result<(), VmError> {
        let shared = Arc::clone(&self.shared);
        let state = shared.lock();
        self.check_state(&state)
    }

    fn check_state(&mut self, state: &State) -> Result<(), VmError> {
        let mut found = self.never.iter().map(|it| state.console.find(it, self.watched));
        if let Some((line, _)) = found.find_map(|found| found) {
            return Err(VmError::Unwanted {
                line: line.text,
                console: state.console.tail(),
            });
        }
        self.watched = state.console.finished();
        Ok(())
    }

    /// Waits for a line that contains the pattern. The next call looks only at the lines after it. A line without an
    /// end counts once nothing has come for a moment: it is a prompt then, and not half of what will be said.
    ///
    /// # Errors
    /// When it does not come in time, or the machine ends first, or the console says what it must not. The error shows the
    /// last lines of the console.
    pub fn wait_for(&mut self, pattern: &str, limit: Duration) -> Result<Line, VmError> {
        let end = Instant::now() + limit;
        let shared = Arc::clone(&self.shared);
        let mut state = shared.lock();
        loop {
            self.check_state(&state)?;
            if let Some((line, next)) = state.console.find(pattern, self.searched) {
                self.searched = next;
                return Ok(line);
            }
            let left = end.saturating_duration_since(Instant::now());
            if state.closed {
                drop(state);
                return Err(self.ended(pattern, left));
            }
            if left.is_zero() {
                return Err(VmError::Timeout {
                    pattern: pattern.to_owned(),
                    limit,
                    console: state.console.tail(),
                });
            }
            let waited;
            (state, waited) = shared
                .changed
                .wait_timeout(state, left.min(QUIET))
                .unwrap_or_else(PoisonError::into_inner);
            if waited.timed_out()
                && let Some((line, next)) = state.console.find_unfinished(pattern, self.searched)
            {
                self.searched = next;
                return Ok(line);
            }
        }
    }

    fn ended(&mut self, pattern: &str, limit: Duration) -> VmError {
        match self.wait_exit(limit.max(POLL * 10)) {
            Ok(status) => VmError::Ended {
                pattern: pattern.to_owned(),
                status,
                console: self.last_words(),
            },
            Err(error) => error,
        }
    }

    /// The console's last lines, and what QEMU itself said.
    fn last_words(&self) -> String {
        let mut text = self.shared.lock().console.tail();
        let said = launch::said(self.directory.path());
        if !said.is_empty() {
            text.push_str(&format!("\n{} said: {said}", self.control.hypervisor()));
        }
        text
    }

    /// Presses the power button, which asks the guest to shut down.
    ///
    /// # Errors
    /// When the monitor does not answer.
    pub fn powerdown(&self) -> Result<(), VmError> {
        self.control.power_button()
    }

    /// Presses Ctrl, Alt and Delete, which asks the guest to restart; with that, it ends.
    ///
    /// # Errors
    /// When the monitor does not answer; Cloud Hypervisor has no such keys.
    pub fn ctrl_alt_del(&self) -> Result<(), VmError> {
        self.control.ctrl_alt_delete()
    }

    /// Has QEMU's monitor execute a command (QMP), such as one that plugs a device in.
    ///
    /// # Errors
    /// When the monitor does not answer, or says no; Cloud Hypervisor has none.
    pub fn monitor(&self, command: &serde_json::Value) -> Result<(), VmError> {
        self.control.monitor(command)
    }

    /// Ends the hypervisor in good order, without asking the guest.
    ///
    /// # Errors
    /// When the monitor does not answer.
    pub fn quit(&self) -> Result<(), VmError> {
        self.control.quit()
    }

    /// Cuts the power: the hypervisor is killed, and with it all that the guest had not flushed to its disks.
    ///
    /// # Errors
    /// Whatever the system says.
    pub fn kill(&mut self) -> Result<ExitStatus, VmError> {
        let killed = self.process.kill();
        self.finish_reading();
        killed.map_err(VmError::io(&self.command.program))
    }

    /// Waits until the machine ends: by itself, by [`powerdown`](Self::powerdown) or otherwise.
    ///
    /// # Errors
    /// When it still runs after that time.
    pub fn wait_exit(&mut self, limit: Duration) -> Result<ExitStatus, VmError> {
        let end = Instant::now() + limit;
        loop {
            let status = self.process.try_wait().map_err(VmError::io(&self.command.program))?;
            if let Some(status) = status {
                self.finish_reading();
                self.check_console()?;
                return Ok(status);
            }
            self.check_console()?;
            if Instant::now() >= end {
                return Err(VmError::StillRuns {
                    limit,
                    console: self.shared.lock().console.tail(),
                });
            }
            std::thread::sleep(POLL);
        }
    }

    /// Reads what the hypervisor wrote before it ended.
    fn finish_reading(&mut self) {
        if let Some(reader) = self.reader.take() {
            // A reader that panicked has told so itself.
            let _ = reader.join();
        }
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        // An error means that it has already ended.
        let _ = self.kill();
    }
}

struct Sinks {
    echo: Option<Box<dyn Write + Send>>,
    log: Option<File>,
}

impl Sinks {
    /// A sink that fails is given up; the machine goes on.
    fn write(&mut self, bytes: &[u8]) {
        if let Some(echo) = &mut self.echo
            && echo.write_all(bytes).and_then(|()| echo.flush()).is_err()
        {
            self.echo = None;
        }
        if let Some(log) = &mut self.log
            && log.write_all(bytes).is_err()
        {
            self.log = None;
        }
    }
}

fn read_console(mut stdout: impl Read, mut sinks: Sinks, shared: &Shared, begin: Instant) {
    let mut buffer = [0; 4096];
    loop {
        let read = stdout.read(&mut buffer);
        let at = begin.elapsed();
        match read {
            Ok(0) => break,
            Ok(length) => {
                shared.lock().console.push(at, &buffer[..length]);
                shared.changed.notify_all();
                sinks.write(&buffer[..length]);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    shared.lock().closed = true;
    shared.changed.notify_all();
}
