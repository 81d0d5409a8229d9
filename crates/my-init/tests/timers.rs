//! Oneshots that are started at certain times, by the real program.

#![allow(clippy::unwrap_used, reason = "a fixture that fails is a test that fails")]

mod common;

use serde_json::json;

use common::{Machine, program};

#[test]
fn a_job_runs_again_and_again_over_crashes_and_is_listed() {
    let job = "[service]\nexec = \"date +%s%N >>$HERE/runs\"\noneshot = true\n[timer]\nevery = \"300 ms\"\n";
    let later =
        "[service]\nexec = \"true\"\noneshot = true\n[timer]\ncalendar = \"monthly 1 00:00\"\njitter = \"1 h\"\n";
    let machine = Machine::start(&[("job", job), ("later", later)]);
    let runs = || machine.read("runs").lines().count();
    machine.wait("two runs", || runs() >= 2);
    machine.crash();
    let before = runs();
    machine.wait("two more", || runs() >= before + 2);
    let timers = machine.call("service.timers", json!({}));
    assert_eq!(
        (&timers[0]["name"], &timers[1]["name"]),
        (&json!("job"), &json!("later"))
    );
    assert!(timers[1]["next_in_ms"].as_u64().unwrap() <= 32 * 24 * 60 * 60 * 1000 + 60 * 60 * 1000);
    assert_eq!(machine.status("later")["state"], "inactive");
    let output = program()
        .arg("timers")
        .arg("--socket")
        .arg(machine.socket())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.starts_with("job ") && text.contains("\nlater "), "{text}");
    // Nobody waits for it.
    assert!(machine.console().contains("] ready\n"), "{}", machine.console());
}
