//! Clocks that jump, and consoles that nobody reads.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};

use my_init::client::call;
use serde_json::json;

use crate::common;
use crate::common::{Machine, STAYS};

#[test]
fn in_a_time_namespace_whose_clocks_are_far_ahead_everything_is_on_time() {
    let unshare = ["unshare", "-T", "--monotonic", "900000000", "--boottime", "900000000"];
    let works = Command::new(unshare[0])
        .args(&unshare[1..])
        .arg("true")
        .stderr(Stdio::null())
        .status();
    if !works.is_ok_and(|status| status.success()) {
        println!("SKIPPED: no time namespaces here");
        return;
    }
    let fails = "[service]\noneshot = true\nexec = \"false\"\n[lifecycle]\nrestart = \"on-failure\"\nmax_restarts = 2\nrestart_delay_ms = 10\n";
    let stubborn =
        "[service]\nexec = \"trap '' TERM; echo up; while :; do sleep 1; done\"\n[lifecycle]\nstop_timeout_ms = 100\n";
    let mut machine = Machine::start_by(&[("fails", fails), ("stubborn", stubborn)], &unshare);
    machine.wait_for_state("fails", "failed");
    machine.wait("its word", || {
        machine.call("logs.tail", json!({ "name": "stubborn" }))["lines"] == json!(["up"])
    });
    machine.call("system.poweroff", json!({}));
    assert_eq!(machine.end(), Some(0));
    assert!(machine.console().contains("my_init: [9000"), "{}", machine.console());
    assert!(
        machine.console().contains("did not stop within 0.1 s"),
        "{}",
        machine.console()
    );
}

#[test]
fn nothing_depends_on_the_time_of_day() {
    // It jumps: NTP, a battery that is empty, an operator. Only what is shown to people may use it.
    let mut directories = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                directories.push(path);
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            let uses = ["SystemTime", "ClockId::Realtime"]
                .iter()
                .any(|word| text.contains(word));
            let shown = ["log", "wall", "timer", "calendar", "syslog"];
            let allowed = shown.iter().any(|part| path.to_string_lossy().contains(part));
            assert!(!uses || allowed, "{} reads the time of day", path.display());
        }
    }
}

/// A supervisor whose standard output is this.
fn start_on(directory: &Path, output: impl Into<Stdio>) -> std::process::Child {
    fs::create_dir(directory.join("services")).unwrap();
    fs::write(directory.join("services/web.service.toml"), STAYS).unwrap();
    fs::write(
        directory.join("services/loud.service.toml"),
        "[service]\noneshot = true\nexec = \"seq 100000\"\n[logging]\nconsole = true\n",
    )
    .unwrap();
    let mut program = common::program();
    program
        .arg("--container")
        .arg("--services")
        .arg(directory.join("services"));
    program
        .arg("--socket")
        .arg(directory.join("sock"))
        .stdout(output)
        .stderr(Stdio::null());
    program.spawn().unwrap()
}

#[test]
fn a_console_that_nobody_reads_or_that_is_gone_stops_nobody() {
    let (reader, writer) = std::io::pipe().unwrap();
    let (near, far) = UnixStream::pair().unwrap();
    let outputs: [(Stdio, Box<dyn FnOnce()>); 2] = [
        (writer.into(), Box::new(move || drop(reader))),
        (std::os::fd::OwnedFd::from(far).into(), Box::new(move || drop(near))),
    ];
    for (output, lose) in outputs {
        let directory = tempfile::tempdir().unwrap();
        let child = start_on(directory.path(), output);
        let machine = Machine { directory, child };
        machine.wait("an answer", || {
            call(&machine.socket(), "system.ping", &json!({})).is_ok()
        });
        machine.wait_for_state("loud", "exited");
        machine.crash();
        lose();
        machine.crash();
        machine.call("service.restart", json!({"name": "loud"}));
        machine.wait_for_state("loud", "exited");
        machine.wait_for_state("web", "running");
        machine.crash();
        let mut machine = machine;
        machine.call("system.poweroff", json!({}));
        assert_eq!(machine.end(), Some(0));
    }
}
