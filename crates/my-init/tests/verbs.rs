//! The client verbs, as people and scripts use them.

#![allow(clippy::unwrap_used, reason = "a fixture that fails is a test that fails")]

mod common;

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use common::{Machine, STAYS, is_alive, program};

fn verb(machine: &Machine, words: &[&str]) -> Output {
    program()
        .arg("--socket")
        .arg(machine.socket())
        .args(words)
        .output()
        .unwrap()
}

/// What a verb prints when all is well.
fn text(machine: &Machine, words: &[&str]) -> String {
    let output = verb(machine, words);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), errors.as_str()), (Some(0), ""), "{words:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn json_of(machine: &Machine, words: &[&str]) -> Value {
    let text = text(machine, &[words, &["--json"]].concat());
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{words:?}: {error}: {text}"))
}

#[test]
fn services_are_listed_explained_and_drawn() {
    let fails = "[service]\nexec = \"echo no key; exit 3\"\noneshot = true\n";
    let needs = format!("{STAYS}[dependencies]\nrequires = [\"db\"]\n");
    let machine = Machine::start(&[("db", STAYS), ("web", &needs), ("fetch", fails)]);
    machine.wait_for_state("web", "running");
    machine.wait_for_state("fetch", "failed");
    let list = text(&machine, &["list"]);
    assert!(
        list.starts_with("NAME  STATE ") && list.contains("fetch failed ") && list.contains(" exit code 3\n"),
        "{list}"
    );
    assert_eq!(json_of(&machine, &["list"]).as_array().unwrap().len(), 3);
    let why = text(&machine, &["why", "fetch"]);
    assert!(
        why.contains("failed") && why.ends_with("it printed last:\n  no key\n"),
        "{why}"
    );
    assert_eq!(json_of(&machine, &["why", "fetch"])["log"], json!(["no key"]));
    assert!(text(&machine, &["tree"]).contains("web: running\n  db: running\n"));
    let status = text(&machine, &["status", "web"]);
    assert!(status.contains("requires          db (running)\n"), "{status}");
    let top = json_of(&machine, &["top", "--once"]);
    assert_eq!(top.as_array().unwrap().len(), 2, "{top}");
    assert!(
        top[0]["memory_bytes"].as_u64().unwrap() > 0 && top[0]["tasks"] == 1,
        "{top}"
    );
    assert!(text(&machine, &["top", "--once"]).lines().count() == 3);
    let picture = machine.path("boot.svg");
    text(&machine, &["blame", "--svg", picture.to_str().unwrap()]);
    let picture = fs::read_to_string(picture).unwrap();
    assert!(picture.starts_with("<svg ") && picture.contains(">web ("), "{picture}");
}

#[test]
fn services_are_added_changed_and_removed() {
    let machine = Machine::start(&[]);
    let file = machine.path("web.service.toml");
    fs::write(&file, STAYS).unwrap();
    let added = text(&machine, &["add", file.to_str().unwrap()]);
    assert!(
        added.starts_with("web: ") && added.ends_with("services/web.service.toml\n"),
        "{added}"
    );
    machine.wait_for_state("web", "running");
    assert_eq!(json_of(&machine, &["get", "web"])["service"]["exec"], "sleep 1000");
    machine.write_service("web", &format!("{STAYS}nice = 1\n"));
    let dry = text(&machine, &["reload", "--dry-run"]);
    assert_eq!(dry, "restarted: web (umask, nice, oom_score_adjust or tty)\n");
    assert_eq!(json_of(&machine, &["reload", "--dry-run"])["dry_run"], true);
    let pid = machine.status("web")["pid"].clone();
    assert_eq!(text(&machine, &["remove", "web"]), "web: removed\n");
    machine.wait("its end", || !is_alive(&pid));
}

#[test]
fn start_with_tree_starts_what_is_required() {
    let by_hand = |needs: &str| format!("{STAYS}status = \"stop\"\n[dependencies]\nrequires = [{needs}]\n");
    let (web, db, disk) = (by_hand("\"db\""), by_hand("\"disk\""), by_hand(""));
    let machine = Machine::start(&[("web", &web), ("db", &db), ("disk", &disk)]);
    text(&machine, &["start", "--tree", "web"]);
    for name in ["disk", "db", "web"] {
        machine.wait_for_state(name, "running");
    }
}

#[test]
fn a_signal_is_sent() {
    let machine = Machine::start(&[(
        "web",
        "[service]\nexec = \"trap 'echo hup' HUP; echo up; while :; do sleep 0.1; done\"\n",
    )]);
    machine.wait("its trap", || machine.call("logs.get", json!(["web"])) == json!(["up"]));
    assert_eq!(text(&machine, &["kill", "web", "HUP"]), "web: running\n");
    machine.wait("the signal", || {
        let lines = machine.call("logs.get", json!(["web"]));
        lines.as_array().unwrap().contains(&json!("hup"))
    });
    let wrong = verb(&machine, &["kill", "web", "HIP"]);
    let message = String::from_utf8(wrong.stderr).unwrap();
    assert_eq!(wrong.status.code(), Some(5));
    assert!(message.contains("did you mean `SIGHUP`"), "{message}");
}

/// A verb that goes on until it is killed.
struct Running(std::process::Child);

impl Running {
    fn start(command: &mut Command) -> (Self, BufReader<std::process::ChildStdout>) {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        (Self(child), output)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn events_are_printed_as_they_happen() {
    let machine = Machine::start(&[("web", STAYS)]);
    machine.wait_for_state("web", "running");
    let (_child, mut output) = Running::start(program().arg("--socket").arg(machine.socket()).args(["events", "web"]));
    let (_other, mut console) = Running::start(program().arg("--socket").arg(machine.socket()).arg("console"));
    // The console has subscribed before it prints its first line; the events of the other one come sooner or later.
    let mut line = String::new();
    while !line.contains("1 services: 1 running") {
        line.clear();
        assert_ne!(console.read_line(&mut line).unwrap(), 0);
    }
    machine.call("service.stop", json!({ "name": "web" }));
    while !line.contains("web: stopping -> inactive") {
        line.clear();
        assert_ne!(console.read_line(&mut line).unwrap(), 0);
    }
    let restarts = std::thread::scope(|scope| {
        let reader = scope.spawn(move || {
            let mut line = String::new();
            while !line.contains("web: starting -> running") {
                line.clear();
                assert_ne!(output.read_line(&mut line).unwrap(), 0);
            }
        });
        let mut restarts = 0;
        while !reader.is_finished() {
            machine.call("service.restart", json!({ "name": "web" }));
            machine.wait_for_state("web", "running");
            restarts += 1;
        }
        restarts
    });
    assert!(restarts > 0);
}

#[test]
fn d7_the_variable_names_the_socket_and_nobody_there_is_said_clearly() {
    let machine = Machine::start(&[("web", STAYS)]);
    for variable in ["MY_INIT_SOCKET", "ZINIT_SOCKET"] {
        let output = program().env(variable, machine.socket()).arg("list").output().unwrap();
        assert!(output.status.success() && !output.stdout.is_empty());
    }
    for words in [vec!["list"], vec!["events"], vec!["top"], vec!["console"]] {
        let output = program()
            .args(["--socket", "/nowhere/sock"])
            .args(&words)
            .output()
            .unwrap();
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(4), "{words:?}");
        assert!(
            message.contains("nobody answers on /nowhere/sock") && message.contains("is my_init running there?"),
            "{message}"
        );
    }
}
