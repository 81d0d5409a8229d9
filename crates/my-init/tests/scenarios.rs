//! The real program with real services: `my_init --container` as an ordinary process, and as PID 1 of a namespace.

#![allow(clippy::unwrap_used, reason = "a fixture that fails is a test that fails")]

mod common;

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use my_init::client::{AskError, call};
use serde_json::{Value, json};

use common::{Machine, STAYS, command_line, is_alive, program, send};

#[test]
fn a_crashed_service_is_restarted() {
    let machine = Machine::start(&[("web", STAYS)]);
    machine.wait_for_state("web", "running");
    let first = machine.status("web")["pid"].as_i64().unwrap();
    let pid = rustix::process::Pid::from_raw(i32::try_from(first).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    machine.wait("another process", || {
        machine.status("web")["pid"].as_i64().is_some_and(|pid| pid != first)
    });
    assert_eq!(machine.status("web")["restarts"], 1);
    assert!(
        machine
            .console()
            .contains("web: killed by SIGKILL, restart now (attempt 1)"),
        "{}",
        machine.console()
    );
}

#[test]
fn a_failure_for_good_is_told_with_the_last_line_of_the_log() {
    let fetch = "[service]\nexec = \"echo; echo trust failure: wrong key; exit 3\"\noneshot = true\n";
    let machine = Machine::start(&[("runtime-fetch", fetch)]);
    machine.wait_for_state("runtime-fetch", "failed");
    machine.wait("the line", || {
        machine
            .console()
            .contains("] runtime-fetch: failed: exit code 3; last line: trust failure: wrong key\n")
    });
    let tail = machine.call("logs.tail", json!({ "name": "runtime-fetch", "lines": 1 }));
    assert_eq!(tail, json!({ "lines": ["trust failure: wrong key"], "dropped": 0 }));
}

#[test]
fn d1_a_thousand_services_in_chains_all_start() {
    let services: Vec<(String, String)> = (0..1000)
        .map(|n| {
            let needs = if n % 25 == 0 {
                String::new()
            } else {
                format!("requires = [\"s{}\"]", n - 1)
            };
            (
                format!("s{n}"),
                format!("[service]\nexec = \"true\"\noneshot = true\n[dependencies]\n{needs}\n"),
            )
        })
        .collect();
    let services: Vec<(&str, &str)> = services
        .iter()
        .map(|(name, text)| (name.as_str(), text.as_str()))
        .collect();
    let machine = Machine::start(&services);
    machine.wait("ready", || machine.console().contains("] ready\n"));
    let services = machine.call("service.list_full", json!({}));
    let services = services.as_array().unwrap();
    assert_eq!(services.len(), 1000);
    assert!(
        services.iter().all(|service| service["state"] == "exited"),
        "{services:?}"
    );
    assert!(machine.console().contains("] timeline start="), "{}", machine.console());
}

#[test]
fn orphans_are_reaped() {
    let orphan = "[service]\nexec = \"(sleep 0.1 & echo $! >$HERE/orphan) & wait\"\noneshot = true\n";
    let machine = Machine::start(&[("a", orphan)]);
    machine.wait_for_state("a", "exited");
    let pid = machine.read("orphan").trim().to_owned();
    assert!(!pid.is_empty());
    // Not even a zombie is left.
    machine.wait("the orphan's end", || !Path::new(&format!("/proc/{pid}")).exists());
}

#[test]
fn what_a_service_leaves_behind_does_not_run_beside_its_successor() {
    let forks =
        "[service]\nexec = \"sleep 1000 & echo $! >>$HERE/left; sleep 0.1; exit 1\"\n[lifecycle]\nmax_restarts = 1\n";
    let machine = Machine::start(&[("forks", forks)]);
    machine.wait_for_state("forks", "failed");
    let left = machine.read("left");
    assert_eq!(left.lines().count(), 2);
    machine.wait("the end of both", || {
        left.lines().all(|pid| !is_alive(&json!(pid.parse::<u32>().unwrap())))
    });
}

#[test]
fn reload_applies_the_difference() {
    let machine = Machine::start(&[("kept", STAYS), ("gone", STAYS), ("changed", STAYS)]);
    for name in ["kept", "gone", "changed"] {
        machine.wait_for_state(name, "running");
    }
    let kept = machine.status("kept")["pid"].clone();
    let gone = machine.status("gone")["pid"].clone();
    fs::remove_file(machine.path("services/gone.service.toml")).unwrap();
    machine.write_service("changed", "[service]\nexec = \"sleep 2000\"\n");
    machine.write_service("new", STAYS);
    machine.write_service("broken", "[service\n");
    let difference = machine.call("system.reload", json!({}));
    assert_eq!(difference["added"], json!(["new"]));
    assert_eq!(difference["changed"], json!(["changed"]));
    assert_eq!(difference["removed"], json!(["gone"]));
    assert_eq!(difference["restarted"], json!(["changed"]));
    machine.wait_for_state("new", "running");
    machine.wait("the end of the removed", || !is_alive(&gone));
    machine.wait_for_state("changed", "running");
    assert_eq!(command_line(&machine, "changed"), "sleep 2000");
    assert_eq!(machine.status("kept")["pid"], kept);
    assert!(
        machine.console().contains("broken.service.toml:1:"),
        "{}",
        machine.console()
    );
    let status = || call(&machine.socket(), "service.status", &json!({ "name": "gone" }));
    machine.wait("nobody to know it any more", || {
        matches!(status(), Err(AskError::Refused(-32000, _)))
    });
}

#[test]
fn reload_restarts_a_service_whose_program_was_replaced() {
    let machine = Machine::start(&[]);
    let install = |text: &str| {
        fs::write(machine.path("tmp"), text).unwrap();
        fs::set_permissions(machine.path("tmp"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        fs::rename(machine.path("tmp"), machine.path("web")).unwrap();
    };
    install("#!/bin/sh\necho one\nexec sleep 1000\n");
    machine.write_service(
        "web",
        &format!("[service]\nexec = \"{}\"\n", machine.path("web").display()),
    );
    machine.call("system.reload", json!({}));
    let log = |lines: Value| machine.call("logs.tail", json!({ "name": "web" }))["lines"] == lines;
    machine.wait("its word", || log(json!(["one"])));
    assert_eq!(machine.call("system.reload", json!({}))["changed"], json!([]));
    install("#!/bin/sh\necho two\nexec sleep 1000\n");
    assert_eq!(machine.call("system.reload", json!({}))["changed"], json!(["web"]));
    machine.wait("its word", || {
        machine.call("logs.tail", json!({ "name": "web" }))["lines"] == json!(["one", "two"])
    });
}

#[test]
fn shutdown_goes_in_reverse_order() {
    let service = |name: &str, needs: &str| {
        format!(
            "[service]\nexec = \"trap 'echo {name} >>$HERE/order; exit 0' TERM; touch $HERE/{name}; while :; do sleep 0.05; done\"\n\
             [dependencies]\nrequires = [{needs}]\n"
        )
    };
    let (a, b, c) = (service("a", ""), service("b", "\"a\""), service("c", "\"b\""));
    let mut machine = Machine::start(&[("a", &a), ("b", &b), ("c", &c)]);
    machine.wait("all three", || {
        ["a", "b", "c"].iter().all(|name| machine.path(name).exists())
    });
    machine.signal(15);
    assert_eq!(machine.end(), Some(0));
    assert_eq!(machine.read("order"), "c\nb\na\n");
    assert!(!machine.socket().exists());
}

#[test]
fn a_service_that_ignores_the_signal_is_killed_and_named() {
    let stubborn =
        "[service]\nexec = \"trap '' TERM; echo up; while :; do sleep 1; done\"\n[lifecycle]\nstop_timeout_ms = 300\n";
    let mut machine = Machine::start(&[("stubborn", stubborn)]);
    machine.wait("its word", || {
        machine.call("logs.tail", json!({ "name": "stubborn" }))["lines"] == json!(["up"])
    });
    machine.call("system.poweroff", json!({}));
    assert_eq!(machine.end(), Some(0));
    assert!(
        machine
            .console()
            .contains("stubborn: did not stop within 0.3 s, killed"),
        "{}",
        machine.console()
    );
}

#[test]
fn readiness_by_notify_socket_and_by_http_status() {
    let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = server.local_addr().unwrap();
    let web = format!(
        "[service]\nexec = \"sleep 1000\"\n[health]\ntype = \"http\"\ntarget = \"{address}/health\"\ninterval_ms = 100\n"
    );
    let notify = "[service]\nnotify = true\nexec = \"test -S $NOTIFY_SOCKET && sleep 1000\"\n";
    let machine = Machine::start(&[("web", &web), ("notify", notify)]);
    let answer = |status: &str| {
        let (mut stream, _) = server.accept().unwrap();
        let mut line = String::new();
        BufReader::new(stream.try_clone().unwrap())
            .read_line(&mut line)
            .unwrap();
        write!(stream, "HTTP/1.0 {status}\r\n\r\n").unwrap();
        line
    };
    assert_eq!(answer("503 Busy"), "GET /health HTTP/1.0\r\n");
    answer("503 Busy");
    assert_eq!(machine.status("web")["state"], "starting");
    let why = machine.call("service.why", json!({ "name": "web" }));
    assert!(
        why["lines"]
            .to_string()
            .contains("answers with status 503, expected 200"),
        "{why}"
    );
    answer("200 OK");
    machine.wait_for_state("web", "running");

    assert_eq!(machine.status("notify")["waits_for"], json!(["READY=1 from it"]));
    let socket = std::os::unix::net::UnixDatagram::unbound().unwrap();
    socket
        .send_to(
            b"STATUS=nearly\nREADY=1",
            machine.path("sock").with_extension("notify").join("notify"),
        )
        .unwrap();
    machine.wait_for_state("notify", "running");
    assert_eq!(machine.status("notify")["status"], "nearly");
}

#[test]
fn bad_requests_are_refused_and_kill_nobody() {
    let machine = Machine::start(&[("web", STAYS)]);
    let mut stream = UnixStream::connect(machine.socket()).unwrap();
    stream
        .write_all(b"\xff\xfe{{{\n[1]\n\n{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"system.ping\"}\n")
        .unwrap();
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
    let mut code = || serde_json::from_str::<Value>(&lines.next().unwrap().unwrap()).unwrap();
    assert_eq!(code()["error"]["code"], -32700);
    assert_eq!(code()["error"]["code"], -32600);
    assert!(code()["result"]["version"].is_string());
    // A request without an end is cut off.
    let mut endless = UnixStream::connect(machine.socket()).unwrap();
    let _ = endless.write_all(&vec![b'x'; 1 << 20]);
    let mut answer = String::new();
    let _ = endless.read_to_string(&mut answer);
    assert!(answer.contains("longer than") || answer.is_empty(), "{answer}");
    // Deep nesting, half a request, and more connections than there is room for.
    let mut deep = UnixStream::connect(machine.socket()).unwrap();
    deep.write_all(format!("{}\n", "[".repeat(60_000)).as_bytes()).unwrap();
    let many: Vec<UnixStream> = (0..100)
        .map(|_| {
            let mut stream = UnixStream::connect(machine.socket()).unwrap();
            let _ = stream.write_all(b"{\"jsonrpc\"");
            stream
        })
        .collect();
    assert!(machine.call("system.ping", json!({}))["version"].is_string());
    drop(many);
    machine.wait_for_state("web", "running");
}

#[test]
fn d14_a_chatty_service_is_never_blocked_and_its_log_stays_bounded() {
    let chatty = "[service]\noneshot = true\nexec = \"yes 0123456789 | head -c 20000000; echo; echo done\"\n[logging]\nbuffer_bytes = 4096\n";
    let machine = Machine::start(&[("chatty", chatty)]);
    machine.wait_for_state("chatty", "exited");
    let tail = machine.call("logs.tail", json!({ "name": "chatty", "lines": 100_000 }));
    let lines = tail["lines"].as_array().unwrap();
    assert_eq!(lines.last(), Some(&json!("done")));
    assert!(lines.len() <= (4096 + 1024) / 11 + 1, "{}", lines.len());
    assert!(tail["dropped"].as_u64().unwrap() > 19_900_000);
}

#[test]
fn d9_an_idle_supervisor_does_not_wake_up() {
    let machine = Machine::start(&[("a", STAYS), ("b", STAYS)]);
    machine.wait("ready", || machine.console().contains("] ready\n"));
    let of = |pid: u32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let mut lines = status.lines().map(str::to_owned);
        lines.find(|line| line.starts_with("voluntary_ctxt_switches")).unwrap()
    };
    let switches = || [of(machine.child.id()), of(machine.supervisor())];
    std::thread::sleep(Duration::from_millis(300));
    let before = switches();
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(switches(), before);
}

#[test]
fn console_true_relays_whole_lines() {
    let loud = "[service]\noneshot = true\nexec = \"printf 'one\\\\ntwo'\"\n[logging]\nconsole = true\n";
    let machine = Machine::start(&[("loud", loud)]);
    machine.wait("both lines", || machine.console().contains("loud: one\nloud: two\n"));
}

#[test]
fn d7_the_client_verbs_honour_the_socket() {
    let machine = Machine::start(&[
        ("web", STAYS),
        ("lazy", "[service]\nexec = \"sleep 9\"\nstatus = \"stop\"\n"),
    ]);
    machine.wait_for_state("web", "running");
    let ask = |words: &[&str]| {
        let output = program()
            .args(words)
            .arg("--socket")
            .arg(machine.socket())
            .output()
            .unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap(),
        )
    };
    let (code, list) = ask(&["list"]);
    assert_eq!(code, Some(0));
    assert!(
        list.contains("\nlazy inactive ") && list.contains("\nweb  running "),
        "{list}"
    );
    assert_eq!(ask(&["start", "lazy"]).0, Some(0));
    machine.wait_for_state("lazy", "running");
    assert_eq!(
        ask(&["start", "lazy"]),
        (Some(5), "my_init: lazy is already active\n".to_owned())
    );
    assert_eq!(
        ask(&["stop", "nobody"]),
        (Some(4), "my_init: no service is named `nobody`\n".to_owned())
    );
    let (code, json) = ask(&["status", "web", "--json"]);
    assert_eq!(
        (code, serde_json::from_str::<Value>(&json).unwrap()["state"].clone()),
        (Some(0), json!("running"))
    );
    let nobody = program()
        .args(["list", "--socket", "/nonexistent/sock"])
        .output()
        .unwrap();
    assert_eq!(nobody.status.code(), Some(4));
    // A second one does not take the socket over.
    let second = program()
        .args(["--services", "/tmp", "--socket"])
        .arg(machine.socket())
        .output()
        .unwrap();
    assert_eq!(second.status.code(), Some(5));
    assert_eq!(ask(&["list"]).0, Some(0));
}

#[test]
fn check_finds_problems_and_exits_with_one() {
    let directory = tempfile::tempdir().unwrap();
    let check = || program().arg("check").arg(directory.path()).output().unwrap();
    fs::write(directory.path().join("a.service.toml"), STAYS).unwrap();
    assert_eq!(check().status.code(), Some(0));
    fs::write(directory.path().join("b.service.toml"), "[service]\nexecc = \"x\"\n").unwrap();
    let output = check();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.contains("b.service.toml:2:1: unknown key `execc` in [service]\n  hint: did you mean `exec`?"),
        "{text}"
    );
    assert_eq!(
        program()
            .args(["check", "/nonexistent"])
            .output()
            .unwrap()
            .status
            .code(),
        Some(4)
    );
    assert_eq!(program().arg("--nonsense").output().unwrap().status.code(), Some(2));
}

