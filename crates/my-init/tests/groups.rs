//! Several services as one: instances of a template, groups.

#![allow(clippy::unwrap_used, reason = "a fixture that fails is a test that fails")]

mod common;

use my_init::client::{AskError, call};
use serde_json::json;

use common::{Machine, command_line, is_alive, send};

const TEMPLATE: &str = "[service]\nexec = \"sleep 10%i\"\n[dependencies]\nwants = [\"log@%i\"]\n";

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
        (command_line(&machine, "web@2"), command_line(&machine, "log@2")),
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
    assert_eq!(difference["changed"], json!(["log@1", "log@2"]));
    assert_eq!((&difference["added"], &difference["removed"]), (&json!([]), &json!([])));
    machine.wait_for_state("log@2", "running");
    assert_eq!(
        (command_line(&machine, "log@2"), machine.status("web@2")["pid"].clone()),
        ("sleep 302".into(), pids[1].clone())
    );

    machine.call("service.stop", json!({ "name": "web@2" }));
    machine.wait_for_state("web@2", "inactive");
    let difference = machine.call("system.reload", json!({}));
    assert_eq!(difference["removed"], json!(["log@2", "web@2"]));
}

#[test]
fn a_group_is_restarted_as_one_even_when_the_supervisor_is_killed_with_it() {
    let group = "[group]\nmembers = [\"disk@%i\", \"machine@%i\"]\nstatus = \"stop\"\n";
    let member = "[service]\nexec = \"sleep 1000\"\n";
    let needs = format!("{member}[dependencies]\nrequires = [\"disk@%i\"]\n");
    let machine = Machine::start(&[("vm@", group), ("disk@", member), ("machine@", &needs)]);
    machine.call("service.start", json!({ "name": "vm@7" }));
    machine.wait_for_state("vm@7", "running");
    let pid = |name: &str| machine.status(name)["pid"].clone();
    for killed in ["disk@7", "machine@7"] {
        let before = [pid("disk@7"), pid("machine@7")];
        let supervisor = machine.supervisor();
        send(supervisor, rustix::process::Signal::STOP);
        let number = if killed == "disk@7" { &before[0] } else { &before[1] };
        send(
            u32::try_from(number.as_u64().unwrap()).unwrap(),
            rustix::process::Signal::KILL,
        );
        send(supervisor, rustix::process::Signal::KILL);
        machine.wait("two others", || {
            machine.status("vm@7")["state"] == "running" && pid("disk@7") != before[0] && pid("machine@7") != before[1]
        });
        assert!(before.iter().all(|pid| !is_alive(pid)));
    }
    assert!(
        machine
            .console()
            .contains("vm@7: restarts, because machine@7 has ended"),
        "{}",
        machine.console()
    );
    let both = [pid("disk@7"), pid("machine@7")];
    machine.call("service.stop", json!({ "name": "vm@7" }));
    machine.wait_for_state("vm@7", "inactive");
    assert!(both.iter().all(|pid| !is_alive(pid)));
}
