//! QEMU with an instruction clock: one instruction is one nanosecond, whatever else the machine does.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

/// Instructions are counted; time that a halted processor would wait is skipped.
const CLOCK: [&str; 2] = ["-icount", "shift=0,sleep=off"];
/// By the clock of this machine, however busy it is.
const LIMIT: Duration = Duration::from_secs(600);

/// QEMU, ended when dropped.
pub(super) struct Qemu(Child);

impl Qemu {
    /// Starts a kernel on one processor with 1 GiB.
    pub(super) fn start(machine: &str, kernel: &Path, initrd: &Path, command_line: &str) -> Result<Self, String> {
        let mut command = Command::new("qemu-system-x86_64");
        command.args([
            "-M",
            machine,
            "-accel",
            "tcg",
            "-cpu",
            "max",
            "-m",
            "1024",
            "-nodefaults",
            "-no-reboot",
        ]);
        command.args(CLOCK).args(["-display", "none", "-serial", "stdio"]);
        command.arg("-kernel").arg(kernel).arg("-initrd").arg(initrd);
        command.args(["-append", command_line]);
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
        Ok(Self(child.map_err(|error| format!("qemu-system-x86_64: {error}"))?))
    }

    /// The console's lines up to one that has this text.
    pub(super) fn until(mut self, text: &str) -> Result<Vec<String>, String> {
        let console = lines_of(self.0.stdout.take().ok_or("QEMU has no output")?);
        let end = Instant::now() + LIMIT;
        let mut lines: Vec<String> = Vec::new();
        while let Ok(line) = console.recv_timeout(end.saturating_duration_since(Instant::now())) {
            let found = line.contains(text);
            lines.push(line);
            if found {
                return Ok(lines);
            }
        }
        let last = lines.last().map(String::as_str).unwrap_or_default();
        Err(format!(
            "`{text}` did not appear on the console in {} s; the last line is `{last}`",
            LIMIT.as_secs()
        ))
    }
}

/// Lines as they come: whoever waits for one can stop waiting.
fn lines_of(console: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        for line in BufReader::new(console).split(b'\n') {
            // A console that cannot be read has ended; a receiver that is gone has what it wanted.
            let Ok(line) = line else { return };
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

impl Drop for Qemu {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
