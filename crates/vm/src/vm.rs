//! A running machine: the thin part that does what [`Machine`] and [`QemuCommand`] describe.

use crate::command::{FirmwareFiles, QemuCommand, Resources};
use crate::console::{Console, Line};
use crate::error::VmError;
use crate::machine::{Boot, Forward, Machine};
use crate::tpm::Tpm;
use crate::{qmp, tools};
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How often a machine is asked whether it has ended.
const POLL: Duration = Duration::from_millis(20);
/// Where firmware looks for what to boot from a disk without boot entries (UEFI specification, 3.5.1.1).
const BOOT_PROGRAM: &str = "EFI/BOOT/BOOTX64.EFI";

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
    child: Child,
    command: QemuCommand,
    forwards: Vec<Forward>,
    monitor: PathBuf,
    shared: Arc<Shared>,
    reader: Option<JoinHandle<()>>,
    /// Lines before this one were already waited for.
    searched: usize,
    /// Ends after QEMU, which is dropped before it.
    _tpm: Option<Tpm>,
    /// Holds the monitor's socket, the firmware's variables, the boot disk, and what QEMU says.
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
    /// QEMU closed the console: nothing more will come.
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
    /// QEMU is killed when the thread that calls this ends, however it ends.
    ///
    /// # Errors
    /// When QEMU or the firmware is missing, a file cannot be read, a port is taken, or QEMU does not start.
    pub fn start(machine: &Machine, output: Output) -> Result<Self, VmError> {
        let directory = tempfile::Builder::new()
            .prefix("mos-vm-")
            .tempdir()
            .map_err(VmError::io(std::env::temp_dir()))?;
        let tpm = machine
            .tpm
            .as_ref()
            .map(|state| Tpm::start(state, directory.path()))
            .transpose()?;
        let mut resources = prepare(machine, directory.path())?;
        resources.tpm = tpm.as_ref().map(|tpm| tpm.socket.clone());
        let command = QemuCommand::new(machine, &resources);
        let log = output
            .log
            .map(|path| File::create(&path).map_err(VmError::io(path)))
            .transpose()?;
        let stderr = stderr_path(directory.path());
        let mut process = Command::new(&command.program);
        process
            .args(&command.arguments)
            .stdin(if output.interactive {
                Stdio::inherit()
            } else {
                Stdio::null()
            })
            .stdout(Stdio::piped())
            .stderr(File::create(&stderr).map_err(VmError::io(stderr))?);
        let begin = Instant::now();
        let mut child = mos_sys::child::die_with_parent(&mut process)
            .spawn()
            .map_err(|source| VmError::Start {
                program: command.program.display().to_string(),
                source,
            })?;
        let shared = Arc::new(Shared::default());
        let reader = child.stdout.take().map(|stdout| {
            let sinks = Sinks { echo: output.echo, log };
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || read_console(stdout, sinks, &shared, begin))
        });
        Ok(Self {
            child,
            command,
            forwards: resources.forwards,
            monitor: resources.monitor,
            shared,
            reader,
            searched: 0,
            _tpm: tpm,
            directory,
        })
    }

    /// The command line that runs.
    pub fn command(&self) -> &QemuCommand {
        &self.command
    }

    /// The forwards with the host ports that were chosen for them.
    pub fn forwards(&self) -> &[Forward] {
        &self.forwards
    }

    /// QEMU's process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The console so far, an unfinished line last.
    pub fn console(&self) -> Vec<Line> {
        self.shared.lock().console.lines()
    }

    /// Waits for a line that contains the pattern. The next call looks only at the lines after it. A line without an
    /// end counts once nothing has come for a moment: it is a prompt then, and not half of what will be said.
    ///
    /// # Errors
    /// When it does not come in time, or the machine ends first. The error shows the last lines of the console.
    pub fn wait_for(&mut self, pattern: &str, limit: Duration) -> Result<Line, VmError> {
        let end = Instant::now() + limit;
        let shared = Arc::clone(&self.shared);
        let mut state = shared.lock();
        loop {
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
        let said = fs::read(stderr_path(self.directory.path())).unwrap_or_default();
        if !said.is_empty() {
            text.push_str("\nQEMU said: ");
            text.push_str(String::from_utf8_lossy(&said).trim_end());
        }
        text
    }

    /// Presses the power button, which asks the guest to shut down.
    ///
    /// # Errors
    /// When the monitor does not answer.
    pub fn powerdown(&self) -> Result<(), VmError> {
        qmp::execute(&self.monitor, "press the power button", &qmp::power_button())
    }

    /// Presses Ctrl, Alt and Delete, which asks the guest to restart; with that, QEMU ends.
    ///
    /// # Errors
    /// When the monitor does not answer.
    pub fn ctrl_alt_del(&self) -> Result<(), VmError> {
        qmp::execute(&self.monitor, "press Ctrl-Alt-Delete", &qmp::ctrl_alt_delete())
    }

    /// Ends QEMU in good order, without asking the guest.
    ///
    /// # Errors
    /// When the monitor does not answer.
    pub fn quit(&self) -> Result<(), VmError> {
        qmp::execute(&self.monitor, "quit", &qmp::quit())
    }

    /// Cuts the power: QEMU is killed, and with it all that the guest had not flushed to its disks.
    ///
    /// # Errors
    /// Whatever the system says.
    pub fn kill(&mut self) -> Result<ExitStatus, VmError> {
        let killed = self.child.kill().and_then(|()| self.child.wait());
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
            let status = self.child.try_wait().map_err(VmError::io(&self.command.program))?;
            if let Some(status) = status {
                self.finish_reading();
                return Ok(status);
            }
            if Instant::now() >= end {
                return Err(VmError::StillRuns {
                    limit,
                    console: self.shared.lock().console.tail(),
                });
            }
            std::thread::sleep(POLL);
        }
    }

    /// Reads what QEMU wrote before it ended.
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

