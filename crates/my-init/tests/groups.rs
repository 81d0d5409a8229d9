//! Several services as one: instances of a template, groups.

#![allow(clippy::unwrap_used, reason = "a fixture that fails is a test that fails")]

mod common;

use std::fs;

use my_init::client::{AskError, call};
use serde_json::json;

use common::{Machine, is_alive};

const TEMPLATE: &str = "[service]\nexec = \"sleep 10%i\"\n[dependencies]\nwants = [\"log@%i\"]\n";

fn command(machine: &Machine, name: &str) -> String {
    let bytes = fs::read(format!("/proc/{}/cmdline", machine.status(name)["pid"])).unwrap();
    String::from_utf8(bytes).unwrap().replace('\0', " ").trim().to_owned()
}

#[test]
fn instances_are_made_when_named_and_when_asked_for_and_survive_a_crash() {
    let base = "[target]\n[dependencies]\nrequires = [\"web@1\"]\n";
    let machine = Machine::start(&[
        ("base", base),
        ("web@", TEMPLATE),
        ("log@", "[service]\nexec = \"sleep 20%i\"\n"),
    ]);
    for name in ["web@1", "log@1", "base"] {
        machine.wait_for_state(name, "running");
    }
    machine.call("service.start", json!({ "name": "web@2" }));
    for name in ["web@2", "log@2"] {
        machine.wait_for_state(name, "running");
    }
    assert_eq!(
        (command(&machine, "web@2"), command(&machine, "log@2")),
        ("sleep 102".into(), "sleep 202".into())
    );
    let refused = call(&machine.socket(), "service.start", &json!({ "name": "no@2" })).unwrap_err();
    assert!(matches!(refused, AskError::Refused(-32000, _)), "{refused:?}");

    let pids = ["web@1", "web@2", "log@2"].map(|name| machine.status(name)["pid"].clone());
    machine.crash();
    assert_eq!(
        ["web@1", "web@2", "log@2"].map(|name| machine.status(name)["pid"].clone()),
        pids
    );
    assert!(pids.iter().all(is_alive));

    // Only what is made of the template that has changed is restarted.
    machine.write_service("log@", "[service]\nexec = \"sleep 30%i\"\n");
    let difference = machine.call("system.reload", json!({}));
    assert_eq!(
        difference,
        json!({ "added": [], "changed": ["log@1", "log@2"], "removed": [] })
    );
    machine.wait_for_state("log@2", "running");
    assert_eq!(
        (command(&machine, "log@2"), machine.status("web@2")["pid"].clone()),
        ("sleep 302".into(), pids[1].clone())
    );

    machine.call("service.stop", json!({ "name": "web@2" }));
    machine.wait_for_state("web@2", "inactive");
    let difference = machine.call("system.reload", json!({}));
    assert_eq!(difference["removed"], json!(["log@2", "web@2"]));
}
