//! Files and directories that are half there, full, or another.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use my_init::client::call;
use serde_json::json;

use crate::common::{Machine, STAYS};
use crate::{is_root, pid_of};

#[test]
fn half_a_service_file_stops_nobody_whether_reloaded_or_found_after_a_crash() {
    let whole = "[service]\nexec = \"sleep 1000\"\n[lifecycle]\nrestart = \"always\"\n";
    let machine = Machine::start(&[("web", whole), ("gone", STAYS)]);
    machine.wait_for_state("web", "running");
    machine.wait_for_state("gone", "running");
    let web = pid_of(&machine, "web");
    machine.write_service("web", &whole[..whole.len() - 5]);
    fs::remove_file(machine.path("services/gone.service.toml")).unwrap();
    let difference = machine.call("system.reload", json!({}));
    assert_eq!(
        (&difference["removed"], &difference["kept"]),
        (&json!(["gone"]), &json!(["web"]))
    );
    assert!(
        machine.console().contains("web.service.toml:4:"),
        "{}",
        machine.console()
    );
    machine.crash();
    assert_eq!(
        (pid_of(&machine, "web"), machine.status("web")["state"].clone()),
        (web, json!("running"))
    );
    assert_eq!(machine.call("system.reload", json!({}))["removed"], json!([]));
    // Whole again, and as it was: nothing to do. Then really changed.
    machine.write_service("web", whole);
    let difference = machine.call("system.reload", json!({}));
    assert_eq!(difference["changed"], json!([]), "{difference}");
    assert_eq!(pid_of(&machine, "web"), web, "{}", machine.console());
    machine.write_service("web", &whole.replace("1000", "2000"));
    assert_eq!(machine.call("system.reload", json!({}))["changed"], json!(["web"]));
    machine.wait("another process", || ![0, web].contains(&pid_of(&machine, "web")));
}

#[test]
fn a_directory_that_cannot_be_read_stops_nobody() {
    let machine = Machine::start(&[("web", STAYS)]);
    machine.wait_for_state("web", "running");
    let web = pid_of(&machine, "web");
    // A file in the directory's place is the one thing that root cannot read either.
    fs::rename(machine.path("services"), machine.path("aside")).unwrap();
    fs::write(machine.path("services"), "").unwrap();
    assert_eq!(machine.call("system.reload", json!({}))["removed"], json!([]));
    machine.crash();
    assert_eq!(pid_of(&machine, "web"), web);
    fs::remove_file(machine.path("services")).unwrap();
    fs::rename(machine.path("aside"), machine.path("services")).unwrap();
    assert_eq!(machine.call("system.reload", json!({}))["changed"], json!([]));
    assert_eq!(pid_of(&machine, "web"), web);
}

#[test]
fn a_full_run_directory_is_named_and_stops_only_who_needs_it() {
    if !is_root() {
        println!("SKIPPED: only root can mount");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let run = directory.path().join("run");
    fs::create_dir(&run).unwrap();
    // Room for a few inodes: the mount is in the namespace of my_init alone.
    let script = format!(
        "mount -t tmpfs -o size=16k,nr_inodes=12 none {0} && exec \"$@\"",
        run.display()
    );
    let services = directory.path().join("services");
    fs::create_dir(&services).unwrap();
    let notify = "[service]\nstatus = \"stop\"\nnotify = true\nexec = \"sleep 1000\"\n[lifecycle]\nmax_restarts = 1\n";
    let full = format!(
        "[service]\noneshot = true\nexec = \"n=0; while touch {0}/f$n; do n=$((n+1)); done; true\"\n",
        run.display()
    );
    let free = format!(
        "[service]\noneshot = true\nstatus = \"stop\"\nexec = \"rm {}/f*\"\n",
        run.display()
    );
    for (name, text) in [("notify", notify), ("full", &full), ("free", &free), ("web", STAYS)] {
        fs::write(services.join(format!("{name}.service.toml")), text).unwrap();
    }
    let mut program = Command::new("unshare");
    program.args([
        "-m",
        "sh",
        "-c",
        &script,
        "sh",
        env!("CARGO_BIN_EXE_my_init"),
        "--container",
        "--services",
    ]);
    program.arg(&services).arg("--socket").arg(run.join("my_init.sock"));
    program.stdout(fs::File::create(directory.path().join("console")).unwrap());
    let child = program.spawn().unwrap();
    let socket = PathBuf::from(format!(
        "/proc/{}/root{}",
        child.id(),
        run.join("my_init.sock").display()
    ));
    let machine = Machine { directory, child };
    let ask = |method: &str, name: &str| call(&socket, method, &json!({ "name": name }));
    let state = |name: &str| {
        ask("service.status", name)
            .map(|status| status["state"].clone())
            .unwrap_or_default()
    };
    machine.wait("a full directory", || state("full") == "exited");
    ask("service.start", "notify").unwrap();
    machine.wait("its failure", || state("notify") == "failed");
    let reason = ask("service.status", "notify").unwrap()["reason"].clone();
    assert!(reason.as_str().unwrap().contains("No space left"), "{reason}");
    let before = ask("service.status", "web").unwrap()["pid"].clone();
    machine.crash_asking(|| call(&socket, "system.ping", &json!({})).is_ok());
    assert_eq!(ask("service.status", "web").unwrap()["pid"], before);
    ask("service.start", "free").unwrap();
    machine.wait("room", || state("free") == "exited");
    ask("service.start", "notify").unwrap();
    machine.wait("its start", || state("notify") == "starting");
}

#[test]
fn a_reload_during_shutdown_starts_nothing() {
    let slow =
        "[service]\nexec = \"trap 'read _ < $HERE/gate; exit 0' TERM; touch $HERE/up; while :; do sleep 0.05; done\"\n";
    let mut machine = Machine::start(&[("slow", slow), ("web", STAYS)]);
    assert!(
        Command::new("mkfifo")
            .arg(machine.path("gate"))
            .status()
            .unwrap()
            .success()
    );
    machine.wait("its start", || machine.path("up").exists());
    machine.wait_for_state("web", "running");
    machine.call("system.poweroff", json!({}));
    machine.wait_for_state("web", "inactive");
    machine.write_service("late", "[service]\nexec = \"touch $HERE/late; sleep 1000\"\n");
    machine.write_service("web", "[service]\nexec = \"touch $HERE/late; sleep 1000\"\n");
    machine.write_service("slow", &slow.replace("0.05", "0.06").replace("up", "late"));
    machine.call("system.reload", json!({}));
    machine.crash();
    machine.call("system.reload", json!({}));
    let error = call(&machine.socket(), "service.start", &json!({ "name": "late" })).unwrap_err();
    assert!(format!("{error:?}").contains("shutting down"), "{error:?}");
    assert!(
        ["web", "late"]
            .iter()
            .all(|name| machine.status(name)["state"] == "inactive")
    );
    fs::write(machine.path("gate"), "\n").unwrap();
    assert_eq!(machine.end(), Some(0));
    assert!(!machine.path("late").exists());
}
