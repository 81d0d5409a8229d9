//! Processes that come, go, stay and print more than anybody expects.

use std::fs;

use my_init::client::call;
use rustix::process::Signal;
use serde_json::json;

use crate::common::{Machine, STAYS, is_alive, send};
use crate::{Group, kilobytes, pid_of, zombies};

#[test]
fn a_storm_of_zombies_is_taken_in() {
    let storm = "[service]\noneshot = true\nexec = \"for i in $(seq 2000); do (: &) ; done\"\n";
    let machine = Machine::start(&[("web", STAYS), ("storm", storm)]);
    machine.wait_for_state("web", "running");
    let web = pid_of(&machine, "web");
    machine.wait_for_state("storm", "exited");
    machine.wait("the end of all zombies", || zombies(&machine) == 0);
    assert_eq!(pid_of(&machine, "web"), web);
}

#[test]
fn a_flood_of_ends_leaves_time_for_requests_and_for_other_services() {
    let flood = "[service]\nexec = \"while :; do (: &) ; done\"\n";
    let machine = Machine::start(&[("web", STAYS), ("one", flood), ("two", flood)]);
    for name in ["web", "one", "two"] {
        machine.wait_for_state(name, "running");
    }
    for _ in 0..3 {
        let first = pid_of(&machine, "web");
        send(first, Signal::KILL);
        machine.wait("another web", || {
            let now = pid_of(&machine, "web");
            now != 0 && now != first
        });
        machine.crash();
    }
    for name in ["one", "two"] {
        machine.call("service.stop", json!({ "name": name }));
        machine.wait_for_state(name, "inactive");
    }
    machine.wait("the end of all zombies", || zombies(&machine) == 0);
}

#[test]
fn a_fork_bomb_inside_a_limit_leaves_the_supervisor_at_work() {
    let Some(group) = Group::new("pids", [("pids.max", "60"), ("pids.max", "60")]) else {
        return;
    };
    let bomb = "[service]\nstatus = \"stop\"\nexec = \"while :; do sleep 1000 & done\"\n";
    let mut machine = Machine::start(&[("web", STAYS), ("bomb", bomb)]);
    machine.wait_for_state("web", "running");
    // The keeper goes in, and so does everybody it forks from now on; the supervisor too.
    group.take_in(machine.child.id());
    group.take_in(machine.supervisor());
    let is_full = || fs::read_to_string(group.0.join("pids.current")).is_ok_and(|count| count.trim() == "60");
    machine.call("service.start", json!({ "name": "bomb" }));
    // The shell gives up when it cannot fork; the limit was hit all the same.
    machine.wait("the limit, or the bomb's end", || {
        is_full() || machine.status("bomb")["state"] != "running"
    });
    let first = pid_of(&machine, "web");
    send(first, Signal::KILL);
    machine.call("service.list", json!({}));
    let _ = call(&machine.socket(), "service.stop", &json!({ "name": "bomb" }));
    machine.wait("another web", || ![0, first].contains(&pid_of(&machine, "web")));
    machine.crash();
    machine.wait_for_state("web", "running");
    machine.call("system.poweroff", json!({}));
    assert_eq!(machine.end(), Some(0));
}

#[test]
fn a_daemon_that_forked_twice_does_not_run_beside_its_successor() {
    let daemon = "[service]\nexec = \"setsid sh -c 'echo $$ >> $HERE/left; sleep 1000 & wait' & echo $$ >> $HERE/main; exec sleep 1000\"\n";
    let mut machine = Machine::start(&[("daemon", daemon), ("web", STAYS)]);
    let left = || -> Vec<u32> { machine.read("left").lines().map(|pid| pid.parse().unwrap()).collect() };
    machine.wait("the first", || left().len() == 1);
    let web = pid_of(&machine, "web");
    send(pid_of(&machine, "daemon"), Signal::KILL);
    machine.wait("the second", || left().len() == 2);
    machine.wait("the end of the first", || !is_alive(&json!(left()[0])));
    // One that a supervisor did not come to any more is found by the next.
    let supervisor = machine.supervisor();
    send(supervisor, Signal::STOP);
    send(pid_of_noted(&machine), Signal::KILL);
    send(supervisor, Signal::KILL);
    machine.wait("the third", || left().len() == 3);
    machine.wait("the end of the second", || !is_alive(&json!(left()[1])));
    assert!(is_alive(&json!(left()[2])));
    assert_eq!(pid_of(&machine, "web"), web);
    let left = left();
    machine.call("system.poweroff", json!({}));
    assert_eq!(machine.end(), Some(0));
    assert!(left.iter().all(|pid| !is_alive(&json!(pid))));
}

/// The process that a service last wrote down itself: for when nobody answers.
fn pid_of_noted(machine: &Machine) -> u32 {
    machine.read("main").lines().last().unwrap().parse().unwrap()
}

#[test]
fn what_is_left_when_a_supervisor_ends_ends_with_it() {
    let daemon = "[service]\noneshot = true\nexec = \"setsid sh -c 'echo $$ >> $HERE/left; sleep 1000 & wait' >/dev/null 2>&1 & sleep 0.1\"\n";
    let mut machine = Machine::start(&[("daemon", daemon)]);
    machine.wait_for_state("daemon", "exited");
    machine.wait("its process", || !machine.read("left").is_empty());
    let left = json!(machine.read("left").trim().parse::<u32>().unwrap());
    assert!(is_alive(&left));
    machine.call("system.poweroff", json!({}));
    assert_eq!(machine.end(), Some(0));
    assert!(!is_alive(&left));
}

#[test]
fn a_program_that_is_not_there_is_named_and_started_when_it_is() {
    let machine = Machine::start(&[]);
    let path = machine.path("program");
    let text = format!(
        "[service]\nexec = \"{}\"\n[lifecycle]\nmax_restarts = 1\n",
        path.display()
    );
    machine.write_service("lost", &text);
    machine.call("system.reload", json!({}));
    machine.wait_for_state("lost", "failed");
    let reason = machine.status("lost")["reason"].clone();
    assert!(
        reason
            .as_str()
            .unwrap()
            .contains(&format!("{}: No such file", path.display())),
        "{reason}"
    );
    fs::copy("/bin/sleep", &path).unwrap();
    machine.write_service("lost", &text.replace("program\"", "program 1000\""));
    machine.call("system.reload", json!({}));
    machine.wait_for_state("lost", "running");
}

#[test]
fn a_line_of_a_hundred_megabytes_takes_no_memory_and_blocks_nobody() {
    let endless = "[service]\noneshot = true\nexec = \"head -c 100000000 /dev/zero | tr '\\\\0' x; echo; echo end\"\n[logging]\nbuffer_bytes = 65536\n";
    let machine = Machine::start(&[("endless", endless)]);
    machine.wait_for_state("endless", "exited");
    let tail = machine.call("logs.tail", json!({ "name": "endless", "lines": 1 }));
    assert_eq!(tail["lines"], json!(["end"]));
    for pid in [machine.child.id(), machine.supervisor()] {
        let most = kilobytes(pid, "VmHWM");
        assert!(most < 32 * 1024, "{most} KB");
    }
}