#[test]
fn as_first_process_of_a_namespace_it_reaps_everybody() {
    if !Command::new("unshare")
        .args(["-pf", "--mount-proc", "true"])
        .status()
        .is_ok_and(|status| status.success())
    {
        println!("skipped: unshare -pf needs root");
        return;
    }
    let orphan = "[service]\nexec = \"(setsid sleep 0.2 &) ; exit 0\"\noneshot = true\n";
    let unshare = ["unshare", "-pf", "--mount-proc", "--kill-child"];
    let mut machine = Machine::start_by(&[("orphan", orphan), ("web", STAYS)], &unshare);
    machine.wait_for_state("orphan", "exited");
    machine.wait_for_state("web", "running");
    let init = fs::read_to_string(format!("/proc/{0}/task/{0}/children", machine.child.id())).unwrap();
    let children = || fs::read_to_string(format!("/proc/{0}/task/{0}/children", init.trim())).unwrap();
    // The supervisor and the service.
    machine.wait("the orphan's end", || children().split_whitespace().count() == 2);
    machine.call("system.poweroff", json!({}));
    assert_eq!(machine.end(), Some(0));
}

/// The lines that a service appended to a file of the test's, one for each time it was started.
fn starts(machine: &Machine, name: &str) -> usize {
    machine.read(name).lines().count()
}

