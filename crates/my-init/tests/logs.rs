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
    // Without names there is also what my_init says itself.
    let all = |arguments: &[&str]| {
        let text = logs(&machine, arguments);
        let (own, others): (Vec<&str>, _) = text.lines().partition(|line| line.starts_with("my_init: "));
        (own.len(), others.join(" "))
    };
    let (own, others) = all(&[]);
    assert_eq!((own > 0, others.as_str()), (true, "web: one db: two web: three"));
    assert_eq!(logs(&machine, &["web", "db", "-n", "2"]), "db: two\nweb: three\n");
    assert_eq!(logs(&machine, &["web"]), "one\nthree\n");
    assert_eq!(logs(&machine, &["web", "-n", "0"]), "");
    let lines = logs(&machine, &["web", "--json"]);
    let line: Value = serde_json::from_str(lines.lines().nth(1).unwrap()).unwrap();
    assert_eq!((&line["name"], &line["text"]), (&json!("web"), &json!("three")));
    // What came later is found by the time of what came before.
    let time = line["time"].as_str().unwrap();
    assert_eq!(all(&["--since", time]).1, "web: three");
    let filter = |params: Value| -> Vec<String> {
        let lines = machine.call("logs.filter", params);
        let texts = lines
            .as_array()
            .unwrap()
            .iter()
            .map(|line| line.as_str().unwrap().to_owned());
        texts.map(|text| text.split_once(' ').unwrap().1.to_owned()).collect()
    };
    assert_eq!(filter(json!({ "service": "web" })), ["[stdout] one", "[stdout] three"]);
    assert_eq!(filter(json!({ "name": "web", "contains": "hre" })), ["[stdout] three"]);
    assert_eq!(filter(json!({ "name": "web", "lines": 1 })), ["[stdout] three"]);
    assert_eq!(
        filter(json!({ "name": "web", "since": 4_000_000_000_000_u64 })),
        [""; 0]
    );
    assert!(logs(&machine, &["web", "-t"]).ends_with(&format!("{time} three\n")));
    assert_eq!(all(&["--since", "1h", "-n", "100"]).1, others);
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
    while next()["method"] != "logs.caught_up" {}
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
        if params["name"] != "flood" {
            continue;
        }
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

/// Sends a message as syslog(3) does.
fn tell(path: &std::path::Path, message: &str) {
    let socket = std::os::unix::net::UnixDatagram::unbound().unwrap();
    socket.send_to(message.as_bytes(), path).unwrap();
}

#[test]
fn what_is_said_to_syslog_is_in_the_log_of_the_service_that_said_it() {
    let machine = Machine::start_with(&[], &["--syslog", "$HERE/log"]);
    // The shell itself says nothing: what it starts does, which is of its session.
    let script = "python3 -c \"import socket,sys,time; s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); s.sendto(b'<11>Nov 22 02:15:29 tag[1]: from the service', '$HERE/log'); time.sleep(1000)\" & wait";
    machine.write_service("speaks", &format!("[service]\nexec = '''{script}'''\n"));
    machine.call("system.reload", json!({}));
    let lines = |name: &str| machine.call("logs.tail", json!({ "name": name }))["lines"].clone();
    machine.wait("the message", || {
        lines("speaks") == json!(["err tag[1]: from the service"])
    });
    assert_eq!(lines("syslog"), json!([]));
    tell(&machine.path("log"), "<30>stranger: hello\nerr forged: x");
    machine.wait("the stranger", || {
        lines("syslog") == json!(["info stranger: hello err forged: x"])
    });
    machine.crash();
    tell(&machine.path("log"), "<30>stranger: again");
    machine.wait("the second message", || {
        lines("syslog") == json!(["info stranger: hello err forged: x", "info stranger: again"])
    });
    // Too much is dropped, counted, and delays nobody.
    for _ in 0..10_000 {
        tell(&machine.path("log"), "<30>flood: x");
    }
    let count = |text: &str| {
        logs(&machine, &["syslog", "-n", "100000"])
            .lines()
            .filter(|line| line.contains(text))
            .count()
    };
    machine.wait("the flood", || {
        tell(&machine.path("log"), "<30>after: x");
        count("messages were too many and are missing here") > 0 && count("after: x") > 0
    });
    assert!(count("flood: x") < 10_000);
}

