//! Several services as one.

use proptest::prelude::*;

use super::*;

const DISK: (&str, &str) = ("disk", "");
const VM: (&str, &str) = ("vm", "[dependencies]\nrequires = [\"disk\"]\n");

/// Whoever starts finds nobody of its group on the way down, and those there whom it requires.
pub(super) fn check_spawn(supervisor: &Supervisor, id: Id) {
    let unit = supervisor.unit(id).expect("a unit");
    let group = unit.group.and_then(|id| supervisor.unit(id));
    assert_ne!(group.map(Unit::state), Some(&State::Stopping), "{}", unit.service.name);
    for required in &unit.service.dependencies.requires {
        let other = supervisor.find(&required.name).and_then(|id| supervisor.unit(id));
        assert!(other.is_some_and(|other| other.satisfies()), "{}", unit.service.name);
    }
}

fn group(rest: &str) -> String {
    format!("[group]\nmembers = [\"disk\", \"vm\"]\n{rest}")
}

fn machine(rest: &str) -> Machine {
    Machine::new(&[DISK, VM, ("g", &group(rest))])
}

fn end(machine: &mut Machine, name: &str, exit: Exit) {
    let id = machine.supervisor.find(name).expect("there");
    machine.supervisor.exited(id, exit, machine.now);
}

#[test]
fn one_verb_is_for_all_members_in_order() {
    let mut machine = machine("");
    machine.run_until(100);
    assert_eq!(machine.lines("spawn"), ["spawn disk at 0", "spawn vm at 0"]);
    assert_eq!(machine.state("g"), &State::Running);
    machine.supervisor.stop("g", 100).expect("runs");
    assert_eq!(machine.state("g"), &State::Stopping);
    machine.run_until(1000);
    assert_eq!(
        machine.lines("signal"),
        ["signal 15 to vm at 100", "signal 15 to disk at 105"]
    );
    assert_eq!(machine.state("g"), &State::Inactive);
    assert_eq!(
        machine.supervisor.stop("g", 1000),
        Err(RequestError::NotRunning("g".into()))
    );
    machine.supervisor.start("g", 1000).expect("stopped");
    machine.run_until(2000);
    assert_eq!(machine.state("g"), &State::Running);
    assert_eq!(
        machine.supervisor.start("g", 2000),
        Err(RequestError::AlreadyRunning("g".into()))
    );
    machine.supervisor.restart("vm", 2000).expect("the whole group");
    machine.run_until(3000);
    assert_eq!(machine.lines("spawn")[4..], ["spawn disk at 2010", "spawn vm at 2010"]);
    let id = machine.supervisor.find("g").expect("g");
    assert_eq!(machine.supervisor.status(id, 3000)["kind"], "group");
    assert_eq!(machine.supervisor.status(id, 3000)["restarts"], 1);
}

#[test]
fn when_one_fails_all_are_restarted_or_stopped_or_go_on() {
    let mut restarted = machine("");
    restarted.run_until(100);
    end(&mut restarted, "disk", CRASH);
    restarted.run_until(1000);
    assert_eq!(restarted.lines("signal"), ["signal 15 to vm at 100"]);
    assert_eq!(restarted.lines("spawn")[2..], ["spawn disk at 105", "spawn vm at 105"]);
    assert_eq!(restarted.lines("g: "), ["g: restarts, because disk has ended"]);
    assert_eq!(restarted.state("g"), &State::Running);

    let never = "[lifecycle]\nrestart = \"never\"\n";
    for policy in ["restart", "stop"] {
        let text = group(&format!("on_failure = \"{policy}\"\n"));
        let vm = format!("{}{never}", VM.1);
        let mut stopped = Machine::new(&[DISK, ("vm", &vm), ("g", &text)]);
        stopped.run_until(100);
        end(&mut stopped, "vm", CRASH);
        stopped.run_until(1000);
        assert_eq!(stopped.lines("signal"), ["signal 15 to disk at 100"], "{policy}");
        assert_eq!(
            stopped.state("g"),
            &State::Failed(Reason::DependencyFailed("vm".into()))
        );
        stopped.supervisor.start("g", 1000).expect("failed");
        stopped.run_until(2000);
        assert_eq!(stopped.state("g"), &State::Running, "{policy}");
        // A machine that was powered off from within needs its disk no more.
        end(&mut stopped, "vm", Exit::Code(0));
        stopped.run_until(3000);
        assert_eq!(
            (stopped.state("disk"), stopped.state("g")),
            (&State::Inactive, &State::Exited),
            "{policy}"
        );
    }

    let mut kept = machine("on_failure = \"keep\"\n");
    kept.run_until(100);
    end(&mut kept, "disk", CRASH);
    kept.run_until(1000);
    assert_eq!((kept.lines("signal"), kept.lines("spawn").len()), (vec![], 3));
}

