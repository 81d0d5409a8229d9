//! The supervisor in simulated time. The names of defects (D1 …) are those measured in other supervisors of this kind.

mod conditions;
mod follow;
mod groups;
mod health;
mod leave;
mod memory;
mod model;
mod proxy;
mod reload;
mod restart;
mod schedule;
mod sockets;
mod story;

use std::collections::HashMap;

use super::*;
use crate::clock::Millis;

/// What a simulated process does.
#[derive(Debug, Clone)]
enum Behaviour {
    /// Runs until it is told to end.
    Stays,
    /// Runs and takes no notice of signals.
    Stubborn,
    /// Ends after this time, in this way.
    Ends(Millis, Exit),
    /// Cannot be started.
    Broken,
    /// Its conditions do not hold.
    Skipped,
}

/// A machine that does what the supervisor says.
struct Machine {
    supervisor: Supervisor,
    now: Millis,
    behaviours: HashMap<String, Behaviour>,
    /// What probes of a service find.
    health: HashMap<String, Result<(), String>>,
    endings: Vec<(Millis, Id, u32, Exit)>,
    next_pid: u32,
    /// What happened, in order.
    log: Vec<String>,
    /// Who was asked to end while somebody was there who requires it.
    early: Vec<String>,
    finished: Option<Goal>,
}

impl Machine {
    fn new(services: &[(&str, &str)]) -> Self {
        let settings = Settings {
            started: 0,
            boot_deadline: 30_000,
            shutdown_deadline: 60_000,
            seed: 0,
        };
        let mut machine = Self {
            supervisor: Supervisor::new(settings),
            now: 0,
            behaviours: HashMap::new(),
            health: HashMap::new(),
            endings: Vec::new(),
            next_pid: 100,
            log: Vec::new(),
            early: Vec::new(),
            finished: None,
        };
        machine.supervisor.reload(load(services), 0);
        machine
    }

    fn with(mut self, name: &str, behaviour: Behaviour) -> Self {
        self.behaviours.insert(name.to_owned(), behaviour);
        self
    }

    /// Another supervisor goes on with what the first one remembers.
    fn crash(&mut self, services: &[(&str, &str)]) {
        let first = &self.supervisor;
        let units = first.units();
        let memories = units.filter_map(|(id, unit)| Some((unit.service.name.clone(), first.remember(id)?)));
        let (memories, node) = (memories.collect(), first.remember_node());
        let mut next = Supervisor::new(first.settings.clone());
        next.resume(load(services), memories, &node, None, self.now);
        for id in next.unspawned() {
            next.spawn_again(id);
        }
        self.supervisor = next;
    }

    fn name(&self, id: Id) -> String {
        self.supervisor
            .unit(id)
            .map_or("?".to_owned(), |unit| unit.service.name.clone())
    }

    /// Lets time pass until `end`, event by event.
    fn run_until(&mut self, end: Millis) -> &mut Self {
        loop {
            self.act();
            let ending = self.endings.iter().map(|(at, ..)| *at).min();
            let next = ending.into_iter().chain(self.supervisor.next_deadline()).min();
            match next.filter(|next| *next <= end) {
                Some(next) => self.now = self.now.max(next),
                None => break,
            }
            let now = self.now;
            for (_, id, pid, exit) in self.endings.extract_if(.., |(at, ..)| *at <= now).collect::<Vec<_>>() {
                if self.supervisor.unit(id).and_then(Unit::pid) == Some(pid) {
                    self.supervisor.exited(id, exit, now);
                }
            }
            self.supervisor.tick(now);
        }
        self.now = end;
        self
    }

