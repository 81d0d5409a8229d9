//! Who is left out because its conditions do not hold.

use super::*;

#[test]
fn the_skipped_are_no_failure_satisfy_others_and_are_asked_again_when_started() {
    let services = [
        ("kvm", "critical = true\n"),
        ("vm", "[dependencies]\nrequires = [\"kvm\"]\n"),
        (
            "ready",
            "[target]\nname = \"ready\"\n[dependencies]\nrequires = [\"kvm\", \"vm\"]\n",
        ),
    ];
    let mut machine = Machine::new(&services).with("kvm", Behaviour::Skipped);
    machine.run_until(100);
    assert_eq!(machine.lines("kvm: "), ["kvm: skipped: /dev/kvm does not exist"]);
    assert_eq!(
        (machine.state("vm"), machine.supervisor.ready_at()),
        (&State::Running, Some(0))
    );
    let kvm = machine.supervisor.find("kvm").expect("kvm");
    assert_eq!(
        machine.supervisor.describe(kvm),
        "kvm: skipped: /dev/kvm does not exist"
    );
    assert_eq!(machine.supervisor.status(kvm, 100)["reason"], "/dev/kvm does not exist");
    machine.crash(&services);
    machine.run_until(200);
    assert_eq!(
        (machine.lines("skipped").len(), machine.state("kvm").word()),
        (1, "skipped")
    );
    assert_eq!(
        machine.supervisor.stop("kvm", 200).map_err(|error| error.code()),
        Err(-32002)
    );
    machine.behaviours.clear();
    machine.supervisor.start("kvm", 200).expect("it may start");
    machine.run_until(300);
    assert_eq!(machine.state("kvm"), &State::Running);
    machine.supervisor.shut_down(Goal::Poweroff, 300);
    machine.run_until(400);
    assert_eq!(machine.finished, Some(Goal::Poweroff));
}
