//! A random soak: services with dependencies, and everything that can happen to them at any moment, in an order that a seed
//! decides. `make soak-init` runs it for MINUTES (10); in a run of all tests it takes seconds. SOAK_SEED repeats one.

#![allow(clippy::unwrap_used, reason = "a fixture that fails is a test that fails")]

mod common;

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use my_init::client::call;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use common::{Machine, PATIENCE};

/// Services that stay; each but the first may require one before it.
const STAYING: usize = 12;
/// Numbers that the writer prints each time.
const PRINTED: usize = 20_000;
/// Between two times at which everything is compared, in actions.
const ROUND: u64 = 60;

/// What a service does: it takes a lock that the kernel holds for as long as it lives, looks whether what it requires was
/// ever there, says that it is ready, and stays.
const SCRIPT: &str = r#"
exec 9>>$HERE/lock-$1
flock -n 9 || echo "$1 runs twice" >> $HERE/wrong
if [ -n "$2" ] && [ ! -e $HERE/started-$2 ]; then echo "$1 was started before $2" >> $HERE/wrong; fi
: > $HERE/started-$1
echo >&3
exec 3>&-
exec sleep 100000
"#;

/// The generator of Lehmer and Park-Miller's kind with 64 bits (Knuth's MMIX constants).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }

    fn index(&mut self, limit: usize) -> usize {
        usize::try_from(self.below(limit as u64)).unwrap()
    }
}

struct Soak {
    machine: Machine,
    random: Random,
    needs: Vec<Option<usize>>,
    done: String,
    idle: Vec<UnixStream>,
}

fn name(index: usize) -> String {
    format!("s{index}")
}

/// What is told of a process that should not be there.
fn who(pid: u32) -> String {
    let read = |what: &str| fs::read(format!("/proc/{pid}/{what}")).unwrap_or_default();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).replace('\0', " ");
    let environment = text(read("environ"));
    let role = environment.split(' ').find(|variable| variable.starts_with("MY_INIT_"));
    let (line, state) = (text(read("cmdline")), text(read("stat")));
    format!(
        "{pid} {line}{} {}",
        role.unwrap_or_default(),
        state.chars().take(40).collect::<String>()
    )
}

