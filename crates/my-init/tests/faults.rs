//! What goes wrong on real machines, done to the real program on purpose: whatever happens to the supervisor, to its
//! memory, its descriptors, its console, its files and its clients, services go on and their state is the truth.

#![allow(clippy::unwrap_used, reason = "a fixture that fails is a test that fails")]

mod common;

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use my_init::client::call;
use rustix::process::Signal;
use serde_json::{Value, json};

use common::{Machine, STAYS, is_alive, send};

fn pid_of(machine: &Machine, name: &str) -> u32 {
    u32::try_from(machine.status(name)["pid"].as_u64().unwrap_or(0)).unwrap()
}

/// The children of the keeper that have ended and were not taken in.
fn zombies(machine: &Machine) -> usize {
    let children = my_init::children::children_of(machine.child.id());
    let dead = |pid: &&u32| fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") Z "));
    children.iter().filter(dead).count()
}

/// Every service and its state.
fn states(machine: &Machine) -> Vec<(String, String)> {
    let list = machine.call("service.list_full", json!({}));
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let services = list.as_array().unwrap().iter();
    services
        .map(|service| (text(&service["name"]), text(&service["state"])))
        .collect()
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Sets the soft limit of another process, or puts it where the hard one is.
fn limit(pid: u32, resource: &str, value: Option<u64>) {
    let value = value.map_or_else(|| hard_limit(pid, resource), |value| value.to_string());
    let mut program = Command::new("prlimit");
    program
        .arg("--pid")
        .arg(pid.to_string())
        .arg(format!("--{resource}={value}:"));
    assert!(program.status().unwrap().success());
}

fn hard_limit(pid: u32, resource: &str) -> String {
    let output = Command::new("prlimit")
        .args(["--noheadings", "--output", "HARD", "--pid"])
        .arg(pid.to_string())
        .arg(format!("--{resource}"))
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// A line of `/proc/PID/status`, in kilobytes.
fn kilobytes(pid: u32, key: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(key)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn a_storm_of_zombies_is_taken_in() {
    let storm = "[service]\noneshot = true\nexec = \"for i in $(seq 2000); do (: &) ; done\"\n";
    let machine = Machine::start(&[("web", STAYS), ("storm", storm)]);
    machine.wait_for_state("web", "running");
    let web = pid_of(&machine, "web");
    machine.wait_for_state("storm", "exited");
    machine.wait("the end of all zombies", || zombies(&machine) == 0);
    assert_eq!(pid_of(&machine, "web"), web);
}

#[test]
fn a_flood_of_ends_leaves_time_for_requests_and_for_other_services() {
    let flood = "[service]\nexec = \"while :; do (: &) ; done\"\n";
    let machine = Machine::start(&[("web", STAYS), ("one", flood), ("two", flood)]);
    for name in ["web", "one", "two"] {
        machine.wait_for_state(name, "running");
    }
    for _ in 0..3 {
        let first = pid_of(&machine, "web");
        send(first, Signal::KILL);
        machine.wait("another web", || {
            let now = pid_of(&machine, "web");
            now != 0 && now != first
        });
        machine.crash();
    }
    for name in ["one", "two"] {
        machine.call("service.stop", json!({ "name": name }));
        machine.wait_for_state(name, "inactive");
    }
    machine.wait("the end of all zombies", || zombies(&machine) == 0);
}

/// A control group of the test's own with a limit, removed in the end; `None` where there is no such thing.
struct Group(PathBuf);

impl Group {
    fn new(controller: &str, files: [(&str, &str); 2]) -> Option<Self> {
        // Version 2 has one file for all, version 1 a hierarchy for each controller (cgroups(7)).
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let of = |wanted: &dyn Fn(&str) -> bool| {
            let mut lines = own.lines().map(|line| line.splitn(3, ':').collect::<Vec<&str>>());
            lines
                .find(|parts| parts.len() == 3 && wanted(parts[1]))
                .map(|parts| parts[2].trim_start_matches('/').to_owned())
        };
        let second = of(&|list| list.is_empty()).map(|path| (Path::new("/sys/fs/cgroup").join(path), files[1]));
        let first = of(&|list| list.split(',').any(|one| one == controller));
        let first = first.map(|path| (Path::new("/sys/fs/cgroup").join(controller).join(path), files[0]));
        for (place, (file, value)) in first.into_iter().chain(second) {
            let group = place.join(format!("my-init-test-{}", std::process::id()));
            if fs::create_dir(&group).is_err() {
                continue;
            }
            let made = Self(group);
            if fs::write(made.0.join(file), value).is_ok() {
                return Some(made);
            }
        }
        println!("SKIPPED: no control group with {controller} can be made here");
        None
    }

    fn take_in(&self, pid: u32) {
        fs::write(self.0.join("cgroup.procs"), pid.to_string()).unwrap();
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        for _ in 0..500 {
            if fs::remove_dir(&self.0).is_ok() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
}

#[test]
fn a_fork_bomb_inside_a_limit_leaves_the_supervisor_at_work() {
    let Some(group) = Group::new("pids", [("pids.max", "60"), ("pids.max", "60")]) else {
        return;
    };
    let bomb = "[service]\nstatus = \"stop\"\nexec = \"while :; do sleep 1000 & done\"\n";
    let mut machine = Machine::start(&[("web", STAYS), ("bomb", bomb)]);
    machine.wait_for_state("web", "running");
    // The keeper goes in, and so does everybody it forks from now on; the supervisor too.
    group.take_in(machine.child.id());
    group.take_in(machine.supervisor());
    let is_full = || fs::read_to_string(group.0.join("pids.current")).is_ok_and(|count| count.trim() == "60");
    machine.call("service.start", json!({ "name": "bomb" }));
    // The shell gives up when it cannot fork; the limit was hit all the same.
    machine.wait("the limit, or the bomb's end", || {
        is_full() || machine.status("bomb")["state"] != "running"
    });
    let first = pid_of(&machine, "web");
    send(first, Signal::KILL);
    machine.call("service.list", json!({}));
    let _ = call(&machine.socket(), "service.stop", &json!({ "name": "bomb" }));
    machine.wait("another web", || ![0, first].contains(&pid_of(&machine, "web")));
    machine.crash();
    machine.wait_for_state("web", "running");
    machine.call("system.poweroff", json!({}));
    assert_eq!(machine.end(), Some(0));
}

#[test]
fn a_daemon_that_forked_twice_does_not_run_beside_its_successor() {
    let daemon = "[service]\nexec = \"setsid sh -c 'echo $$ >> $HERE/left; sleep 1000 & wait' & echo $$ >> $HERE/main; exec sleep 1000\"\n";
    let mut machine = Machine::start(&[("daemon", daemon), ("web", STAYS)]);
    let left = || -> Vec<u32> { machine.read("left").lines().map(|pid| pid.parse().unwrap()).collect() };
    machine.wait("the first", || left().len() == 1);
    let web = pid_of(&machine, "web");
    send(pid_of(&machine, "daemon"), Signal::KILL);
    machine.wait("the second", || left().len() == 2);
    machine.wait("the end of the first", || !is_alive(&json!(left()[0])));
    // One that a supervisor did not come to any more is found by the next.
    let supervisor = machine.supervisor();
    send(supervisor, Signal::STOP);
    send(pid_of_noted(&machine), Signal::KILL);
    send(supervisor, Signal::KILL);
    machine.wait("the third", || left().len() == 3);
    machine.wait("the end of the second", || !is_alive(&json!(left()[1])));
    assert!(is_alive(&json!(left()[2])));
    assert_eq!(pid_of(&machine, "web"), web);
    let left = left();
    machine.call("system.poweroff", json!({}));
    assert_eq!(machine.end(), Some(0));
    assert!(left.iter().all(|pid| !is_alive(&json!(pid))));
}

/// The process that a service last wrote down itself: for when nobody answers.
fn pid_of_noted(machine: &Machine) -> u32 {
    machine.read("main").lines().last().unwrap().parse().unwrap()
}

#[test]
fn what_is_left_when_a_supervisor_ends_ends_with_it() {
    let daemon = "[service]\noneshot = true\nexec = \"setsid sh -c 'echo $$ >> $HERE/left; sleep 1000 & wait' >/dev/null 2>&1 & sleep 0.1\"\n";
    let mut machine = Machine::start(&[("daemon", daemon)]);
    machine.wait_for_state("daemon", "exited");
    machine.wait("its process", || !machine.read("left").is_empty());
    let left = json!(machine.read("left").trim().parse::<u32>().unwrap());
    assert!(is_alive(&left));
    machine.call("system.poweroff", json!({}));
    assert_eq!(machine.end(), Some(0));
    assert!(!is_alive(&left));
}

#[test]
fn a_program_that_is_not_there_is_named_and_started_when_it_is() {
    let machine = Machine::start(&[]);
    let path = machine.path("program");
    let text = format!(
        "[service]\nexec = \"{}\"\n[lifecycle]\nmax_restarts = 1\n",
        path.display()
    );
    machine.write_service("lost", &text);
    machine.call("system.reload", json!({}));
    machine.wait_for_state("lost", "failed");
    let reason = machine.status("lost")["reason"].clone();
    assert!(
        reason
            .as_str()
            .unwrap()
            .contains(&format!("{}: No such file", path.display())),
        "{reason}"
    );
    fs::copy("/bin/sleep", &path).unwrap();
    machine.write_service("lost", &text.replace("program\"", "program 1000\""));
    machine.call("system.reload", json!({}));
    machine.wait_for_state("lost", "running");
}

#[test]
fn a_line_of_a_hundred_megabytes_takes_no_memory_and_blocks_nobody() {
    let endless = "[service]\noneshot = true\nexec = \"head -c 100000000 /dev/zero | tr '\\\\0' x; echo; echo end\"\n[logging]\nbuffer_bytes = 65536\n";
    let machine = Machine::start(&[("endless", endless)]);
    machine.wait_for_state("endless", "exited");
    let tail = machine.call("logs.tail", json!({ "name": "endless", "lines": 1 }));
    assert_eq!(tail["lines"], json!(["end"]));
    for pid in [machine.child.id(), machine.supervisor()] {
        let most = kilobytes(pid, "VmHWM");
        assert!(most < 32 * 1024, "{most} KB");
    }
}

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
fn without_memory_the_supervisor_ends_and_the_next_one_goes_on() {
    let machine = Machine::start(&[("web", STAYS)]);
    machine.wait_for_state("web", "running");
    let web = pid_of(&machine, "web");
    for round in 0..2 {
        let first = machine.supervisor();
        // No page more than it has now: the next that it asks for ends it.
        limit(first, "as", Some(4096));
        machine.wait("the end of the first", || {
            let long = json!({ "name": "x".repeat(60_000) });
            let _ = call(&machine.socket(), "service.status", &long);
            !Path::new(&format!("/proc/{first}/exe")).exists()
        });
        assert_eq!(pid_of(&machine, "web"), web, "round {round}");
    }
}

#[test]
fn killed_for_memory_it_goes_on_when_there_is_some() {
    let files = [("memory.limit_in_bytes", "4M"), ("memory.max", "4M")];
    let Some(group) = Group::new("memory", files) else {
        return;
    };
    let machine = Machine::start(&[("web", STAYS)]);
    machine.wait_for_state("web", "running");
    let web = pid_of(&machine, "web");
    let first = machine.supervisor();
    group.take_in(first);
    // Its own pages are charged from now on: connections that send halves of requests make it need some.
    let held = std::cell::RefCell::new(Vec::new());
    machine.wait("the end of the first", || {
        if let Ok(mut stream) = UnixStream::connect(machine.socket()) {
            let _ = stream.set_nonblocking(true);
            let _ = stream.write_all(&[b'x'; 65_000]);
            held.borrow_mut().push(stream);
        }
        !Path::new(&format!("/proc/{first}/exe")).exists()
    });
    drop(held);
    machine.wait("an answer", || {
        call(&machine.socket(), "system.ping", &json!({})).is_ok()
    });
    assert_eq!(pid_of(&machine, "web"), web);
}

#[test]
fn d18_a_thousand_and_twenty_four_descriptors_at_start_are_not_the_end() {
    let services: Vec<(String, String)> = (0..520).map(|n| (format!("s{n}"), STAYS.to_owned())).collect();
    let services: Vec<(&str, &str)> = services.iter().map(|(name, text)| (&**name, &**text)).collect();
    let machine = Machine::start_by(&services, &["prlimit", "--nofile=1024:4096"]);
    machine.wait("ready", || machine.console().contains("] ready\n"));
    let states = states(&machine);
    assert!(states.iter().all(|(_, state)| state == "running"), "{states:?}");
    // And each service has the limit that there was.
    let limits = fs::read_to_string(format!("/proc/{}/limits", pid_of(&machine, "s7"))).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    assert_eq!(
        line.split_whitespace().skip(3).take(2).collect::<Vec<_>>(),
        ["1024", "4096"]
    );
}

#[test]
fn without_descriptors_services_wait_and_requests_and_successors_do_not() {
    if !is_root() {
        println!("SKIPPED: only root can take the right to raise limits away");
        return;
    }
    let services: Vec<(String, String)> = (0..150)
        .map(|n| {
            (
                format!("s{n:0>3}"),
                format!("{STAYS}[lifecycle]\nmax_restarts = 0\nrestart_delay_ms = 50\n"),
            )
        })
        .collect();
    let services: Vec<(&str, &str)> = services.iter().map(|(name, text)| (&**name, &**text)).collect();
    let before = ["setpriv", "--bounding-set=-sys_resource", "prlimit", "--nofile=256:256"];
    let machine = Machine::start_by(&services, &before);
    let count = |state: &str| states(&machine).iter().filter(|(_, one)| one == state).count();
    machine.wait("all that there is room for", || {
        count("running") + count("restarting") == 150
    });
    let running = count("running");
    assert!((60..128).contains(&running), "{running}");
    let console = machine.console();
    assert!(
        console.contains("too many open files: the limit of my_init is 224"),
        "{console}"
    );
    // More clients than there is room for: the last ones are served.
    let many: Vec<UnixStream> = (0..100)
        .filter_map(|_| UnixStream::connect(machine.socket()).ok())
        .collect();
    machine.crash();
    drop(many);
    for _ in 0..4 {
        machine.crash();
    }
    // Whoever runs makes room for somebody who waits.
    let states = states(&machine);
    let of = |state: &str| -> Vec<&str> {
        let found = states.iter().filter(|(_, one)| one == state);
        found.map(|(name, _)| name.as_str()).collect()
    };
    let (up, waiting) = (of("running")[0], of("restarting"));
    let waits = waiting[0];
    for name in &waiting[1..] {
        let _ = call(&machine.socket(), "service.stop", &json!({ "name": name }));
    }
    fs::remove_file(machine.path(&format!("services/{up}.service.toml"))).unwrap();
    machine.call("system.reload", json!({}));
    machine.wait_for_state(waits, "running");
}

#[test]
fn a_client_that_never_reads_costs_little_and_blocks_nobody() {
    let machine = Machine::start(&[("web", STAYS)]);
    let before = kilobytes(machine.supervisor(), "VmRSS");
    let request = b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"service.list_full\"}\n".repeat(1000);
    let clients: Vec<UnixStream> = (0..20)
        .map(|_| {
            let mut stream = UnixStream::connect(machine.socket()).unwrap();
            stream.set_nonblocking(true).unwrap();
            while stream.write(&request).is_ok() {}
            stream
        })
        .collect();
    machine.call("system.ping", json!({}));
    let grown = kilobytes(machine.supervisor(), "VmRSS").saturating_sub(before);
    assert!(grown < 20 * 1024, "{grown} KB");
    drop(clients);
    machine.wait_for_state("web", "running");
}

#[test]
fn of_ten_thousand_clients_whoever_asks_is_answered() {
    let machine = Machine::start(&[("web", STAYS)]);
    let socket = machine.socket();
    std::thread::scope(|scope| {
        let idle = scope.spawn(|| {
            let mut held = std::collections::VecDeque::new();
            for _ in 0..8000 {
                held.extend(UnixStream::connect(machine.socket()));
                if held.len() > 300 {
                    held.pop_front();
                }
            }
        });
        // Whoever has not asked anything yet gives way when there are too many, so one may have to come twice.
        let asks = |socket: &Path| (0..10).any(|_| call(socket, "system.ping", &json!({})).is_ok());
        let socket = &socket;
        let ask = move || (0..500).filter(|_| asks(socket)).count();
        let askers: Vec<_> = (0..4).map(|_| scope.spawn(ask)).collect();
        for asker in askers {
            assert_eq!(asker.join().unwrap(), 500);
        }
        idle.join().unwrap();
    });
    let open = fs::read_dir(format!("/proc/{}/fd", machine.child.id()))
        .unwrap()
        .count();
    assert!(open < 100, "{open} descriptors");
}

#[test]
fn random_bytes_on_the_socket_harm_nobody() {
    use proptest::prelude::*;
    let machine = Machine::start(&[("web", STAYS)]);
    machine.wait_for_state("web", "running");
    let (web, supervisor) = (pid_of(&machine, "web"), machine.supervisor());
    let words = prop_oneof![
        Just("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"service.status\",\"params\":".to_owned()),
        Just("{\"name\":\"web\"}".to_owned()),
        Just("{\"id\":".to_owned()),
        Just("\"method\":\"logs.tail\"".to_owned()),
        Just("\n".to_owned()),
        Just("}".to_owned()),
        Just("[".to_owned()),
        Just("99999999999999999999999".to_owned()),
        "[ -~]{0,20}",
    ];
    let part = prop_oneof![
        3 => words.prop_map(String::into_bytes),
        1 => proptest::collection::vec(any::<u8>(), 0..200),
    ];
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 300,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let run = runner.run(&proptest::collection::vec(part, 1..12), |parts| {
        let mut stream = UnixStream::connect(machine.socket()).unwrap();
        let _ = stream.write_all(&parts.concat());
        let _ = stream.write_all(b"\n");
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        for line in answer.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let value: Value = serde_json::from_slice(line).unwrap();
            prop_assert_eq!(&value["jsonrpc"], &json!("2.0"));
        }
        Ok(())
    });
    run.unwrap();
    assert_eq!((pid_of(&machine, "web"), machine.supervisor()), (web, supervisor));
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

/// True while the process sleeps for a time (`clock_nanosleep` of x86-64), in which it waits for nothing else.
fn pauses(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/syscall")).is_ok_and(|call| call.starts_with("230 "))
}

#[test]
fn supervisors_that_fail_at_once_are_not_tried_without_a_pause() {
    if !is_root() || !cfg!(target_arch = "x86_64") {
        println!("SKIPPED: only root sees which system call a process is in, and numbers are those of x86-64");
        return;
    }
    let machine = Machine::start(&[("web", STAYS)]);
    machine.wait_for_state("web", "running");
    let (keeper, web) = (machine.child.id(), pid_of(&machine, "web"));
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
    if !is_root() || !cfg!(target_arch = "x86_64") {
        println!("SKIPPED: only root sees which system call a process is in, and numbers are those of x86-64");
        return;
    }
    let machine = Machine::start(&[("web", STAYS)]);
    machine.wait_for_state("web", "running");
    let (keeper, web) = (machine.child.id(), pid_of(&machine, "web"));
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
