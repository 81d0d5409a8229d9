//! The control socket: services that come and go, reload, events, permissions.

#![allow(clippy::unwrap_used, reason = "a fixture that fails is a test that fails")]

mod common;

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::process::Command;

use my_init::client::{AskError, call};
use serde_json::{Value, json};

use common::{Machine, STAYS, command_line, is_alive};

fn refusal(machine: &Machine, method: &str, parameters: Value) -> (i64, String) {
    match call(&machine.socket(), method, &parameters) {
        Err(AskError::Refused(code, message)) => (code, message),
        other => panic!("{method} was not refused: {other:?}"),
    }
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
    assert_eq!(command_line(&machine, "db"), "sleep 2000");
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
    let text = "[service]\nexec = \"sleep 1000\"\nprots = [1]\n";
    let set = machine.call("service.set", json!({ "config": text, "name": "web" }));
    let warnings = set["warnings"].as_array().unwrap();
    assert!(warnings[0].as_str().unwrap().contains("unknown key `prots`"), "{set}");
    assert_eq!(machine.read("services/web.service.toml"), text);
    machine.wait_for_state("web", "running");
    let pid = machine.status("web")["pid"].clone();
    machine.crash();
    assert_eq!(machine.status("web")["pid"], pid);
    let config = machine.call("service.get", json!({ "name": "web" }));
    let service = json!({ "exec": "sleep 1000", "prots": [1], "name": "web" });
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

#[test]
fn a_dry_run_says_what_a_reload_would_do_and_does_nothing() {
    let machine = Machine::start(&[("kept", STAYS), ("gone", STAYS), ("changed", STAYS), ("eased", STAYS)]);
    for name in ["kept", "gone", "changed", "eased"] {
        machine.wait_for_state(name, "running");
    }
    let before = machine.call("service.list_full", json!({}));
    fs::remove_file(machine.path("services/gone.service.toml")).unwrap();
    machine.write_service("changed", "[service]\nexec = \"sleep 2000\"\nnice = 1\n");
    machine.write_service("eased", &format!("{STAYS}[lifecycle]\nmax_restarts = 3\n"));
    machine.write_service("new", STAYS);
    machine.write_service("broken", "[service\n");
    let would = machine.call("system.reload", json!({ "dry_run": true }));
    assert_eq!(
        machine.call("service.list", json!({})),
        json!(["changed", "eased", "gone", "kept"])
    );
    let did = machine.call("system.reload", json!({}));
    let why = json!({ "changed": "exec, umask, nice, oom_score_adjust or tty", "eased": "[lifecycle]" });
    for (key, expected) in [
        ("added", json!(["new"])),
        ("changed", json!(["changed", "eased"])),
        ("removed", json!(["gone"])),
        ("restarted", json!(["changed"])),
        ("why", why),
    ] {
        assert_eq!((&would[key], &did[key]), (&expected, &expected), "{key}");
    }
    assert!(
        would["problems"][0]
            .as_str()
            .unwrap()
            .contains("broken.service.toml:1:"),
        "{would}"
    );
    machine.wait_for_state("changed", "running");
    let pid = |services: &Value, name: &str| {
        let services = services.as_array().unwrap();
        services.iter().find(|service| service["name"] == name).unwrap()["pid"].clone()
    };
    for name in ["kept", "eased"] {
        assert_eq!(machine.status(name)["pid"], pid(&before, name), "{name}");
    }
}

#[test]
fn what_a_half_written_file_described_goes_on_until_the_file_is_whole_or_gone() {
    let machine = Machine::start(&[("web", STAYS), ("db", STAYS)]);
    machine.wait_for_state("web", "running");
    let pid = machine.status("web")["pid"].clone();
    machine.write_service("web", "[service]\nexec = \"sleep 10");
    let difference = machine.call("system.reload", json!({}));
    assert_eq!(
        (&difference["kept"], &difference["removed"]),
        (&json!(["web"]), &json!([]))
    );
    assert_eq!(machine.status("web")["pid"], pid);
    // Not even the end of the supervisor changes that.
    machine.crash();
    assert_eq!(
        (&machine.status("web")["pid"], &machine.status("web")["state"]),
        (&pid, &json!("running"))
    );
    assert_eq!(machine.call("system.reload", json!({}))["kept"], json!(["web"]));
    machine.write_service("web", "[service]\nexec = \"sleep 2000\"\n");
    machine.call("system.reload", json!({}));
    machine.wait("another process", || {
        let status = machine.status("web");
        status["state"] == "running" && status["pid"] != pid
    });
    assert_eq!(command_line(&machine, "web"), "sleep 2000");
    machine.write_service("web", "[service]\nexec = \"sleep 10");
    fs::remove_file(machine.path("services/web.service.toml")).unwrap();
    assert_eq!(machine.call("system.reload", json!({}))["removed"], json!(["web"]));
}

#[test]
fn a_directory_that_is_being_exchanged_removes_nothing() {
    let machine = Machine::start(&[("web", STAYS)]);
    machine.wait_for_state("web", "running");
    fs::create_dir(machine.path("next")).unwrap();
    fs::write(machine.path("next/db.service.toml"), STAYS).unwrap();
    fs::rename(machine.path("services"), machine.path("last")).unwrap();
    let half = machine.call("system.reload", json!({}));
    assert_eq!((&half["kept"], &half["removed"]), (&json!(["web"]), &json!([])));
    fs::rename(machine.path("next"), machine.path("services")).unwrap();
    let whole = machine.call("system.reload", json!({}));
    assert_eq!((&whole["added"], &whole["removed"]), (&json!(["db"]), &json!(["web"])));
}

/// A connection that was sent one request.
fn ask(machine: &Machine, request: &str) -> BufReader<UnixStream> {
    let mut stream = UnixStream::connect(machine.socket()).unwrap();
    stream.set_read_timeout(Some(common::PATIENCE)).unwrap();
    writeln!(stream, "{request}").unwrap();
    BufReader::new(stream)
}

fn next(lines: &mut impl std::io::BufRead) -> Value {
    let mut line = String::new();
    lines.read_line(&mut line).unwrap();
    serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line}: {error}"))
}