#[test]
fn d3_after_a_crash_of_the_supervisor_nothing_runs_twice() {
    let services: Vec<(String, String)> = (0..50)
        .map(|n| {
            let text = format!("[service]\nexec = \"echo $$ >> $HERE/s{n}; exec sleep 1000\"\n");
            (format!("s{n}"), text)
        })
        .collect();
    let services: Vec<(&str, &str)> = services.iter().map(|(name, text)| (&**name, &**text)).collect();
    let machine = Machine::start(&services);
    machine.wait("ready", || machine.console().contains("] ready\n"));
    let before = machine.call("service.list_full", json!({}));
    for _ in 0..3 {
        machine.crash();
    }
    assert_eq!(machine.call("service.list_full", json!({})), before);
    for n in 0..50 {
        assert_eq!(starts(&machine, &format!("s{n}")), 1, "s{n}");
    }
    assert!(
        machine
            .console()
            .contains("the supervisor was killed by SIGKILL; started again, 50 services go on"),
        "{}",
        machine.console()
    );
    assert_eq!(machine.console().matches("] ready\n").count(), 1);
}

#[test]
fn d13_the_end_of_a_service_that_was_taken_over_is_known() {
    let once = "[service]\noneshot = true\nexec = \"echo begun; read _ < $HERE/gate; echo ended; exit 7\"\n";
    let machine = Machine::start(&[("web", STAYS)]);
    let gate = machine.path("gate");
    assert!(Command::new("mkfifo").arg(&gate).status().unwrap().success());
    machine.write_service("once", once);
    machine.call("system.reload", json!({}));
    machine.wait("its first words", || {
        machine.call("logs.tail", json!({"name": "once", "lines": 9}))["lines"] == json!(["begun"])
    });
    machine.crash();
    assert_eq!(machine.status("once")["state"], "starting");
    fs::write(&gate, "\n").unwrap();
    machine.wait_for_state("once", "failed");
    assert_eq!(machine.status("once")["reason"], "exit code 7");
    let tail = machine.call("logs.tail", json!({"name": "once", "lines": 9}));
    assert_eq!(tail, json!({"lines": ["begun", "ended"], "dropped": 0}));
    machine.call("service.stop", json!({"name": "web"}));
    machine.wait_for_state("web", "inactive");
}

