//! Health: thresholds both ways, what follows, and what the status says of it.

use super::*;

const HTTP: &str = "[health]\ntype = \"http\"\ntarget = \"127.0.0.1:80/\"\njitter_percent = 0\ninterval_ms = 1000\n";

fn machine(keys: &str) -> Machine {
    let mut machine = Machine::new(&[("web", &format!("{HTTP}{keys}"))]);
    machine.find("web", Ok(()));
    machine.run_until(100);
    assert_eq!(machine.state("web"), &State::Running);
    machine
}

impl Machine {
    /// What probes find from now on.
    fn find(&mut self, name: &str, result: Result<(), &str>) {
        self.health.insert(name.to_owned(), result.map_err(str::to_owned));
    }

    fn status(&self, name: &str) -> serde_json::Value {
        let id = self.supervisor.find(name).expect("it is there");
        self.supervisor.status(id, self.now)
    }
}

#[test]
fn d11_health_goes_on_while_running_and_failure_restarts() {
    let mut machine = machine("retries = 2\n");
    machine.find("web", Err("answers with status 503, expected 200"));
    machine.run_until(1500);
    assert_eq!(
        (machine.state("web"), &machine.status("web")["health"]),
        (&State::Running, &"failing".into())
    );
    machine.find("web", Ok(()));
    machine.run_until(2500);
    assert_eq!(machine.status("web")["health"], "healthy");
    machine.find("web", Err("refused"));
    machine.run_until(4003);
    assert_eq!(machine.lines("signal"), ["signal 15 to web at 4000"]);
    machine.find("web", Ok(()));
    machine.run_until(5000);
    assert_eq!(machine.state("web"), &State::Running);
    assert_eq!(
        machine.lines("restart"),
        ["web: unhealthy: refused, restart now (attempt 1)"]
    );
}

#[test]
fn a_marked_service_is_degraded_until_it_answered_well_often_enough() {
    let mut machine = machine("retries = 2\nsuccesses = 3\naction = \"mark\"\n");
    machine.find("web", Err("refused"));
    machine.run_until(1999);
    assert_eq!(machine.state("web"), &State::Running);
    machine.run_until(2000);
    assert_eq!(
        (machine.state("web"), &machine.status("web")["health"]),
        (&State::Degraded, &"unhealthy".into())
    );
    machine.find("web", Ok(()));
    machine.run_until(4000);
    machine.find("web", Err("refused"));
    machine.run_until(5000);
    machine.find("web", Ok(()));
    // Two good answers, a bad one, and then three good ones.
    machine.run_until(7999);
    assert_eq!(machine.state("web"), &State::Degraded);
    machine.run_until(8000);
    assert_eq!(machine.state("web"), &State::Running);
    assert_eq!(
        machine.lines("web: "),
        ["web: unhealthy: refused", "web: healthy again"]
    );
    assert_eq!(machine.lines("spawn").len(), 1);
}

#[test]
fn with_action_none_only_the_status_tells() {
    let mut machine = machine("retries = 1\naction = \"none\"\n");
    machine.find("web", Err("refused"));
    machine.run_until(60_000);
    assert_eq!(
        (machine.state("web"), &machine.status("web")["health"]),
        (&State::Running, &"unhealthy".into())
    );
    machine.find("web", Ok(()));
    machine.run_until(61_000);
    assert_eq!(machine.status("web")["health"], "healthy");
    assert_eq!(machine.lines("spawn").len(), 1);
}

#[test]
fn who_may_not_be_restarted_is_only_marked() {
    let mut machine = machine("retries = 1\n[lifecycle]\nrestart = \"never\"\n");
    machine.find("web", Err("refused"));
    machine.run_until(60_000);
    assert_eq!(machine.state("web"), &State::Degraded);
}

#[test]
fn the_status_says_when_it_was_last_verified_and_by_what() {
    let mut machine = machine("action = \"mark\"\n");
    machine.supervisor.reload(
        load(&[
            ("web", &format!("{HTTP}action = \"mark\"\n")),
            ("plain", ""),
            ("told", "notify = true\n"),
        ]),
        100,
    );
    let told = machine.supervisor.find("told").expect("told");
    machine.run_until(300).supervisor.notified(told, true, None, 300);
    machine.run_until(1400);
    let verified = |name: &str| {
        let status = machine.status(name);
        format!(
            "{} by {}",
            status["verified_ms_ago"],
            status["verified_by"].as_str().unwrap_or("")
        )
    };
    assert_eq!(verified("web"), "400 by http 127.0.0.1:80/");
    assert_eq!(
        verified("plain"),
        "0 by the kernel, for which its process has not ended"
    );
    assert_eq!(verified("told"), "1100 by READY=1 from it");
    let why = machine.supervisor.why(0, 1400);
    assert!(
        why.contains(&"last verified 0.4 s ago by http 127.0.0.1:80/".to_owned()),
        "{why:?}"
    );
}

#[test]
fn a_successor_probes_when_its_predecessor_would_have_and_knows_what_was_counted() {
    let text = format!("{HTTP}retries = 3\naction = \"mark\"\n");
    let services = [("web", text.as_str())];
    let mut machine = machine("retries = 3\naction = \"mark\"\n");
    machine.find("web", Err("refused"));
    // One that is killed every 700 ms would never probe if each counted from its own beginning.
    for at in [700, 1400, 2100, 2800] {
        machine.run_until(at);
        machine.crash(&services);
    }
    machine.run_until(3000);
    assert_eq!(machine.state("web"), &State::Degraded);
    machine.crash(&services);
    machine.find("web", Ok(()));
    machine.run_until(4000);
    assert_eq!(
        machine.lines("web: "),
        ["web: unhealthy: refused", "web: healthy again"]
    );
}

#[test]
fn waits_differ_from_service_to_service_and_from_node_to_node() {
    let text = HTTP.replace("jitter_percent = 0", "jitter_percent = 50");
    let next = |seed: u64, name: &str| {
        let settings = Settings {
            started: 0,
            boot_deadline: 0,
            shutdown_deadline: 0,
            seed,
        };
        let mut machine = Machine::new(&[]);
        machine.supervisor = Supervisor::new(settings);
        machine.supervisor.reload(load(&[(name, &text)]), 0);
        machine.find(name, Ok(()));
        machine.run_until(1);
        machine.supervisor.next_deadline()
    };
    let all: std::collections::BTreeSet<_> = (0..5).flat_map(|seed| [next(seed, "a"), next(seed, "b")]).collect();
    assert!(all.len() > 7, "{all:?}");
    assert!(all.iter().all(|at| (500..=1000).contains(&at.unwrap_or(0))), "{all:?}");
}