    fn act(&mut self) {
        while let Some(action) = self.supervisor.take() {
            match action {
                Action::Print(line) | Action::PrintWithLog(_, line) => self.log.push(line),
                Action::Spawn(id) => self.spawn(id),
                Action::Signal(id, signal) => self.signal(id, signal.0),
                Action::Kill(id) => self.signal(id, 9),
                Action::Probe(id) => {
                    if let Some(result) = self.health.get(&self.name(id)).cloned() {
                        self.supervisor.probed(id, result, self.now);
                    }
                }
                Action::CancelProbe(_) | Action::Forget(..) => {}
                Action::CloseSockets(id) => self.log.push(format!("close {} at {}", self.name(id), self.now)),
                Action::Finish(goal) => self.finished = Some(goal),
            }
        }
    }

    fn spawn(&mut self, id: Id) {
        let Some(service) = self.supervisor.begin_spawn(id) else {
            return;
        };
        let name = service.name.clone();
        if service.sockets.is_some() && !self.supervisor.bound(id, self.now) {
            return;
        }
        self.log.push(format!("spawn {name} at {}", self.now));
        groups::check_spawn(&self.supervisor, id);
        self.next_pid += 1;
        let stamp = self.supervisor.unit(id).map_or(0, Unit::stamp);
        match self.behaviours.get(&name).cloned().unwrap_or(Behaviour::Stays) {
            Behaviour::Broken => self
                .supervisor
                .spawn_failed(id, "/bin/x: No such file".into(), self.now),
            Behaviour::Skipped => self.supervisor.skipped(id, "/dev/kvm does not exist".into(), self.now),
            Behaviour::Ends(after, exit) => {
                self.endings.push((self.now + after, id, self.next_pid, exit));
                self.supervisor.spawned(id, self.next_pid, stamp, self.now);
            }
            _ => self.supervisor.spawned(id, self.next_pid, stamp, self.now),
        }
    }

    fn signal(&mut self, id: Id, number: i32) {
        let name = self.name(id);
        let needs_it = |(_, unit): &(Id, &Unit)| {
            unit.pid.is_some() && unit.service.dependencies.requires.iter().any(|one| one.name == name)
        };
        self.early.extend(
            self.supervisor
                .units()
                .find(needs_it)
                .map(|(_, unit)| format!("{name} before {}", unit.service.name)),
        );
        self.log.push(format!("signal {number} to {name} at {}", self.now));
        let stubborn = matches!(self.behaviours.get(&name), Some(Behaviour::Stubborn));
        if let Some(pid) = self.supervisor.unit(id).and_then(Unit::pid)
            && (number == 9 || !stubborn)
        {
            self.endings.push((self.now + 5, id, pid, Exit::Signal(number)));
        }
    }

    fn state(&self, name: &str) -> &State {
        let id = self.supervisor.find(name).unwrap_or_else(|| panic!("{name} is there"));
        self.supervisor.unit(id).expect("a unit").state()
    }

    fn lines(&self, part: &str) -> Vec<&str> {
        self.log
            .iter()
            .map(String::as_str)
            .filter(|line| line.contains(part))
            .collect()
    }
}

fn load(services: &[(&str, &str)]) -> Vec<(Service, u64)> {
    let parse = |(name, text): &(&str, &str)| {
        let text = if text.contains("[target]") || text.contains("[group]") || text.contains("[proxy]") {
            (*text).to_owned()
        } else {
            format!("[service]\nexec = \"/bin/x\"\n{text}")
        };
        let parsed = mos_service::parse(&format!("{name}.toml"), &text);
        assert_eq!(parsed.problems, [], "{name}");
        (parsed.service.expect("a service"), 0)
    };
    services.iter().map(parse).collect()
}

const CRASH: Exit = Exit::Code(1);

#[test]
fn d18_a_service_that_could_not_be_started_is_tried_again() {
    let mut machine = Machine::new(&[("a", "")]).with("a", Behaviour::Broken);
    machine.run_until(0);
    machine.behaviours.clear();
    machine.run_until(2000);
    assert_eq!(machine.state("a"), &State::Running);
}

