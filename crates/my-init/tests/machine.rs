//! What PID 1 does with a machine, as far as namespaces can be one.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::STAYS;
use common::namespace::Namespace;

const SIGHUP: i32 = 1;
const SIGINT: i32 = 2;
const SIGTERM: i32 = 15;

#[test]
fn going_down_ends_everybody_and_names_the_late() {
    // A service that leaves somebody who does not listen in a session of its own.
    let leaves = "[service]\noneshot = true\nexec = \"sh /test/leaves\"\n";
    let left = "setsid sh -c 'trap \"\" TERM HUP; : >/test/left; while :; do sleep 1; done' &\n";
    let files = [
        ("test/leaves", left),
        ("etc/my_init/services/leaves.service.toml", leaves),
        ("etc/my_init/services/web.service.toml", STAYS),
    ];
    let Some(mut machine) = Namespace::start(&files) else {
        return;
    };
    machine.wait_for_line("] ready");
    machine.wait("the one who is left", || machine.shared("left").exists());
    machine.signal(SIGTERM);
    assert_eq!(machine.end(), Some(SIGINT), "{}", machine.console());
    let said = machine.console();
    let places: Vec<Option<usize>> = [
        "poweroff: stopping services",
        "stopping every process",
        "did not end when asked, and is killed",
        "unmounting file systems",
        "] poweroff\n",
    ]
    .iter()
    .map(|line| said.find(line))
    .collect();
    assert!(places.is_sorted() && places[0].is_some(), "{places:?}\n{said}");
    assert!(!said.contains("cannot be killed"), "{said}");
}

#[test]
fn each_signal_is_understood() {
    for (number, line, end) in [
        (2, "reboot asked for by SIGINT", SIGHUP),
        (30, "poweroff asked for by SIGPWR", SIGINT),
        (37, "halt asked for by SIGRTMIN+3", SIGINT),
        (39, "reboot asked for by SIGRTMIN+5", SIGHUP),
    ] {
        let Some(mut machine) = Namespace::start(&[("etc/my_init/services/web.service.toml", STAYS)]) else {
            return;
        };
        machine.wait_for_line("] ready");
        machine.signal(number);
        assert_eq!(machine.end(), Some(end), "{}", machine.console());
        assert!(machine.console().contains(line), "{}", machine.console());
    }
}

#[test]
fn a_second_request_and_a_forced_one_do_not_wait() {
    let stubborn = "[service]\nexec = \"trap '' TERM; while :; do sleep 1; done\"\nshell = true\n[lifecycle]\nstop_timeout_ms = 600000\n";
    for signals in [&[30, 38][..], &[48]] {
        let Some(mut machine) = Namespace::start(&[("etc/my_init/services/stubborn.service.toml", stubborn)]) else {
            return;
        };
        machine.wait_for_line("] ready");
        for number in signals {
            machine.signal(*number);
        }
        assert_eq!(machine.end(), Some(SIGINT), "{}", machine.console());
        assert!(
            machine.console().contains("asked for by SIGRTMIN+"),
            "{}",
            machine.console()
        );
    }
}

#[test]
fn ctrl_alt_del_again_and_again_needs_no_supervisor() {
    let Some(mut machine) = Namespace::start(&[("etc/my_init/services/web.service.toml", STAYS)]) else {
        return;
    };
    machine.wait_for_line("] ready");
    common::send(machine.supervisor(), rustix::process::Signal::STOP);
    // Presses that wait are one, so there may have to be more of them.
    machine.wait("the end", || {
        let there = machine.is_there();
        if there {
            machine.signal(2);
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        !there
    });
    assert_eq!(machine.end(), Some(SIGHUP), "{}", machine.console());
}

#[test]
fn early_user_space_sets_the_machine_up() {
    let files = [
        ("etc/my_init/services/web.service.toml", STAYS),
        ("etc/hostname", "# a name\nnode-7\n"),
        (
            "etc/sysctl.d/50-a.conf",
            "net.ipv4.ip_forward = 1\nno.such.key = 1\n-no.other = 1\n",
        ),
        (
            "etc/tmpfiles.d/a.conf",
            "d /run/made 0750\nf /run/made/%H 0640 - - - %m\nx /tmp/y\n",
        ),
    ];
    let Some(mut machine) = Namespace::start(&files) else {
        return;
    };
    machine.wait_for_line("] ready");
    let read = |path: &str| std::fs::read_to_string(machine.inside(path)).unwrap();
    let id = read("/etc/machine-id");
    assert!(
        id.len() == 33 && id.trim().bytes().all(|byte| byte.is_ascii_hexdigit()),
        "{id}"
    );
    assert_eq!(read("/run/made/node-7"), id.trim());
    assert!(machine.inside("/dev/fd").symlink_metadata().is_ok());
    let said = machine.console();
    for line in [
        "/etc/sysctl.d/50-a.conf:2: no/such/key: ",
        "/etc/tmpfiles.d/a.conf:3: the type `x` is not understood",
    ] {
        assert!(said.contains(line), "{said}");
    }
    assert_eq!(
        said.matches("50-a.conf").count() + said.matches("a.conf:").count(),
        3,
        "{said}"
    );
    machine.signal(SIGTERM);
    assert_eq!(machine.end(), Some(SIGINT));
}
