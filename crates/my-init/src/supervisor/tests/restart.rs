//! Back-off: how long, how often, and what the status says of it.

use super::*;

impl Machine {
    fn number(&self, name: &str, key: &str) -> Option<u64> {
        let id = self.supervisor.find(name).expect("it is there");
        self.supervisor.status(id, self.now)[key].as_u64()
    }
}

#[test]
fn a_crashing_service_is_restarted_with_back_off_and_then_given_up_on() {
    let text = "[lifecycle]\nmax_restarts = 4\nrestart_delay_max_ms = 1500\nrestart_jitter_percent = 0\n";
    let mut machine = Machine::new(&[("a", text)]).with("a", Behaviour::Ends(10, CRASH));
    machine.run_until(1100);
    assert_eq!(machine.number("a", "next_attempt_in_ms"), Some(1430));
    assert_eq!(
        (machine.number("a", "attempts"), machine.number("a", "attempts_left")),
        (Some(3), Some(1))
    );
    let why = machine.supervisor.why(0, 1100);
    assert!(
        why.contains(&"next try in 1.43 s, 1 more after that".to_owned()),
        "{why:?}"
    );
    machine.run_until(100_000);
    // Immediately, then after 1 s, then after 1.5 s (the cap).
    assert_eq!(
        machine.lines("spawn"),
        [
            "spawn a at 0",
            "spawn a at 10",
            "spawn a at 1020",
            "spawn a at 2530",
            "spawn a at 4040"
        ]
    );
    assert_eq!(machine.state("a"), &State::Failed(Reason::ExitCode(1)));
    assert_eq!(machine.lines("a: ")[0], "a: exit code 1, restart now (attempt 1)");
    assert_eq!(
        machine.lines("a: ")[4],
        "a: failed: exit code 1, given up after 4 restarts in a row"
    );
    assert_eq!(machine.number("a", "attempts_left"), Some(0));
    assert_eq!(machine.number("a", "next_attempt_in_ms"), None);
}

#[test]
fn back_off_resets_by_itself_after_a_stable_run() {
    let text = "[lifecycle]\nmax_restarts = 2\nstability_period_ms = 5000\n";
    let mut machine = Machine::new(&[("a", text)]).with("a", Behaviour::Ends(5000, CRASH));
    machine.run_until(100_000);
    assert_eq!(machine.lines("spawn").len(), 20 + 1);
    assert_eq!(machine.lines("attempt 2"), [""; 0]);
    let id = machine.supervisor.find("a").expect("a");
    assert_eq!(machine.supervisor.status(id, 104_000)["attempts"], 1);
    assert_eq!(machine.supervisor.status(id, 105_000)["attempts"], 0);
}

#[test]
fn a_service_of_the_node_is_never_given_up_on() {
    let mut machine = Machine::new(&[("a", "class = \"system\"\n")]).with("a", Behaviour::Ends(1, CRASH));
    // Three days: after the doubling one every five minutes.
    machine.run_until(3 * 24 * 3_600_000);
    assert!(
        machine.lines("spawn").len() > 3 * 24 * 12,
        "{}",
        machine.lines("spawn").len()
    );
    assert_eq!(machine.number("a", "attempts_left"), None);
    assert_eq!(machine.lines("failed"), [""; 0]);
}

#[test]
fn no_delay_is_longer_than_the_cap_nor_shorter_than_jitter_makes_it() {
    let text = "[lifecycle]\nmax_restarts = 0\nrestart_delay_max_ms = 4000\nrestart_jitter_percent = 50\n";
    let mut machine = Machine::new(&[("a", text)]).with("a", Behaviour::Ends(0, CRASH));
    machine.run_until(200_000);
    let at = |line: &str| {
        line.rsplit(' ')
            .next()
            .and_then(|at| at.parse::<u64>().ok())
            .expect("a time")
    };
    let times: Vec<u64> = machine.lines("spawn").into_iter().map(at).collect();
    let waits: Vec<u64> = times.windows(2).skip(3).map(|pair| pair[1] - pair[0]).collect();
    assert!(
        waits.len() > 40 && waits.iter().all(|wait| (2000..=4000).contains(wait)),
        "{waits:?}"
    );
    let different: std::collections::BTreeSet<&u64> = waits.iter().collect();
    assert!(different.len() > waits.len() / 2, "{waits:?}");
}

#[test]
fn restart_works_in_every_state_and_is_counted() {
    let needs = "[dependencies]\nrequires = [\"lazy\"]\n";
    let mut machine = Machine::new(&[
        ("lazy", "status = \"stop\"\n"),
        ("blocked", needs),
        ("starting", "notify = true\n"),
        ("running", ""),
        ("stopping", ""),
        ("restarting", ""),
        ("exited", "oneshot = true\n"),
        ("failed", "[lifecycle]\nrestart = \"never\"\n"),
    ])
    .with("stopping", Behaviour::Stubborn)
    .with("restarting", Behaviour::Ends(10, CRASH))
    .with("exited", Behaviour::Ends(10, Exit::Code(0)))
    .with("failed", Behaviour::Ends(10, CRASH));
    machine.run_until(200);
    machine.supervisor.stop("stopping", 200).expect("it runs");
    let all = [
        "lazy",
        "blocked",
        "starting",
        "running",
        "stopping",
        "restarting",
        "exited",
        "failed",
    ];
    let words: Vec<&str> = all.iter().map(|name| machine.state(name).word()).collect();
    assert_eq!((words[0], &words[1..]), ("inactive", &all[1..]));
    let before: Vec<usize> = all
        .iter()
        .map(|name| machine.lines(&format!("spawn {name} ")).len())
        .collect();
    for name in all {
        machine
            .supervisor
            .restart(name, 200)
            .expect("restart works in every state");
    }
    // The stubborn one is killed when its time is over.
    machine.run_until(11_000);
    for (name, before) in all.into_iter().zip(before) {
        assert!(machine.lines(&format!("spawn {name} ")).len() > before, "{name}");
        let first_start = ["lazy", "blocked"].contains(&name);
        assert_eq!(
            machine.number(name, "restarts_by_hand"),
            Some(u64::from(!first_start)),
            "{name}"
        );
        assert!(
            machine.number(name, "restarts") >= machine.number(name, "restarts_by_hand"),
            "{name}"
        );
    }
}

#[test]
fn a_limit_is_named_as_the_reason_and_remembered() {
    let services = [("a", "[lifecycle]\nrestart = \"never\"\n"), ("b", "")];
    let mut machine = Machine::new(&services);
    machine.run_until(100);
    machine
        .supervisor
        .exited_at(0, Exit::Signal(9), Some(LimitHit::Memory(1)), 100);
    machine
        .supervisor
        .exited_at(1, Exit::Code(2), Some(LimitHit::Tasks(5)), 100);
    machine.run_until(200);
    machine.crash(&services);
    let reason = |name: &str, key: &str| {
        machine
            .supervisor
            .status(machine.supervisor.find(name).expect(name), 200)[key]
            .clone()
    };
    assert_eq!(
        reason("a", "reason"),
        "killed by SIGKILL, out of memory: the kernel killed 1 of its processes"
    );
    assert_eq!(
        reason("b", "last_failure"),
        "exit code 2, out of processes: tasks_max kept it from making one 5 times"
    );
}
