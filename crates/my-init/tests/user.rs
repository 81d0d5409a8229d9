//! `my_init --user`: on a workstation, for an ordinary user, with the service files of the examples.

#![allow(clippy::unwrap_used, reason = "a fixture that fails is a test that fails")]

mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use my_init::client::call;
use serde_json::{Value, json};

use common::{Machine, is_alive};

/// Nobody's, so that root can be an ordinary user too.
const USER: u32 = 54_321;

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples")
}

/// A home with a program in it, and a session's directory.
#[derive(Clone)]
struct Home(PathBuf);

impl Home {
    fn new() -> (Self, tempfile::TempDir) {
        let directory = tempfile::tempdir().unwrap();
        for name in ["run", "config/my_init", "home/notes"] {
            fs::create_dir_all(directory.path().join(name)).unwrap();
        }
        fs::write(directory.path().join("home/notes/a"), "b").unwrap();
        fs::copy(env!("CARGO_BIN_EXE_my_init"), directory.path().join("my_init")).unwrap();
        (Self(directory.path().to_owned()), directory)
    }

    fn copy_services(&self, example: &str) {
        let to = self.0.join("config/my_init/services");
        fs::create_dir_all(&to).unwrap();
        for entry in fs::read_dir(examples().join(example).join("services"))
            .unwrap()
            .flatten()
        {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }

    /// `my_init --user` as an ordinary user: as whoever runs this, or as another when that is root.
    fn command(&self) -> Command {
        let root = rustix::process::geteuid().is_root();
        let program = self.0.join("my_init");
        if root {
            let all = Command::new("chown")
                .args(["-R", &format!("{USER}:{USER}")])
                .arg(&self.0)
                .status();
            assert!(all.unwrap().success());
            fs::set_permissions(&self.0, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let mut command = match root {
            true => {
                let mut command = Command::new("setpriv");
                command
                    .args([&format!("--reuid={USER}"), &format!("--regid={USER}"), "--clear-groups"])
                    .arg(program);
                command
            }
            false => Command::new(program),
        };
        command
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", self.0.join("home"));
        command
            .env("XDG_CONFIG_HOME", self.0.join("config"))
            .env("XDG_RUNTIME_DIR", self.0.join("run"));
        command.arg("--user");
        command
    }

    fn ask(&self, words: &[&str]) -> (Option<i32>, String) {
        let output = self.command().args(words).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
        (output.status.code(), text)
    }

    fn start(&self, directory: tempfile::TempDir) -> Machine {
        let child = self
            .command()
            .stdout(fs::File::create(self.0.join("console")).unwrap())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let socket = self.0.join("run/my_init.sock");
        // The fixture's own socket is the same one.
        std::os::unix::fs::symlink("run/my_init.sock", self.0.join("sock")).unwrap();
        let machine = Machine { directory, child };
        machine.wait("an answer", || call(&socket, "system.ping", &json!({})).is_ok());
        machine
    }
}

fn state(machine: &Machine, name: &str) -> Value {
    machine.status(name)["state"].clone()
}

#[test]
fn a_user_runs_the_example_for_workstations() {
    let (home, directory) = Home::new();
    home.copy_services("workstation");
    let mut machine = home.start(directory);
    machine.wait("ready", || machine.console().contains("] ready\n"));
    assert_eq!(
        (
            state(&machine, "prepare"),
            state(&machine, "clock"),
            state(&machine, "ready")
        ),
        (json!("exited"), json!("running"), json!("running"))
    );
    let pid = machine.status("clock")["pid"].clone();
    assert!(!fs::metadata(format!("/proc/{pid}")).unwrap().uid().eq(&0));
    machine.call("service.start", json!({"name": "copy@notes"}));
    machine.wait_for_state("copy@notes", "exited");
    assert_eq!(machine.read("home/.cache/my_init-example/notes/a"), "b");
    machine.crash();
    assert_eq!(machine.status("clock")["pid"], pid);
    machine.call("system.poweroff", json!({}));
    assert_eq!(machine.end(), Some(0));
    assert!(!is_alive(&pid) && !home.0.join("run/my_init.sock").exists());
}

#[test]
fn the_client_asks_the_users_own() {
    let (home, directory) = Home::new();
    home.copy_services("workstation");
    assert_eq!(home.ask(&["list"]).0, Some(4));
    let mut machine = home.start(directory);
    machine.wait("ready", || machine.console().contains("] ready\n"));
    let ask = |words: &[&str]| home.ask(words);
    let (code, list) = ask(&["list"]);
    assert_eq!(code, Some(0));
    assert!(
        ["clock", "prepare", "ready"].iter().all(|name| list.contains(name)),
        "{list}"
    );
    assert_eq!(ask(&["restart", "clock"]).0, Some(0));
    assert_eq!(ask(&["poweroff"]).0, Some(0));
    assert_eq!(machine.end(), Some(0));
}

#[test]
fn services_of_a_node_are_named_where_their_programs_are_not() {
    let (home, directory) = Home::new();
    home.copy_services("quickstart");
    let mut machine = home.start(directory);
    machine.wait("what is wrong", || {
        let console = machine.console();
        console.contains("/sbin/mos-node: No such file")
            && console.contains("/var/cache/bin/node-metrics: No such file")
    });
    machine.wait_for_state("runtime-fetch", "failed");
    machine.wait_for_state("ready", "failed");
    machine.call("system.poweroff", json!({}));
    assert_eq!(machine.end(), Some(0));
}

#[test]
fn without_a_place_it_says_what_to_give() {
    let run = |words: &[&str]| {
        let output = common::program().env_clear().args(words).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, message) = run(&["--user"]);
    assert_eq!(code, Some(2));
    assert!(
        message.contains("XDG_RUNTIME_DIR is not set, so give --socket PATH"),
        "{message}"
    );
    let (code, message) = run(&["--user", "--socket", "/nonexistent/sock"]);
    assert_eq!(code, Some(2));
    assert!(message.contains("give --services DIR"), "{message}");
}