const SUBSCRIBE: &str = r#"{"jsonrpc":"2.0","id":1,"method":"events.subscribe"}"#;

#[test]
fn events_tell_what_happens_with_time_and_reason() {
    let machine = Machine::start(&[]);
    let mut events = ask(&machine, SUBSCRIBE);
    assert_eq!(next(&mut events)["result"]["ok"], true);
    let config = json!({ "service": { "name": "web", "exec": "false", "oneshot": true } });
    machine.call("service.set", json!({ "config": config }));
    let mut told = Vec::new();
    loop {
        let event = next(&mut events);
        assert_eq!(event["method"], "event");
        assert!(event["params"]["time"].is_u64());
        let kind = event["params"]["kind"].as_str().unwrap().to_owned();
        let state = event["params"]["state"].as_str().unwrap_or_default().to_owned();
        told.push((kind, state.clone()));
        if state == "failed" {
            assert_eq!(event["params"]["reason"], "exit code 1");
            break;
        }
    }
    let first = ("added".to_owned(), String::new());
    assert_eq!((&told[0], told.len()), (&first, 3), "{told:?}");
    machine.call("service.delete", json!({ "name": "web" }));
    while next(&mut events)["params"]["kind"] != "removed" {}
}

#[test]
fn a_listener_that_does_not_read_costs_a_bounded_amount_and_is_told_what_it_lost() {
    let machine = Machine::start(&[("all", "[target]\n")]);
    machine.wait_for_state("all", "running");
    let mut events = ask(&machine, SUBSCRIBE);
    next(&mut events);
    let all = json!({ "name": "all" });
    // Two events of more than 100 bytes each time: more than a socket and the queue of 64 KiB hold.
    for _ in 0..1000 {
        machine.call("service.stop", all.clone());
        machine.call("service.start", all.clone());
    }
    let (mut seen, mut lost) = (0, 0);
    while lost == 0 {
        let event = next(&mut events);
        match event["method"].as_str() {
            Some("event") => seen += 1,
            _ => lost = event["params"]["count"].as_u64().unwrap(),
        }
    }
    assert!(seen > 100 && lost > 100, "{seen} {lost}");
    // And it goes on.
    machine.call("service.stop", all);
    while next(&mut events)["params"]["state"] != "inactive" {}
}

