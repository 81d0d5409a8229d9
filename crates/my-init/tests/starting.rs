//! Whether real services are started at all: conditions.

#![allow(clippy::unwrap_used, reason = "a fixture that fails is a test that fails")]

mod common;

use std::fs;

use serde_json::json;

use common::{Machine, STAYS};

#[test]
fn conditions_are_asked_at_each_start() {
    let directory = tempfile::tempdir().unwrap();
    let gate = directory.path().join("gate");
    let gated = format!(
        "[service]\nexec = \"sleep 1000\"\n[conditions]\ndirectory_not_empty = [\"{}\"]\n",
        gate.display()
    );
    let needs = format!("{STAYS}[dependencies]\nrequires = [\"gated\"]\n");
    let never = format!("{STAYS}[conditions]\nkernel_argument = [\"no_kernel_is_started_like_this\"]\n");
    let machine = Machine::start(&[("gated", &gated), ("needs", &needs), ("never", &never)]);
    machine.wait("ready", || machine.console().contains("] ready\n"));
    let states = ["gated", "needs", "never"].map(|name| machine.status(name)["state"].clone());
    assert_eq!(states, ["skipped", "running", "skipped"]);
    let reason = format!("{} is no directory, or empty", gate.display());
    assert_eq!(machine.status("gated")["reason"], reason.as_str());
    assert!(
        machine.console().contains(&format!("gated: skipped: {reason}")),
        "{}",
        machine.console()
    );
    machine.crash();
    assert_eq!(machine.status("gated")["state"], "skipped");
    fs::create_dir_all(gate.join("thing")).unwrap();
    machine.call("service.start", json!({ "name": "gated" }));
    machine.wait_for_state("gated", "running");
    fs::remove_dir(gate.join("thing")).unwrap();
    machine.call("service.restart", json!({ "name": "gated" }));
    machine.wait_for_state("gated", "skipped");
}
