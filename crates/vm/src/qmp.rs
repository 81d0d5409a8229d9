//! A client for QEMU's monitor (QMP: one JSON object per line over a Unix socket).

use crate::error::VmError;
use serde_json::{Value, json};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// The monitor answers at once; longer than this means never.
const LIMIT: Duration = Duration::from_secs(5);
/// Bytes in the longest answer to what we ask.
const LONGEST_ANSWER: u64 = 1 << 20;
/// Events that may stand between a question and its answer.
const MOST_EVENTS: usize = 1000;

/// Has the monitor at this socket execute one command.
///
/// # Errors
/// When the monitor cannot be reached, does not answer, or says no.
pub fn execute(socket: &Path, what: &'static str, command: &Value) -> Result<(), VmError> {
    let failed = |reason: String| VmError::Monitor {
        hypervisor: "QEMU's monitor",
        what,
        reason,
    };
    let talk = || -> io::Result<Result<(), String>> {
        let mut stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(LIMIT))?;
        stream.set_write_timeout(Some(LIMIT))?;
        let mut answers = BufReader::new(stream.try_clone()?);
        // The greeting.
        read_object(&mut answers)?;
        for command in [&json!({"execute": "qmp_capabilities"}), command] {
            writeln!(stream, "{command}")?;
            if let Err(reason) = outcome(&mut answers)? {
                return Ok(Err(reason));
            }
        }
        Ok(Ok(()))
    };
    talk().map_err(|error| failed(error.to_string()))?.map_err(failed)
}

/// The next answer that is no event.
fn outcome(answers: &mut BufReader<UnixStream>) -> io::Result<Result<(), String>> {
    for _ in 0..MOST_EVENTS {
        let answer = read_object(answers)?;
        if answer.get("return").is_some() {
            return Ok(Ok(()));
        }
        if let Some(error) = answer.get("error") {
            let text = error.get("desc").and_then(Value::as_str);
            return Ok(Err(text.map_or_else(|| error.to_string(), str::to_owned)));
        }
    }
    Err(io::Error::other("events only, and no answer"))
}

fn read_object(answers: &mut BufReader<UnixStream>) -> io::Result<Value> {
    let mut line = String::new();
    if answers.take(LONGEST_ANSWER).read_line(&mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(serde_json::from_str(&line)?)
}

/// Presses the power button.
pub fn power_button() -> Value {
    json!({"execute": "system_powerdown"})
}

/// Presses Ctrl, Alt and Delete.
pub fn ctrl_alt_delete() -> Value {
    let keys = ["ctrl", "alt", "delete"].map(|key| json!({"type": "qcode", "data": key}));
    json!({"execute": "send-key", "arguments": {"keys": keys}})
}

/// Ends QEMU, writing what its disks still hold in memory.
pub fn quit() -> Value {
    json!({"execute": "quit"})
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    /// A monitor that greets, accepts the capabilities, and gives this answer.
    fn monitor(answer: &'static str) -> (tempfile::TempDir, std::thread::JoinHandle<String>) {
        let directory = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(directory.path().join("qmp")).unwrap();
        let served = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            writeln!(stream, "{{\"QMP\": {{}}}}").unwrap();
            lines.next().unwrap().unwrap();
            writeln!(stream, "{{\"return\": {{}}}}").unwrap();
            let asked = lines.next().unwrap().unwrap();
            writeln!(stream, "{{\"event\": \"POWERDOWN\"}}\n{answer}").unwrap();
            asked
        });
        (directory, served)
    }

    #[test]
    fn events_are_passed_over() {
        let (directory, served) = monitor("{\"return\": {}}");
        execute(&directory.path().join("qmp"), "press the keys", &ctrl_alt_delete()).unwrap();
        let asked: Value = serde_json::from_str(&served.join().unwrap()).unwrap();
        assert_eq!(asked["arguments"]["keys"][2]["data"], "delete");
    }

    #[test]
    fn refusals_are_told_in_the_monitors_words() {
        let (directory, _served) = monitor("{\"error\": {\"class\": \"GenericError\", \"desc\": \"no such key\"}}");
        let error = execute(&directory.path().join("qmp"), "press the keys", &quit()).unwrap_err();
        assert_eq!(error.to_string(), "QEMU's monitor did not press the keys: no such key");
    }
}
