//! Running a tool: its output to a log, to whoever watches, and the last lines into the error.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::error::ComponentError;
use crate::workshop::Progress;

/// How much of the output an error repeats.
const TAIL_LINES: usize = 20;
/// Longer lines are cut into pieces, in bytes.
const MAXIMUM_LINE: u64 = 64 * 1024;

/// The tools and the Debian packages they come in.
const PACKAGES: [(&str, &str); 16] = [
    ("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu"),
    ("aarch64-linux-gnu-ld", "binutils-aarch64-linux-gnu"),
    ("bc", "bc"),
    ("bison", "bison"),
    ("cargo", "cargo"),
    ("cc", "gcc"),
    ("flex", "flex"),
    ("gcc", "gcc"),
    ("git", "git"),
    ("ld", "binutils"),
    ("make", "make"),
    ("perl", "perl"),
    ("rustc", "rustc"),
    ("tar", "tar"),
    ("x86_64-linux-gnu-gcc", "gcc-x86-64-linux-gnu"),
    ("x86_64-linux-gnu-ld", "binutils-x86-64-linux-gnu"),
];

/// A log that one or several tools write to.
#[derive(Debug)]
pub struct Log {
    component: String,
    path: PathBuf,
    file: File,
}

impl Log {
    /// Begins a new log for a component, or for whatever else is made, in place of the one of the last time.
    ///
    /// # Errors
    /// [`ComponentError::Io`].
    pub fn begin(component: &str, path: PathBuf) -> Result<Self, ComponentError> {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(ComponentError::at(parent))?;
        }
        let file = File::create(&path).map_err(ComponentError::at(&path))?;
        Ok(Self {
            component: component.to_owned(),
            path,
            file,
        })
    }

    /// The log's file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Runs a command to its end; every line of its output goes to the log and to `progress`.
    ///
    /// # Errors
    /// [`ComponentError::MissingTool`]; [`ComponentError::Failed`] with its last lines.
    pub fn run(&mut self, mut command: Command, progress: &mut Progress<'_>) -> Result<(), ComponentError> {
        let shown = describe(&command);
        let log_failed = |path: &Path| ComponentError::at(path);
        writeln!(self.file, "$ {shown}").map_err(log_failed(&self.path))?;
        let (reader, writer) = io::pipe().map_err(log_failed(&self.path))?;
        let second = writer.try_clone().map_err(log_failed(&self.path))?;
        command.stdin(Stdio::null()).stdout(writer).stderr(second);
        let spawned = command.spawn();
        let tool = command.get_program().to_string_lossy().into_owned();
        // Closes our ends of the pipe: reading ends when the last process that writes to it does.
        drop(command);
        let mut child = spawned.map_err(|source| cannot_start(&tool, source))?;
        let tail = self.copy(reader, progress).map_err(log_failed(&self.path))?;
        let status = child.wait().map_err(log_failed(&self.path))?;
        if status.success() {
            return Ok(());
        }
        Err(ComponentError::Failed {
            name: self.component.clone(),
            command: shown,
            status: status.to_string(),
            tail: tail.into_iter().collect::<Vec<_>>().join("\n"),
            log: self.path.clone(),
        })
    }

    fn copy(&mut self, reader: io::PipeReader, progress: &mut Progress<'_>) -> io::Result<VecDeque<String>> {
        let mut reader = BufReader::new(reader);
        let mut tail = VecDeque::with_capacity(TAIL_LINES);
        loop {
            let mut line = Vec::new();
            if reader.by_ref().take(MAXIMUM_LINE).read_until(b'\n', &mut line)? == 0 {
                return Ok(tail);
            }
            self.file.write_all(&line)?;
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            progress(&line);
            if tail.len() == TAIL_LINES {
                tail.pop_front();
            }
            tail.push_back(line);
        }
    }
}

/// Runs a command and gives what it printed on its standard output.
///
/// # Errors
/// [`ComponentError::MissingTool`]; [`ComponentError::Source`] with what it said on its standard error.
pub fn output(component: &str, command: &mut Command) -> Result<String, ComponentError> {
    let tool = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|source| cannot_start(&tool, source))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = said.trim_end().lines().collect();
    let tail = lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n");
    let reason = format!("`{}` failed ({})\n{tail}", describe(command), output.status);
    Err(ComponentError::source(component, reason))
}

/// Complains when a tool is not there, before anything was done.
///
/// # Errors
/// [`ComponentError::MissingTool`].
pub fn require(tool: &str) -> Result<(), ComponentError> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    if std::env::split_paths(&path).any(|directory| directory.join(tool).is_file()) {
        return Ok(());
    }
    Err(cannot_start(tool, io::ErrorKind::NotFound.into()))
}

fn cannot_start(tool: &str, source: io::Error) -> ComponentError {
    let name = Path::new(tool).file_name().unwrap_or_default().to_string_lossy();
    let package = PACKAGES.iter().find(|(known, _)| *known == name);
    match package {
        Some((_, package)) if source.kind() == io::ErrorKind::NotFound => ComponentError::MissingTool {
            tool: tool.to_owned(),
            package,
        },
        _ => ComponentError::at(Path::new(tool))(source),
    }
}

fn describe(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or_default();
    let words = std::iter::once(program).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn failure_shows_the_last_lines_and_the_log() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("logs/web.log");
        let mut log = Log::begin("web", path.clone()).unwrap();
        let mut lines = 0;
        let script = "i=0; while [ $i -lt 30 ]; do echo line $i; i=$((i+1)); done; echo why >&2; exit 3";
        let error = log.run(shell(script), &mut |_| lines += 1).unwrap_err().to_string();
        assert_eq!(lines, 31);
        assert!(error.contains("(exit status: 3)"), "{error}");
        assert!(error.contains("\nline 29\nwhy\n"), "{error}");
        assert!(!error.contains("line 10\n"), "{error}");
        assert!(
            error.ends_with(&format!("the whole output is in {}", path.display())),
            "{error}"
        );
        assert!(fs::read_to_string(&path).unwrap().contains("line 0\n"));
    }

    #[test]
    fn a_missing_tool_names_its_package() {
        let error = output("web", &mut Command::new("/nonexistent/git"))
            .unwrap_err()
            .to_string();
        assert_eq!(
            error,
            "`/nonexistent/git` is not installed\n  hint: on Debian: apt-get install git"
        );
        require("sh").unwrap();
    }
}