#[test]
fn what_never_becomes_ready_is_named_at_the_deadline() {
    let health = "[health]\ntype = \"tcp\"\ntarget = \"127.0.0.1:8080\"\n";
    let needs = "[dependencies]\nrequires = [\"web\"]\n";
    let mut machine = Machine::new(&[("web", health), ("after", needs), ("quick", "")]);
    machine.health.insert("web".into(), Err("refused".into()));
    machine.run_until(31_000);
    assert_eq!(
        machine.lines("not ready"),
        [
            "not ready after 30 s: web: starting, waits for tcp 127.0.0.1:8080",
            "not ready after 30 s: 0 more, and 1 that wait for them"
        ]
    );
    machine.health.insert("web".into(), Ok(()));
    machine.run_until(50_000);
    assert_eq!(
        (machine.state("web"), machine.state("after")),
        (&State::Running, &State::Running)
    );
    assert_eq!(
        machine
            .lines("ready")
            .last()
            .map(|line| line.starts_with("timeline start=0 services=0 ready=")),
        Some(true)
    );
}

#[test]
fn d1_a_thousand_services_in_chains_all_start() {
    let texts: Vec<(String, String)> = (0..1000)
        .map(|n| {
            let before = if n % 100 == 0 {
                String::new()
            } else {
                format!("requires = [\"s{}\"]", n - 1)
            };
            (format!("s{n}"), format!("oneshot = true\n[dependencies]\n{before}\n"))
        })
        .collect();
    let services: Vec<(&str, &str)> = texts
        .iter()
        .map(|(name, text)| (name.as_str(), text.as_str()))
        .collect();
    let mut machine = Machine::new(&services);
    for (name, _) in &services {
        machine
            .behaviours
            .insert((*name).to_owned(), Behaviour::Ends(1, Exit::Code(0)));
    }
    machine.run_until(1000);
    assert!(machine.supervisor.units().all(|(_, unit)| unit.state == State::Exited));
    assert_eq!(machine.lines("spawn").len(), 1000);
    assert_eq!(machine.supervisor.ready_at(), Some(100));
}

#[test]
fn d19_a_cycle_disables_only_its_members() {
    let mut machine = Machine::new(&[
        ("a", "[dependencies]\nafter = [\"b\"]\n"),
        ("b", "[dependencies]\nrequires = [\"a\"]\n"),
        ("needs", "[dependencies]\nrequires = [\"a\"]\n"),
        ("innocent", ""),
    ]);
    machine.run_until(1000);
    assert_eq!(
        machine.lines("services wait"),
        ["services wait for each other and are left out: a -> b -> a"]
    );
    assert_eq!(machine.state("a"), &State::Failed(Reason::Cycle("a -> b -> a".into())));
    assert_eq!(
        machine.state("needs"),
        &State::Failed(Reason::DependencyFailed("a".into()))
    );
    assert_eq!(machine.state("innocent"), &State::Running);
    let error = machine.supervisor.start("b", 1000).expect_err("a cycle");
    assert_eq!(error.code(), -32004);
    // Mended files start what was left out.
    machine
        .supervisor
        .reload(load(&[("a", ""), ("b", "[dependencies]\nrequires = [\"a\"]\n")]), 1000);
    machine.run_until(2000);
    assert_eq!(
        (machine.state("a"), machine.state("b")),
        (&State::Running, &State::Running)
    );
}

#[test]
fn d5_removing_a_running_service_answers_at_once_and_forgets_it_when_it_ended() {
    let mut machine = Machine::new(&[("slow", ""), ("other", "")]).with("slow", Behaviour::Stubborn);
    machine.run_until(100);
    let difference = machine.supervisor.reload(load(&[("other", "")]), 100);
    assert_eq!(difference.removed, ["slow"]);
    assert_eq!(machine.state("slow"), &State::Stopping);
    machine.run_until(10_099);
    assert_eq!(machine.lines("to other"), [""; 0]);
    machine.run_until(10_200);
    assert_eq!(machine.supervisor.find("slow"), None);
    assert_eq!(machine.lines("slow: did"), ["slow: did not stop within 10 s, killed"]);
}