#[test]
fn no_byte_of_a_log_is_lost_when_supervisors_are_killed() {
    let counts = "[service]\noneshot = true\nexec = \"seq 1 200000\"\n[logging]\nbuffer_bytes = 16777216\n";
    let machine = Machine::start(&[("counts", counts)]);
    for _ in 0..20 {
        machine.crash();
    }
    machine.wait_for_state("counts", "exited");
    let tail = machine.call("logs.tail", json!({"name": "counts", "lines": 200_000}));
    let lines = tail["lines"].as_array().unwrap();
    assert_eq!((lines.len(), &tail["dropped"]), (200_000, &json!(0)));
    assert!(
        lines
            .iter()
            .enumerate()
            .all(|(index, line)| line.as_str() == Some(&*(index + 1).to_string()))
    );
}

/// Hears the bell in the supervisor's place, which leaves things as if it had been killed just after it heard it.
fn silence_the_bell(keeper: u32) {
    use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
    let pid = Pid::from_raw(i32::try_from(keeper).unwrap()).unwrap();
    let process = pidfd_open(pid, PidfdFlags::empty()).unwrap();
    let open = fs::read_dir(format!("/proc/{keeper}/fd")).unwrap().flatten();
    let bell =
        |entry: &fs::DirEntry| fs::read_link(entry.path()).is_ok_and(|what| what == Path::new("anon_inode:[eventfd]"));
    let bells: Vec<i32> = open
        .filter(bell)
        .map(|entry| entry.file_name().to_str().unwrap().parse().unwrap())
        .collect();
    assert_eq!(bells.len(), 1);
    let bell = pidfd_getfd(&process, bells[0], PidfdGetfdFlags::empty()).unwrap();
    assert_eq!(rustix::io::read(&bell, &mut [0; 8]), Ok(8), "it has rung");
}

