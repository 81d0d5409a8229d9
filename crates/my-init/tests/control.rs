//! The control socket: services that come and go, reload, events, permissions.

#![allow(clippy::unwrap_used, reason = "a fixture that fails is a test that fails")]

mod common;

use std::fs;

use my_init::client::{AskError, call};
use serde_json::{Value, json};

use common::{Machine, STAYS, is_alive};

fn refusal(machine: &Machine, method: &str, parameters: Value) -> (i64, String) {
    match call(&machine.socket(), method, &parameters) {
        Err(AskError::Refused(code, message)) => (code, message),
        other => panic!("{method} was not refused: {other:?}"),
    }
}

fn words(pid: &Value) -> String {
    let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap();
    String::from_utf8(words)
        .unwrap()
        .replace('\0', " ")
        .trim_end()
        .to_owned()
}

#[test]
fn d2_a_service_that_is_set_again_is_restarted_and_nobody_else_is_touched() {
    let needs = format!("{STAYS}[dependencies]\nrequires = [\"db\"]\n");
    let machine = Machine::start(&[("db", STAYS), ("web", &needs)]);
    machine.wait_for_state("web", "running");
    let (db, web) = (
        machine.status("db")["pid"].clone(),
        machine.status("web")["pid"].clone(),
    );
    let config = json!({ "service": { "name": "db", "exec": "sleep 2000" } });
    let set = machine.call("service.set", json!({ "config": config }));
    assert_eq!(set["warnings"], json!([]));
    assert_eq!(set["path"], json!(machine.path("services/db.service.toml")));
    machine.wait("another process", || {
        let status = machine.status("db");
        status["state"] == "running" && status["pid"] != db
    });
    assert_eq!(words(&machine.status("db")["pid"]), "sleep 2000");
    assert!(machine.path("services/web.service.toml").exists());
    assert_eq!(machine.call("service.list", json!({})), json!(["db", "web"]));
    machine.wait("web", || machine.status("web")["state"] == "running");
    assert_eq!(machine.status("web")["pid"], web);
}

#[test]
fn d4_start_of_a_stopped_service_starts_it() {
    let machine = Machine::start(&[("web", "[service]\nexec = \"sleep 1000\"\nstatus = \"stop\"\n")]);
    assert_eq!(machine.status("web")["state"], "inactive");
    machine.call("service.start", json!({ "name": "web" }));
    machine.wait_for_state("web", "running");
    assert!(is_alive(&machine.status("web")["pid"]));
}

#[test]
fn d5_delete_of_a_running_service_keeps_nobody_waiting() {
    let stubborn = "[service]\nexec = \"trap '' TERM; echo up; while :; do sleep 1000; done\"\n[lifecycle]\nstop_timeout_ms = 86400000\n";
    let machine = Machine::start(&[("stubborn", stubborn), ("web", STAYS)]);
    machine.wait("its trap", || {
        machine.call("logs.get", json!(["stubborn"])) == json!(["up"])
    });
    let pid = machine.status("stubborn")["pid"].clone();
    assert_eq!(
        machine.call("service.delete", json!({ "name": "stubborn" })),
        json!({ "ok": true })
    );
    // It does not end for a day, and the others are served all the same.
    assert_eq!(machine.status("stubborn")["state"], "stopping");
    machine.call("service.restart", json!({ "name": "web" }));
    machine.wait_for_state("web", "running");
    assert!(is_alive(&pid) && !machine.path("services/stubborn.service.toml").exists());
    machine.crash();
    assert_eq!(machine.status("stubborn")["state"], "stopping");
    machine.call("service.kill", json!({ "name": "stubborn", "signal": "KILL" }));
    machine.wait("its end", || machine.call("service.list", json!({})) == json!(["web"]));
    let (code, _) = refusal(&machine, "service.delete", json!({ "name": "stubborn" }));
    assert_eq!(code, -32000);
}

#[test]
fn an_added_service_is_a_file_and_outlives_the_supervisor() {
    let machine = Machine::start(&[]);
    let text = "[service]\nexec = \"sleep 1000\"\nports = [1]\n";
    let set = machine.call("service.set", json!({ "config": text, "name": "web" }));
    let warnings = set["warnings"].as_array().unwrap();
    assert!(warnings[0].as_str().unwrap().contains("unknown key `ports`"), "{set}");
    assert_eq!(machine.read("services/web.service.toml"), text);
    machine.wait_for_state("web", "running");
    let pid = machine.status("web")["pid"].clone();
    machine.crash();
    assert_eq!(machine.status("web")["pid"], pid);
    let config = machine.call("service.get", json!({ "name": "web" }));
    let service = json!({ "exec": "sleep 1000", "ports": [1], "name": "web" });
    assert_eq!(config, json!({ "service": service }));
    machine.call("service.remove", json!({ "name": "web" }));
    machine.wait("its end", || !is_alive(&pid));
    machine.wait("the end of its name", || {
        machine.call("service.list", json!({})) == json!([])
    });
}

#[test]
fn what_cannot_be_added_is_refused_and_leaves_nothing_behind() {
    let machine = Machine::start(&[("a", "[service]\nname = \"b\"\nexec = \"sleep 1000\"\n")]);
    let before = fs::read_dir(machine.path("services")).unwrap().count();
    for (parameters, code, part) in [
        (json!({ "config": "[service" }), -32011, "(request).service.toml:1:"),
        (
            json!({ "config": "[service]\nexec = \"x\"\n" }),
            -32011,
            "`(request)` is not a service name",
        ),
        (
            json!({ "config": { "service": { "name": "../x", "exec": "x" } } }),
            -32011,
            "is not a service name",
        ),
        (
            json!({ "config": { "service": 3 } }),
            -32011,
            "`service` is not a section",
        ),
        (json!({ "config": 3 }), -32602, "the parameter `config` must be"),
        (
            json!({ "config": { "service": { "exec": "x" } }, "name": "a" }),
            -32010,
            "a.service.toml defines `b`",
        ),
        (
            json!({ "config": { "service": { "exec": "x" } }, "name": "a@" }),
            -32011,
            "a@ is a template",
        ),
    ] {
        let (actual, message) = refusal(&machine, "service.set", parameters);
        assert_eq!(actual, code, "{message}");
        assert!(message.contains(part), "{message}");
    }
    assert_eq!(fs::read_dir(machine.path("services")).unwrap().count(), before);
    assert_eq!(machine.call("service.list", json!({})), json!(["b"]));
}

#[test]
fn files_of_other_directories_are_neither_replaced_nor_removed() {
    let machine = Machine::start_with(&[("web", STAYS)], &["--state", "$HERE/state"]);
    let config = json!({ "service": { "exec": "sleep 2" } });
    let (code, message) = refusal(&machine, "service.set", json!({ "config": config, "name": "web" }));
    assert_eq!(code, -32010, "{message}");
    let (code, message) = refusal(&machine, "service.delete", json!({ "name": "web" }));
    assert_eq!(code, -32005, "{message}");
    assert!(message.contains("services/web.service.toml"), "{message}");
    machine.call("service.set", json!({ "config": config, "name": "other" }));
    assert!(machine.path("state/other.service.toml").exists());
}
