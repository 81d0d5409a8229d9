//! What follows for a service when something happens to one that it requires.

use proptest::prelude::*;

use super::*;

fn edge(keys: &str) -> String {
    format!("[dependencies]\nrequires = [{{ name = \"db\", {keys} }}]\n")
}

/// `db`, and `web` that requires it so.
fn pair(keys: &str) -> Machine {
    let mut machine = Machine::new(&[("db", ""), ("web", &edge(keys))]);
    machine.run_until(100);
    assert_eq!(machine.state("web"), &State::Running);
    machine
}

impl Machine {
    fn ends(&mut self, name: &str, exit: Exit) {
        let id = self.supervisor.find(name).expect("it is there");
        self.supervisor.exited(id, exit, self.now);
    }

    /// When it was started last.
    fn last_spawn(&self, name: &str) -> Option<Millis> {
        let lines = self.lines(&format!("spawn {name} at "));
        lines.last()?.rsplit(' ').next()?.parse().ok()
    }
}

#[test]
fn by_default_nothing_follows() {
    let mut machine = Machine::new(&[("db", ""), ("web", "[dependencies]\nrequires = [\"db\"]\n")]);
    machine.run_until(100);
    machine.ends("db", CRASH);
    machine.run_until(200);
    machine.supervisor.restart("db", 200).expect("it restarts");
    machine.run_until(300);
    machine.supervisor.stop("db", 300).expect("it stops");
    machine.run_until(400);
    assert_eq!(
        (machine.lines("spawn web").len(), machine.state("web")),
        (1, &State::Running)
    );
}

#[test]
fn a_restart_is_followed_by_a_restart_once_the_other_is_back() {
    let mut machine = pair("on_restart = \"restart\"");
    machine.ends("db", CRASH);
    machine.run_until(200);
    assert_eq!(machine.lines("web: "), ["web: restarts, because db is restarted"]);
    assert_eq!(
        machine.lines("spawn"),
        ["spawn db at 0", "spawn web at 0", "spawn db at 100", "spawn web at 105"]
    );
    machine.supervisor.restart("db", 200).expect("it restarts");
    machine.run_until(300);
    // It ends before the other and waits until that is there.
    assert_eq!(
        machine.lines("signal"),
        [
            "signal 15 to web at 100",
            "signal 15 to web at 200",
            "signal 15 to db at 205"
        ]
    );
    assert_eq!(machine.lines("spawn web").last(), Some(&"spawn web at 210"));
    machine.supervisor.stop("db", 300).expect("it stops");
    machine.run_until(400);
    assert_eq!(machine.state("web"), &State::Running);
    // What was kept while the other was down is started anew with it.
    machine.supervisor.start("db", 400).expect("it starts");
    machine.run_until(500);
    assert_eq!(
        (machine.last_spawn("web"), machine.state("web")),
        (Some(405), &State::Running)
    );
}

#[test]
fn a_stop_is_followed_by_a_stop_that_lasts() {
    let mut machine = pair("on_stop = \"stop\"");
    machine.supervisor.stop("db", 100).expect("it stops");
    machine.run_until(200);
    assert_eq!(machine.state("web"), &State::Inactive);
    assert_eq!(machine.lines("web: "), ["web: stops, because db was stopped"]);
    let why = machine.supervisor.why(1, 200);
    assert!(why.contains(&"last failure: db was stopped".to_owned()), "{why:?}");
    machine.supervisor.start("db", 200).expect("it starts");
    machine.run_until(300);
    assert_eq!(machine.state("web"), &State::Inactive);
    machine.supervisor.start("web", 300).expect("it starts");
    machine.run_until(400);
    assert_eq!(machine.state("web"), &State::Running);
}

#[test]
fn a_stop_may_be_followed_by_waiting() {
    let mut machine = pair("on_stop = \"restart\"");
    machine.supervisor.stop("db", 100).expect("it stops");
    machine.run_until(200);
    assert_eq!(machine.state("web"), &State::Blocked);
    machine.supervisor.start("db", 200).expect("it starts");
    machine.run_until(300);
    assert_eq!(machine.state("web"), &State::Running);
}

