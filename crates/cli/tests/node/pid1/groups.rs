//! Control groups of a real kernel: the limits of services, what they end, what services use, and that nobody is left
//! behind.

use serde_json::{Value, json};

use super::{Image, call, order, signal_supervisor, told, until, wait_end, wait_for_state};
use crate::system::{console, wait_all};

const LEAVES: &str = "/sys/fs/cgroup/services";

/// Its process stays, one that it has started hides in a session of its own, behind a parent that has ended.
const FORKER: &str = "#!/bin/sh\nsetsid sh -c 'sleep 100000 & exec setsid sleep 100000 &' &\nexec sleep 100000\n";
/// As many processes as it can get.
const BOMB: &str = "#!/bin/sh\nwhile :; do sleep 100000 & done\n";

fn image() -> Image {
    let mut image = Image::new();
    image.gate();
    let service = |image: &mut Image, name: &str, exec: &str, more: &str| {
        image.service(
            name,
            &format!("[service]\nexec = \"{exec}\"\nstatus = \"stop\"\n[lifecycle]\nrestart = \"never\"\n{more}"),
        );
    };
    image.file("test/forker", FORKER);
    image.file("test/bomb", BOMB);
    image.file("test/busy", "#!/bin/sh\nwhile :; do :; done\n");
    let limits = "[resources]\nmemory_max = \"24 MiB\"\nmemory_high = \"20 MiB\"\nswap_max = \"1 MiB\"\n\
                  tasks_max = 9\ncpu_percent = 50\ncpu_weight = 77\nio_weight = 55\n";
    service(&mut image, "limited", "sleep 100000", limits);
    service(
        &mut image,
        "hog",
        "tail /dev/zero",
        "[resources]\nmemory_max = \"16 MiB\"\n",
    );
    service(&mut image, "bomb", "/test/bomb", "[resources]\ntasks_max = 12\n");
    service(&mut image, "forker", "/test/forker", "");
    service(&mut image, "busy", "/test/busy", "[resources]\ncpu_percent = 40\n");
    // Nothing ever answers there.
    let stuck = "[service]\nexec = \"sleep 100000\"\n[lifecycle]\nstart_timeout_ms = 600000\n\
                 [health]\ntype = \"tcp\"\ntarget = \"127.0.0.1:4711\"\n";
    image.service("stuck", stuck);
    image
}

#[test]
fn limits_are_kept_by_the_kernel_and_named_and_nobody_is_left_behind() {
    let image = image();
    let mut vm = image.boot("loglevel=1 my_init.deadline=2", |_| {});
    let start = |name: &str| drop(call(&vm, "service.start", &json!({ "name": name })));
    // What is stuck is named, and the rest goes on.
    wait_all(&vm, &["not ready after 2 s", "stuck"]);

    start("limited");
    wait_for_state(&vm, "limited", "running");
    let files = [
        "memory.max",
        "memory.high",
        "memory.swap.max",
        "pids.max",
        "cpu.max",
        "cpu.weight",
        "io.weight",
    ];
    let read = told(&vm, &format!("cd {LEAVES}/limited && cat {}", files.join(" ")));
    let expected = [
        "25165824",
        "20971520",
        "1048576",
        "9",
        "50000 100000",
        "77",
        "default 55",
    ];
    assert_eq!(read.lines().collect::<Vec<_>>(), expected);

    start("hog");
    let hog = wait_for_state(&vm, "hog", "failed");
    assert_eq!(
        reason(&hog),
        "killed by SIGKILL, out of memory: the kernel killed 1 of its processes"
    );
    start("bomb");
    let bomb = wait_for_state(&vm, "bomb", "failed");
    assert!(
        reason(&bomb).contains("out of processes: tasks_max kept it from making one"),
        "{bomb}"
    );
    until(&vm, &format!("! grep -q . {LEAVES}/bomb/cgroup.procs 2>/dev/null"));

    what_services_use(&vm);

    // Whoever has hidden is ended with its service; also by a supervisor that did not start it.
    start("forker");
    wait_for_state(&vm, "forker", "running");
    until(&vm, &format!("test $(wc -l <{LEAVES}/forker/cgroup.procs) -ge 3"));
    signal_supervisor(&vm, "KILL");
    call(&vm, "service.stop", &json!({ "name": "forker" }));
    wait_for_state(&vm, "forker", "inactive");
    until(&vm, &format!("! grep -q . {LEAVES}/forker/cgroup.procs 2>/dev/null"));
    order(&vm, "/sbin/my_init reboot");
    wait_end(&mut vm);
    assert!(console(&vm).contains("] reboot"), "{}", console(&vm));
}

fn what_services_use(vm: &mos_vm::Vm) {
    call(vm, "service.start", &json!({ "name": "busy" }));
    wait_for_state(vm, "busy", "running");
    let stats = |name: &str| call(vm, "service.stats", &json!({ "name": name }));
    let percent = |stats: &Value| stats["cpu_percent"].as_u64().unwrap();
    stats("busy");
    told(vm, "sleep 3");
    let (busy, idle) = (stats("busy"), stats("limited"));
    // The limit is 40 of a processor that others want as well.
    assert!((5..=48).contains(&percent(&busy)), "{busy}");
    assert!(busy["cpu_ms"].as_u64().unwrap() >= 100 && busy["tasks"] == 1, "{busy}");
    assert!(
        percent(&idle) <= 1 && idle["memory_bytes"].as_u64().unwrap() > 0,
        "{idle}"
    );
    call(vm, "service.stop", &json!({ "name": "busy" }));
    wait_for_state(vm, "busy", "inactive");
    assert_eq!(percent(&stats("busy")), 0);
}

fn reason(status: &Value) -> &str {
    status["reason"].as_str().unwrap()
}
