//! Whether real services are started at all, and what follows from what happens to others: conditions, edges, guards.

#![allow(clippy::unwrap_used, reason = "a fixture that fails is a test that fails")]

mod common;

use std::fs;
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;
use serde_json::json;

use common::{Machine, STAYS, send};

#[test]
fn conditions_are_asked_at_each_start() {
    let directory = tempfile::tempdir().unwrap();
    let gate = directory.path().join("gate");
    let gated = format!(
        "[service]\nexec = \"sleep 1000\"\n[conditions]\ndirectory_not_empty = [\"{}\"]\n",
        gate.display()
    );
    let needs = format!("{STAYS}[dependencies]\nrequires = [\"gated\"]\n");
    let never = format!("{STAYS}[conditions]\nkernel_argument = [\"no_kernel_is_started_like_this\"]\n");
    let machine = Machine::start(&[("gated", &gated), ("needs", &needs), ("never", &never)]);
    machine.wait("ready", || machine.console().contains("] ready\n"));
    let states = ["gated", "needs", "never"].map(|name| machine.status(name)["state"].clone());
    assert_eq!(states, ["skipped", "running", "skipped"]);
    let reason = format!("{} is no directory, or empty", gate.display());
    assert_eq!(machine.status("gated")["reason"], reason.as_str());
    assert!(
        machine.console().contains(&format!("gated: skipped: {reason}")),
        "{}",
        machine.console()
    );
    machine.crash();
    assert_eq!(machine.status("gated")["state"], "skipped");
    fs::create_dir_all(gate.join("thing")).unwrap();
    machine.call("service.start", json!({ "name": "gated" }));
    machine.wait_for_state("gated", "running");
    fs::remove_dir(gate.join("thing")).unwrap();
    machine.call("service.restart", json!({ "name": "gated" }));
    machine.wait_for_state("gated", "skipped");
}

#[test]
fn a_dependent_follows_also_when_nobody_saw_why() {
    let web = format!(
        "{STAYS}[dependencies]\nrequires = [{{ name = \"db\", on_restart = \"restart\", on_stop = \"stop\" }}]\n"
    );
    let machine = Machine::start(&[("db", STAYS), ("web", &web)]);
    machine.wait_for_state("web", "running");
    let [db, first] = ["db", "web"].map(|name| machine.status(name)["pid"].clone());
    // The other one crashes while the supervisor does not listen, which then is killed itself.
    let supervisor = machine.supervisor();
    send(supervisor, Signal::STOP);
    send(u32::try_from(db.as_u64().unwrap()).unwrap(), Signal::KILL);
    send(supervisor, Signal::KILL);
    machine.wait("both anew", || {
        let [one, other] = ["db", "web"].map(|name| machine.status(name));
        one["state"] == "running" && other["state"] == "running" && one["pid"] != db && other["pid"] != first
    });
    assert!(
        machine.console().contains("web: restarts, because db is restarted"),
        "{}",
        machine.console()
    );
    machine.call("service.stop", json!({ "name": "db" }));
    machine.wait_for_state("web", "inactive");
}

/// A process that listens on a port that is its own.
fn holder() -> (Child, u16) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let input = Stdio::from(std::os::fd::OwnedFd::from(listener));
    (Command::new("sleep").arg("1000").stdin(input).spawn().unwrap(), port)
}

fn ended(child: &mut Child) -> bool {
    child.try_wait().unwrap().is_some()
}

#[test]
fn d10_only_who_is_in_the_way_is_killed() {
    let (mut holder, port) = holder();
    let mut bystander = Command::new("sleep").arg("1000").spawn().unwrap();
    let polite = format!("{STAYS}ports = [{port}]\n[lifecycle]\nrestart = \"never\"\n");
    let machine = Machine::start(&[("polite", &polite)]);
    machine.wait_for_state("polite", "failed");
    let reason = format!(
        "cannot be started: port {port} is held by sleep (process {})",
        holder.id()
    );
    assert_eq!(machine.status("polite")["reason"], reason.as_str());
    assert!(!ended(&mut holder));
    // It is done at the first try, although the other one takes its time to end.
    let greedy = format!("{STAYS}ports = [{port}]\nkill_others = true\n[lifecycle]\nrestart = \"never\"\n");
    machine.write_service("greedy", &greedy);
    machine.call("system.reload", json!({}));
    machine.wait_for_state("greedy", "running");
    assert!(ended(&mut holder) && !ended(&mut bystander));
    let told = format!("greedy: port {port} is held by sleep (process {}): killed", holder.id());
    assert!(machine.console().contains(&told), "{}", machine.console());
    machine.call("service.restart", json!({ "name": "polite" }));
    machine.wait_for_state("polite", "running");
    bystander.kill().unwrap();
    bystander.wait().unwrap();
}

#[test]
fn who_we_look_after_is_not_killed_for_another() {
    let directory = tempfile::tempdir().unwrap();
    let name = format!("guarded-{}", std::process::id());
    let program = directory.path().join(&name);
    std::os::unix::fs::symlink("/bin/sleep", &program).unwrap();
    let first = format!("[service]\nexec = \"{} 1000\"\n", program.display());
    let second = format!(
        "{STAYS}process_filters = [\"{name}\"]\nkill_others = true\n[dependencies]\nrequires = [\"first\"]\n[lifecycle]\nrestart = \"never\"\n"
    );
    let machine = Machine::start(&[("first", &first), ("second", &second)]);
    machine.wait_for_state("second", "failed");
    let pid = machine.status("first")["pid"].clone();
    let reason = machine.status("second")["reason"].as_str().unwrap().to_owned();
    let expected = format!("(process {pid}), which belongs to the service first runs already");
    assert!(reason.contains(&expected), "{reason}");
    machine.call("service.stop", json!({ "name": "first" }));
    machine.wait_for_state("first", "inactive");
    assert_eq!(machine.status("second")["state"], "failed");
}