fn stderr_path(directory: &Path) -> PathBuf {
    directory.join("qemu.stderr")
}

/// Finds programs and firmware, opens ports, and lays out the machine's directory.
fn prepare(machine: &Machine, directory: &Path) -> Result<Resources, VmError> {
    let firmware = match &machine.boot {
        Boot::Firmware { image } => Some(prepare_firmware(Some(image), machine, directory)?),
        Boot::Media(_) => Some(prepare_firmware(None, machine, directory)?),
        Boot::Direct { .. } => None,
    };
    Ok(Resources {
        qemu: tools::program(tools::QEMU)?,
        firmware,
        monitor: directory.join("monitor"),
        tpm: None,
        forwards: machine
            .forwards
            .iter()
            .copied()
            .map(choose_port)
            .collect::<Result<_, _>>()?,
    })
}

fn prepare_firmware(image: Option<&PathBuf>, machine: &Machine, directory: &Path) -> Result<FirmwareFiles, VmError> {
    let enrolled = machine.secure_boot.as_ref();
    let found = match enrolled {
        Some(_) => tools::secure_firmware()?,
        None => tools::firmware()?,
    };
    let (template, variables) = (
        enrolled.unwrap_or(&found.variables),
        directory.join("firmware-variables"),
    );
    fs::copy(template, &variables).map_err(VmError::io(template))?;
    Ok(FirmwareFiles {
        code: found.code,
        variables,
        boot_disk: image.map(|image| prepare_boot_disk(image, directory)).transpose()?,
    })
}

/// A folder that the machine sees as a FAT disk, with the image where firmware looks.
fn prepare_boot_disk(image: &Path, directory: &Path) -> Result<PathBuf, VmError> {
    if directory.as_os_str().as_encoded_bytes().contains(&b':') {
        return Err(VmError::Colon {
            path: directory.to_owned(),
        });
    }
    let boot_disk = directory.join("boot");
    let program = boot_disk.join(BOOT_PROGRAM);
    fs::create_dir_all(program.parent().unwrap_or(&boot_disk)).map_err(VmError::io(&boot_disk))?;
    fs::copy(image, &program).map_err(VmError::io(image))?;
    Ok(boot_disk)
}

/// Finds a free port for 0, and checks that the others are free: QEMU's own message is less clear.
fn choose_port(forward: Forward) -> Result<Forward, VmError> {
    let bound = TcpListener::bind((Ipv4Addr::LOCALHOST, forward.host)).and_then(|listener| listener.local_addr());
    match bound {
        Ok(address) => Ok(Forward {
            host: address.port(),
            ..forward
        }),
        Err(source) => Err(VmError::Port {
            port: forward.host,
            source,
        }),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_free_port_is_chosen_and_a_taken_one_refused() {
        let chosen = choose_port(Forward { host: 0, guest: 80 }).unwrap();
        assert!(chosen.host > 0);
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let error = choose_port(Forward { host: port, guest: 80 }).unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("port {port} of 127.0.0.1 cannot be forwarded: ")),
            "{error}"
        );
    }
}