#[test]
fn reading_is_for_all_and_writing_for_root_or_a_group() {
    let machine = Machine::start_with(&[("web", STAYS)], &["--control-group", "4711"]);
    if !rustix::process::geteuid().is_root() {
        println!("SKIPPED: needs root to become somebody else");
        return;
    }
    for path in [machine.directory.path().to_owned(), machine.socket()] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
    }
    fs::copy(env!("CARGO_BIN_EXE_my_init"), machine.path("my_init")).unwrap();
    let as_nobody = |groups: &[&str], verb: &[&str]| {
        let output = Command::new("setpriv")
            .args(["--reuid", "65534", "--regid", "65534"])
            .args(groups)
            .arg(machine.path("my_init"))
            .arg("--socket")
            .arg(machine.socket())
            .args(verb)
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (other, member) = (["--clear-groups"], ["--groups", "4711"]);
    assert_eq!(as_nobody(&other, &["status", "web"]).0, Some(0));
    let (code, message) = as_nobody(&other, &["restart", "web"]);
    assert_eq!(code, Some(5), "{message}");
    assert!(message.contains("only root, or a member of the group"), "{message}");
    let (code, message) = as_nobody(&member, &["restart", "web"]);
    assert_eq!(code, Some(0), "{message}");
}

#[test]
fn a_client_of_zinit_finds_its_methods() {
    let needs = format!("{STAYS}[dependencies]\nrequires = [\"db\"]\nafter = [\"nobody\"]\n");
    let machine = Machine::start(&[("db", STAYS), ("web", &needs)]);
    machine.wait_for_state("web", "running");
    let web = json!({ "name": "web" });
    assert_eq!(machine.call("service.is_running", web.clone()), json!(true));
    let full = machine.call("service.status_full", web.clone());
    assert_eq!(full["is_target"], false);
    let relations = json!([
        { "name": "db", "dep_type": "requires", "state": "running", "satisfied": true },
        { "name": "nobody", "dep_type": "after", "state": "missing", "satisfied": true },
    ]);
    assert_eq!(full["dependencies"], relations);
    let stats = machine.call("service.stats", web.clone());
    assert!(
        stats["memory_bytes"].as_u64().unwrap() > 0 && stats["pid"] == full["pid"],
        "{stats}"
    );
    let tree = machine.call("service.tree", json!({}));
    assert!(
        tree["ascii"]
            .as_str()
            .unwrap()
            .starts_with("web: running\n  db: running\n"),
        "{tree}"
    );
    assert_eq!(machine.call("service.children", web.clone()), json!({ "children": [] }));
    let processes = machine.call("debug.process_tree", web);
    assert!(processes["output"].as_str().unwrap().contains("sleep"), "{processes}");
    assert!(
        machine.call("debug.state", json!({}))["output"]
            .as_str()
            .unwrap()
            .contains("db: running\n")
    );
    let methods = machine.call("rpc.discover", json!({}));
    assert!(methods["methods"].as_array().unwrap().len() > 25);
}

/// What a client of zinit 0.2 reads until the connection ends.
fn old(machine: &Machine, line: &str) -> Value {
    let mut answer = String::new();
    ask(machine, line).read_to_string(&mut answer).unwrap();
    serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{line}: {error}: {answer}"))
}

#[test]
fn the_lines_of_old_clients_are_answered() {
    let machine = Machine::start(&[]);
    fs::write(
        machine.path("services/redis.yaml"),
        "exec: sleep 1000\ntest: test -e $HERE/up\n",
    )
    .unwrap();
    assert_eq!(old(&machine, "list"), json!({ "state": "ok", "body": {} }));
    assert_eq!(old(&machine, "monitor redis"), json!({ "state": "ok", "body": null }));
    machine.wait("its process", || old(&machine, "list")["body"]["redis"] == "Spawned");
    fs::write(machine.path("up"), "").unwrap();
    machine.wait("its test", || {
        old(&machine, "status redis")["body"]["state"] == "Running"
    });
    let status = old(&machine, "status redis")["body"].clone();
    assert_eq!((&status["target"], &status["after"]), (&json!("Up"), &json!({})));
    assert!(is_alive(&status["pid"]));
    assert_eq!(old(&machine, "forget redis")["state"], "error");
    assert_eq!(old(&machine, "stop redis")["state"], "ok");
    machine.wait("its end", || old(&machine, "status redis")["body"]["pid"] == 0);
    assert_eq!(old(&machine, "forget redis")["state"], "ok");
    assert_eq!(old(&machine, "status redis")["state"], "error");
    // Other lines are no requests in either protocol.
    let mut answer = String::new();
    let mut stream = UnixStream::connect(machine.socket()).unwrap();
    stream.write_all(b"lits\n").unwrap();
    BufReader::new(stream).read_line(&mut answer).unwrap();
    assert!(answer.contains("-32700"), "{answer}");
}
