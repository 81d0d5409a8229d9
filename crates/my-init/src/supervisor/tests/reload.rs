//! Reload as a difference, against a model that knows services only as numbers: what each is made of, and which of that
//! concerns a process that runs.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// What files say, in some ways. The first of a pair has to be the same for a process to go on.
const TEXTS: [(u8, &str); 6] = [
    (0, ""),
    (0, "critical = true\n"),
    (0, "[dependencies]\nwants = [\"x\"]\n"),
    (0, "[lifecycle]\nstop_timeout_ms = 2000\n"),
    (1, "env = { A = \"1\" }\n"),
    (2, "nice = 5\n"),
];
const NAMES: [&str; 4] = ["a", "b", "c", "d"];

/// By name: a text, the identity of what it runs, and whether it is to run.
type Files = BTreeMap<&'static str, (usize, u64, bool)>;

fn files() -> impl Strategy<Value = Files> {
    let each = proptest::option::of((0..TEXTS.len(), 0..2_u64, any::<bool>()));
    prop::collection::vec(each, NAMES.len()).prop_map(|all| {
        let present = NAMES.into_iter().zip(all);
        present.filter_map(|(name, one)| Some((name, one?))).collect()
    })
}

fn read(files: &Files) -> Vec<(Service, u64)> {
    let each = files.iter().map(|(name, (text, stamp, runs))| {
        let status = if *runs { "start" } else { "stop" };
        let text = format!("status = \"{status}\"\n{}", TEXTS[*text].1);
        let (service, _) = load(&[(name, &text)]).remove(0);
        (service, *stamp)
    });
    each.collect()
}

/// Everything that runs, by name, with the number of its process.
fn running(machine: &Machine) -> BTreeMap<String, u32> {
    let units = machine.supervisor.units().map(|(_, unit)| unit);
    let running = units.filter_map(|unit| Some((unit.service().name.clone(), unit.pid()?)));
    running.collect()
}

proptest! {
    #[test]
    fn a_reload_does_what_the_difference_is_and_nothing_else(all in prop::collection::vec(files(), 2..5)) {
        let mut machine = Machine::new(&[]);
        let mut known = Files::new();
        for files in all {
            let before = running(&machine);
            let told = machine.supervisor.compare(&read(&files));
            let done = machine.supervisor.reload(read(&files), machine.now);
            prop_assert_eq!(&told, &done);
            let names = |keep: &dyn Fn(&str) -> bool| -> Vec<String> {
                NAMES.iter().filter(|name| keep(name)).map(|name| (*name).to_owned()).collect()
            };
            prop_assert_eq!(&done.added, &names(&|name| !known.contains_key(name) && files.contains_key(name)));
            prop_assert_eq!(&done.removed, &names(&|name| known.contains_key(name) && !files.contains_key(name)));
            let both = |name: &str| known.get(name).zip(files.get(name));
            prop_assert_eq!(&done.changed, &names(&|name| both(name).is_some_and(|(old, new)| old != new)));
            let anew = |name: &str| both(name).is_some_and(|((old, was, _), (new, is, runs))| {
                *runs && before.contains_key(name) && (TEXTS[*old].0 != TEXTS[*new].0 || was != is)
            });
            prop_assert_eq!(&done.restarted, &names(&anew));
            machine.run_until(machine.now + 60_000);
            let after = running(&machine);
            prop_assert_eq!(after.keys().cloned().collect::<Vec<_>>(), names(&|name| files.get(name).is_some_and(|(_, _, runs)| *runs)));
            for (name, pid) in &after {
                let same = before.get(name) == Some(pid);
                prop_assert_eq!(same, before.contains_key(name) && !anew(name), "{}", name);
            }
            prop_assert_eq!(machine.supervisor.reload(read(&files), machine.now), Difference::default());
            known = files;
        }
    }
}

#[test]
fn a_status_that_changes_leaves_a_process_alone_that_goes_on() {
    let mut machine = Machine::new(&[("a", ""), ("b", "")]);
    machine.run_until(100);
    let before = running(&machine);
    let services = [("a", "status = \"ignore\"\n"), ("b", "status = \"stop\"\n")];
    let difference = machine.supervisor.reload(load(&services), 100);
    assert_eq!((difference.changed.len(), difference.restarted.len()), (2, 0));
    machine.run_until(1000);
    assert_eq!(running(&machine).get("a"), before.get("a"));
    assert_eq!(machine.state("b"), &State::Inactive);
}
