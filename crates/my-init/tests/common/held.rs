//! A program whose execution stands still, as on a file system that does not answer: another process has a lease on it
//! (fcntl(2)), which the kernel waits for before it opens the file, some 45 seconds at most.

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// `F_SETLEASE` and `F_WRLCK` (asm-generic/fcntl.h).
const SCRIPT: &str = "open(my $file, '<', $ARGV[0]) or die; $SIG{IO} = 'IGNORE'; \
                      defined(fcntl($file, 1024, 1)) or die; $| = 1; print \"held\\n\"; sleep 1000";

/// Holds it until this is dropped.
pub struct Held(Child);

impl Held {
    /// `None`, after saying so, where that cannot be had.
    pub fn new(program: &Path) -> Option<Self> {
        let mut child = Command::new("perl")
            .args(["-e", SCRIPT])
            .arg(program)
            .stdout(Stdio::piped())
            .spawn()
            .ok()?;
        let mut line = String::new();
        let read = BufReader::new(child.stdout.take().unwrap()).read_line(&mut line);
        let held = Self(child);
        if read.is_ok() && line == "held\n" {
            return Some(held);
        }
        println!("SKIPPED: no lease on a file can be had here");
        None
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A program of this name in that directory, which does what `sleep` does.
pub fn sleeper(directory: &Path, name: &str) -> PathBuf {
    let path = directory.join(name);
    std::fs::copy("/bin/sleep", &path).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// True for a process that still has the program of my_init and waits for the one that it is to execute.
pub fn is_opening(pid: u32) -> bool {
    let own = std::fs::canonicalize(env!("CARGO_BIN_EXE_my_init")).unwrap();
    // `execve` of x86-64 and of others.
    let call = std::fs::read_to_string(format!("/proc/{pid}/syscall")).unwrap_or_default();
    let executes = ["59 ", "221 "].iter().any(|number| call.starts_with(number));
    executes && std::fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|program| program == own)
}
