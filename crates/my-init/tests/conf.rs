//! `my_init.conf`: what it asks for is done, and a bad one stops nothing.

#![allow(clippy::unwrap_used, reason = "a fixture that fails is a test that fails")]

mod common;

use std::fs;

use serde_json::json;

use common::{Machine, STAYS, program};

/// A supervisor that finds this file beside its services.
fn start(text: &str) -> Machine {
    let write = format!("printf '{text}' > \"$HERE/my_init.conf\"; exec \"$@\"");
    Machine::start_by(&[("web", STAYS)], &["sh", "-c", &write, "sh"])
}

#[test]
fn without_the_stage_of_services_nothing_starts_by_itself() {
    let machine = start("init:\\n- load-modules\\n- networking\\n");
    assert_eq!(machine.status("web")["state"], "inactive");
    machine.call("service.start", json!({ "name": "web" }));
    machine.wait_for_state("web", "running");
    assert_eq!(machine.status("web")["state"], "running");
}

#[test]
fn a_level_keeps_the_console_quiet() {
    let machine = start("log_level: error\\ninit: [services]\\n");
    machine.wait_for_state("web", "running");
    machine.call("service.stop", json!({ "name": "web" }));
    machine.wait_for_state("web", "inactive");
    assert_eq!(machine.console(), "");
}

#[test]
fn a_bad_file_stops_nothing() {
    for text in ["init: [servicse]\\nlog_level: [\\n", "\\t\\n", "init: {a: b}\\n"] {
        start(text).wait_for_state("web", "running");
    }
}

#[test]
fn check_names_what_is_wrong_with_line_and_nearest_word() {
    let root = tempfile::tempdir().unwrap();
    let services = root.path().join("services");
    fs::create_dir(&services).unwrap();
    let conf = root.path().join("my_init.conf");
    let check = || {
        let output = program().arg("check").arg(&services).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    fs::write(&conf, "log_level: info\ninit:\n- load-modules\n- netwroking\n").unwrap();
    let place = conf.display().to_string();
    assert_eq!(
        check(),
        (
            Some(1),
            format!("error: {place}:4:3: unknown stage `netwroking`\n  hint: did you mean `networking`?\n")
        )
    );
    fs::write(&conf, "log_level: info\ninit:\n- load-modules\n- networking\n").unwrap();
    assert_eq!(check(), (Some(0), String::new()));
}
