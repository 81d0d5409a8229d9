//! The nineteen defects of the ancestors, by number: none was inherited. Which test stands for which is a table in
//! docs/from-zinit.md; those that are not here stand beside what they test.

#![allow(clippy::unwrap_used, reason = "a fixture that fails is a test that fails")]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use my_init::client::call;
use serde_json::json;

use common::namespace::Namespace;
use common::{Machine, STAYS, program};

const SIGHUP: i32 = 1;

fn borrowed(services: &[(String, String)]) -> Vec<(&str, &str)> {
    services.iter().map(|(name, text)| (&**name, &**text)).collect()
}

#[test]
fn d1_more_oneshots_on_one_base_than_a_channel_had_places_all_start() {
    let once = "[service]\nexec = \"true\"\noneshot = true\n";
    let on_base = format!("{once}[dependencies]\nrequires = [\"base\"]\n");
    let mut services: Vec<(String, String)> = (0..300).map(|n| (format!("s{n}"), on_base.clone())).collect();
    services.push(("base".to_owned(), once.to_owned()));
    let mut machine = Machine::start(&borrowed(&services));
    machine.wait("all of them", || {
        let list = machine.call("service.list_full", json!({}));
        let ended = |service: &&serde_json::Value| service["state"] == "exited";
        list.as_array().unwrap().iter().filter(ended).count() == services.len()
    });
    machine.call("service.restart", json!({"name": "s299"}));
    machine.call("system.poweroff", json!({}));
    assert_eq!(machine.end(), Some(0));
}

#[test]
fn d14_behind_three_hundred_services_that_log_nobody_is_blocked_either() {
    let idle = "[service]\nexec = \"echo up; exec sleep 1000\"\n";
    let chatty =
        "[service]\nexec = \"yes 0123456789 | head -c 3000000; echo; echo done\"\noneshot = true\nstatus = \"stop\"\n";
    let mut services: Vec<(String, String)> = (0..300).map(|n| (format!("s{n}"), idle.to_owned())).collect();
    services.push(("chatty".to_owned(), chatty.to_owned()));
    let machine = Machine::start(&borrowed(&services));
    machine.wait("ready", || machine.console().contains("] ready\n"));
    machine.call("service.start", json!({"name": "chatty"}));
    machine.wait_for_state("chatty", "exited");
    let tail = |name: &str| machine.call("logs.tail", json!({"name": name, "lines": 1}))["lines"].clone();
    assert_eq!(tail("chatty"), json!(["done"]));
    machine.wait("what the others said", || {
        (0..300).all(|n| tail(&format!("s{n}")) == json!(["up"]))
    });
}

#[test]
fn d6_shutdown_is_parallel() {
    // Each ends when all have been asked to: one after the other would take until they are killed.
    let count = 20;
    let service = |n: usize| {
        format!(
            "[service]\nexec = \"trap 'touch $HERE/down-{n}; until [ $(ls $HERE | grep -c down-) = {count} ]; do sleep 0.05; done; exit 0' TERM; \
             touch $HERE/up-{n}; while :; do sleep 0.05; done\"\n[lifecycle]\nstop_timeout_ms = 600000\n"
        )
    };
    let services: Vec<(String, String)> = (0..count).map(|n| (format!("s{n}"), service(n))).collect();
    let mut machine = Machine::start(&borrowed(&services));
    machine.wait("all", || (0..count).all(|n| machine.path(&format!("up-{n}")).exists()));
    machine.call("system.poweroff", json!({}));
    assert_eq!(machine.end(), Some(0));
    assert!(!machine.console().contains("deadline"), "{}", machine.console());
}

/// The program that is tested is of the same sources and the same one package as the shipped one, whose only difference
/// is how it is optimised and linked; that one is PID 1 of the machines that the tests of a whole node start.
#[test]
fn d8_the_program_is_pid_1() {
    let once = "[service]\noneshot = true\nexec = \"echo $PPID > /test/parent\"\n";
    let files = [
        ("etc/my_init/services/web.service.toml", STAYS),
        ("etc/my_init/services/once.service.toml", once),
    ];
    let Some(machine) = Namespace::start(&files) else {
        return;
    };
    machine.wait_for_line("] ready");
    assert_eq!(fs::read_to_string(machine.shared("parent")).unwrap(), "1\n");
    let status = fs::read_to_string(format!("/proc/{}/status", machine.keeper())).unwrap();
    let line = status.lines().find(|line| line.starts_with("NSpid:")).unwrap();
    assert_eq!(line.split_whitespace().next_back(), Some("1"));
}

#[test]
fn d12_a_machine_reboots_when_asked() {
    let Some(mut machine) = Namespace::start(&[("etc/my_init/services/web.service.toml", STAYS)]) else {
        return;
    };
    machine.wait_for_line("] ready");
    call(&machine.inside("/run/my_init.sock"), "system.reboot", &json!({})).unwrap();
    assert_eq!(machine.end(), Some(SIGHUP), "{}", machine.console());
    assert!(
        machine.console().contains("reboot asked for by request"),
        "{}",
        machine.console()
    );
}