#[test]
fn the_state_is_what_the_members_come_to() {
    let mut machine = machine("on_failure = \"keep\"\nstatus = \"start\"\n");
    machine.run_until(0);
    machine.supervisor.stop("vm", 0).expect("runs");
    assert_eq!(machine.state("g"), &State::Degraded);
    machine.run_until(100);
    assert_eq!(machine.state("g"), &State::Degraded);
    machine.supervisor.start("g", 100).expect("one is missing");
    machine.run_until(200);
    assert_eq!(
        (machine.state("g"), machine.lines("spawn").len()),
        (&State::Running, 3),
        "{:?}",
        machine.log
    );
    let missing = Machine::new(&[DISK, ("g", &group(""))]);
    assert_eq!(
        missing.state("g"),
        &State::Failed(Reason::MissingDependency("vm".into()))
    );
}

#[test]
fn going_down_the_group_is_no_obstacle() {
    let user = "[dependencies]\nrequires = [\"g\"]\n";
    let mut machine = Machine::new(&[DISK, VM, ("g", &group("")), ("user", user)]);
    machine.run_until(100);
    end(&mut machine, "vm", CRASH);
    machine.supervisor.shut_down(Goal::Poweroff, 100);
    machine.run_until(1000);
    assert_eq!(machine.finished, Some(Goal::Poweroff));
    assert_eq!(
        machine.lines("signal"),
        ["signal 15 to disk at 100", "signal 15 to user at 100"]
    );
}

/// What happens to which member, and when: 0 crash, 1 good end, 2 stop, 3 start, 4 restart, 5 the supervisor is killed; 6 to 8
/// concern the group.
type Event = (Millis, usize, u8);

fn play(requires: &[Vec<usize>], policy: &str, events: &[Event]) -> Machine {
    let names: Vec<String> = (0..requires.len()).map(|index| format!("m{index}")).collect();
    let quoted = |names: Vec<&String>| {
        names
            .iter()
            .map(|name| format!("{name:?}"))
            .collect::<Vec<_>>()
            .join(",")
    };
    let texts = requires.iter().enumerate().map(|(index, needs)| {
        let needs = needs.iter().filter(|need| **need < index).map(|need| &names[*need]);
        format!(
            "[dependencies]\nrequires = [{}]\n[lifecycle]\nmax_restarts = 3\nrestart_delay_ms = 200\n",
            quoted(needs.collect())
        )
    });
    let mut files: Vec<(String, String)> = names.iter().cloned().zip(texts).collect();
    files.push((
        "g".into(),
        format!(
            "[group]\nmembers = [{}]\non_failure = \"{policy}\"\n",
            quoted(names.iter().collect())
        ),
    ));
    let files: Vec<(&str, &str)> = files
        .iter()
        .map(|(name, text)| (name.as_str(), text.as_str()))
        .collect();
    let mut machine = Machine::new(&files);
    let mut events = events.to_vec();
    events.sort();
    for (at, index, what) in events {
        machine.run_until(at);
        let name = &names[index % names.len()];
        let id = machine.supervisor.find(name).expect("there");
        let runs = machine.supervisor.unit(id).and_then(Unit::pid).is_some();
        match what {
            0 | 1 if runs => {
                machine.endings.retain(|ending| ending.1 != id);
                machine.log.push(format!("end {name} at {at}"));
                machine.supervisor.exited(id, Exit::Code(i32::from(what == 0)), at);
            }
            2 => drop(machine.supervisor.stop(name, at)),
            3 => drop(machine.supervisor.start(name, at)),
            4 => drop(machine.supervisor.restart(name, at)),
            5 => machine.crash(&files),
            6 => drop(machine.supervisor.stop("g", at)),
            7 => drop(machine.supervisor.start("g", at)),
            8 => drop(machine.supervisor.restart("g", at)),
            _ => {}
        }
    }
    machine.run_until(30_000);
    machine
}

