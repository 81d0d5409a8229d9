//! A start against a model that has no events: for each service it says from those before it what becomes of it and when.

use proptest::prelude::*;

use super::*;

/// What a service does, and whether it is a oneshot: `oneshot`, behaviour.
#[derive(Debug, Clone)]
struct Made {
    oneshot: bool,
    behaviour: Behaviour,
    /// Numbers of services before it.
    requires: Vec<usize>,
    after: Vec<usize>,
}

fn made() -> impl Strategy<Value = Made> {
    let stays = prop_oneof![
        Just(Behaviour::Stays),
        Just(Behaviour::Broken),
        Just(Behaviour::Skipped)
    ];
    let ends = (1..50_u64, 0..2).prop_map(|(span, code)| Behaviour::Ends(span, Exit::Code(code)));
    let kind = prop_oneof![stays.prop_map(|one| (false, one)), ends.prop_map(|one| (true, one))];
    let edges = || prop::collection::vec(any::<prop::sample::Index>(), 0..3);
    (kind, edges(), edges()).prop_map(|((oneshot, behaviour), requires, after)| {
        // Made relative to the service's own number below.
        let numbers = |edges: Vec<prop::sample::Index>| edges.iter().map(|edge| edge.index(1 << 16)).collect();
        Made {
            oneshot,
            behaviour,
            requires: numbers(requires),
            after: numbers(after),
        }
    })
}

fn before(edges: &[usize], own: usize) -> Vec<usize> {
    let mut numbers: Vec<usize> = edges.iter().filter(|_| own > 0).map(|edge| edge % own.max(1)).collect();
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

/// What becomes of a service.
#[derive(Debug, Clone, PartialEq)]
struct Fate {
    state: State,
    /// When its process was to be started.
    started: Option<Millis>,
    /// From then on it is in that state.
    settled: Millis,
}

fn fate(own: usize, made: &Made, fates: &[Fate]) -> Fate {
    let requires = before(&made.requires, own);
    let failed = |number: &&usize| matches!(fates[**number].state, State::Failed(_));
    if let Some(first) = requires.iter().find(failed) {
        let when = requires
            .iter()
            .filter(failed)
            .map(|number| fates[*number].settled)
            .min();
        return Fate {
            state: State::Failed(Reason::DependencyFailed(format!("s{first}"))),
            started: None,
            settled: when.unwrap_or(0),
        };
    }
    let all = requires.into_iter().chain(before(&made.after, own));
    let start = all.map(|number| fates[number].settled).max().unwrap_or(0);
    let (state, span) = match &made.behaviour {
        Behaviour::Broken => (State::Failed(Reason::Spawn("/bin/x: No such file".into())), 0),
        Behaviour::Skipped => (State::Skipped("/dev/kvm does not exist".into()), 0),
        Behaviour::Ends(span, Exit::Code(0)) => (State::Exited, *span),
        Behaviour::Ends(span, _) => (State::Failed(Reason::ExitCode(1)), *span),
        _ => (State::Running, 0),
    };
    Fate {
        state,
        started: Some(start),
        settled: start + span,
    }
}

proptest! {
    #[test]
    fn every_service_starts_when_it_may_and_ends_as_it_must(all in prop::collection::vec(made(), 1..10)) {
        let named = |numbers: Vec<usize>| {
            numbers.iter().map(|number| format!("\"s{number}\"")).collect::<Vec<_>>().join(", ")
        };
        let texts: Vec<(String, String)> = all.iter().enumerate().map(|(own, made)| {
            let (requires, after) = (named(before(&made.requires, own)), named(before(&made.after, own)));
            let text = format!(
                "oneshot = {}\n[dependencies]\nrequires = [{requires}]\nafter = [{after}]\n[lifecycle]\nrestart = \"never\"\n",
                made.oneshot
            );
            (format!("s{own}"), text)
        }).collect();
        let services: Vec<(&str, &str)> = texts.iter().map(|(name, text)| (&**name, &**text)).collect();
        let mut machine = Machine::new(&services);
        for (own, made) in all.iter().enumerate() {
            machine.behaviours.insert(format!("s{own}"), made.behaviour.clone());
        }
        machine.run_until(10_000);
        let mut fates: Vec<Fate> = Vec::new();
        for (own, made) in all.iter().enumerate() {
            let fate = fate(own, made, &fates);
            prop_assert_eq!(machine.state(&format!("s{own}")), &fate.state, "s{}", own);
            let spawned = machine.lines(&format!("spawn s{own} at"));
            let expected: Vec<String> = fate.started.iter().map(|at| format!("spawn s{own} at {at}")).collect();
            prop_assert_eq!(spawned, expected);
            fates.push(fate);
        }
    }
}
