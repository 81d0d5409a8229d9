//! Stops and restarts by hand: who needs a service goes before it.

use proptest::prelude::*;

use super::*;

fn requires(names: &[&str]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("\"{name}\"")).collect();
    format!("[dependencies]\nrequires = [{}]\n", names.join(", "))
}

/// `db`; `left` and `right` that require it; `top` that requires both; `aside` that nobody concerns.
fn diamond() -> (Machine, [(&'static str, String); 5]) {
    let services = [
        ("db", String::new()),
        ("left", requires(&["db"])),
        ("right", requires(&["db"])),
        ("top", requires(&["left", "right"])),
        ("aside", String::new()),
    ];
    let mut machine = Machine::new(&texts(&services));
    machine.run_until(100);
    (machine, services)
}

fn texts<'t>(services: &'t [(&'t str, String)]) -> Vec<(&'t str, &'t str)> {
    services.iter().map(|(name, text)| (*name, text.as_str())).collect()
}

#[test]
fn a_stop_takes_down_first_what_needs_it_in_order_and_in_parallel() {
    let (mut machine, _) = diamond();
    let company = machine.supervisor.company("db", false, true).expect("db");
    assert_eq!(
        (company.stops.join(" "), company.restarts.len(), company.keeps.len()),
        ("left right top".into(), 0, 0)
    );
    machine.supervisor.stop_with("db", true, 100).expect("it stops");
    assert_eq!(
        machine.supervisor.waits_for(0),
        [
            "the end of left, which needs it",
            "the end of right, which needs it",
            "the end of top, which needs it"
        ]
    );
    machine.run_until(200);
    assert_eq!(
        machine.lines("signal"),
        [
            "signal 15 to top at 100",
            "signal 15 to left at 105",
            "signal 15 to right at 105",
            "signal 15 to db at 110"
        ]
    );
    assert_eq!(machine.lines("left: "), ["left: stops, because db was stopped"]);
    for name in ["db", "left", "right", "top"] {
        assert_eq!(machine.state(name), &State::Inactive, "{name}");
    }
    assert_eq!(machine.state("aside"), &State::Running);
    assert_eq!(
        machine
            .supervisor
            .stop_with("db", true, 200)
            .map_err(|error| error.code()),
        Err(-32002)
    );
}

#[test]
fn without_the_others_it_stops_alone_and_they_are_named() {
    let (mut machine, _) = diamond();
    let company = machine.supervisor.company("db", false, false).expect("db");
    assert_eq!(
        (company.stops.len(), company.keeps),
        (0, vec!["left".to_owned(), "right".to_owned()])
    );
    machine.supervisor.stop("db", 100).expect("it stops");
    machine.run_until(200);
    assert_eq!(machine.lines("signal"), ["signal 15 to db at 100"]);
}

#[test]
fn a_restart_brings_back_what_it_took_down_and_nobody_else() {
    let (mut machine, _) = diamond();
    machine.supervisor.stop("right", 100).expect("it stops");
    machine.run_until(200);
    let company = machine.supervisor.company("db", true, true).expect("db");
    assert_eq!(
        (company.restarts.join(" "), company.stops.len()),
        ("left top".into(), 0)
    );
    machine.supervisor.restart_with("db", true, 200).expect("it restarts");
    machine.run_until(300);
    assert_eq!(
        machine.lines("signal").split_off(1),
        [
            "signal 15 to top at 200",
            "signal 15 to left at 205",
            "signal 15 to db at 210"
        ]
    );
    assert_eq!(
        machine.lines("spawn").split_off(5),
        ["spawn db at 215", "spawn left at 215"]
    );
    // `top` was taken down by this, and `right` was down before.
    assert_eq!(
        (machine.state("top"), machine.state("right")),
        (&State::Blocked, &State::Inactive)
    );
    machine.supervisor.start("right", 300).expect("it starts");
    machine.run_until(400);
    assert_eq!(machine.state("top"), &State::Running);
}

#[test]
fn who_does_not_end_is_killed_at_its_own_limit_and_the_rest_follows() {
    let stubborn = "[lifecycle]\nstop_timeout_ms = 2000\n".to_owned() + &requires(&["db"]);
    let mut machine = Machine::new(&[("db", ""), ("web", &stubborn)]).with("web", Behaviour::Stubborn);
    machine.run_until(100);
    machine.supervisor.stop_with("db", true, 100).expect("it stops");
    machine.run_until(3000);
    assert_eq!(
        machine.lines("signal"),
        [
            "signal 15 to web at 100",
            "signal 9 to web at 2100",
            "signal 15 to db at 2105"
        ]
    );
}

#[test]
fn targets_in_between_only_say_what_is_true() {
    let target = "[target]\n".to_owned() + &requires(&["db"]);
    let mut machine = Machine::new(&[("db", ""), ("ready", &target), ("web", &requires(&["ready"]))]);
    machine.run_until(100);
    machine.supervisor.stop_with("db", true, 100).expect("it stops");
    machine.run_until(200);
    assert_eq!(
        machine.lines("signal"),
        ["signal 15 to web at 100", "signal 15 to db at 105"]
    );
    assert_eq!(
        (machine.state("ready"), machine.state("web")),
        (&State::Blocked, &State::Inactive)
    );
    machine.supervisor.start("db", 200).expect("it starts");
    machine.run_until(300);
    assert_eq!(
        (machine.state("ready"), machine.state("web")),
        (&State::Running, &State::Inactive)
    );
}

#[test]
fn somebody_may_think_better_of_it() {
    let (mut machine, _) = diamond();
    machine.supervisor.stop_with("db", true, 100).expect("it stops");
    machine.supervisor.start("db", 100).expect("it goes on");
    machine.run_until(200);
    assert_eq!(
        (machine.state("db"), machine.state("top")),
        (&State::Running, &State::Inactive)
    );
    assert_eq!(machine.lines("to db"), [""; 0]);
}

#[test]
fn a_successor_goes_on_with_it() {
    for kept in 0..5 {
        let (mut machine, services) = diamond();
        machine.torn(&texts(&services), kept, |supervisor| {
            supervisor.stop_with("db", true, 100).expect("it stops");
        });
        if kept == 0 {
            // Nothing of it was written down: it was never asked.
            machine.supervisor.stop_with("db", true, 100).expect("it stops");
        }
        machine.run_until(103);
        machine.crash(&texts(&services));
        machine.run_until(1000);
        for name in ["db", "left", "right", "top"] {
            assert_eq!(
                machine.state(name),
                &State::Inactive,
                "{kept} {name}: {:?}",
                machine.log
            );
        }
        let last = machine
            .lines("signal")
            .last()
            .map(|line| line.starts_with("signal 15 to db"));
        assert_eq!(last, Some(true), "{:?}", machine.log);
    }
}

#[test]
fn a_group_goes_after_those_that_need_it_or_its_members() {
    let group = "[group]\nmembers = [\"a\", \"b\"]\n";
    let mut machine = Machine::new(&[
        ("a", ""),
        ("b", ""),
        ("pair", group),
        ("on-pair", &requires(&["pair"])),
        ("on-a", &requires(&["a"])),
    ]);
    machine.run_until(100);
    machine.supervisor.restart_with("pair", true, 100).expect("it restarts");
    machine.run_until(300);
    let mut signals = machine.lines("signal");
    signals.sort_by_key(|line| line.rsplit(' ').next());
    assert_eq!(
        signals,
        [
            "signal 15 to on-pair at 100",
            "signal 15 to on-a at 100",
            "signal 15 to a at 105",
            "signal 15 to b at 105"
        ]
    );
    assert!(
        machine.supervisor.units().all(|(_, unit)| unit.state == State::Running),
        "{:?}",
        machine.log
    );
}

proptest! {
    /// Whatever is stopped and restarted with what needs it: when a service is asked to end for that, nobody who requires
    /// it is there any more; and when it is quiet, nobody who was taken along by a stop runs without it.
    #[test]
    fn nobody_goes_before_those_that_need_it(
        edges in proptest::collection::btree_set((0..8_usize, 0..8_usize), 0..16),
        stubborn in proptest::collection::vec(any::<bool>(), 8),
        wishes in proptest::collection::vec((1..60_u64, 0..8_usize, 0..5_u8, 0..4_usize), 0..5),
    ) {
        let names: Vec<String> = (0..8).map(|index| format!("s{index}")).collect();
        let edges: Vec<(usize, usize)> = edges.into_iter().filter(|(from, to)| to < from).collect();
        let text = |index: usize| {
            let mine = edges.iter().filter(|(from, _)| *from == index).map(|(_, to)| names[*to].as_str());
            requires(&mine.collect::<Vec<&str>>()) + "[lifecycle]\nstop_timeout_ms = 500\n"
        };
        let texts: Vec<String> = (0..8).map(text).collect();
        let services: Vec<(&str, &str)> = names.iter().map(String::as_str).zip(texts.iter().map(String::as_str)).collect();
        let mut machine = Machine::new(&services);
        for (name, _) in names.iter().zip(&stubborn).filter(|(_, stubborn)| **stubborn) {
            machine = machine.with(name, Behaviour::Stubborn);
        }
        machine.run_until(0);
        let mut wishes = wishes;
        wishes.sort();
        let mut stopped: Vec<usize> = Vec::new();
        for (at, index, what, kept) in wishes {
            machine.run_until(at);
            let name = &names[index];
            match what {
                0 => {
                    let refused = machine.supervisor.stop_with(name, true, at).is_err();
                    stopped.extend((!refused).then_some(index));
                }
                // A restart of one that was stopped starts it again.
                1 | 2 => {
                    stopped.retain(|one| *one != index);
                    let _ = machine.supervisor.restart_with(name, true, at);
                }
                3 => machine.crash(&services),
                _ => machine.torn(&services, kept, |supervisor| drop(supervisor.restart_with(name, true, at))),
            }
            if what == 4 {
                stopped.retain(|one| *one != index);
            }
        }
        machine.run_until(100_000);
        for &index in &stopped {
            prop_assert!(
                matches!(machine.state(&names[index]), State::Inactive | State::Blocked | State::Running),
                "{:?}", machine.log
            );
            if machine.state(&names[index]) != &State::Inactive {
                continue;
            }
            for (from, _) in edges.iter().filter(|(_, to)| *to == index) {
                prop_assert!(machine.state(&names[*from]) != &State::Running, "{} {}: {:?}", from, index, machine.log);
            }
        }
        prop_assert!(machine.supervisor.units().all(|(_, unit)| unit.leaving.is_none()), "{:?}", machine.log);
        prop_assert_eq!(machine.early.clone(), Vec::<String>::new());
    }
}
