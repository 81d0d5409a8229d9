//! Too little memory, too few descriptors.

use std::fs;
use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::path::Path;

use my_init::client::call;
use serde_json::json;

use crate::common::{Machine, STAYS};
use crate::{Group, is_root, limit, pid_of, states};

#[test]
fn without_memory_the_supervisor_ends_and_the_next_one_goes_on() {
    let machine = Machine::start(&[("web", STAYS)]);
    machine.wait_for_state("web", "running");
    let web = pid_of(&machine, "web");
    for round in 0..2 {
        let first = machine.supervisor();
        // No page more than it has now: the next that it asks for ends it.
        limit(first, "as", Some(4096));
        machine.wait("the end of the first", || {
            let long = json!({ "name": "x".repeat(60_000) });
            let _ = call(&machine.socket(), "service.status", &long);
            !Path::new(&format!("/proc/{first}/exe")).exists()
        });
        assert_eq!(pid_of(&machine, "web"), web, "round {round}");
    }
}

#[test]
fn killed_for_memory_it_goes_on_when_there_is_some() {
    let files = [("memory.limit_in_bytes", "4M"), ("memory.max", "4M")];
    let Some(group) = Group::new("memory", files) else {
        return;
    };
    let machine = Machine::start(&[("web", STAYS)]);
    machine.wait_for_state("web", "running");
    let web = pid_of(&machine, "web");
    let first = machine.supervisor();
    group.take_in(first);
    // Its own pages are charged from now on: connections that send halves of requests make it need some.
    let held = std::cell::RefCell::new(Vec::new());
    machine.wait("the end of the first", || {
        if let Ok(mut stream) = UnixStream::connect(machine.socket()) {
            let _ = stream.set_nonblocking(true);
            let _ = stream.write_all(&[b'x'; 65_000]);
            held.borrow_mut().push(stream);
        }
        !Path::new(&format!("/proc/{first}/exe")).exists()
    });
    drop(held);
    machine.wait("an answer", || {
        call(&machine.socket(), "system.ping", &json!({})).is_ok()
    });
    assert_eq!(pid_of(&machine, "web"), web);
}

#[test]
fn d18_a_thousand_and_twenty_four_descriptors_at_start_are_not_the_end() {
    let services: Vec<(String, String)> = (0..520).map(|n| (format!("s{n}"), STAYS.to_owned())).collect();
    let services: Vec<(&str, &str)> = services.iter().map(|(name, text)| (&**name, &**text)).collect();
    let machine = Machine::start_by(&services, &["prlimit", "--nofile=1024:4096"]);
    machine.wait("ready", || machine.console().contains("] ready\n"));
    let states = states(&machine);
    assert!(states.iter().all(|(_, state)| state == "running"), "{states:?}");
    // And each service has the limit that there was.
    let limits = fs::read_to_string(format!("/proc/{}/limits", pid_of(&machine, "s7"))).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    assert_eq!(
        line.split_whitespace().skip(3).take(2).collect::<Vec<_>>(),
        ["1024", "4096"]
    );
}

#[test]
fn without_descriptors_services_wait_and_requests_and_successors_do_not() {
    if !is_root() {
        println!("SKIPPED: only root can take the right to raise limits away");
        return;
    }
    let services: Vec<(String, String)> = (0..150)
        .map(|n| {
            (
                format!("s{n:0>3}"),
                format!("{STAYS}[lifecycle]\nmax_restarts = 0\nrestart_delay_ms = 50\n"),
            )
        })
        .collect();
    let services: Vec<(&str, &str)> = services.iter().map(|(name, text)| (&**name, &**text)).collect();
    let before = ["setpriv", "--bounding-set=-sys_resource", "prlimit", "--nofile=256:256"];
    let machine = Machine::start_by(&services, &before);
    let count = |state: &str| states(&machine).iter().filter(|(_, one)| one == state).count();
    machine.wait("all that there is room for", || {
        count("running") + count("restarting") == 150
    });
    let running = count("running");
    assert!((60..128).contains(&running), "{running}");
    let console = machine.console();
    assert!(
        console.contains("too many open files: the limit of my_init is 224"),
        "{console}"
    );
    // More clients than there is room for: the last ones are served.
    let many: Vec<UnixStream> = (0..100)
        .filter_map(|_| UnixStream::connect(machine.socket()).ok())
        .collect();
    machine.crash();
    drop(many);
    for _ in 0..4 {
        machine.crash();
    }
    // Whoever runs makes room for somebody who waits.
    let states = states(&machine);
    let of = |state: &str| -> Vec<&str> {
        let found = states.iter().filter(|(_, one)| one == state);
        found.map(|(name, _)| name.as_str()).collect()
    };
    let (up, waiting) = (of("running")[0], of("restarting"));
    let waits = waiting[0];
    for name in &waiting[1..] {
        let _ = call(&machine.socket(), "service.stop", &json!({ "name": name }));
    }
    fs::remove_file(machine.path(&format!("services/{up}.service.toml"))).unwrap();
    machine.call("system.reload", json!({}));
    machine.wait_for_state(waits, "running");
}
