//! Logs: read along, kept in files, bounded, taken from the kernel and from syslog.

#![allow(clippy::unwrap_used, reason = "a fixture that fails is a test that fails")]

mod common;

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::process::{Child, Stdio};

use serde_json::{Value, json};

use common::{Machine, program};

/// `my_init logs` with these arguments, and the lines that it has printed.
struct Reader {
    child: Child,
    file: std::path::PathBuf,
}

impl Reader {
    fn start(machine: &Machine, arguments: &[&str]) -> Self {
        let file = machine.path(&format!("out{}", arguments.join("")));
        let child = program()
            .arg("--socket")
            .arg(machine.socket())
            .arg("logs")
            .args(arguments)
            .stdout(fs::File::create(&file).unwrap())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        Self { child, file }
    }

    fn text(&self) -> String {
        fs::read_to_string(&self.file).unwrap()
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What `my_init logs` prints with these arguments.
fn logs(machine: &Machine, arguments: &[&str]) -> String {
    let output = program()
        .arg("--socket")
        .arg(machine.socket())
        .arg("logs")
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A service that prints what is written into a file beside it, line by line, for ever.
fn echoes(machine: &Machine, name: &str) -> String {
    let input = machine.path(&format!("{name}.in"));
    fs::write(&input, "").unwrap();
    format!("[service]\nexec = \"exec tail -n +1 -f {}\"\n", input.display())
}

fn say(machine: &Machine, name: &str, text: &str) {
    let mut file = fs::File::options()
        .append(true)
        .open(machine.path(&format!("{name}.in")))
        .unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

#[test]
fn several_logs_are_shown_by_time_with_names_and_the_last_lines_of_all_of_them() {
    let machine = Machine::start(&[]);
    for name in ["web", "db"] {
        machine.write_service(name, &echoes(&machine, name));
    }
    machine.call("system.reload", json!({}));
    let seen = |text: &str| logs(&machine, &["-n", "1000"]).contains(text);
    for (name, text) in [("web", "one\n"), ("db", "two\n"), ("web", "three\n")] {
        say(&machine, name, text);
        machine.wait(text, || seen(text));
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert_eq!(logs(&machine, &[]), "web: one\ndb: two\nweb: three\n");
    assert_eq!(logs(&machine, &["web", "db", "-n", "2"]), "db: two\nweb: three\n");
    assert_eq!(logs(&machine, &["web"]), "one\nthree\n");
    assert_eq!(logs(&machine, &["web", "-n", "0"]), "");
    let lines = logs(&machine, &["web", "--json"]);
    let line: Value = serde_json::from_str(lines.lines().nth(1).unwrap()).unwrap();
    assert_eq!((&line["name"], &line["text"]), (&json!("web"), &json!("three")));
    // What came later is found by the time of what came before.
    let time = line["time"].as_str().unwrap();
    assert_eq!(logs(&machine, &["--since", time]), "web: three\n");
    assert!(logs(&machine, &["web", "-t"]).ends_with(&format!("{time} three\n")));
    assert_eq!(logs(&machine, &["--since", "1h", "-n", "1"]), "web: three\n");
    assert_eq!(logs(&machine, &["--since", "2200-01-01"]), "");
    let refused = program()
        .arg("--socket")
        .arg(machine.socket())
        .args(["logs", "bed"])
        .output()
        .unwrap();
    assert_eq!(refused.status.code(), Some(4));
}

#[test]
fn who_follows_misses_nothing_and_sees_nothing_twice_while_service_and_supervisor_are_replaced() {
    let machine = Machine::start(&[]);
    let counts = "[service]\nexec = \"i=0; while :; do echo $$ $i; i=$((i + 1)); sleep 0.002; done\"\n[logging]\nbuffer_bytes = 1000000\n";
    machine.write_service("counts", counts);
    machine.write_service("other", "[service]\nexec = \"while :; do echo x; sleep 0.01; done\"\n");
    machine.call("system.reload", json!({}));
    let reader = Reader::start(&machine, &["-f", "--since", "1h"]);
    let grows = |by: usize| {
        let before = reader.text().lines().count();
        machine.wait("more lines", || reader.text().lines().count() > before + by);
    };
    grows(20);
    machine.crash();
    grows(20);
    machine.call("service.restart", json!({ "name": "counts" }));
    grows(20);
    machine.crash();
    machine.crash();
    grows(20);
    machine.call("service.stop", json!({ "name": "counts" }));
    machine.wait("the end", || machine.status("counts")["state"] == "inactive");
    let all = machine.call("logs.tail", json!({ "name": "counts", "lines": 1_000_000 }));
    let all: Vec<&str> = all["lines"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| line.as_str().unwrap())
        .collect();
    let shown = || -> Vec<String> {
        let text = reader.text();
        text.lines()
            .filter_map(|line| line.strip_prefix("counts: ").map(str::to_owned))
            .collect()
    };
    machine.wait("every line", || shown().len() >= all.len());
    assert_eq!(shown(), all);
}

#[test]
fn a_reader_who_never_reads_costs_little_and_learns_what_it_has_missed() {
    let flood = "[service]\nexec = \"yes 0123456789 | head -c 33000000; echo the end; exec sleep 1000\"\n";
    let machine = Machine::start(&[("flood", STAYS_SILENT), ("other", common::STAYS)]);
    let mut sleeper = UnixStream::connect(machine.socket()).unwrap();
    let request = json!({ "jsonrpc": "2.0", "id": 1, "method": "logs.follow", "params": { "follow": true } });
    writeln!(sleeper, "{request}").unwrap();
    let mut lines = BufReader::new(sleeper).lines();
    let mut next = || -> Value { serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap() };
    assert_eq!(next()["result"], json!({ "ok": true }));
    assert_eq!(next()["method"], "logs.caught_up");
    machine.write_service("flood", flood);
    machine.call("system.reload", json!({}));
    // Nobody waits for the one who sleeps.
    machine.wait("the end", || {
        machine.call("logs.tail", json!({ "name": "flood", "lines": 1 }))["lines"] == json!(["the end"])
    });
    let (mut got, mut missed) = (0, 0);
    loop {
        let message = next();
        let params = &message["params"];
        missed += params["missed"].as_u64().unwrap_or(0);
        let lines = params["lines"].as_array().unwrap();
        got += lines
            .iter()
            .map(|line| line[2].as_str().unwrap().len() as u64 + 1)
            .sum::<u64>();
        if lines.last().is_some_and(|line| line[2] == "the end") {
            break;
        }
    }
    // A place in the middle of a line is one of both.
    assert_eq!(got + missed, 33_000_000 + 8, "{missed} bytes were missed");
    assert!(missed > 28_000_000, "{got} bytes waited");
    let reader = Reader::start(&machine, &["flood", "-f", "-n", "1"]);
    machine.wait("the last line", || reader.text() == "the end\n");
}

const STAYS_SILENT: &str = "[service]\nexec = \"exec sleep 1000\"\n";
