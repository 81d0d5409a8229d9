//! What a service uses, as it is told without control groups.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::{Machine, STAYS};
use serde_json::json;

#[test]
fn what_services_use_of_a_processor_is_told() {
    let busy = "[service]\nexec = \"while :; do :; done\"\nshell = true\n";
    let machine = Machine::start(&[("busy", busy), ("idle", STAYS)]);
    for name in ["busy", "idle"] {
        machine.wait_for_state(name, "running");
    }
    let stats = |name: &str| machine.call("service.stats", json!({ "name": name }));
    let percent = |name: &str| stats(name)["cpu_percent"].as_u64().unwrap();
    // However little a loaded machine gives it, it takes all that it gets.
    machine.wait("use of a processor", || {
        percent("busy") > 0 && stats("busy")["cpu_ms"].as_u64() > Some(0)
    });
    // Its start took some; that was before the last look.
    machine.wait("rest", || percent("idle") == 0);
    machine.call("service.stop", json!({ "name": "busy" }));
    machine.wait_for_state("busy", "inactive");
    assert_eq!(percent("busy"), 0);
}
