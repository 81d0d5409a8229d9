//! Generations on a node with a disk.

use std::time::Duration;

use crate::system::{BOOT, Script, System, console, dead_port, wait_all, wait_any};

const FIRST: Script = Script {
    name: "app",
    script: "#!/bin/sh\necho APP-ONE >/dev/console\nexec sleep 100000\n",
    service: "[service]\nname = \"app\"\nexec = \"/var/cache/bin/app\"\n",
};
const SECOND: Script = Script {
    script: "#!/bin/sh\necho APP-TWO >/dev/console\nexec sleep 100000\n",
    ..FIRST
};

/// A node that has generation 1 on its disk and was shut down in order.
fn installed() -> System {
    let system = System::new(&[FIRST]);
    system.publish();
    let server = system.serve();
    let mut vm = system.boot(server.address().port(), vec![system.disk()]);
    wait_all(&vm, &["APP-ONE", "] ready"]);
    vm.powerdown().unwrap();
    vm.wait_exit(BOOT).unwrap();
    system
}

#[test]
fn channel_unreachable_at_boot_starts_the_last_good_generation() {
    let system = installed();
    let vm = system.boot(dead_port(), vec![system.disk()]);
    wait_all(
        &vm,
        &["unreachable", "starting generation 1 offline", "APP-ONE", "] ready"],
    );
}

/// A server at a port that was dead until now.
fn serve_at(system: &System, port: u16) -> mos_serve::Server {
    let any = std::net::SocketAddr::from(([127, 0, 0, 1], port));
    mos_serve::Server::bind(any, &system.channel(), std::sync::Arc::new(|_| {})).unwrap()
}

#[test]
fn offline_node_finds_the_channel_again_by_itself() {
    let system = installed();
    let port = dead_port();
    let vm = system.boot(port, vec![system.disk()]);
    let watching = "again until it answers";
    wait_all(&vm, &["starting generation 1 offline", "APP-ONE", "] ready", watching]);
    system.add(&SECOND);
    system.publish();
    let _server = serve_at(&system, port);
    let found = "release 2 is there as generation 2; runtime-fetch starts it";
    wait_all(&vm, &[found, "starting generation 2", "APP-TWO"]);
    let said = console(&vm);
    assert_eq!(
        (said.matches(watching).count(), said.matches(found).count()),
        (1, 1),
        "{said}"
    );
}

#[test]
fn node_without_generation_keeps_trying() {
    let system = System::new(&[FIRST]);
    system.publish();
    let port = dead_port();
    let vm = system.boot(port, Vec::new());
    wait_all(
        &vm,
        &[
            "next try in",
            "nothing is started until the channel answers",
            "not ready after 30 s",
        ],
    );
    let _server = serve_at(&system, port);
    wait_all(&vm, &["starting generation 1", "APP-ONE", "] ready"]);
    // The tries of the boot, and none of those after it.
    assert!(
        console(&vm).matches("unreachable (try ").count() <= 5,
        "{}",
        console(&vm)
    );
}

/// Cuts the power at several moments of an update. Afterwards, without a channel, the node must start the old or the
/// new generation, whole.
#[test]
fn power_cut_during_generation_switch_leaves_old_or_new() {
    let system = installed();
    system.add(&SECOND);
    system.publish();
    let mut outcomes = Vec::new();
    for delay in [0, 20, 60, 150] {
        let server = system.serve();
        let mut vm = system.boot(server.address().port(), vec![system.disk()]);
        vm.wait_for("release 2", BOOT).unwrap();
        std::thread::sleep(Duration::from_millis(delay));
        vm.kill().unwrap();
        drop(server);
        let mut vm = system.boot(dead_port(), vec![system.disk()]);
        wait_all(&vm, &["] ready", "offline"]);
        let started = wait_any(&vm, &["APP-ONE", "APP-TWO"]);
        let said = console(&vm);
        assert!(said.contains("APP-ONE") != said.contains("APP-TWO"), "{said}");
        outcomes.push((delay, started));
        vm.powerdown().unwrap();
        vm.wait_exit(BOOT).unwrap();
    }
    println!("after a power cut: {outcomes:?}");
}
