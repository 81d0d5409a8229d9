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

/// The state of a service.
fn state(machine: &Namespace, name: &str) -> String {
    let parameters = serde_json::json!({ "name": name });
    let status = my_init::client::call(&machine.inside("/run/my_init.sock"), "service.status", &parameters).unwrap();
    status["state"].as_str().unwrap().to_owned()
}

const FAILS: &str = "[service]\nexec = \"echo all is lost; exit 3\"\nshell = true\noneshot = true\ncritical = true\n\
                     [lifecycle]\nrestart = \"never\"\n";

#[test]
fn a_critical_failure_is_told_and_is_a_way_in_only_when_allowed() {
    for (line, expected) in [
        ("quiet", "emergency: the rest goes on; my_init.emergency=shell|reboot"),
        // No terminal is there that a shell could control.
        ("my_init.emergency=shell", "no shell on /dev/console: "),
        (
            "my_init.emergency=reboot",
            "reboot asked for by the failure of a critical service",
        ),
    ] {
        let files = [
            ("test/cmdline", line),
            ("etc/my_init/services/fails.service.toml", FAILS),
            ("etc/my_init/services/web.service.toml", STAYS),
        ];
        let Some(mut machine) = Namespace::start(&files) else {
            return;
        };
        machine.wait_for_line(expected);
        let said = machine.console();
        assert!(
            said.contains("emergency: critical service fails: failed: exit code 3")
                && said.contains("last line: all is lost"),
            "{said}"
        );
        if line.ends_with("reboot") {
            assert_eq!(machine.end(), Some(SIGHUP));
        } else {
            machine.wait("web", || state(&machine, "web") == "running");
            assert!(!machine.console().contains("] ready"));
        }
    }
}

#[test]
fn a_boot_can_be_of_one_target_or_of_nothing() {
    let needs = "[service]\nexec = \"sleep 1000\"\n[dependencies]\nrequires = [\"base\"]\n";
    let files = [
        ("etc/my_init/services/base.service.toml", STAYS),
        ("etc/my_init/services/web.service.toml", needs),
        ("etc/my_init/services/other.service.toml", STAYS),
    ];
    let boot = |line: &str| Namespace::start(&[&files[..], &[("test/cmdline", line)]].concat());
    let Some(machine) = boot("my_init.target=web") else {
        return;
    };
    machine.wait_for_line("] ready");
    assert_eq!(
        ["base", "web", "other"].map(|name| state(&machine, name)),
        ["running", "running", "inactive"]
    );
    let machine = boot("my_init.rescue my_init.target=web").unwrap();
    machine.wait_for_line("rescue: no service is started");
    machine.wait("the socket", || machine.inside("/run/my_init.sock").exists());
    assert_eq!(
        ["base", "web"].map(|name| state(&machine, name)),
        ["inactive", "inactive"]
    );
    let machine = boot("my_init.target=nobody").unwrap();
    machine.wait_for_line("my_init.target=nobody: there is no such service, so everything is started");
    machine.wait_for_line("] ready");
}