#[test]
fn d3_a_service_that_comes_back_waits_for_its_predecessor_to_end() {
    let mut machine = Machine::new(&[("a", "")]).with("a", Behaviour::Stubborn);
    machine.run_until(100);
    machine.supervisor.reload(Vec::new(), 100);
    let difference = machine.supervisor.reload(load(&[("a", "")]), 200);
    assert_eq!(difference.added, ["a"]);
    machine.run_until(5000);
    assert_eq!(machine.lines("spawn").len(), 1);
    machine.run_until(11_000);
    assert_eq!(machine.lines("spawn").len(), 2);
    assert_eq!(machine.state("a"), &State::Running);
}

#[test]
fn d2_a_changed_service_is_restarted_and_others_are_left_alone() {
    let mut machine = Machine::new(&[("a", ""), ("b", "[dependencies]\nrequires = [\"a\"]\n")]);
    machine.run_until(100);
    let changed = load(&[
        ("a", "env = { X = \"1\" }\n"),
        ("b", "[dependencies]\nrequires = [\"a\"]\n"),
    ]);
    let difference = machine.supervisor.reload(changed.clone(), 100);
    assert_eq!(
        difference,
        Difference {
            changed: vec!["a".into()],
            restarted: vec!["a".into()],
            why: vec![("a".into(), "env".into())],
            ..Difference::default()
        }
    );
    machine.run_until(200);
    assert_eq!(machine.lines("spawn a"), ["spawn a at 0", "spawn a at 105"]);
    assert_eq!(machine.lines("spawn b"), ["spawn b at 0"]);
    assert_eq!(machine.supervisor.reload(changed, 200), Difference::default());
    // The same description, but other files behind it.
    let mut replaced = load(&[
        ("a", "env = { X = \"1\" }\n"),
        ("b", "[dependencies]\nrequires = [\"a\"]\n"),
    ]);
    replaced[1].1 = 7;
    assert_eq!(machine.supervisor.reload(replaced, 200).changed, ["b"]);
}

#[test]
fn d4_a_service_with_status_stop_starts_when_asked_and_is_not_restarted() {
    let mut machine = Machine::new(&[("a", "status = \"stop\"\n")]);
    machine.run_until(100);
    assert_eq!(machine.state("a"), &State::Inactive);
    machine.supervisor.start("a", 100).expect("it starts");
    machine.run_until(200);
    assert_eq!(machine.state("a"), &State::Running);
    assert_eq!(
        machine.supervisor.start("a", 200).map_err(|error| error.code()),
        Err(-32001)
    );
    machine.supervisor.exited(0, CRASH, 300);
    machine.run_until(400);
    assert_eq!(machine.state("a"), &State::Failed(Reason::ExitCode(1)));
}

#[test]
fn d6_services_stop_in_reverse_order_and_in_parallel() {
    let base = "[dependencies]\nrequires = [\"base\"]\n";
    let target = "[target]\nname = \"middle\"\n[dependencies]\nrequires = [\"left\", \"right\"]\n";
    let last = "[dependencies]\nrequires = [\"middle\"]\n";
    let mut machine = Machine::new(&[
        ("base", ""),
        ("left", base),
        ("right", base),
        ("middle", target),
        ("last", last),
    ]);
    machine.run_until(100);
    machine.supervisor.shut_down(Goal::Reboot, 100);
    machine.run_until(1000);
    assert_eq!(
        machine.lines("signal"),
        [
            "signal 15 to last at 100",
            "signal 15 to left at 105",
            "signal 15 to right at 105",
            "signal 15 to base at 110"
        ]
    );
    assert_eq!(machine.finished, Some(Goal::Reboot));
}

