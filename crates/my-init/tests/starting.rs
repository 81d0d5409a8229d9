//! Whether real services are started at all, and what follows from what happens to others: conditions, edges.

#![allow(clippy::unwrap_used, reason = "a fixture that fails is a test that fails")]

mod common;

use std::fs;

use rustix::process::Signal;
use serde_json::json;

use common::{Machine, STAYS, send};

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

#[test]
fn a_dependent_follows_also_when_nobody_saw_why() {
    let web = format!(
        "{STAYS}[dependencies]\nrequires = [{{ name = \"db\", on_restart = \"restart\", on_stop = \"stop\" }}]\n"
    );
    let machine = Machine::start(&[("db", STAYS), ("web", &web)]);
    machine.wait_for_state("web", "running");
    let [db, first] = ["db", "web"].map(|name| machine.status(name)["pid"].clone());
    // The other one crashes while the supervisor does not listen, which then is killed itself.
    let supervisor = machine.supervisor();
    send(supervisor, Signal::STOP);
    send(u32::try_from(db.as_u64().unwrap()).unwrap(), Signal::KILL);
    send(supervisor, Signal::KILL);
    machine.wait("both anew", || {
        let [one, other] = ["db", "web"].map(|name| machine.status(name));
        one["state"] == "running" && other["state"] == "running" && one["pid"] != db && other["pid"] != first
    });
    assert!(
        machine.console().contains("web: restarts, because db is restarted"),
        "{}",
        machine.console()
    );
    machine.call("service.stop", json!({ "name": "db" }));
    machine.wait_for_state("web", "inactive");
}
