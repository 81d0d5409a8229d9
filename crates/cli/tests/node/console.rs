//! What an operator sees of a node: `mosctl` inside it, and the shell on its console.

use std::time::Duration;

use serde_json::Value;

use crate::system::{BOOT, Script, System, console, wait_all};

/// Asks everything that an operator asks, once the node is ready, and prints the answers between marks.
const REPORTER: Script = Script {
    name: "reporter",
    script: "#!/bin/sh\n\
             ask() { echo \"BEGIN $*\"; /sbin/mosctl \"$@\" 2>&1; echo \"END $* $?\"; }\n\
             until /sbin/mosctl services | grep -q '^ready  *running'; do sleep 1; done\n\
             until /sbin/mosctl services | grep -q '^runtime-watch  *exited'; do sleep 1; done\n\
             { ask status; ask status --json; ask services; ask why reporter; ask why nobody; ask history; \
             ask logs reporter; echo REPORTED; } >/dev/console\n\
             exec sleep 100000\n",
    service: "[service]\nname = \"reporter\"\nexec = \"/var/cache/bin/reporter\"\n",
};

/// The answer to one question, and how the program ended.
fn answer(said: &str, question: &str) -> (String, i32) {
    let lines: Vec<&str> = said.lines().map(str::trim_end).collect();
    let begin = lines.iter().position(|line| *line == format!("BEGIN {question}"));
    let begin = begin.unwrap_or_else(|| panic!("no answer to {question}:\n{said}")) + 1;
    let mark = format!("END {question} ");
    let length = lines[begin..].iter().position(|line| line.starts_with(&mark)).unwrap();
    let code = lines[begin + length].strip_prefix(&mark).unwrap().parse().unwrap();
    // What others say on the console meanwhile is not part of the answer.
    let own = |line: &&&str| !line.starts_with("my_init: ") && !line.starts_with("mosnet: ");
    let text = lines[begin..begin + length].iter().filter(own);
    (text.map(|line| format!("{line}\n")).collect(), code)
}

#[test]
fn mosctl_inside_the_node_says_what_is() {
    let system = System::new(&[REPORTER]);
    system.publish();
    let server = system.serve();
    let vm = system.boot(server.address().port(), Vec::new());
    wait_all(&vm, &["REPORTED"]);
    let said = console(&vm);
    let ask = |question: &str| answer(&said, question);

    let (status, code) = ask("status");
    assert_eq!(code, 0, "{status}");
    for line in [
        "release        1 of dev",
        "generation     1",
        "fetch          started: starting generation 1",
        "waiting for    -",
    ] {
        assert!(status.lines().any(|one| one == line), "no `{line}` in:\n{status}");
    }
    let services = [
        ("mosnet", "running"),
        ("ready", "running"),
        ("reporter", "running"),
        ("runtime-fetch", "exited"),
        ("runtime-watch", "exited"),
        ("state", "exited"),
    ];
    for (name, state) in services {
        let line = format!("{name:24} {state}");
        for text in [&status, &ask("services").0] {
            assert!(text.lines().any(|one| one == line), "no `{line}` in:\n{text}");
        }
    }

    let (json, code) = ask("status --json");
    assert_eq!(code, 0, "{json}");
    let json: Value = serde_json::from_str(&json).unwrap_or_else(|error| panic!("{error}: {json}"));
    assert_eq!(json["environment"], "dev");
    let built = system.mos(&["image", "build", "--env", "dev", "--json"]).stdout;
    let built: Value = serde_json::from_slice(&built).unwrap();
    let image = ["build_id", "kernel"].map(|key| (&json["image"][key], &built[key]));
    assert!(
        image.iter().all(|(node, host)| node == host && node.is_string()),
        "{image:?}"
    );
    assert_eq!(json["image"]["environment"], "dev");
    assert_eq!(
        (&json["release"], &json["generation"]),
        (&Value::from(1), &Value::from(1))
    );
    assert_eq!(
        (&json["phase"], &json["waiting_for"]),
        (&Value::from("started"), &Value::Null)
    );
    assert_eq!(json["services"].as_array().map(Vec::len), Some(services.len()));
    let verified = json["last_verified"].as_str().unwrap();
    let today = jiff::Timestamp::now().to_string();
    assert_eq!(verified[..7], today[..7], "verified at {verified}, and it is {today}");

    let (why, code) = ask("why reporter");
    assert_eq!(code, 0, "{why}");
    assert!(why.contains("reporter: running"), "{why}");
    assert!(
        why.contains("defined by /run/mos/current/services/reporter.service.toml"),
        "{why}"
    );
    let (nobody, code) = ask("why nobody");
    assert_eq!(code, 4, "{nobody}");
    assert!(nobody.contains("nobody"), "{nobody}");
    let (history, code) = ask("history");
    assert_eq!(code, 0, "{history}");
    assert!(
        history.starts_with("generation 1 ") && history.ends_with("  current  running\n"),
        "{history}"
    );
    assert_eq!(ask("logs reporter").1, 0);
}

/// Boots with this kernel command line.
fn boot_saying(system: &System, command_line: &str, port: u16) -> mos_vm::Vm {
    let path = system.repository().join("environments/dev.toml");
    let environment = std::fs::read_to_string(path).unwrap();
    system.write(
        "environments/dev.toml",
        &format!("{environment}[image]\ncommand_line = \"{command_line}\"\n"),
    );
    system.boot(port, Vec::new())
}

#[test]
fn debug_on_the_kernel_command_line_gives_a_root_shell_on_the_console() {
    let system = System::new(&[REPORTER]);
    system.publish();
    let server = system.serve();
    let mut vm = boot_saying(&system, "console=ttyS0 quiet my_init.debug", server.address().port());
    wait_all(&vm, &["REPORTED"]);
    vm.send("\necho I-AM-$(id -u)-ON-$((40 + 2))\n").unwrap();
    wait_all(&vm, &["I-AM-0-ON-42"]);
    // Job control works: Ctrl-C ends what runs in front, and not the shell.
    vm.send("sleep 100000\n").unwrap();
    std::thread::sleep(Duration::from_secs(1));
    vm.send("\x03").unwrap();
    vm.send("echo BACK-$((1 + 1))\n").unwrap();
    wait_all(&vm, &["BACK-2"]);
    vm.send("exit\n").unwrap();
    std::thread::sleep(Duration::from_secs(6));
    vm.send("\necho AGAIN-$((1 + 2))\n").unwrap();
    wait_all(&vm, &["AGAIN-3"]);
    vm.send("/sbin/mosctl poweroff\n").unwrap();
    wait_all(&vm, &["poweroff: stopping services"]);
    vm.wait_exit(BOOT).unwrap();
}

#[test]
fn without_debug_nobody_listens_on_the_console() {
    let system = System::new(&[REPORTER]);
    system.publish();
    let server = system.serve();
    let mut vm = boot_saying(&system, "console=ttyS0 quiet", server.address().port());
    wait_all(&vm, &["REPORTED"]);
    vm.send("\necho I-AM-$((40 + 2))\n").unwrap();
    std::thread::sleep(Duration::from_secs(5));
    let said = console(&vm);
    assert!(!said.contains("I-AM-42"), "{said}");
}