#[test]
fn a_late_service_is_named_killed_and_nobody_waits_longer() {
    let mut machine = Machine::new(&[("a", "[lifecycle]\nstop_timeout_ms = 2000\n")]).with("a", Behaviour::Stubborn);
    machine.run_until(100);
    machine.supervisor.shut_down(Goal::Poweroff, 100);
    machine.run_until(2099);
    assert_eq!(machine.finished, None);
    machine.run_until(2200);
    assert_eq!(machine.lines("killed"), ["a: did not stop within 2 s, killed"]);
    assert_eq!(machine.finished, Some(Goal::Poweroff));
}

#[test]
fn a_second_request_forces_and_the_deadline_holds() {
    let patient = "[lifecycle]\nstop_timeout_ms = 3600000\n";
    let mut machine = Machine::new(&[("a", patient)]).with("a", Behaviour::Stubborn);
    machine.run_until(100);
    machine.supervisor.shut_down(Goal::Poweroff, 100);
    machine.run_until(60_099);
    assert_eq!(machine.finished, None);
    machine.run_until(60_100);
    assert_eq!(machine.finished, Some(Goal::Poweroff));
    assert_eq!(machine.lines("a: still stopping").len(), 1);

    let mut machine = Machine::new(&[("a", patient)]).with("a", Behaviour::Stubborn);
    machine.run_until(100);
    machine.supervisor.shut_down(Goal::Poweroff, 100);
    machine.supervisor.shut_down(Goal::Reboot, 200);
    machine.run_until(200);
    assert_eq!(machine.finished, Some(Goal::Reboot));
}

#[test]
fn missing_requirements_are_named_and_heal_when_they_appear() {
    let needs = "[dependencies]\nrequires = [\"db\"]\n";
    let mut machine = Machine::new(&[("web", needs)]);
    machine.run_until(100);
    assert_eq!(
        machine.lines("web"),
        ["web: failed: requires db, which no service file defines"]
    );
    assert_eq!(
        machine.supervisor.start("web", 100).map_err(|error| error.code()),
        Err(-32012)
    );
    machine.supervisor.reload(load(&[("web", needs), ("db", "")]), 200);
    machine.run_until(300);
    assert_eq!(machine.state("web"), &State::Running);
}

#[test]
fn after_waits_for_the_first_try_only_and_requires_for_success() {
    let mut machine = Machine::new(&[
        ("bad", "oneshot = true\n"),
        ("after", "[dependencies]\nafter = [\"bad\", \"unknown\"]\n"),
        ("requires", "[dependencies]\nrequires = [\"bad\"]\n"),
    ])
    .with("bad", Behaviour::Ends(50, Exit::Code(3)));
    machine.run_until(100);
    assert_eq!(machine.lines("spawn"), ["spawn bad at 0", "spawn after at 50"]);
    assert_eq!(
        machine.state("requires"),
        &State::Failed(Reason::DependencyFailed("bad".into()))
    );
    // A second, good run lets it in.
    machine
        .behaviours
        .insert("bad".into(), Behaviour::Ends(50, Exit::Code(0)));
    machine
        .supervisor
        .restart("bad", 100)
        .expect("restart works in any state");
    machine.run_until(200);
    assert_eq!(machine.state("requires"), &State::Running);
}

#[test]
fn conflicts_are_mutual() {
    let mut machine = Machine::new(&[("a", ""), ("b", "[dependencies]\nconflicts = [\"a\"]\n")]);
    machine.run_until(100);
    let b = machine.supervisor.find("b").expect("b");
    assert_eq!(
        machine.supervisor.describe(b),
        "b: blocked, waits for the end of a, with which it conflicts"
    );
    machine.supervisor.stop("a", 100).expect("it runs");
    machine.run_until(200);
    assert_eq!(
        (machine.state("a"), machine.state("b")),
        (&State::Inactive, &State::Running)
    );
    assert_eq!(
        machine.supervisor.stop("a", 200).map_err(|error| error.code()),
        Err(-32002)
    );
}