#[test]
fn our_own_messages_are_a_log_and_the_console_has_those_that_are_serious_enough() {
    let fails = "[service]\noneshot = true\nexec = \"echo why; exit 3\"\n[lifecycle]\nrestart = \"never\"\n";
    let machine = Machine::start_with(&[("fails", fails), ("web", common::STAYS)], &["--log-level", "err"]);
    machine.wait_for_state("fails", "failed");
    let own = |text: &str| logs(&machine, &["my_init", "-n", "1000"]).contains(text);
    machine.wait("the failure", || own("fails: failed: exit code 3; last line: why\n"));
    machine.wait("ready", || own("ready\n"));
    assert!(
        machine
            .console()
            .contains("] fails: failed: exit code 3; last line: why\n")
    );
    assert!(!machine.console().contains("] ready\n"), "{}", machine.console());
    machine.crash();
    machine.wait("the crash", || own("the supervisor was killed by SIGKILL"));
    assert!(own("ready\n"));
}

#[test]
fn many_who_write_as_fast_as_they_can_are_all_served_within_the_limit() {
    const MANY: usize = 150;
    let each = "[service]\noneshot = true\nexec = \"yes 0123456789 | head -c 440000; exec sleep 1000\"\n[lifecycle]\nstart_timeout_ms = 0\n";
    let names: Vec<String> = (0..MANY).map(|number| format!("s{number}")).collect();
    let services: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), each)).collect();
    let machine = Machine::start_with(&services, &["--log-memory", "2M"]);
    let log = |name: &String, key: &str| machine.status(name)["log"][key].as_u64().unwrap_or(0);
    machine.wait("all of it", || names.iter().all(|name| log(name, "printed") == 440_000));
    let memory: u64 = names.iter().map(|name| log(name, "memory")).sum();
    assert!(memory <= 2 << 20, "{memory} bytes");
    // Everybody has kept something.
    assert!(names.iter().all(|name| log(name, "dropped") < 440_000));
}

#[test]
fn a_line_of_100_megabytes_and_binary_bytes_are_nothing_special() {
    let long = "[service]\noneshot = true\nexec = \"head -c 100000000 /dev/zero | tr '\\\\0' x; echo; printf 'a\\\\000b\\\\377\\\\033[2J\\\\n'\"\n";
    let machine = Machine::start(&[("long", long)]);
    machine.wait_for_state("long", "exited");
    let tail = machine.call("logs.tail", json!({ "name": "long", "lines": 2 }));
    let lines = tail["lines"].as_array().unwrap();
    assert_eq!(lines.last(), Some(&json!("a\u{0}b\u{fffd}\u{1b}[2J")));
    assert!(machine.status("long")["log"]["memory"].as_u64().unwrap() < 100_000);
    // Read along it comes in pieces.
    let shown = logs(&machine, &["long", "--json", "--since", "1h"]);
    let pieces: Vec<Value> = shown.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(
        pieces.len() > 5 && pieces.iter().any(|piece| piece["goes_on"] == true),
        "{}",
        pieces.len()
    );
}

#[test]
fn a_child_left_behind_goes_on_writing_and_so_does_its_successor() {
    let leaves = "[service]\noneshot = true\nexec = \"(while :; do echo left; sleep 0.01; done) & echo run $MY_INIT_SERVICE; exit 0\"\n";
    let machine = Machine::start(&[("leaves", leaves)]);
    machine.wait_for_state("leaves", "exited");
    let count = |text: &str| {
        let tail = machine.call("logs.tail", json!({ "name": "leaves", "lines": 100_000 }));
        tail["lines"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|line| **line == json!(text))
            .count()
    };
    machine.wait("more", || count("left") > 5);
    machine.call("service.restart", json!({ "name": "leaves" }));
    machine.wait("the second run", || count("run leaves") == 2);
    let before = count("left");
    machine.wait("more", || count("left") > before + 5);
}

#[test]
fn a_service_that_closes_its_output_goes_on_without() {
    let closes = "[service]\nexec = \"echo -n begun; exec >&- 2>&-; exec sleep 1000\"\n";
    let machine = Machine::start(&[("closes", closes)]);
    machine.wait("its last words", || logs(&machine, &["closes"]) == "begun\n");
    machine.wait_for_state("closes", "running");
    let reader = Reader::start(&machine, &["closes", "-f"]);
    machine.wait("its last words", || reader.text() == "begun\n");
}
