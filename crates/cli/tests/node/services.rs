//! How services of a runtime behave on a real node.

use std::time::Duration;

use crate::system::{BOOT, Script, System, console, wait_all};

#[test]
fn crashing_service_is_restarted_with_back_off() {
    let system = System::new(&[Script {
        name: "crasher",
        script: "#!/bin/sh\necho CRASHER-STARTED >/dev/console\nexit 7\n",
        service: "[service]\nname = \"crasher\"\nexec = \"/var/cache/bin/crasher\"\n\
                  [lifecycle]\nrestart = \"always\"\nrestart_delay_ms = 400\nmax_restarts = 0\n",
    }]);
    system.publish();
    let server = system.serve();
    let mut vm = system.boot(server.address().port(), Vec::new());
    let starts: Vec<Duration> = (0..5)
        .map(|_| vm.wait_for("CRASHER-STARTED", BOOT).unwrap().at)
        .collect();
    let waits: Vec<Duration> = starts.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(
        waits[3] > waits[1] + Duration::from_millis(300),
        "the pauses grow: {waits:?}"
    );
    let said = console(&vm);
    assert!(said.contains("crasher: ") && said.contains("exit code 7"), "{said}");
}

#[test]
fn service_that_never_becomes_ready_is_named_on_the_console() {
    let system = System::new(&[Script {
        name: "silent",
        script: "#!/bin/sh\nexec sleep 100000\n",
        service: "[service]\nname = \"silent\"\nexec = \"/var/cache/bin/silent\"\n\
                  [lifecycle]\nstart_timeout_ms = 600000\n\
                  [health]\ntype = \"tcp\"\ntarget = \"127.0.0.1:4711\"\n",
    }]);
    system.publish();
    let server = system.serve();
    let mut vm = system.boot(server.address().port(), Vec::new());
    let line = vm.wait_for("not ready after", BOOT).unwrap().text;
    assert!(line.contains("silent") && line.contains("127.0.0.1:4711"), "{line}");
}

/// Says when it starts and when it is told to stop, on the console.
const POLITE: Script = Script {
    name: "polite",
    script: "#!/bin/sh\ntrap 'echo POLITE-STOPPED >/dev/console; exit 0' TERM\necho POLITE-STARTED >/dev/console\n\
             while :; do sleep 1; done\n",
    service: "[service]\nname = \"polite\"\nexec = \"/var/cache/bin/polite\"\n",
};

#[test]
fn power_button_stops_services_and_powers_off() {
    let system = System::new(&[POLITE]);
    system.publish();
    let server = system.serve();
    let mut vm = system.boot(server.address().port(), Vec::new());
    wait_all(&vm, &["POLITE-STARTED", "] ready"]);
    vm.powerdown().unwrap();
    vm.wait_for("POLITE-STOPPED", BOOT).unwrap();
    assert!(vm.wait_exit(BOOT).unwrap().success());
}

#[test]
fn ctrl_alt_delete_stops_services_and_reboots() {
    let system = System::new(&[POLITE]);
    system.publish();
    let server = system.serve();
    let mut vm = system.boot(server.address().port(), Vec::new());
    wait_all(&vm, &["POLITE-STARTED", "] ready"]);
    vm.ctrl_alt_del().unwrap();
    vm.wait_for("POLITE-STOPPED", BOOT).unwrap();
    // `-no-reboot` makes QEMU end where the machine would start again.
    assert!(vm.wait_exit(BOOT).unwrap().success());
}
