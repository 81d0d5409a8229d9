//! A supervisor that is replaced at any moment does what it would have done.

use proptest::prelude::*;

use super::*;

/// A made-up service: what it needs (of those before it), what its process does, what its file says.
#[derive(Debug, Clone)]
struct Made {
    requires: Vec<(usize, [&'static str; 3])>,
    after: Vec<usize>,
    behaviour: Behaviour,
    oneshot: bool,
    restart: &'static str,
}

fn made() -> impl Strategy<Value = Made> {
    let behaviour = prop_oneof![
        Just(Behaviour::Stays),
        Just(Behaviour::Stubborn),
        Just(Behaviour::Broken),
        Just(Behaviour::Skipped),
        (1..3000_u64, 0..2).prop_map(|(after, code)| Behaviour::Ends(after, Exit::Code(code))),
        (1..3000_u64).prop_map(|after| Behaviour::Ends(after, Exit::Signal(11))),
    ];
    let names = || proptest::collection::vec(0..6_usize, 0..3);
    let reaction = || prop_oneof![Just("keep"), Just("restart"), Just("stop")];
    let edges = proptest::collection::vec((0..6_usize, [reaction(), reaction(), reaction()]), 0..3);
    let restart = prop_oneof![Just("always"), Just("on-failure"), Just("never")];
    (edges, names(), behaviour, any::<bool>(), restart).prop_map(|(requires, after, behaviour, oneshot, restart)| {
        Made {
            requires,
            after,
            behaviour,
            oneshot,
            restart,
        }
    })
}

fn text(index: usize, made: &Made) -> String {
    // What has done its work is not done again.
    let restart = match (made.oneshot, made.restart) {
        (true, "always") => "on-failure",
        (_, restart) => restart,
    };
    let names = |numbers: &[usize]| {
        let before = numbers.iter().filter(|number| **number < index);
        before
            .map(|number| format!("\"s{number}\""))
            .collect::<Vec<_>>()
            .join(",")
    };
    let edges = made.requires.iter().filter(|(number, _)| *number < index).map(|(number, [stop, failure, restart])| {
        format!("{{ name = \"s{number}\", on_stop = \"{stop}\", on_failure = \"{failure}\", on_restart = \"{restart}\" }}")
    });
    format!(
        "oneshot = {}\n[dependencies]\nrequires = [{}]\nafter = [{}]\n[lifecycle]\nrestart = \"{}\"\nmax_restarts = 4\nrestart_delay_ms = 300\nstop_timeout_ms = 700\n",
        made.oneshot,
        edges.collect::<Vec<_>>().join(","),
        names(&made.after),
        restart,
    )
}

/// What people ask for, of which service, and when.
type Wish = (Millis, usize, u8);

/// Everything that happens within ten seconds, with the states in the end. The supervisor is replaced at these times.
fn history(all: &[Made], wishes: &[Wish], crashes: &[Millis]) -> (Vec<String>, Vec<String>) {
    let names: Vec<String> = (0..all.len()).map(|index| format!("s{index}")).collect();
    let texts: Vec<String> = all.iter().enumerate().map(|(index, made)| text(index, made)).collect();
    let services: Vec<(&str, &str)> = names
        .iter()
        .map(String::as_str)
        .zip(texts.iter().map(String::as_str))
        .collect();
    let mut machine = Machine::new(&services);
    for (name, made) in names.iter().zip(all) {
        machine = machine.with(name, made.behaviour.clone());
    }
    let mut times: Vec<(Millis, Option<&Wish>)> = wishes.iter().map(|wish| (wish.0, Some(wish))).collect();
    times.extend(crashes.iter().map(|at| (*at, None)));
    times.sort_by_key(|(at, wish)| (*at, wish.is_some()));
    for (at, wish) in times {
        machine.run_until(at);
        machine.now = at;
        match wish {
            None => machine.crash(&services),
            Some((_, index, what)) => {
                let name = &names[index % names.len()];
                // Some are refused, in both histories.
                let _ = match what % 4 {
                    0 => machine.supervisor.stop(name, at),
                    1 => machine.supervisor.start(name, at),
                    2 => machine.supervisor.restart(name, at),
                    _ => {
                        machine.supervisor.shut_down(Goal::Reboot, at);
                        Ok(())
                    }
                };
            }
        }
    }
    machine.run_until(20_000);
    let mut log = machine.log.clone();
    // A successor asks those to end again who were asked already, and kills those who were killed but are not gone.
    log.retain(|line| !line.starts_with("signal") && !line.ends_with("killed"));
    log.sort();
    (
        log,
        names.iter().map(|name| format!("{:?}", machine.state(name))).collect(),
    )
}

#[test]
fn causes_are_noted_before_their_consequences() {
    let needs = "[dependencies]\nrequires = [\"cause\"]\n";
    let mut machine = Machine::new(&[("consequence", needs), ("cause", "oneshot = true\n")]);
    machine.run_until(10);
    machine.supervisor.take_changed();
    let cause = machine.supervisor.find("cause").expect("it is there");
    machine.supervisor.exited(cause, Exit::Code(0), 10);
    let names: Vec<String> = machine
        .supervisor
        .take_changed()
        .into_iter()
        .map(|id| machine.name(id))
        .collect();
    assert_eq!(names, ["cause", "consequence"]);
    assert_eq!(machine.supervisor.take_changed(), [0; 0]);
}

#[test]
fn what_a_service_said_is_kept_while_its_file_cannot_be_read() {
    for health in ["", "[health]\ntype = \"tcp\"\ntarget = \"127.0.0.1:1\"\n"] {
        let text = format!("notify = true\n{health}");
        let services = [("web", text.as_str())];
        let mut machine = Machine::new(&services);
        machine.run_until(10);
        let (first, whole) = (&machine.supervisor, load(&services));
        let id = first.find("web").expect("it is there");
        let memories = [("web".to_owned(), first.remember(id).expect("it is known"))].into();
        let unread = mos_service::Service {
            source: whole[0].0.source,
            ..mos_service::Service::forgotten("web")
        };
        let mut next = Supervisor::new(first.settings.clone());
        next.resume(vec![(unread, whole[0].1)], memories, &first.remember_node(), None, 10);
        next.notified(id, true, None, 11);
        assert_eq!(next.unit(id).expect("it is there").state(), &State::Starting);
        next.reload(whole, 12);
        match health {
            "" => assert_eq!(next.unit(id).expect("it is there").state(), &State::Running),
            _ => assert!(next.next_deadline().is_some_and(|at| at <= 12), "it is probed"),
        }
    }
}

/// The supervisor is killed between making the process 7 of the only service and noting it; the next one finds these files.
fn killed_while_starting(text: &str, files: &[(&str, &str)]) -> Supervisor {
    let machine = Machine::new(&[("web", text)]);
    let first = &machine.supervisor;
    let id = first.find("web").expect("it is there");
    let memories = [("web".to_owned(), first.remember(id).expect("it is known"))].into();
    let mut next = Supervisor::new(first.settings.clone());
    next.resume(load(files), memories, &first.remember_node(), Some(("web", 7)), 10);
    assert_eq!(next.unspawned(), [0; 0], "it has a process");
    next
}

#[test]
fn that_a_service_is_no_more_is_noted_with_the_end_of_its_process() {
    let mut machine = Machine::new(&[("web", "")]);
    machine.run_until(10);
    let supervisor = &mut machine.supervisor;
    supervisor.reload(Vec::new(), 11);
    assert_eq!(supervisor.take_forgotten(), [""; 0], "its process has not ended");
    supervisor.exited(0, Exit::Signal(15), 12);
    assert_eq!(supervisor.take_forgotten(), ["web"]);
    assert_eq!(supervisor.take_forgotten(), [""; 0]);
}

#[test]
fn a_process_that_was_made_and_not_noted_goes_on() {
    for (text, state) in [
        ("", State::Running),
        ("notify = true\n", State::Starting),
        ("oneshot = true\n", State::Starting),
    ] {
        let next = killed_while_starting(text, &[("web", text)]);
        let unit = next.unit(0).expect("it is there");
        assert_eq!((unit.pid(), unit.state()), (Some(7), &state), "{text}");
    }
}

#[test]
fn a_service_whose_file_went_with_the_supervisor_ends() {
    let mut machine = Machine::new(&[("web", "")]);
    machine.run_until(10);
    assert_eq!(machine.state("web"), &State::Running);
    machine.crash(&[]);
    assert_eq!(machine.state("web"), &State::Stopping);
    machine.run_until(20);
    assert_eq!(machine.supervisor.find("web"), None);
    assert_eq!(machine.lines("spawn web").len(), 1);
}

#[test]
fn a_process_that_was_made_and_not_noted_ends_when_its_file_is_gone_or_another() {
    for files in [&[][..], &[("web", "notify = true\ndir = \"/tmp\"\n")]] {
        let mut next = killed_while_starting("notify = true\n", files);
        let unit = next.unit(0).expect("it is there until its process is not");
        assert_eq!((unit.pid(), unit.state()), (Some(7), &State::Stopping), "{files:?}");
        let actions: Vec<Action> = std::iter::from_fn(|| next.take()).collect();
        assert!(
            actions.iter().any(|action| matches!(action, Action::Signal(0, _))),
            "{actions:?}"
        );
        assert!(
            !actions
                .iter()
                .any(|action| matches!(action, Action::Spawn(_) | Action::Forget(..))),
            "{actions:?}"
        );
        next.exited(0, Exit::Signal(15), 20);
        let spawned = std::iter::from_fn(|| next.take()).any(|action| matches!(action, Action::Spawn(0)));
        assert_eq!(spawned, !files.is_empty(), "{files:?}");
    }
}

proptest! {
    #[test]
    fn a_successor_goes_on_as_its_predecessor_would_have(
        all in proptest::collection::vec(made(), 1..6),
        wishes in proptest::collection::vec((0..10_000_u64, 0..6_usize, 0..9_u8), 0..4),
        crashes in proptest::collection::vec(0..10_000_u64, 1..6),
    ) {
        prop_assert_eq!(history(&all, &wishes, &crashes), history(&all, &wishes, &[]));
    }
}