#[test]
fn an_end_of_which_a_killed_supervisor_had_only_heard_is_not_missed() {
    let machine = Machine::start(&[("once", "[service]\noneshot = true\nexec = \"sleep 1000\"\n")]);
    machine.wait_for_state("once", "starting");
    let pid = u32::try_from(machine.status("once")["pid"].as_u64().unwrap()).unwrap();
    let supervisor = machine.supervisor();
    send(supervisor, rustix::process::Signal::STOP);
    send(pid, rustix::process::Signal::TERM);
    machine.wait("its end", || !Path::new(&format!("/proc/{pid}")).exists());
    silence_the_bell(machine.child.id());
    send(supervisor, rustix::process::Signal::KILL);
    machine.wait_for_state("once", "failed");
    assert_eq!(machine.status("once")["reason"], "killed by SIGTERM");
}

#[test]
fn whenever_supervisors_are_killed_everything_starts_once_and_in_order() {
    let services: Vec<(String, String)> = (0..60)
        .map(|n| {
            let needs = if n % 6 == 0 { String::new() } else { format!("requires = [\"s{}\"]", n - 1) };
            let check = if n % 6 == 0 { String::new() } else { format!("test -s $HERE/s{} || echo early > $HERE/wrong; ", n - 1) };
            let text = format!("[service]\noneshot = true\nexec = \"{check}sleep 0.02; echo $$ >> $HERE/s{n}\"\n[dependencies]\n{needs}\n");
            (format!("s{n}"), text)
        })
        .collect();
    let services: Vec<(&str, &str)> = services.iter().map(|(name, text)| (&**name, &**text)).collect();
    let machine = Machine::start(&services);
    while !machine.console().contains("] ready\n") {
        machine.crash();
    }
    for n in 0..60 {
        assert_eq!(starts(&machine, &format!("s{n}")), 1, "s{n}; {}", machine.console());
    }
    assert!(!machine.path("wrong").exists());
    let services = machine.call("service.list_full", json!({}));
    let services = services.as_array().unwrap();
    assert!(
        services.iter().all(|service| service["state"] == "exited"),
        "{services:?}"
    );
}

