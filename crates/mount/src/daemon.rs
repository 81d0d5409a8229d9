//! Programs that go into the background once their mount answers.
//!
//! The program starts itself again and waits for what that has to say: messages, and in the end one line that says it
//! is ready. So whoever waits for the program knows that the mount is there, or why it is not; and no half-made process
//! is ever copied, as fork(2) would.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

/// The line by which the background process says that its mount answers.
const READY: &str = "\u{6}";
/// Where messages of a daemon go by default: the kernel's log, which needs nothing else to run.
const KERNEL_LOG: &str = "/dev/kmsg";

/// Starts a program that will call [`ready`]; comes back when it did, or when it ended instead, and then with how it
/// ended. What the program prints to standard output until then goes to our standard error; its standard error is `log`,
/// or the kernel's log, or nothing when that is not ours to write.
///
/// # Errors
/// When the log cannot be opened or the program cannot be started.
pub fn start(command: &mut Command, log: Option<&Path>) -> io::Result<Result<(), ExitStatus>> {
    let log = match log {
        Some(path) => File::options().append(true).create(true).open(path)?,
        None => {
            let write = |path: &str| File::options().write(true).open(path);
            write(KERNEL_LOG).or_else(|_| write("/dev/null"))?
        }
    };
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()?;
    if let Some(said) = child.stdout.take() {
        for line in BufReader::new(said).lines() {
            match line?.as_str() {
                READY => return Ok(Ok(())),
                message => eprintln!("{message}"),
            }
        }
    }
    child.wait().map(Err)
}

/// Tells whoever started this process that the mount answers, and leaves its session. Nobody reads our standard output
/// from now on.
///
/// # Errors
/// When the one who started us is gone already.
pub fn ready() -> io::Result<()> {
    // Already a leader of its own session when a service manager started it.
    let _ = rustix::process::setsid();
    println!("{READY}");
    io::stdout().flush()
}
