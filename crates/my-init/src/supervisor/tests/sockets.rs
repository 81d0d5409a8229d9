//! Services whose sockets are open before they run.

use super::*;

const SOCKET: &str = "[socket]\nlisten = [\"127.0.0.1:80\"]\n";
const NEEDS: (&str, &str) = ("user", "[dependencies]\nrequires = [\"web\"]\n");

fn connect(machine: &mut Machine) {
    let id = machine.supervisor.find("web").expect("web");
    machine.supervisor.connected(id, machine.now);
}

#[test]
fn whoever_requires_it_starts_when_its_socket_listens() {
    let slow = format!("notify = true\n{SOCKET}start = \"boot\"\n");
    for text in [SOCKET, &slow] {
        let mut machine = Machine::new(&[("web", text), NEEDS]);
        machine.run_until(1000);
        assert_eq!(machine.state("user"), &State::Running);
    }
}

#[test]
fn a_connection_starts_it_and_a_good_end_makes_it_wait_for_the_next() {
    let mut machine = Machine::new(&[("web", SOCKET), NEEDS]);
    machine.run_until(100);
    assert_eq!(
        (machine.state("web"), machine.lines("spawn web")),
        (&State::Listening, vec![])
    );
    assert!(!machine.lines("ready").is_empty(), "it waits for nothing");
    connect(&mut machine);
    machine.run_until(5000);
    assert_eq!(machine.lines("spawn web"), ["spawn web at 100"]);
    let id = machine.supervisor.find("web").expect("web");
    machine.supervisor.exited(id, Exit::Code(0), 5000);
    machine.run_until(6000);
    assert_eq!(
        (machine.state("web"), machine.state("user")),
        (&State::Listening, &State::Running)
    );
    machine.supervisor.start("web", 6000).expect("it has no process");
    machine.run_until(7000);
    assert_eq!(machine.state("web"), &State::Running);
    machine.supervisor.stop("web", 7000).expect("it runs");
    machine.run_until(8000);
    assert_eq!(
        (machine.state("web"), machine.lines("close")),
        (&State::Inactive, vec!["close web at 7005"])
    );
}

#[test]
fn one_that_ends_at_once_and_leaves_the_connection_waiting_does_not_spin() {
    let mut machine = Machine::new(&[("web", SOCKET)]).with("web", Behaviour::Ends(5, Exit::Code(0)));
    for at in 0..100 {
        machine.run_until(at * 100);
        connect(&mut machine);
    }
    let spawns = machine.lines("spawn web").len();
    assert!((8..=10).contains(&spawns), "{:?}", machine.log);
}

#[test]
fn who_fails_keeps_its_sockets_until_it_is_given_up() {
    let text = format!("{SOCKET}start = \"boot\"\n[lifecycle]\nmax_restarts = 2\nrestart_jitter_percent = 0\n");
    let mut machine = Machine::new(&[("web", &text), NEEDS]).with("web", Behaviour::Ends(5, CRASH));
    machine.run_until(1000);
    assert_eq!(
        (machine.state("web"), machine.state("user")),
        (&State::Restarting, &State::Running)
    );
    machine.run_until(10_000);
    assert_eq!(machine.state("web"), &State::Failed(Reason::ExitCode(1)));
    assert_eq!((machine.lines("close").len(), machine.lines("spawn web").len()), (1, 3));
}

#[test]
fn a_successor_knows_who_listens_and_who_was_called() {
    let files = [("web", SOCKET), NEEDS];
    let mut machine = Machine::new(&files);
    machine.run_until(100);
    machine.crash(&files);
    machine.run_until(200);
    assert_eq!(
        (machine.state("web"), machine.lines("spawn").len()),
        (&State::Listening, 1)
    );
    connect(&mut machine);
    machine.crash(&files);
    machine.run_until(300);
    assert_eq!(
        (machine.state("web"), machine.lines("spawn web")),
        (&State::Running, vec!["spawn web at 200"])
    );
    machine.supervisor.shut_down(Goal::Poweroff, 300);
    machine.run_until(1000);
    assert_eq!(machine.finished, Some(Goal::Poweroff));
}
