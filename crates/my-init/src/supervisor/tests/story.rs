//! What is said of a service is true in every state, also for whoever succeeds a supervisor that was killed.

use super::*;

const NEEDS: &str = "[dependencies]\nrequires = [{ name = \"db\", on_stop = \"stop\" }]\n";
const HTTP: &str =
    "[health]\ntype = \"http\"\ntarget = \"127.0.0.1:80/\"\ninterval_ms = 1000\nretries = 1\naction = \"mark\"\n";

/// Why a service is not meant to run, now and as a successor sees it.
fn rests(machine: &mut Machine, services: &[(&str, &str)], name: &str) -> String {
    let told = |machine: &Machine| {
        let id = machine.supervisor.find(name).expect("there");
        let lines = machine.supervisor.why(id, machine.now);
        let line = lines.iter().find_map(|line| line.strip_prefix("not meant to run: "));
        line.unwrap_or_default().to_owned()
    };
    let first = told(machine);
    machine.crash(services);
    assert_eq!(told(machine), first);
    first
}

fn status(machine: &Machine, name: &str) -> serde_json::Value {
    let id = machine.supervisor.find(name).expect("there");
    machine.supervisor.status(id, machine.now)
}

#[test]
fn why_says_who_put_a_service_down() {
    let services = [
        ("db", ""),
        ("web", NEEDS),
        ("idle", "status = \"stop\"\n"),
        ("timed", "oneshot = true\n[timer]\nevery = \"1 h\"\n"),
        ("g", "[group]\nmembers = [\"member\"]\n"),
        ("member", ""),
    ];
    let mut machine = Machine::new(&services);
    machine.run_until(1000);
    assert_eq!(rests(&mut machine, &services, "web"), "");
    machine.supervisor.stop("db", 1000).expect("runs");
    machine.supervisor.stop("g", 1000).expect("runs");
    machine.run_until(2000);
    let mut told = |name: &str| rests(&mut machine, &services, name);
    assert_eq!(told("db"), "it was stopped by hand");
    assert_eq!(told("web"), "db was stopped");
    assert_eq!(told("member"), "its group g was stopped");
    assert_eq!(told("timed"), "it is started at its times, next in 3598 s");
    assert!(told("idle").starts_with("nobody has started it, and it is not started"));
    machine.supervisor.start("web", 2000).expect("waits");
    machine.supervisor.shut_down(Goal::Reboot, 2000);
    assert_eq!(rests(&mut machine, &services, "web"), "reboot is under way");
}

#[test]
fn a_service_that_went_with_its_proxy_says_so() {
    let proxy = "[proxy]\nservice = \"web\"\nbackend = \"127.0.0.1:81\"\n[socket]\nlisten = [\"127.0.0.1:80\"]\n";
    let services = [("front", proxy), ("web", "status = \"stop\"\n")];
    let mut machine = Machine::new(&services);
    machine.run_until(1000);
    let front = machine.supervisor.find("front").expect("front");
    machine.supervisor.connected(front, 1000);
    machine.run_until(5000);
    machine.supervisor.exited(front, Exit::Code(0), 5000);
    machine.run_until(9000);
    assert_eq!(
        rests(&mut machine, &services, "web"),
        "nobody is connected to front, its proxy"
    );
}

#[test]
fn an_old_failure_is_no_reason_for_what_happens_now() {
    let text = format!("{HTTP}[lifecycle]\nrestart = \"always\"\nrestart_delay_ms = 5000\nstability_period_ms = 1\n");
    let services = [("web", text.as_str())];
    let mut machine = Machine::new(&services);
    machine.health.insert("web".into(), Ok(()));
    machine.run_until(100);
    machine.supervisor.exited(0, Exit::Code(3), 100);
    assert_eq!(status(&machine, "web")["reason"], "exit code 3");
    machine.run_until(500);
    assert!(status(&machine, "web")["reason"].is_null());
    machine.health.insert("web".into(), Err("refused".into()));
    machine.run_until(3000);
    let unwell = status(&machine, "web");
    assert_eq!(
        [&unwell["state"], &unwell["reason"], &unwell["last_failure"]],
        ["degraded", "unhealthy: refused", "exit code 3"]
    );
    machine.supervisor.exited(0, Exit::Code(0), 3000);
    assert_eq!(machine.state("web"), &State::Restarting);
    for _ in 0..2 {
        assert_eq!(status(&machine, "web")["reason"], "exit code 0");
        machine.crash(&services);
    }
}

#[test]
fn relations_are_told_as_they_are_waited_for() {
    let socket = "[socket]\nlisten = [\"127.0.0.1:80\"]\n";
    let after = "[dependencies]\nafter = [\"flaps\"]\nrequires = [\"sock\"]\n";
    let mut machine = Machine::new(&[("flaps", ""), ("sock", socket), ("web", after)]);
    machine.run_until(100);
    for _ in 0..2 {
        machine.supervisor.exited(0, CRASH, machine.now);
        machine.act();
    }
    assert_eq!(
        (machine.state("flaps"), machine.state("sock")),
        (&State::Restarting, &State::Listening)
    );
    assert_eq!(machine.state("web"), &State::Running);
    let relations = machine.supervisor.relations(2);
    let satisfied = relations.as_array().into_iter().flatten().map(|one| &one["satisfied"]);
    assert!(
        satisfied.clone().count() == 2 && satisfied.clone().all(|one| *one == true),
        "{relations}"
    );
}

#[test]
fn nobody_is_said_to_have_verified_what_cannot_be() {
    let services = [
        ("a", "[dependencies]\nrequires = [\"a\"]\n"),
        ("g", "[group]\nmembers = [\"m\"]\n"),
        ("m", "[lifecycle]\nrestart = \"never\"\n"),
        ("sock", "[socket]\nlisten = [\"127.0.0.1:80\"]\n"),
    ];
    let mut machine = Machine::new(&services).with("m", Behaviour::Broken);
    machine.run_until(5000);
    let by = |name: &str| status(&machine, name)["verified_by"].to_string();
    assert_eq!(by("a"), "\"the service files\"");
    assert_eq!(by("g"), "\"the states of its members\"");
    assert_eq!(by("m"), "\"the attempt to start it\"");
    assert_eq!(by("sock"), "\"its sockets, which are open\"");
}
