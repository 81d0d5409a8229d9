//! A state disk that somebody has written to is not believed: neither its files, nor its memory, nor the clock.

use std::fs;

use crate::system::{BOOT, Script, System, console, dead_port, wait_all};

const APP: Script = Script {
    name: "app",
    script: "#!/bin/sh\necho APP-RAN-GOOD >/dev/console\nexec sleep 100000\n",
    service: "[service]\nname = \"app\"\nexec = \"/var/cache/bin/app\"\n",
};

/// A node that has generation 1 on its disk and was shut down in order.
fn installed() -> System {
    let system = System::new(&[APP]);
    system.publish();
    let server = system.serve();
    let mut vm = system.boot(server.address().port(), vec![system.disk()]);
    wait_all(&vm, &["APP-RAN-GOOD", "] ready"]);
    vm.powerdown().unwrap();
    vm.wait_exit(BOOT).unwrap();
    system
}

/// Replaces text on the disk, wherever it is stored, by other text of the same length.
fn tamper(system: &System, from: &str, to: &str) {
    assert_eq!(from.len(), to.len());
    let path = system.disk().path;
    let mut bytes = fs::read(&path).unwrap();
    let places: Vec<usize> = (0..bytes.len() - from.len())
        .filter(|place| bytes[*place..].starts_with(from.as_bytes()))
        .collect();
    assert!(!places.is_empty(), "`{from}` is not on the disk");
    for place in places {
        bytes[place..place + to.len()].copy_from_slice(to.as_bytes());
    }
    fs::write(&path, bytes).unwrap();
}

/// A service of the image that has my_init read its service files again before `runtime-fetch` has verified anything,
/// shows what it found, and runs a program of the release by name.
fn add_hasty_service(system: &System) {
    system.write(
        "services/hasty.service.toml",
        "[service]\nname = \"hasty\"\n\
         exec = \"/bin/sh -c 'while :; do /sbin/my_init reload; /sbin/my_init list >/dev/console; /var/cache/bin/app; sleep 1; done'\"\n\
         [dependencies]\nafter = [\"state\"]\n",
    );
}

#[test]
fn tampered_generation_is_not_run_offline_even_when_somebody_reloads_or_calls_it() {
    let system = installed();
    add_hasty_service(&system);
    tamper(&system, "APP-RAN-GOOD", "APP-RAN-EVIL");
    let mut vm = system.boot(dead_port(), vec![system.disk()]);
    let line = vm.wait_for("generation 1: ", BOOT).unwrap().text;
    assert!(line.contains("bin/app") || line.contains("flist"), "{line}");
    vm.wait_for("no good generation is on the disk", BOOT).unwrap();
    vm.wait_for("not ready after 30 s", BOOT).unwrap();
    let said = console(&vm);
    assert!(!said.contains("APP-RAN"), "{said}");
}

#[test]
fn tampered_service_file_is_not_run_offline() {
    let system = installed();
    add_hasty_service(&system);
    tamper(
        &system,
        "exec = \"/var/cache/bin/app\"",
        "exec = \"/bin/echo APP-RAN\" ",
    );
    let mut vm = system.boot(dead_port(), vec![system.disk()]);
    vm.wait_for("no good generation is on the disk", BOOT).unwrap();
    vm.wait_for("not ready after 30 s", BOOT).unwrap();
    let said = console(&vm);
    assert!(said.lines().any(|line| line.starts_with("hasty ")), "{said}");
    assert!(!said.lines().any(|line| line.starts_with("app ")), "{said}");
}

#[test]
fn clock_in_1971_is_set_to_what_is_known_and_the_node_starts() {
    let system = System::new(&[APP]);
    system.write(
        "services/clock.service.toml",
        "[service]\nname = \"clock\"\nexec = \"/bin/busybox date -s 197101010000\"\noneshot = true\n",
    );
    let path = system.repository().join("services/runtime-fetch.service.toml");
    let fetch = fs::read_to_string(path).unwrap();
    let later = fetch.replace(
        "after = [\"state\", \"mosnet\"]",
        "after = [\"state\", \"mosnet\", \"clock\"]",
    );
    assert_ne!(fetch, later);
    system.write("services/runtime-fetch.service.toml", &later);
    system.publish();
    let server = system.serve();
    let vm = system.boot(server.address().port(), Vec::new());
    wait_all(
        &vm,
        &["the clock said 1971-01-01T", "; set to 20", "APP-RAN-GOOD", "] ready"],
    );
}
