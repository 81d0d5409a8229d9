//! A program whose execution never comes to an end.

#![allow(clippy::unwrap_used, reason = "a fixture that fails is a test that fails")]

mod common;

use my_init::children::children_of;
use my_init::client::call;
use serde_json::json;

use common::held::{Held, is_opening, sleeper};
use common::{Machine, STAYS};

#[test]
fn a_program_that_cannot_be_executed_for_its_file_system_holds_nobody_else() {
    let directory = tempfile::tempdir().unwrap();
    let program = sleeper(directory.path(), "program");
    let slow = format!("[service]\nexec = \"{} 1000\"\nstatus = \"stop\"\n", program.display());
    let other = format!("{STAYS}status = \"stop\"\n");
    let machine = Machine::start(&[("web", STAYS), ("slow", &slow), ("other", &other)]);
    machine.wait_for_state("web", "running");
    let web = machine.status("web")["pid"].clone();
    let Some(held) = Held::new(&program) else { return };
    let socket = machine.socket();
    let start = std::thread::spawn(move || call(&socket, "service.start", &json!({"name": "slow"})));
    let opening = || children_of(machine.child.id()).into_iter().find(|pid| is_opening(*pid));
    machine.wait("a start that stands still", || opening().is_some());
    let process = opening().unwrap();
    let _ = start.join();
    // The kernel has the file opened in the end; until then everybody else can be asked, started and stopped.
    machine.wait("another supervisor", || {
        call(&machine.socket(), "system.ping", &json!({})).is_ok()
    });
    machine.call("service.start", json!({"name": "other"}));
    machine.wait_for_state("other", "running");
    let said = format!("the program of slow (process {process}) was not executed in time");
    assert!(machine.console().contains(&said), "{}", machine.console());
    assert_eq!(machine.status("slow")["pid"], process);
    assert_eq!(machine.status("web")["pid"], web);
    machine.call("service.stop", json!({"name": "slow"}));
    machine.wait_for_state("slow", "inactive");
    drop(held);
    machine.call("service.start", json!({"name": "slow"}));
    machine.wait_for_state("slow", "running");
}