#[test]
fn a_failure_for_good_is_followed_but_a_crash_before_it_is_not() {
    let db = "[lifecycle]\nmax_restarts = 1\nrestart_delay_ms = 0\n";
    for (reaction, state) in [
        ("keep", State::Running),
        ("stop", State::Inactive),
        ("restart", State::Failed(Reason::DependencyFailed("db".into()))),
    ] {
        let mut machine = Machine::new(&[("db", db), ("web", &edge(&format!("on_failure = \"{reaction}\"")))]);
        machine.run_until(100);
        machine.ends("db", CRASH);
        machine.run_until(200);
        assert_eq!(
            (machine.lines("spawn db").len(), machine.state("web")),
            (2, &State::Running)
        );
        machine.ends("db", CRASH);
        machine.run_until(300);
        assert_eq!(machine.state("web"), &state, "{reaction}");
    }
}

#[test]
fn a_chain_follows_and_starts_again_in_order() {
    let edge = |name: &str| format!("[dependencies]\nrequires = [{{ name = \"{name}\", on_restart = \"restart\" }}]\n");
    let mut machine = Machine::new(&[("a", ""), ("b", &edge("a")), ("c", &edge("b")), ("d", &edge("c"))]);
    machine.run_until(100);
    machine.supervisor.restart("a", 100).expect("it restarts");
    machine.run_until(200);
    let second: Vec<&str> = machine.lines("spawn").split_off(4);
    assert_eq!(
        second,
        ["spawn a at 120", "spawn b at 120", "spawn c at 120", "spawn d at 120"]
    );
    assert!(machine.supervisor.units().all(|(_, unit)| unit.state == State::Running));
}

#[test]
fn a_shutdown_keeps_to_its_own_order() {
    let mut machine = pair("on_stop = \"stop\", on_restart = \"restart\", on_failure = \"stop\"");
    machine.supervisor.shut_down(Goal::Poweroff, 100);
    machine.run_until(200);
    assert_eq!(
        machine.lines("signal"),
        ["signal 15 to web at 100", "signal 15 to db at 105"]
    );
    assert_eq!(
        (machine.lines("because").len(), machine.finished),
        (0, Some(Goal::Poweroff))
    );
}

#[test]
fn one_that_ended_before_its_follower_began_does_not_make_it_go_round() {
    let keys = "on_stop = \"restart\", on_restart = \"restart\"";
    let mut machine = Machine::new(&[("db", ""), ("web", &edge(keys))]).with("db", Behaviour::Ends(50, Exit::Code(0)));
    machine.run_until(40);
    machine.run_until(10_000);
    assert_eq!(machine.state("db"), &State::Exited);
    // Once for its end, and then it is content.
    assert_eq!(machine.lines("spawn web").len(), 2);
}

#[test]
fn a_supervisor_that_is_killed_between_two_notes_misses_nothing() {
    let web = edge("on_restart = \"restart\"");
    let services = [("db", ""), ("web", web.as_str())];
    let mut machine = pair("on_restart = \"restart\"");
    let first = &machine.supervisor;
    let before: HashMap<String, crate::note::Note> = first
        .units()
        .filter_map(|(id, unit)| Some((unit.service.name.clone(), first.remember(id)?)))
        .collect();
    machine.ends("db", CRASH);
    // Only the end of `db` was written down, nothing of what follows from it.
    let db = machine.supervisor.remember(0).expect("db");
    let memories = [("db".to_owned(), db), ("web".to_owned(), before["web"].clone())];
    let mut next = Supervisor::new(machine.supervisor.settings.clone());
    next.resume(
        load(&services),
        memories.into(),
        &machine.supervisor.remember_node(),
        None,
        100,
    );
    machine.supervisor = next;
    machine.run_until(200);
    assert_eq!(machine.lines("spawn web").len(), 2);
    assert_eq!(machine.lines("spawn db").len(), 2);
}

#[test]
fn a_dependent_that_was_noted_before_the_other_came_back_follows() {
    let web = edge("on_restart = \"restart\"");
    let services = [("db", ""), ("web", web.as_str())];
    let mut machine = pair("on_restart = \"restart\"");
    let before = machine.supervisor.remember(1).expect("web");
    machine.ends("db", CRASH);
    machine.run_until(200);
    // All that is known of `web` is from the time of the first `db`; the second one runs as if nothing had been.
    let db = machine.supervisor.remember(0).expect("db");
    let memories = [("db".to_owned(), db), ("web".to_owned(), before)];
    let mut next = Supervisor::new(machine.supervisor.settings.clone());
    next.resume(
        load(&services),
        memories.into(),
        &machine.supervisor.remember_node(),
        None,
        200,
    );
    assert!(matches!(next.unit(0).map(Unit::state), Some(State::Running)));
    assert!(matches!(next.unit(1).map(Unit::state), Some(State::Stopping)));
}

