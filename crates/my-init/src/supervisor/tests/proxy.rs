//! Services behind a proxy.

use super::*;

const PROXY: &str = "[proxy]\nservice = \"web\"\nbackend = \"127.0.0.1:81\"\n[socket]\nlisten = [\"127.0.0.1:80\"]\n";

fn files(web: &str) -> [(&str, &str); 2] {
    [("front", PROXY), ("web", web)]
}

fn end(machine: &mut Machine, name: &str, exit: Exit) {
    let id = machine.supervisor.find(name).expect("there");
    machine.supervisor.exited(id, exit, machine.now);
}

fn connected(web: &str) -> Machine {
    let mut machine = Machine::new(&files(web));
    machine.run_until(1000);
    let id = machine.supervisor.find("front").expect("front");
    machine.supervisor.connected(id, 1000);
    machine.run_until(5000);
    machine
}

#[test]
fn a_service_comes_and_goes_with_the_proxys_process() {
    let mut machine = connected("status = \"stop\"\n");
    assert_eq!(
        (machine.state("front"), machine.state("web")),
        (&State::Running, &State::Running)
    );
    end(&mut machine, "front", Exit::Code(0));
    machine.run_until(9000);
    assert_eq!(
        (machine.state("front"), machine.state("web")),
        (&State::Listening, &State::Inactive)
    );
}

#[test]
fn one_that_runs_anyway_goes_on() {
    let mut machine = connected("");
    end(&mut machine, "front", Exit::Code(0));
    machine.run_until(9000);
    assert_eq!(
        (machine.state("front"), machine.state("web")),
        (&State::Listening, &State::Running)
    );
}

#[test]
fn a_crash_of_the_service_is_its_own_and_its_failure_is_the_proxys_too() {
    let mut machine = connected("status = \"stop\"\n[lifecycle]\nmax_restarts = 1\n");
    end(&mut machine, "web", CRASH);
    machine.run_until(6000);
    assert_eq!(
        (machine.state("front"), machine.state("web")),
        (&State::Running, &State::Running)
    );
    end(&mut machine, "web", CRASH);
    machine.run_until(20_000);
    assert_eq!(machine.state("web"), &State::Failed(Reason::ExitCode(1)));
    assert_eq!(machine.state("front"), &State::Listening);
}

#[test]
fn a_successor_knows_whom_it_stops() {
    let web = "status = \"stop\"\n";
    let mut machine = connected(web);
    machine.crash(&files(web));
    end(&mut machine, "front", Exit::Code(0));
    machine.crash(&files(web));
    machine.run_until(9000);
    assert_eq!(
        (machine.state("front"), machine.state("web")),
        (&State::Listening, &State::Inactive)
    );
}