#[test]
fn a_probe_without_answer_fails_in_time() {
    let health = "[health]\ntype = \"tcp\"\ntarget = \"127.0.0.1:80\"\ntimeout_ms = 500\n[lifecycle]\nstart_timeout_ms = 3000\nmax_restarts = 1\n";
    let mut machine = Machine::new(&[("web", health)]);
    machine.run_until(2999);
    let id = machine.supervisor.find("web").expect("web");
    assert!(
        machine
            .supervisor
            .why(id, 2999)
            .iter()
            .any(|line| line.contains("no answer within 0.5 s"))
    );
    machine.run_until(7000);
    assert_eq!(machine.state("web"), &State::Failed(Reason::StartTimeout(3000)));
}

#[test]
fn notify_is_ready_when_it_says_so() {
    let mut machine = Machine::new(&[
        ("mosnet", "notify = true\n"),
        ("web", "[dependencies]\nrequires = [\"mosnet\"]\n"),
    ]);
    machine.run_until(29_000);
    assert_eq!(
        (machine.state("mosnet"), machine.state("web")),
        (&State::Starting, &State::Blocked)
    );
    let id = machine.supervisor.find("mosnet").expect("mosnet");
    machine
        .supervisor
        .notified(id, false, Some("waiting for a DHCP answer"), 29_000);
    assert!(
        machine
            .supervisor
            .why(id, 29_000)
            .contains(&"it says: waiting for a DHCP answer".to_owned())
    );
    machine.run_until(29_500).supervisor.notified(id, true, None, 29_500);
    machine.run_until(29_600);
    assert_eq!(
        machine.lines("timeline"),
        ["timeline start=0 services=0 network=29500 ready=29500"]
    );
    assert_eq!(machine.state("web"), &State::Running);
}

#[test]
fn an_end_before_readiness_satisfies_nobody() {
    let mut machine = Machine::new(&[("daemon", "notify = true\n[lifecycle]\nrestart = \"never\"\n")])
        .with("daemon", Behaviour::Ends(10, Exit::Code(0)));
    machine.run_until(100);
    assert_eq!(machine.state("daemon"), &State::Failed(Reason::EndedEarly));
}

#[test]
fn without_a_critical_service_there_is_no_ready() {
    let text = "oneshot = true\ncritical = true\n";
    let mut machine = Machine::new(&[("state", text), ("web", "")]).with("state", Behaviour::Ends(5, Exit::Code(3)));
    machine.run_until(31_000);
    assert_eq!(
        machine.lines("failed"),
        [
            "state: failed: exit code 3",
            "not ready after 30 s: state: failed: exit code 3"
        ]
    );
    assert_eq!(machine.supervisor.ready_at(), None);
}

#[test]
fn the_ready_target_waits_for_services_that_a_reload_brings() {
    let ready = "[target]\nname = \"ready\"\n[dependencies]\nrequires = [\"runtime-fetch\"]\n";
    let image = [("runtime-fetch", "oneshot = true\n"), ("ready", ready)];
    let mut machine = Machine::new(&image).with("runtime-fetch", Behaviour::Ends(100, Exit::Code(0)));
    machine.run_until(90);
    machine
        .supervisor
        .reload(load(&[image[0], image[1], ("web", "notify = true\n")]), 90);
    machine.run_until(500);
    assert_eq!(machine.supervisor.ready_at(), None);
    let id = machine.supervisor.find("web").expect("web");
    machine.supervisor.notified(id, true, None, 500);
    machine.run_until(600);
    assert_eq!(
        machine.lines("timeline"),
        ["timeline start=0 services=0 fetch=100 ready=500"]
    );
}

#[test]
fn an_idle_supervisor_has_no_deadline() {
    let mut machine =
        Machine::new(&[("a", ""), ("b", "oneshot = true\n")]).with("b", Behaviour::Ends(5, Exit::Code(0)));
    machine.run_until(100);
    assert_eq!(machine.supervisor.next_deadline(), None);
}
