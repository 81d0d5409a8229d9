//! A mount that is served in the background: the same command once more, in a session of its own.
//!
//! Until the child says that the mount answers, its standard error is ours, so that what goes wrong is seen by whoever
//! typed the command; after that it keeps neither terminal nor pipe open.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::error::{CliError, Kind, Result, io};
use crate::output;

/// Set for the child.
pub(crate) const VARIABLE: &str = "MOS_FLIST_SERVING";
/// The line with which the child says that the mount answers.
const READY: &str = "-- serving --";

/// Starts the child, hands on what it prints, and waits until its mount answers.
pub(crate) fn start() -> Result<()> {
    let program = std::env::current_exe().map_err(|error| CliError::problem(format!("this program: {error}")))?;
    let mut child = Command::new(&program)
        .args(std::env::args_os().skip(1))
        .env(VARIABLE, "true")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(io(&program))?;
    let lines = child.stdout.take().map(|pipe| BufReader::new(pipe).lines());
    for line in lines.into_iter().flatten() {
        let line = line.map_err(|error| CliError::problem(format!("the daemon: {error}")))?;
        if line == READY {
            return Ok(());
        }
        output::line(line)?;
    }
    failed(child)
}

/// The child ended before its mount was there, and has said why.
fn failed(mut child: Child) -> Result<()> {
    let ended = child
        .wait()
        .map_err(|error| CliError::problem(format!("the daemon: {error}")))?;
    Err(match ended.code() {
        Some(code) => CliError::said(Kind::of_code(code)),
        None => CliError::problem(format!("the daemon ended before its mount was there: {ended}")),
    })
}

/// In the child, before anything else: the terminal's signals are no longer ours.
pub(crate) fn detach() {
    // Fails only for who leads a session already, which is what is wanted.
    let _ = rustix::process::setsid();
}

/// In the child, when the mount answers: lets go of the terminal.
pub(crate) fn ready(log: &File) -> Result<()> {
    output::line(READY)?;
    let taken = rustix::stdio::dup2_stdout(log).and_then(|()| rustix::stdio::dup2_stderr(log));
    taken.map_err(|error| CliError::problem(format!("the log: {error}")))
}

/// Opens what the daemon writes to, before there is a mount that would be left behind.
pub(crate) fn log(path: Option<&Path>) -> Result<File> {
    let path = path.unwrap_or(Path::new("/dev/null"));
    File::options().append(true).create(true).open(path).map_err(io(path))
}