#[test]
fn another_program_takes_over_and_services_do_not_notice() {
    let counts = "[service]\nexec = \"n=0; while read _; do n=$((n+1)); echo $n; done < $HERE/gate\"\n";
    let machine = Machine::start(&[("web", STAYS)]);
    let gate = machine.path("gate");
    assert!(Command::new("mkfifo").arg(&gate).status().unwrap().success());
    machine.write_service("counts", counts);
    machine.call("system.reload", json!({}));
    let mut gate = fs::File::options().read(true).write(true).open(gate).unwrap();
    let lines = || machine.call("logs.tail", json!({"name": "counts", "lines": 9}))["lines"].clone();
    gate.write_all(b"x\n").unwrap();
    machine.wait("the first line", || lines() == json!(["1"]));
    let next = machine.path("next_init");
    fs::copy(env!("CARGO_BIN_EXE_my_init"), &next).unwrap();
    let pids = || ["web", "counts"].map(|name| machine.status(name)["pid"].clone());
    let before = pids();
    machine.call("system.upgrade", json!({ "program": next }));
    let runs = || fs::read_link(format!("/proc/{}/exe", machine.child.id())).unwrap();
    machine.wait("the other program", || runs() == next);
    machine.call("system.ping", json!({}));
    gate.write_all(b"x\n").unwrap();
    machine.wait("the second line", || lines() == json!(["1", "2"]));
    assert_eq!(pids(), before);
    // And it can fail, and be followed by itself, as the first one could.
    machine.crash();
    machine.call("system.upgrade", json!({}));
    machine.wait("the third program", || {
        machine.console().matches("has taken over, 2 services go on").count() == 2
    });
    assert_eq!((pids(), lines()), (before, json!(["1", "2"])));
    let open = fs::read_dir(format!("/proc/{}/fd", machine.child.id()))
        .unwrap()
        .count();
    assert!(open < 25, "{open} descriptors are open");
}

