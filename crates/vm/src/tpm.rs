//! A TPM in software (swtpm) beside a machine. It ends with the machine, and is killed if it does not.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::error::VmError;
use crate::tools;

/// How long it may take to listen.
const START: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(10);

/// A TPM that runs.
#[derive(Debug)]
pub(crate) struct Tpm {
    child: Child,
    pub(crate) socket: PathBuf,
}

impl Tpm {
    /// Starts a TPM with its state in one directory, and its socket and what it says in another.
    pub(crate) fn start(state: &Path, directory: &Path) -> Result<Self, VmError> {
        let program = tools::program(tools::SWTPM)?;
        fs::create_dir_all(state).map_err(VmError::io(state))?;
        let state = std::path::absolute(state).map_err(VmError::io(state))?;
        let (socket, said) = (directory.join("tpm"), directory.join("swtpm.stderr"));
        let mut command = Command::new(&program);
        command.args(["socket", "--tpm2", "--terminate", "--tpmstate"]);
        command
            .arg(option("dir=", &state))
            .arg("--ctrl")
            .arg(option("type=unixio,path=", &socket));
        let log = File::create(&said).map_err(VmError::io(&said))?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let child = mos_sys::child::die_with_parent(&mut command)
            .spawn()
            .map_err(|source| VmError::Start {
                program: program.display().to_string(),
                source,
            })?;
        let mut tpm = Self { child, socket };
        tpm.wait().map_err(|reason| VmError::Tool {
            tool: tools::SWTPM.0,
            path: state,
            reason: format!("{reason} {}", fs::read_to_string(&said).unwrap_or_default().trim()),
        })?;
        Ok(tpm)
    }

    /// Waits until it listens.
    fn wait(&mut self) -> Result<(), String> {
        let end = Instant::now() + START;
        while !self.socket.exists() {
            match self.child.try_wait() {
                Ok(None) if Instant::now() < end => std::thread::sleep(POLL),
                Ok(None) => return Err(format!("it does not listen after {} s", START.as_secs())),
                Ok(Some(status)) => return Err(format!("it ended: {status}")),
                Err(error) => return Err(error.to_string()),
            }
        }
        Ok(())
    }
}

impl Drop for Tpm {
    fn drop(&mut self) {
        // Errors mean that it has already ended, as it does when QEMU leaves.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn option(head: &str, path: &Path) -> std::ffi::OsString {
    let mut option = std::ffi::OsString::from(head);
    option.push(path);
    option
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relative_place_for_the_state_is_one_from_here() {
        if tools::program(tools::SWTPM).is_err() {
            return println!("SKIPPED: swtpm is not installed");
        }
        // swtpm itself may be somewhere else when it opens its files, so it is given absolute paths.
        let folder = tempfile::tempdir_in(".").unwrap();
        let here = std::env::current_dir().unwrap();
        let state = folder.path().strip_prefix(&here).unwrap_or(folder.path()).join("tpm");
        let sockets = tempfile::tempdir().unwrap();
        let tpm = Tpm::start(&state, sockets.path()).unwrap();
        assert!(tpm.socket.is_absolute() && tpm.socket.exists());
        drop(tpm);
        assert!(state.is_dir());
    }
}
