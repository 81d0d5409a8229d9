//! A hypervisor that was started: its process, its console, and how it is told things.

use crate::command::CommandLine;
use crate::error::VmError;
use crate::machine::{Forward, Hypervisor, Machine};
use crate::tap::Tap;
use crate::tpm::Tpm;
use crate::{cloud, qemu, qmp};
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};

/// Where what is typed goes.
pub(crate) trait Keys: Write + Send + fmt::Debug {}
impl<T: Write + Send + fmt::Debug> Keys for T {}

/// The bytes of a console, as they come.
pub(crate) type ConsoleBytes = Box<dyn Read + Send>;

/// What either hypervisor is once it runs.
pub(crate) struct Launched {
    pub(crate) process: Process,
    pub(crate) console: ConsoleBytes,
    /// `None` when the console is the user's terminal.
    pub(crate) keys: Option<Box<dyn Keys>>,
    pub(crate) command: CommandLine,
    pub(crate) forwards: Vec<Forward>,
    pub(crate) control: Control,
    pub(crate) tpm: Option<Tpm>,
    pub(crate) tap: Option<Tap>,
}

/// Starts the machine's hypervisor.
pub(crate) fn launch(machine: &Machine, interactive: bool, directory: &Path) -> Result<Launched, VmError> {
    match machine.hypervisor {
        Hypervisor::Qemu => qemu::launch(machine, interactive, directory),
        Hypervisor::CloudHypervisor => cloud::launch(machine, interactive, directory),
    }
}

/// A hypervisor's process, which is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Process(Child);

/// A process with its standard output, and its standard input when that is a pipe.
type Started = (Process, ConsoleBytes, Option<Box<dyn Keys>>);

impl Process {
    /// Starts one that ends with the thread that calls this.
    pub(crate) fn start(command: &mut Command) -> Result<Started, VmError> {
        let started = mos_sys::child::die_with_parent(command).spawn();
        let mut child = started.map_err(|source| VmError::Start {
            program: command.get_program().display().to_string(),
            source,
        })?;
        let console: ConsoleBytes = match child.stdout.take() {
            Some(stdout) => Box::new(stdout),
            None => Box::new(io::empty()),
        };
        let keys = child.stdin.take().map(|stdin| Box::new(stdin) as Box<dyn Keys>);
        Ok((Self(child), console, keys))
    }

    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    pub(crate) fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        self.0.try_wait()
    }

    pub(crate) fn kill(&mut self) -> io::Result<ExitStatus> {
        self.0.kill().and_then(|()| self.0.wait())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // An error means that it has already ended.
        let _ = self.kill();
    }
}

/// How a hypervisor is told things: the socket that it listens at.
#[derive(Debug)]
pub(crate) enum Control {
    Qmp(PathBuf),
    Cloud(PathBuf),
}

impl Control {
    /// The name of the hypervisor.
    pub(crate) fn hypervisor(&self) -> &'static str {
        match self {
            Self::Qmp(_) => "QEMU",
            Self::Cloud(_) => cloud::NAME,
        }
    }

    pub(crate) fn power_button(&self) -> Result<(), VmError> {
        match self {
            Self::Qmp(socket) => qmp::execute(socket, "press the power button", &qmp::power_button()),
            Self::Cloud(socket) => cloud::api::put(socket, "vm.power-button", None),
        }
    }

    pub(crate) fn ctrl_alt_delete(&self) -> Result<(), VmError> {
        match self {
            Self::Qmp(socket) => qmp::execute(socket, "press Ctrl-Alt-Delete", &qmp::ctrl_alt_delete()),
            Self::Cloud(_) => Err(cloud::unsupported("press Ctrl-Alt-Delete")),
        }
    }

    pub(crate) fn monitor(&self, command: &serde_json::Value) -> Result<(), VmError> {
        match self {
            Self::Qmp(socket) => qmp::execute(socket, "do what it was told", command),
            Self::Cloud(_) => Err(cloud::unsupported("execute commands of QEMU's monitor")),
        }
    }

    pub(crate) fn quit(&self) -> Result<(), VmError> {
        match self {
            Self::Qmp(socket) => qmp::execute(socket, "quit", &qmp::quit()),
            Self::Cloud(socket) => cloud::api::put(socket, "vmm.shutdown", None),
        }
    }
}

fn stderr_path(directory: &Path) -> PathBuf {
    directory.join("hypervisor.stderr")
}

/// The file that takes what a hypervisor says for itself.
pub(crate) fn stderr(directory: &Path) -> Result<File, VmError> {
    let path = stderr_path(directory);
    File::create(&path).map_err(VmError::io(path))
}

/// What the hypervisor said for itself.
pub(crate) fn said(directory: &Path) -> String {
    let said = fs::read(stderr_path(directory)).unwrap_or_default();
    String::from_utf8_lossy(&said).trim_end().to_owned()
}