impl Machine {
    /// Something is done, and its supervisor is killed when it has noted no more than `kept` of the changes.
    pub(super) fn torn(&mut self, services: &[(&str, &str)], kept: usize, act: impl FnOnce(&mut Supervisor)) {
        self.act();
        self.supervisor.take_changed();
        let first = &self.supervisor;
        let all = first
            .units()
            .map(|(id, unit)| (unit.service.name.clone(), first.remember(id)));
        let mut memories: std::collections::BTreeMap<_, _> =
            all.filter_map(|(name, memory)| Some((name, memory?))).collect();
        act(&mut self.supervisor);
        for id in self.supervisor.take_changed().into_iter().take(kept) {
            memories.extend(Some(self.name(id)).zip(self.supervisor.remember(id)));
        }
        let mut next = Supervisor::new(self.supervisor.settings.clone());
        next.resume(
            load(services),
            memories,
            &self.supervisor.remember_node(),
            None,
            self.now,
        );
        for id in next.unspawned() {
            next.spawn_again(id);
        }
        self.supervisor = next;
    }
}

fn reaction() -> impl Strategy<Value = &'static str> {
    prop_oneof![Just("keep"), Just("restart"), Just("stop")]
}

proptest! {
    /// The model: whatever happened, once it is quiet nobody runs who should not.
    #[test]
    fn when_it_is_quiet_everybody_has_followed(
        edges in proptest::collection::vec((0..6_usize, 0..6_usize, [reaction(), reaction(), reaction()]), 0..9),
        crashing in proptest::collection::vec(any::<bool>(), 6),
        wishes in proptest::collection::vec((1..8000_u64, 0..6_usize, 0..7_u8, 0..4_usize), 0..6),
    ) {
        let names: Vec<String> = (0..6).map(|index| format!("s{index}")).collect();
        let text = |index: usize| {
            let mine = edges.iter().filter(|(from, to, _)| *from == index && to < from);
            let mine = mine.map(|(_, to, [stop, failure, restart])| format!(
                "{{ name = \"s{to}\", on_stop = \"{stop}\", on_failure = \"{failure}\", on_restart = \"{restart}\" }}"
            ));
            format!(
                "[dependencies]\nrequires = [{}]\n[lifecycle]\nmax_restarts = 3\nrestart_delay_ms = 200\n",
                mine.collect::<Vec<_>>().join(",")
            )
        };
        let texts: Vec<String> = (0..6).map(text).collect();
        let services: Vec<(&str, &str)> = names.iter().map(String::as_str).zip(texts.iter().map(String::as_str)).collect();
        let mut machine = Machine::new(&services);
        for (name, _) in names.iter().zip(&crashing).filter(|(_, crashing)| **crashing) {
            machine = machine.with(name, Behaviour::Ends(700, CRASH));
        }
        let mut wishes = wishes;
        wishes.sort();
        for (at, index, what, kept) in wishes {
            machine.run_until(at);
            // Some are refused, or forgotten, which is as good.
            let name = &names[index];
            let _ = match what {
                4 => {
                    machine.torn(&services, kept, |supervisor| drop(supervisor.stop(name, at)));
                    Ok(())
                }
                5 => {
                    machine.torn(&services, kept, |supervisor| drop(supervisor.restart(name, at)));
                    Ok(())
                }
                6 => {
                    machine.torn(&services, kept, |supervisor| drop(supervisor.start(name, at)));
                    Ok(())
                }
                0 => machine.supervisor.stop(&names[index], at),
                1 => machine.supervisor.start(&names[index], at),
                2 => machine.supervisor.restart(&names[index], at),
                _ => {
                    machine.crash(&services);
                    Ok(())
                }
            };
        }
        machine.run_until(100_000);
        for (from, to, [stop, failure, restart]) in edges.iter().filter(|(from, to, _)| to < from) {
            let (follower, other) = (&names[*from], &names[*to]);
            if machine.state(follower) != &State::Running {
                continue;
            }
            match machine.state(other) {
                State::Running if *restart != "keep" => {
                    prop_assert!(machine.last_spawn(follower) >= machine.last_spawn(other), "{follower} {other}: {:?}", machine.log);
                }
                State::Inactive => prop_assert_eq!(*stop, "keep", "{} {}: {:?}", follower, other, machine.log),
                State::Failed(_) => prop_assert_eq!(*failure, "keep", "{} {}: {:?}", follower, other, machine.log),
                _ => {}
            }
        }
    }
}
