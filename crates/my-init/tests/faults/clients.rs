//! Clients that never read, come in crowds, or talk nonsense.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;

use my_init::client::call;
use serde_json::{Value, json};

use crate::common::{Machine, STAYS};
use crate::{kilobytes, pid_of};

#[test]
fn a_client_that_never_reads_costs_little_and_blocks_nobody() {
    let machine = Machine::start(&[("web", STAYS)]);
    let before = kilobytes(machine.supervisor(), "VmRSS");
    let request = b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"service.list_full\"}\n".repeat(1000);
    let clients: Vec<UnixStream> = (0..20)
        .map(|_| {
            let mut stream = UnixStream::connect(machine.socket()).unwrap();
            stream.set_nonblocking(true).unwrap();
            while stream.write(&request).is_ok() {}
            stream
        })
        .collect();
    machine.call("system.ping", json!({}));
    let grown = kilobytes(machine.supervisor(), "VmRSS").saturating_sub(before);
    assert!(grown < 20 * 1024, "{grown} KB");
    drop(clients);
    machine.wait_for_state("web", "running");
}

#[test]
fn of_ten_thousand_clients_whoever_asks_is_answered() {
    let machine = Machine::start(&[("web", STAYS)]);
    let socket = machine.socket();
    std::thread::scope(|scope| {
        let idle = scope.spawn(|| {
            let mut held = std::collections::VecDeque::new();
            for _ in 0..8000 {
                held.extend(UnixStream::connect(machine.socket()));
                if held.len() > 300 {
                    held.pop_front();
                }
            }
        });
        // Whoever has not asked anything yet gives way when there are too many, so one may have to come twice.
        let asks = |socket: &Path| (0..10).any(|_| call(socket, "system.ping", &json!({})).is_ok());
        let socket = &socket;
        let ask = move || (0..500).filter(|_| asks(socket)).count();
        let askers: Vec<_> = (0..4).map(|_| scope.spawn(ask)).collect();
        for asker in askers {
            assert_eq!(asker.join().unwrap(), 500);
        }
        idle.join().unwrap();
    });
    let open = fs::read_dir(format!("/proc/{}/fd", machine.child.id()))
        .unwrap()
        .count();
    assert!(open < 100, "{open} descriptors");
}

#[test]
fn random_bytes_on_the_socket_harm_nobody() {
    use proptest::prelude::*;
    let machine = Machine::start(&[("web", STAYS)]);
    machine.wait_for_state("web", "running");
    let (web, supervisor) = (pid_of(&machine, "web"), machine.supervisor());
    let words = prop_oneof![
        Just("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"service.status\",\"params\":".to_owned()),
        Just("{\"name\":\"web\"}".to_owned()),
        Just("{\"id\":".to_owned()),
        Just("\"method\":\"logs.tail\"".to_owned()),
        Just("\n".to_owned()),
        Just("}".to_owned()),
        Just("[".to_owned()),
        Just("99999999999999999999999".to_owned()),
        "[ -~]{0,20}",
    ];
    let part = prop_oneof![
        3 => words.prop_map(String::into_bytes),
        1 => proptest::collection::vec(any::<u8>(), 0..200),
    ];
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 300,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let run = runner.run(&proptest::collection::vec(part, 1..12), |parts| {
        let mut stream = UnixStream::connect(machine.socket()).unwrap();
        let _ = stream.write_all(&parts.concat());
        let _ = stream.write_all(b"\n");
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        for line in answer.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let value: Value = serde_json::from_slice(line).unwrap();
            prop_assert_eq!(&value["jsonrpc"], &json!("2.0"));
        }
        Ok(())
    });
    run.unwrap();
    assert_eq!((pid_of(&machine, "web"), machine.supervisor()), (web, supervisor));
}
