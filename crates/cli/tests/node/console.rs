//! What an operator sees of a node: `mosctl` inside it, and the shell on its console.

use std::io::{Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

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

/// A QEMU whose serial line is typed on.
struct Terminal {
    child: Child,
    said: Arc<Mutex<String>>,
}

impl Terminal {
    fn new(program: &std::path::Path, arguments: &[std::ffi::OsString]) -> Self {
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let said = Arc::new(Mutex::new(String::new()));
        let (mut output, into) = (child.stdout.take().unwrap(), Arc::clone(&said));
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = output.read(&mut buffer) {
                into.lock()
                    .unwrap()
                    .push_str(&String::from_utf8_lossy(&buffer[..count]));
            }
        });
        Self { child, said }
    }

    fn type_in(&mut self, text: &str) {
        let input = self.child.stdin.as_mut().unwrap();
        input.write_all(text.as_bytes()).and_then(|()| input.flush()).unwrap();
    }

    fn wait_for(&self, text: &str) {
        let end = Instant::now() + BOOT;
        while !self.said.lock().unwrap().contains(text) {
            assert!(Instant::now() < end, "no `{text}` in:\n{}", self.said.lock().unwrap());
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Boots with this kernel command line, and a keyboard at the serial line.
fn terminal(system: &System, command_line: &str, port: u16) -> (mos_vm::Vm, Terminal) {
    let path = system.repository().join("environments/dev.toml");
    let environment = std::fs::read_to_string(path).unwrap();
    system.write(
        "environments/dev.toml",
        &format!("{environment}[image]\ncommand_line = \"{command_line}\"\n"),
    );
    // The machine's files stay until it is dropped, so it can be started again with another standard input.
    let mut vm = system.boot(port, Vec::new());
    vm.kill().unwrap();
    let terminal = Terminal::new(&vm.command().program, &vm.command().arguments);
    (vm, terminal)
}

#[test]
fn debug_on_the_kernel_command_line_gives_a_root_shell_on_the_console() {
    let system = System::new(&[REPORTER]);
    system.publish();
    let server = system.serve();
    let (_files, mut terminal) = terminal(&system, "console=ttyS0 quiet my_init.debug", server.address().port());
    terminal.wait_for("REPORTED");
    terminal.type_in("\necho I-AM-$(id -u)-ON-$((40 + 2))\n");
    terminal.wait_for("I-AM-0-ON-42");
    // Job control works: Ctrl-C ends what runs in front, and not the shell.
    terminal.type_in("sleep 100000\n");
    std::thread::sleep(Duration::from_secs(1));
    terminal.type_in("\x03");
    terminal.type_in("echo BACK-$((1 + 1))\n");
    terminal.wait_for("BACK-2");
    terminal.type_in("exit\n");
    std::thread::sleep(Duration::from_secs(6));
    terminal.type_in("\necho AGAIN-$((1 + 2))\n");
    terminal.wait_for("AGAIN-3");
    terminal.type_in("/sbin/mosctl poweroff\n");
    terminal.wait_for("poweroff: stopping services");
    let end = Instant::now() + BOOT;
    while terminal.child.try_wait().unwrap().is_none() {
        assert!(
            Instant::now() < end,
            "does not go down:\n{}",
            terminal.said.lock().unwrap()
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn without_debug_nobody_listens_on_the_console() {
    let system = System::new(&[REPORTER]);
    system.publish();
    let server = system.serve();
    let (_files, mut terminal) = terminal(&system, "console=ttyS0 quiet", server.address().port());
    terminal.wait_for("REPORTED");
    terminal.type_in("\necho I-AM-$((40 + 2))\n");
    std::thread::sleep(Duration::from_secs(5));
    let said = terminal.said.lock().unwrap();
    assert!(!said.contains("I-AM-42"), "{said}");
}
