//! Oneshots that are started at certain times.

use proptest::prelude::*;

use serde_json::json;

use super::*;

const DAY: Millis = 24 * 60 * 60 * 1000;
const HOUR: Millis = 60 * 60 * 1000;

fn job(timer: &str) -> String {
    format!("oneshot = true\n[timer]\n{timer}\n")
}

fn machine(timer: &str, takes: Millis) -> Machine {
    Machine::new(&[("job", &job(timer))]).with("job", Behaviour::Ends(takes, Exit::Code(0)))
}

fn runs(machine: &Machine) -> Vec<Millis> {
    let times = machine.lines("spawn job").into_iter();
    times
        .map(|line| line.rsplit(' ').next().and_then(|at| at.parse().ok()).expect("a time"))
        .collect()
}

#[test]
fn intervals_count_from_the_time_before_and_a_run_is_not_doubled() {
    let mut quick = machine("every = \"10 s\"", 100);
    quick.run_until(35_000);
    assert_eq!(runs(&quick), [10_000, 20_000, 30_000]);
    assert!(!quick.lines("ready").is_empty());
    let mut slow = machine("every = \"10 s\"\nafter_boot = \"1 s\"", 15_000);
    slow.run_until(45_000);
    assert_eq!(runs(&slow), [1000, 21_000, 41_000]);
    let id = slow.supervisor.find("job").expect("job");
    let status = slow.supervisor.status(id, 45_000);
    assert_eq!(
        (&status["timer"]["skipped"], &status["timer"]["next_in_ms"]),
        (&json!(2), &json!(6000))
    );
}

#[test]
fn a_calendar_follows_the_clock_when_it_is_set() {
    let mut machine = machine("calendar = \"daily 03:00\"", 100);
    // Without a clock of its own the node begins in 1970; then somebody tells it the time: 01:00, years later.
    machine.supervisor.set_clock(0, 0);
    machine
        .supervisor
        .reload(load(&[("job", &job("calendar = \"daily 03:00\""))]), 0);
    let day = 20_000 * DAY;
    machine.run_until(1000);
    machine.supervisor.set_clock(day + HOUR, 1000);
    machine.run_until(1000 + 3 * HOUR);
    assert_eq!(
        runs(&machine),
        [1000 + 2 * HOUR],
        "what was jumped over years ago is not done"
    );
    // Back by half an hour, to before 03:00: it was done.
    machine.supervisor.set_clock(day + 2 * HOUR + HOUR / 2, machine.now);
    machine.run_until(machine.now + 2 * HOUR);
    assert_eq!(runs(&machine).len(), 1);
    // Forward over the next time: at once, and once.
    let now = machine.now;
    machine.supervisor.set_clock(day + DAY + 4 * HOUR, now);
    machine.run_until(now + HOUR);
    assert_eq!(runs(&machine)[1..], [now]);
    machine.run_until(now + 23 * HOUR + 100);
    assert_eq!(runs(&machine)[2..], [now + 23 * HOUR]);
}

#[test]
fn a_changed_file_changes_the_times_and_runs_nothing() {
    let mut machine = machine("every = \"10 s\"", 100);
    machine.run_until(15_000);
    machine
        .supervisor
        .reload(load(&[("job", &job("every = \"7 s\""))]), 15_000);
    machine.run_until(30_000);
    assert_eq!(runs(&machine), [10_000, 22_000, 29_000]);
    machine.supervisor.reload(
        load(&[("job", &format!("status = \"stop\"\n{}", job("every = \"7 s\"")))]),
        30_000,
    );
    machine.run_until(90_000);
    assert_eq!(runs(&machine).len(), 3);
    machine.supervisor.start("job", 90_000).expect("by hand");
    machine.run_until(91_000);
    assert_eq!(runs(&machine).len(), 4);
}

#[test]
fn jitter_is_within_its_bounds() {
    let mut machine = machine("every = \"10 s\"\njitter = \"3 s\"", 100);
    machine.run_until(1_000_000);
    let late: Vec<Millis> = runs(&machine)
        .iter()
        .zip(1..)
        .map(|(at, count)| at - count * 10_000)
        .collect();
    assert!(late.len() >= 99 && late.iter().all(|late| *late <= 3000), "{late:?}");
    assert!(late.iter().max() > late.iter().min());
}

proptest! {
    #[test]
    fn no_time_is_missed_or_counts_twice_when_supervisors_are_killed(
        every in 1..20_u64,
        after_boot in 1..20_u64,
        takes in 1..15_000_u64,
        hour in 0..24_u8,
        mut crashes in proptest::collection::vec(0..2 * DAY, 1..8),
    ) {
        let timer = format!("every = \"{every} h\"\nafter_boot = \"{after_boot} min\"\ncalendar = \"daily {hour:02}:00\"\njitter = \"10 s\"");
        let files = [("job", &*job(&timer))];
        let history = |crashes: &[Millis]| {
            let mut machine = Machine::new(&files).with("job", Behaviour::Ends(takes, Exit::Code(0)));
            machine.supervisor.set_clock(7 * HOUR, 0);
            for at in crashes {
                machine.run_until(*at);
                machine.crash(&files);
            }
            machine.run_until(2 * DAY);
            runs(&machine)
        };
        crashes.sort_unstable();
        let calm = history(&[]);
        prop_assert!(calm.len() >= 3);
        prop_assert_eq!(history(&crashes), calm);
    }
}
