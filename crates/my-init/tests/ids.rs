//! Ids of processes: one that comes round, and one that nobody came to note.

#![allow(clippy::unwrap_used, reason = "a fixture that fails is a test that fails")]

mod common;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use my_init::children::children_of;
use my_init::client::call;
use rustix::process::Signal;
use serde_json::{Value, json};

use common::held::{Held, is_opening, sleeper};
use common::{Machine, STAYS, is_alive, send};

/// Everything of the machine has process ids of its own, from 1.
const OWN_IDS: [&str; 5] = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"];
/// How often it is tried to have an id come round: others may get it in between.
const TRIES: usize = 20;

/// The id that a process has in the machine.
fn inner(pid: u32) -> u32 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("NSpid:"));
    let last = line.and_then(|line| line.split_whitespace().next_back()?.parse().ok());
    last.unwrap_or(0)
}

/// The process of the machine that has this id there.
fn outer(keeper: u32, pid: u64) -> Option<u32> {
    children_of(keeper)
        .into_iter()
        .find(|child| u64::from(inner(*child)) == pid)
}

/// Runs a line of shell in the machine.
fn within(keeper: u32, line: &str) -> bool {
    let mut command = Command::new("nsenter");
    command.args(["-t", &keeper.to_string(), "-p", "-m", "sh", "-c", line]);
    command.status().unwrap().success()
}

#[test]
fn an_id_that_comes_round_before_its_end_was_read_is_the_new_ones() {
    let possible = Command::new(OWN_IDS[0])
        .args(&OWN_IDS[1..])
        .arg("true")
        .stderr(Stdio::null())
        .status();
    if !possible.is_ok_and(|status| status.success()) {
        println!("SKIPPED: no process id namespaces here");
        return;
    }
    let first = "[service]\nexec = \"sleep 1000\"\n[lifecycle]\nrestart = \"never\"\n";
    let machine = Machine::start_by(&[("first", first)], &OWN_IDS);
    let keeper = children_of(machine.child.id())[0];
    let program = sleeper(machine.directory.path(), "program");
    let slow = format!("[service]\nexec = \"{} 1000\"\n", program.display());
    for number in 0..TRIES {
        if number > 0 {
            machine.call("service.start", json!({"name": "first"}));
        }
        machine.wait_for_state("first", "running");
        let id = machine.status("first")["pid"].as_u64().unwrap();
        let process = outer(keeper, id).unwrap();
        // The supervisor stands still while it starts one service, and another one is to be started right after that.
        let Some(held) = Held::new(&program) else { return };
        machine.write_service("slow", &slow);
        machine.write_service("web", &STAYS.replace("1000", &format!("100{number}")));
        let socket = machine.socket();
        let reload = std::thread::spawn(move || call(&socket, "system.reload", &json!({})));
        let stands = || children_of(keeper).iter().any(|pid| is_opening(*pid));
        machine.wait("a start that stands still", stands);
        send(process, Signal::KILL);
        machine.wait("its end", || !Path::new(&format!("/proc/{process}")).exists());
        assert!(within(
            keeper,
            &format!("echo {} > /proc/sys/kernel/ns_last_pid", id - 1)
        ));
        drop(held);
        let _ = reload.join();
        for name in ["slow", "web"] {
            machine.wait_for_state(name, "running");
        }
        machine.wait_for_state("first", "failed");
        let web = machine.status("web");
        assert_eq!(
            (&web["restarts"], &web["state"]),
            (&json!(0), &json!("running")),
            "{web}"
        );
        assert!(outer(keeper, web["pid"].as_u64().unwrap()).is_some(), "{web}");
        if web["pid"] == id {
            // And its own end is its own.
            send(outer(keeper, id).unwrap(), Signal::KILL);
            machine.wait("another process", || machine.status("web")["restarts"] == 1);
            return machine.wait_for_state("web", "running");
        }
        for name in ["slow", "web"] {
            fs::remove_file(machine.path(&format!("services/{name}.service.toml"))).unwrap();
        }
        machine.call("system.reload", json!({}));
        machine.wait("their end", || {
            machine.call("service.list", json!({})) == json!(["first"])
        });
    }
    panic!("the id did not come round in {TRIES} tries");
}

#[test]
fn a_start_that_nobody_came_to_note_is_found_and_not_the_probe_before_it() {
    let directory = tempfile::tempdir().unwrap();
    let program = sleeper(directory.path(), "program");
    // Its probes are started all the time.
    let probed = format!("{STAYS}[health]\ntype = \"exec\"\ntarget = \"touch $HERE/probed\"\ninterval_ms = 100\n");
    let slow = format!("[service]\nexec = \"{} 1000\"\nstatus = \"stop\"\n", program.display());
    let machine = Machine::start(&[("probed", &probed), ("slow", &slow)]);
    machine.wait("probes", || machine.path("probed").exists());
    let Some(held) = Held::new(&program) else { return };
    let keeper = machine.child.id();
    let socket = machine.socket();
    let start = std::thread::spawn(move || call(&socket, "service.start", &json!({"name": "slow"})));
    let opening = || children_of(keeper).into_iter().find(|pid| is_opening(*pid));
    machine.wait("a start that stands still", || opening().is_some());
    let process = opening().unwrap();
    // Whoever started it is the other child that has this program, and waits for it.
    let own = fs::read_link(format!("/proc/{process}/exe")).ok();
    let same = |pid: &u32| fs::read_link(format!("/proc/{pid}/exe")).ok() == own && *pid != process;
    let supervisor = children_of(keeper).into_iter().find(same).unwrap();
    send(supervisor, Signal::KILL);
    let _ = start.join();
    machine.wait("another supervisor", || {
        call(&machine.socket(), "system.ping", &json!({})).is_ok()
    });
    assert_eq!(machine.status("slow")["pid"], process, "{}", machine.console());
    drop(held);
    machine.wait_for_state("slow", "running");
    assert_eq!(machine.status("slow")["pid"], process);
    assert!(is_alive(&Value::from(process)));
    assert_eq!(machine.status("slow")["restarts"], 0);
}