#[test]
fn a_program_that_cannot_take_over_does_not() {
    let machine = Machine::start(&[("web", STAYS)]);
    let other = machine.path("other");
    fs::copy("/bin/true", &other).unwrap();
    let text = machine.path("text");
    fs::write(&text, "#!/bin/sh\n").unwrap();
    for (program, reason) in [
        (&other, "is not a my_init that can take over"),
        (&text, "is not the absolute path of a program"),
        (&PathBuf::from("/nonexistent"), "No such file"),
    ] {
        match call(&machine.socket(), "system.upgrade", &json!({ "program": program })) {
            Err(AskError::Refused(-32011, message)) => assert!(message.contains(reason), "{message}"),
            other => panic!("{}: {other:?}", program.display()),
        }
    }
    // One that the kernel refuses to execute, because it is for another machine (e_machine, elf(5)): this one goes on.
    let broken = machine.path("broken");
    let mut bytes = fs::read(env!("CARGO_BIN_EXE_my_init")).unwrap();
    bytes[18] = 0xff;
    fs::write(&broken, bytes).unwrap();
    fs::set_permissions(&broken, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let pid = machine.status("web")["pid"].clone();
    machine.call("system.upgrade", json!({ "program": broken }));
    machine.wait("the reason", || machine.console().contains("no upgrade: "));
    assert_eq!(machine.status("web")["pid"], pid);
    machine.crash();
    assert_eq!(machine.status("web")["pid"], pid);
}

#[test]
fn d17_a_service_has_the_conditions_that_its_file_asks_for() {
    if !rustix::process::geteuid().is_root() {
        println!("SKIPPED: only root can give a service another user");
        return;
    }
    let script = "umask; nice; cat /proc/self/oom_score_adj; ulimit -n; ulimit -c; id -u; id -g; id -G; \
                  grep -E 'CapEff|CapBnd|NoNewPrivs' /proc/self/status | tr '\\t' ' '; ls -A /tmp | wc -l; echo x > /tmp/x && echo tmp; \
                  touch /usr/x 2>&1 | sed 's/.*: //'; test -w /dev/null && echo null; pwd";
    let text = format!(
        "[service]\nexec = {script:?}\noneshot = true\nuser = \"nobody\"\ngroup = 4711\ngroups = [\"daemon\", 44]\n\
         umask = \"027\"\nnice = 3\noom_score_adjust = 321\n\
         [security]\ncapabilities = [\"net_bind_service\"]\nno_new_privileges = true\nprivate_tmp = true\nread_only_root = true\n\
         [limits]\nopen_files = 77\ncore = 0\n"
    );
    let machine = Machine::start(&[
        ("probe", &text),
        ("lost", "[service]\nexec = \"true\"\nuser = \"no-such\"\n"),
    ]);
    machine.wait_for_state("probe", "exited");
    let nobody = mos_service::Account::Name("nobody".into());
    let (user, _) = nobody.find(&fs::read_to_string("/etc/passwd").unwrap()).unwrap();
    let (daemon, _) = mos_service::Account::Name("daemon".into())
        .find(&fs::read_to_string("/etc/group").unwrap())
        .unwrap();
    let expected = [
        "0027",
        "3",
        "321",
        "77",
        "0",
        &user.to_string(),
        "4711",
        &format!("4711 {daemon} 44"),
        "CapEff: 0000000000000400",
        "CapBnd: 0000000000000400",
        "NoNewPrivs: 1",
        "0",
        "tmp",
        "Read-only file system",
        "null",
        "/",
    ];
    let tail = machine.call("logs.tail", json!({"name": "probe", "lines": 99}));
    assert_eq!(tail["lines"], json!(expected));
    assert!(!Path::new("/tmp/x").exists());
    machine.wait("the reason", || {
        machine
            .console()
            .contains("lost: cannot be started: there is no user `no-such` in /etc/passwd")
    });
}
