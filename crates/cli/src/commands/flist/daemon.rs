//! A mount that is served in the background: the same command once more, in a session of its own.
//!
//! Until the child says that the mount answers, its standard error is ours, so that what goes wrong is seen by whoever
//! typed the command; after that it keeps neither terminal nor pipe open.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::error::{CliError, Kind, Result, io};
use crate::output;

/// Set for the child.
pub(crate) const VARIABLE: &str = "MOS_FLIST_SERVING";
/// The line with which the child says that the mount answers.
const READY: &str = "-- serving --";

/// The folder of logs in the cache.
const LOGS: &str = "logs";
/// Characters of a log's name, each four bytes at most: file systems take 255 bytes.
const LONGEST: usize = 60;

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
pub(crate) fn log(path: &Path) -> Result<File> {
    File::options().append(true).create(true).open(path).map_err(io(path))
}

/// Where the daemon of a mount writes to when nothing else is said: a file of its own below the cache, begun anew by each
/// mount at this place.
pub(crate) fn log_file(cache: &Path, place: &Path) -> Result<PathBuf> {
    let folder = cache.join(LOGS);
    std::fs::create_dir_all(&folder).map_err(io(&folder))?;
    let place = std::path::absolute(place).map_err(io(place))?;
    let path = folder.join(log_name(&place));
    File::create(&path).map_err(io(&path))?;
    Ok(path)
}

/// The path of the mount as the name of a file; of a long one the end, which says most.
fn log_name(place: &Path) -> String {
    let place = place.to_string_lossy();
    let name: Vec<char> = place.trim_matches('/').replace('/', "!").chars().collect();
    let end = &name[name.len().saturating_sub(LONGEST)..];
    format!("{}.log", end.iter().collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_called_by_its_mount() {
        assert_eq!(log_name(Path::new("/srv/web/mnt")), "srv!web!mnt.log");
        assert_eq!(log_name(Path::new("/")), ".log");
        assert!(log_name(Path::new(&"/\u{10ffff}".repeat(200))).len() < 255);
        let room = tempfile::tempdir().unwrap();
        let path = log_file(room.path(), Path::new("/mnt")).unwrap();
        std::fs::write(&path, "old").unwrap();
        assert_eq!(log_file(room.path(), Path::new("/mnt")).unwrap(), path);
        assert_eq!(std::fs::read(path).unwrap(), b"");
    }
}