fn time(line: &str) -> Millis {
    line.rsplit(' ').next().and_then(|at| at.parse().ok()).expect("a time")
}

proptest! {
    #[test]
    fn a_group_comes_to_rest_and_then_its_members_agree(
        requires in proptest::collection::vec(proptest::collection::vec(0..4_usize, 0..3), 2..5),
        policy in prop_oneof![Just("restart"), Just("stop"), Just("keep")],
        events in proptest::collection::vec((0..5000_u64, 0..4_usize, 0..9_u8), 0..12),
    ) {
        let machine = play(&requires, policy, &events);
        let states: Vec<State> = (0..requires.len()).map(|index| machine.state(&format!("m{index}")).clone()).collect();
        let any = |wanted: fn(&State) -> bool| states.iter().any(wanted);
        let running = states.iter().all(|state| *state == State::Running);
        // Nothing is under way for ever, and the group claims no more than its members do.
        prop_assert!(!any(|state| matches!(state, State::Stopping | State::Starting | State::Restarting)), "{states:?}");
        prop_assert_eq!(machine.state("g") == &State::Running, running, "{:?}", states);
        prop_assert_eq!(matches!(machine.state("g"), State::Failed(_)), any(|state| matches!(state, State::Failed(_))));
        prop_assert!(machine.supervisor.units().all(|(_, unit)| !unit.drags));
        // Whoever was there when another one ended is not there any more.
        let last = |what: &str| machine.lines(what).last().map(|line| time(line));
        if policy == "restart" && running {
            let ended = last("end m").unwrap_or(0);
            for index in 0..requires.len() {
                prop_assert!(last(&format!("spawn m{index}")) >= Some(ended), "{:?}", machine.log);
            }
        }
        if policy == "restart" && !events.iter().any(|(_, _, what)| (2..5).contains(what)) {
            let alive = states.iter().filter(|state| **state == State::Running).count();
            prop_assert!(alive == 0 || running, "{states:?} {:?}", machine.log);
        }
    }

    #[test]
    fn a_successor_treats_a_group_as_its_predecessor_would_have(
        requires in proptest::collection::vec(proptest::collection::vec(0..4_usize, 0..3), 2..5),
        policy in prop_oneof![Just("restart"), Just("stop"), Just("keep")],
        events in proptest::collection::vec((0..5000_u64, 0..4_usize, 0..9_u8), 0..10),
    ) {
        let calm: Vec<Event> = events.iter().copied().filter(|event| event.2 != 5).collect();
        let spawns = |machine: &Machine| machine.lines("spawn").iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
        let states = |machine: &Machine| machine.supervisor.units().map(|(_, unit)| (unit.service.name.clone(), unit.state.clone())).collect::<HashMap<_, _>>();
        let (crashing, calm) = (play(&requires, policy, &events), play(&requires, policy, &calm));
        prop_assert_eq!(spawns(&crashing), spawns(&calm));
        prop_assert_eq!(states(&crashing), states(&calm));
    }
}