impl Soak {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let needs = (0..STAYING)
            .map(|index| (index > 0 && random.below(3) > 0).then(|| random.index(index.max(1))))
            .collect();
        let machine = Machine::start(&[]);
        fs::write(machine.path("run.sh"), SCRIPT).unwrap();
        fs::write(machine.path("healthy"), "").unwrap();
        fs::copy(env!("CARGO_BIN_EXE_my_init"), machine.path("my_init")).unwrap();
        let soak = Self {
            machine,
            random,
            needs,
            done: String::new(),
            idle: Vec::new(),
        };
        for index in 0..STAYING {
            soak.write(index, "");
        }
        let printer = format!(
            "[service]\nexec = \"seq {PRINTED}\"\noneshot = true\nstatus = \"stop\"\n[logging]\nbuffer_bytes = 1048576\n"
        );
        soak.machine.write_service("writer", &printer);
        soak.machine.call("system.reload", json!({}));
        soak
    }

    /// The service's file, with a comment that makes it another one.
    fn write(&self, index: usize, comment: &str) {
        self.machine.write_service(&name(index), &self.text(index, comment));
    }

    fn text(&self, index: usize, comment: &str) -> String {
        let needs = self.needs[index].map(name).unwrap_or_default();
        let script = self.machine.path("run.sh");
        let mut text = format!("# {comment}\n");
        // First: half a file that starts anything says also what comes before.
        if !needs.is_empty() {
            writeln!(text, "[dependencies]\nrequires = [\"{needs}\"]").unwrap();
        }
        writeln!(
            text,
            "[service]\nexec = \"sh {} {} {needs}\"\nready_fd = 3",
            script.display(),
            name(index)
        )
        .unwrap();
        text.push_str("[lifecycle]\nrestart_delay_ms = 10\nrestart_delay_max_ms = 40\nmax_restarts = 0\nstop_timeout_ms = 20000\n");
        if index.is_multiple_of(4) {
            let healthy = self.machine.path("healthy");
            writeln!(
                text,
                "[health]\ntype = \"exec\"\ntarget = \"test -e {}\"\ninterval_ms = 100\nretries = 2",
                healthy.display()
            )
            .unwrap();
        }
        text
    }

    fn try_call(&self, method: &str, parameters: &Value) -> Option<Value> {
        call(&self.machine.socket(), method, parameters).ok()
    }

    fn supervisor(&self) -> Option<Pid> {
        let pid = self.try_call("system.ping", &json!({}))?["pid"].as_i64()?;
        Pid::from_raw(i32::try_from(pid).ok()?)
    }

    fn service(&self, index: usize) -> Option<Pid> {
        let pid = self.try_call("service.status", &json!({"name": name(index)}))?["pid"].as_i64()?;
        Pid::from_raw(i32::try_from(pid).ok()?)
    }

    /// Does something to it.
    fn act(&mut self) {
        let index = self.random.index(STAYING);
        let what = self.random.below(100);
        writeln!(self.done, "{what} {}", name(index)).unwrap();
        let verb = |verb: &str| (format!("service.{verb}"), json!({"name": name(index)}));
        match what {
            0..15 => self.kill(self.supervisor()),
            15..20 => self.stop_and_kill_supervisor(index),
            20..35 => self.kill(self.service(index)),
            35..60 => {
                let (method, parameters) = verb(["start", "stop", "restart"][self.random.index(3)]);
                drop(self.try_call(&method, &parameters));
            }
            60..70 => self.change_file(index),
            70..75 => drop(self.try_call("system.reload", &json!({}))),
            75..78 => self.machine.signal(1),
            78..82 => drop(self.try_call("system.upgrade", &json!({"program": self.machine.path("my_init")}))),
            82..86 => drop(self.try_call("service.start", &json!({"name": "writer"}))),
            86..93 => self.pester(),
            93..96 => self.change_health(),
            _ => std::thread::sleep(Duration::from_millis(self.random.below(60))),
        }
    }

    fn kill(&self, pid: Option<Pid>) {
        if let Some(pid) = pid {
            let _ = kill_process(pid, Signal::KILL);
        }
    }

    /// It does nothing for a while, in which something ends, and never will again.
    fn stop_and_kill_supervisor(&self, index: usize) {
        let (supervisor, service) = (self.supervisor(), self.service(index));
        if let Some(supervisor) = supervisor {
            let _ = kill_process(supervisor, Signal::STOP);
            self.kill(service);
            std::thread::sleep(Duration::from_millis(1));
            let _ = kill_process(supervisor, Signal::KILL);
        }
    }

    fn change_file(&mut self, index: usize) {
        let path = self.machine.path(&format!("services/{}.service.toml", name(index)));
        match self.random.below(4) {
            0 => drop(fs::remove_file(path)),
            1 => {
                let text = self.text(index, "half");
                let end = self.random.index(text.len());
                fs::write(path, &text[..end]).unwrap();
            }
            kind => self.write(index, &kind.to_string()),
        }
    }

    fn change_health(&self) {
        let path = self.machine.path("healthy");
        match path.exists() {
            true => drop(fs::remove_file(path)),
            false => fs::write(path, "").unwrap(),
        }
    }

    /// A client that asks for half of something and goes, or never reads, or asks for much.
    fn pester(&mut self) {
        let Ok(mut stream) = UnixStream::connect(self.machine.socket()) else {
            return;
        };
        let _ = stream.set_nonblocking(true);
        let _ = stream.write_all(b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"service.list_full\"}\n{\"jso");
        match self.random.below(2) {
            0 => drop(stream),
            _ => self.idle.push(stream),
        }
        if self.idle.len() > 20 {
            self.idle.clear();
        }
    }

    /// Stops doing things, and waits until everything is as it is said to be.
    fn compare(&mut self) {
        for index in 0..STAYING {
            self.write(index, "whole");
        }
        fs::write(self.machine.path("healthy"), "").unwrap();
        self.idle.clear();
        self.machine
            .wait("an answer", || self.try_call("system.reload", &json!({})).is_some());
        let deadline = Instant::now() + PATIENCE;
        while let Err(what) = self.is_true() {
            assert!(Instant::now() < deadline, "{what}\n{}", self.story());
            std::thread::sleep(Duration::from_millis(20));
        }
        let wrong = self.machine.read("wrong");
        assert!(wrong.is_empty(), "{wrong}\n{}", self.story());
        self.compare_log();
        self.done.clear();
    }

    fn is_true(&self) -> Result<(), String> {
        let list = self.try_call("service.list_full", &json!({})).ok_or("nobody answers")?;
        let services = list.as_array().ok_or("no list")?;
        if services.len() != STAYING + 1 {
            return Err(format!("{} services", services.len()));
        }
        let supervisor = self.supervisor().ok_or("nobody answers")?;
        let mut known = vec![supervisor.as_raw_nonzero().get().unsigned_abs()];
        for service in services {
            known.extend(self.agrees(service)?);
        }
        known.sort_unstable();
        let mut children = my_init::children::children_of(self.machine.child.id());
        // Probes come and go, and are nobody's loss; they end before long.
        children.sort_unstable();
        if children != known {
            let unknown: Vec<String> = children
                .iter()
                .filter(|pid| !known.contains(pid))
                .map(|pid| who(*pid))
                .collect();
            return Err(format!(
                "processes are {children:?}, known are {known:?}, unknown: {unknown:?}"
            ));
        }
        let open = fs::read_dir(format!("/proc/{}/fd", self.machine.child.id()))
            .map_err(|error| error.to_string())?
            .count();
        match open {
            0..60 => Ok(()),
            open => Err(format!("{open} descriptors are open")),
        }
    }

    /// A service's state and its process; the process, if it should have one.
    fn agrees(&self, service: &Value) -> Result<Option<u32>, String> {
        let (name, state) = (service["name"].as_str().unwrap(), service["state"].as_str().unwrap());
        let pid = service["pid"].as_u64().map(|pid| u32::try_from(pid).unwrap());
        let locked = || {
            let status = std::process::Command::new("flock")
                .arg("-n")
                .arg(self.machine.path(&format!("lock-{name}")))
                .arg("true")
                .status();
            !status.unwrap().success()
        };
        match (state, pid) {
            ("running", Some(pid)) if !Path::new(&format!("/proc/{pid}/exe")).exists() => {
                Err(format!("{name} is {state} as {pid}, which is not there"))
            }
            ("running", Some(_)) if !locked() => Err(format!("{name} is {state} without a process")),
            ("running", Some(pid)) => Ok(Some(pid)),
            ("inactive" | "exited" | "failed", None) if name == "writer" => Ok(None),
            ("inactive" | "failed", None) if locked() => Err(format!("{name} is {state} and has a process")),
            ("inactive" | "failed", None) => Ok(None),
            // A chain whose first was stopped by hand.
            ("blocked", None) => Ok(None),
            _ => Err(format!("{name} is still {state}")),
        }
    }

    /// What the writer printed last is all there.
    fn compare_log(&self) {
        if self.machine.status("writer")["state"] != "exited" {
            return;
        }
        let tail = self
            .machine
            .call("logs.tail", json!({"name": "writer", "lines": PRINTED}));
        let lines = tail["lines"]
            .as_array()
            .unwrap()
            .iter()
            .map(|line| line.as_str().unwrap().to_owned());
        let expected: Vec<String> = (1..=PRINTED).map(|number| number.to_string()).collect();
        assert!(lines.eq(expected), "lines of the writer are lost\n{}", self.story());
    }

    fn story(&self) -> String {
        let console = self.machine.console();
        let lines: Vec<&str> = console.lines().collect();
        let last = lines.len().saturating_sub(120);
        let list = self.try_call("service.list_full", &json!({})).unwrap_or_default();
        format!(
            "what was done:\n{}console:\n{}\n{list}\n{}",
            self.done,
            lines[last..].join("\n"),
            self.kept()
        )
    }

    /// What the keeper keeps: the newest records of ends, and the notes; and who is there.
    fn kept(&self) -> String {
        let keeper = self.machine.child.id();
        let files = fs::read_dir(format!("/proc/{keeper}/fd"))
            .into_iter()
            .flatten()
            .flatten();
        let file = |wanted: &str| {
            let mut files = fs::read_dir(format!("/proc/{keeper}/fd"))
                .into_iter()
                .flatten()
                .flatten();
            let found =
                files.find(|file| fs::read_link(file.path()).is_ok_and(|link| link.to_string_lossy().contains(wanted)));
            found.and_then(|file| fs::read(file.path()).ok()).unwrap_or_default()
        };
        let ends: Vec<String> = file("memfd:exits")
            .chunks_exact(16)
            .enumerate()
            .map(|(index, record)| {
                let number = |from: usize| i32::from_le_bytes(record[from..from + 4].try_into().unwrap());
                format!("{}: {} {}", index * 16, number(0), number(4))
            })
            .collect();
        let children = my_init::children::children_of(keeper);
        let who: Vec<String> = children.iter().map(|pid| who(*pid)).collect();
        let newest = &ends[ends.len().saturating_sub(400)..];
        format!(
            "{} files; ends (place: process, code or -signal):\n{}\nnotes:\n{}\nprocesses:\n{}",
            files.count(),
            newest.join(", "),
            String::from_utf8_lossy(&file("memfd:journal")),
            who.join("\n")
        )
    }
}

#[test]
fn soak() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let length = Duration::from_secs(number("SOAK_SECONDS").unwrap_or(6));
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let seed = number("SOAK_SEED").unwrap_or(u64::from(now.subsec_nanos()) ^ now.as_secs());
    println!("SOAK_SEED={seed}");
    let begun = Instant::now();
    let mut soak = Soak::new(seed);
    let mut actions = 0_u64;
    while begun.elapsed() < length {
        for _ in 0..ROUND {
            soak.act();
            actions += 1;
        }
        soak.compare();
    }
    soak.idle.clear();
    soak.machine.call("system.poweroff", json!({}));
    assert_eq!(soak.machine.end(), Some(0), "{}", soak.story());
    for index in 0..STAYING {
        let lock = soak.machine.path(&format!("lock-{}", name(index)));
        let free = std::process::Command::new("flock")
            .arg("-n")
            .arg(lock)
            .arg("true")
            .status();
        assert!(free.unwrap().success(), "{} is left", name(index));
    }
    println!(
        "{actions} actions, {} starts of a supervisor",
        soak.machine.console().matches("go on").count()
    );
}