#[test]
fn d15_the_first_restart_is_at_once_and_later_ones_back_off_until_it_is_given_up() {
    let text = "[service]\nexec = \"exit 3\"\nshell = true\n[lifecycle]\nrestart_delay_ms = 20\nrestart_jitter_percent = 0\nmax_restarts = 3\n";
    let machine = Machine::start(&[("fails", text)]);
    machine.wait_for_state("fails", "failed");
    let console = machine.console();
    let lines = [
        "restart now (attempt 1)",
        "restart in 0.02 s (attempt 2)",
        "restart in 0.04 s (attempt 3)",
        "fails: failed: exit code 3",
    ];
    let places: Vec<Option<usize>> = lines.iter().map(|line| console.find(line)).collect();
    assert!(places.is_sorted() && places[0].is_some(), "{places:?}\n{console}");
    assert_eq!(console.matches("restart in").count(), 2, "{console}");
}

#[test]
fn d16_the_directory_is_the_one_that_was_given_wherever_it_stands() {
    let directory = tempfile::tempdir().unwrap();
    let services = directory.path().join("services");
    fs::create_dir(&services).unwrap();
    fs::write(services.join("web.toml"), STAYS).unwrap();
    let (services, socket) = (services.to_str().unwrap(), directory.path().join("sock"));
    let socket = socket.to_str().unwrap();
    for words in [
        ["--container", "--services", services, "--socket", socket],
        ["--socket", socket, "--services", services, "--container"],
    ] {
        let mut child = program().args(words).stdout(Stdio::null()).spawn().unwrap();
        let deadline = std::time::Instant::now() + common::PATIENCE;
        let list = loop {
            if let Ok(list) = call(Path::new(socket), "service.list", &json!({})) {
                break list;
            }
            assert!(std::time::Instant::now() < deadline, "nobody answers");
            std::thread::sleep(std::time::Duration::from_millis(5));
        };
        assert_eq!(list, json!(["web"]));
        call(Path::new(socket), "system.poweroff", &json!({})).unwrap();
        assert!(child.wait().unwrap().success());
    }
}

#[test]
fn d17_others_may_look_and_only_the_owner_may_change_anything() {
    if !rustix::process::geteuid().is_root() {
        println!("SKIPPED: only root can become somebody else");
        return;
    }
    let machine = Machine::start(&[("web", STAYS)]);
    fs::set_permissions(machine.directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    machine.wait_for_state("web", "running");
    let client = machine.path("client");
    fs::copy(env!("CARGO_BIN_EXE_my_init"), &client).unwrap();
    let ask = |words: &[&str]| {
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
            .arg(&client);
        let output = command
            .args(words)
            .arg("--socket")
            .arg(machine.socket())
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    assert_eq!(ask(&["status", "web"]), (Some(0), String::new()));
    for words in [&["stop", "web"][..], &["restart", "web"], &["reload"], &["poweroff"]] {
        let (code, message) = ask(words);
        assert_eq!(code, Some(5), "{message}");
        assert!(message.contains("only"), "{message}");
    }
    assert_eq!(machine.status("web")["state"], "running");
}

#[test]
fn d19_a_cycle_and_a_name_that_is_there_twice_cost_only_themselves() {
    let needs = |other: &str| format!("{STAYS}[dependencies]\nrequires = [\"{other}\"]\n");
    let (a, b, c) = (needs("b"), needs("c"), needs("a"));
    let again = format!("{STAYS}name = \"web\"\n");
    let machine = Machine::start(&[
        ("a", &a),
        ("b", &b),
        ("c", &c),
        ("web", STAYS),
        ("xweb", &again),
        ("other", &needs("web")),
    ]);
    for name in ["web", "other"] {
        machine.wait_for_state(name, "running");
    }
    for name in ["a", "b", "c"] {
        machine.wait_for_state(name, "failed");
    }
    let console = machine.console();
    assert!(console.contains("`web` is already defined by"), "{console}");
    assert!(
        console.contains("services wait for each other and are left out: "),
        "{console}"
    );
}

/// Every file of tests of these two crates.
fn sources() -> Vec<PathBuf> {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut directories = vec![crates.join("my-init"), crates.join("service")];
    let mut files = Vec::new();
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap().flatten() {
            match entry.path() {
                path if path.is_dir() => directories.push(path),
                path if path.extension().is_some_and(|kind| kind == "rs") => files.push(path),
                _ => {}
            }
        }
    }
    files
}

#[test]
fn each_of_the_nineteen_has_its_tests_and_they_exist() {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/from-zinit.md");
    let document = fs::read_to_string(document).unwrap();
    let tests: String = sources().iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    for number in 1..=19 {
        let row = document
            .lines()
            .find(|line| line.starts_with(&format!("| D{number} |")));
        let row = row.unwrap_or_else(|| panic!("docs/from-zinit.md has no row for D{number}"));
        let names: Vec<&str> = row
            .split('`')
            .filter(|word| word.starts_with(&format!("d{number}_")))
            .collect();
        assert!(!names.is_empty(), "no test is named in: {row}");
        for name in names {
            assert!(tests.contains(&format!("fn {name}()")), "there is no test {name}");
        }
    }
}
