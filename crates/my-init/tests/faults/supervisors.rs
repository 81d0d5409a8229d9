//! Supervisors and keepers that are killed, cannot begin, or cannot be forked.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use my_init::client::call;
use rustix::process::Signal;
use serde_json::json;

use crate::common;
use crate::common::{Machine, STAYS, is_alive, send};
use crate::{is_root, limit, pauses, pid_of};

#[test]
fn a_signal_is_not_lost_when_the_supervisor_is_killed_before_it_hears() {
    let mut machine = Machine::start(&[("web", STAYS)]);
    machine.wait_for_state("web", "running");
    let supervisor = machine.supervisor();
    send(supervisor, Signal::STOP);
    machine.signal(15);
    send(supervisor, Signal::KILL);
    assert_eq!(machine.end(), Some(0));
    assert_eq!(
        machine.console().matches("poweroff asked for").count(),
        1,
        "{}",
        machine.console()
    );
}

#[test]
fn a_signal_to_all_processes_of_a_terminal_counts_once() {
    let slow = "[service]\nexec = \"trap 'sleep 0.3; echo down > $HERE/down; exit 0' TERM; touch $HERE/up; while :; do sleep 0.05; done\"\n";
    let mut machine = Machine::start(&[("slow", slow)]);
    machine.wait("its start", || machine.path("up").exists());
    send(machine.supervisor(), Signal::INT);
    machine.signal(2);
    assert_eq!(machine.end(), Some(0));
    assert_eq!(machine.read("down"), "down\n");
}

#[test]
fn when_the_keeper_is_killed_nothing_of_it_is_left() {
    let mut machine = Machine::start(&[("web", STAYS), ("other", STAYS)]);
    for name in ["web", "other"] {
        machine.wait_for_state(name, "running");
    }
    let all = [machine.supervisor(), pid_of(&machine, "web"), pid_of(&machine, "other")];
    machine.child.kill().unwrap();
    machine.child.wait().unwrap();
    for pid in all {
        machine.wait("its end", || !is_alive(&json!(pid)));
    }
    // The socket it left does not keep another one from starting.
    let again = common::program()
        .args(["--container", "--services", "/nonexistent", "--socket"])
        .arg(machine.socket())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    machine.child = again;
    machine.wait("an answer", || {
        call(&machine.socket(), "system.ping", &json!({})).is_ok()
    });
}

/// A machine, its keeper, and its service; `None`, after saying so, where nobody sees which system call that is in.
fn watched() -> Option<(Machine, u32, u32)> {
    if !is_root() || !cfg!(target_arch = "x86_64") {
        println!("SKIPPED: only root sees which system call a process is in, and numbers are those of x86-64");
        return None;
    }
    let machine = Machine::start(&[("web", STAYS)]);
    machine.wait_for_state("web", "running");
    let (keeper, web) = (machine.child.id(), pid_of(&machine, "web"));
    Some((machine, keeper, web))
}

#[test]
fn supervisors_that_fail_at_once_are_not_tried_without_a_pause() {
    let Some((machine, keeper, web)) = watched() else {
        return;
    };
    // Room for one more descriptor, with which nobody can begin; what the last one had open is still there.
    let open = |number: &u64| Path::new(&format!("/proc/{keeper}/fd/{number}")).exists();
    let first = (3..).find(|number| !open(number)).unwrap();
    limit(keeper, "nofile", Some(first + 1));
    send(machine.supervisor(), Signal::KILL);
    machine.wait("a pause", || pauses(keeper));
    limit(keeper, "nofile", None);
    machine.wait("an answer", || {
        call(&machine.socket(), "system.ping", &json!({})).is_ok()
    });
    assert_eq!(pid_of(&machine, "web"), web);
    assert!(
        machine
            .console()
            .contains("the supervisor ended with exit code 70; started again, 1 service goes on"),
        "{}",
        machine.console()
    );
}

#[test]
fn supervisors_that_are_killed_again_and_again_are_not_tried_without_a_pause() {
    let Some((machine, keeper, web)) = watched() else {
        return;
    };
    machine.wait("a pause", || {
        for pid in my_init::children::children_of(keeper)
            .into_iter()
            .filter(|pid| *pid != web)
        {
            let _ = Command::new("kill")
                .args(["-KILL", &pid.to_string()])
                .stderr(Stdio::null())
                .status();
        }
        pauses(keeper)
    });
    machine.wait("an answer", || {
        call(&machine.socket(), "system.ping", &json!({})).is_ok()
    });
    assert_eq!(pid_of(&machine, "web"), web);
}

#[test]
fn a_keeper_that_cannot_fork_tries_again() {
    if !is_root() || !cfg!(target_arch = "x86_64") {
        println!("SKIPPED: only root can become another user and see which system call a process is in");
        return;
    }
    // A user of its own, because the limit counts all processes of one.
    let user = (100_000 + std::process::id()).to_string();
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    fs::create_dir(directory.path().join("services")).unwrap();
    fs::write(directory.path().join("services/web.toml"), STAYS).unwrap();
    let program = directory.path().join("my_init");
    fs::copy(env!("CARGO_BIN_EXE_my_init"), &program).unwrap();
    let become_user = ["--reuid", &user, "--regid", &user, "--clear-groups"];
    // Room for the keeper, its supervisor, and one service.
    let child = Command::new("setpriv")
        .args(become_user)
        .args(["prlimit", "--nproc=3:3"])
        .arg(&program)
        .arg("--container")
        .arg("--services")
        .arg(directory.path().join("services"))
        .arg("--socket")
        .arg(directory.path().join("sock"))
        .stdout(fs::File::create(directory.path().join("console")).unwrap())
        .spawn()
        .unwrap();
    let machine = Machine { directory, child };
    machine.wait("an answer", || {
        call(&machine.socket(), "system.ping", &json!({})).is_ok()
    });
    machine.wait_for_state("web", "running");
    let (keeper, web) = (machine.child.id(), pid_of(&machine, "web"));
    let mut other = Command::new("setpriv")
        .args(become_user)
        .args(["sleep", "1000"])
        .spawn()
        .unwrap();
    machine.wait("another process", || {
        fs::read(format!("/proc/{}/cmdline", other.id()))
            .unwrap()
            .starts_with(b"sleep")
    });
    send(machine.supervisor(), Signal::KILL);
    machine.wait("a pause", || pauses(keeper));
    other.kill().unwrap();
    other.wait().unwrap();
    machine.wait("an answer", || {
        call(&machine.socket(), "system.ping", &json!({})).is_ok()
    });
    assert_eq!(pid_of(&machine, "web"), web);
}
