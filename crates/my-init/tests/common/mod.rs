//! The fixture of all scenarios: the real program with real services in a directory of its own.

#![allow(
    clippy::unwrap_used,
    dead_code,
    reason = "a fixture that fails is a test that fails, and no file uses all of it"
)]
#![allow(unreachable_pub, missing_docs, reason = "a module of tests")]

pub mod held;
pub mod namespace;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use my_init::client::call;
use serde_json::{Value, json};

/// Listens on the unix socket that it is told, and sends everything back.
pub const ECHO: &str = r#"
import socket, sys, threading, os
try:
    os.unlink(sys.argv[1])
except FileNotFoundError:
    pass
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen()
def serve(connection):
    while data := connection.recv(65536):
        connection.sendall(data)
    connection.close()
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
"#;

/// How long anything here may take on a machine that is busy with other things.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub struct Machine {
    pub directory: tempfile::TempDir,
    pub child: Child,
}

pub fn send(pid: u32, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits for something to come about, and says what is on the console when it does not.
fn wait(what: &str, mut done: impl FnMut() -> bool, console: impl Fn() -> String) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(
            Instant::now() < deadline,
            "{what} did not come about; console:\n{}",
            console()
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits for the end of a process.
fn end(child: &mut Child, console: &Path) -> ExitStatus {
    let mut status = None;
    let ended = || {
        status = child.try_wait().unwrap();
        status.is_some()
    };
    wait("its end", ended, || fs::read_to_string(console).unwrap_or_default());
    status.unwrap()
}

pub fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_my_init"))
}

impl Machine {
    pub fn start(services: &[(&str, &str)]) -> Self {
        Self::start_by(services, &[])
    }

    /// Starts it through another program (and its arguments), if any are given.
    pub fn start_by(services: &[(&str, &str)], before: &[&str]) -> Self {
        Self::start_words(services, before, &[])
    }

    /// Starts it with further options, in which `$HERE` stands for the directory of this machine.
    pub fn start_with(services: &[(&str, &str)], options: &[&str]) -> Self {
        Self::start_words(services, &[], options)
    }

    fn start_words(services: &[(&str, &str)], before: &[&str], options: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("services")).unwrap();
        for (name, text) in services {
            fs::write(
                directory.path().join("services").join(format!("{name}.service.toml")),
                text,
            )
            .unwrap();
        }
        let mut words: Vec<&str> = before.to_vec();
        words.push(env!("CARGO_BIN_EXE_my_init"));
        let here = directory.path().display().to_string();
        let options = options.iter().map(|option| option.replace("$HERE", &here));
        let child = Command::new(words[0])
            .args(&words[1..])
            .arg("--container")
            .arg("--services")
            .arg(directory.path().join("services"))
            .arg("--socket")
            .arg(directory.path().join("sock"))
            .args(options)
            .env("HERE", directory.path())
            .stdout(fs::File::create(directory.path().join("console")).unwrap())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let machine = Self { directory, child };
        machine.wait("an answer", || {
            call(&machine.socket(), "system.ping", &json!({})).is_ok()
        });
        machine
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn socket(&self) -> PathBuf {
        self.path("sock")
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    pub fn console(&self) -> String {
        self.read("console")
    }

    pub fn write_service(&self, name: &str, text: &str) {
        fs::write(self.path("services").join(format!("{name}.service.toml")), text).unwrap();
    }

    pub fn call(&self, method: &str, parameters: Value) -> Value {
        call(&self.socket(), method, &parameters)
            .unwrap_or_else(|error| panic!("{method}: {error:?}; console:\n{}", self.console()))
    }

    pub fn status(&self, name: &str) -> Value {
        self.call("service.status", json!({ "name": name }))
    }

    pub fn wait(&self, what: &str, done: impl Fn() -> bool) {
        wait(what, done, || self.console());
    }

    pub fn wait_for_state(&self, name: &str, state: &str) {
        self.wait(&format!("{name} {state}"), || self.status(name)["state"] == state);
    }

    /// The process that does the work: the only child of the keeper that executes the same program, with the same words,
    /// for longer than a service does that is being started.
    pub fn supervisor(&self) -> u32 {
        let keeper = self.child.id();
        let program = |pid: u32| {
            let words = fs::read(format!("/proc/{pid}/cmdline")).ok();
            (fs::read_link(format!("/proc/{pid}/exe")).ok(), words)
        };
        let same = || {
            let children = fs::read_to_string(format!("/proc/{keeper}/task/{keeper}/children")).unwrap();
            let children = children.split_whitespace().map(|pid| pid.parse().unwrap());
            children
                .filter(|pid| program(*pid) == program(keeper))
                .collect::<Vec<u32>>()
        };
        loop {
            let first = same();
            std::thread::sleep(Duration::from_millis(2));
            if let ([pid], true) = (&*first, same() == first) {
                return *pid;
            }
        }
    }

    /// Kills the supervisor as a crash would, and waits until another one answers.
    pub fn crash(&self) {
        self.crash_asking(|| call(&self.socket(), "system.ping", &json!({})).is_ok());
    }

    /// The same, where the socket is not at its usual place.
    pub fn crash_asking(&self, answers: impl Fn() -> bool) {
        let first = self.supervisor();
        send(first, rustix::process::Signal::KILL);
        self.wait("another supervisor", || !Path::new(&format!("/proc/{first}")).exists());
        self.wait("an answer", answers);
    }

    pub fn signal(&self, number: i32) {
        send(
            self.child.id(),
            rustix::process::Signal::from_named_raw(number).unwrap(),
        );
    }

    /// Waits for the end and returns the exit code.
    pub fn end(&mut self) -> Option<i32> {
        let console = self.path("console");
        end(&mut self.child, &console).code()
    }
}

/// The command line of a service's process; it has one a little later than it has a process id.
pub fn command_line(machine: &Machine, name: &str) -> String {
    let read = || fs::read(format!("/proc/{}/cmdline", machine.status(name)["pid"])).unwrap_or_default();
    machine.wait("its command line", || !read().is_empty());
    String::from_utf8(read())
        .unwrap()
        .replace('\0', " ")
        .trim_end()
        .to_owned()
}

pub const STAYS: &str = "[service]\nexec = \"sleep 1000\"\n";

pub fn is_alive(pid: &Value) -> bool {
    Path::new(&format!("/proc/{pid}/exe")).exists() && fs::read_link(format!("/proc/{pid}/exe")).is_ok()
}
