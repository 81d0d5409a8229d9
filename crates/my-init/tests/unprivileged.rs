//! What somebody can do who may only read: anybody may connect, and nobody who does keeps others out.

#![allow(clippy::unwrap_used, reason = "a fixture that fails is a test that fails")]

mod common;

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::process::{Command, Output};

use serde_json::{Value, json};

use common::namespace::Namespace;
use common::{Machine, STAYS, program};

fn answer(lines: &mut BufReader<UnixStream>) -> Value {
    let mut line = String::new();
    lines.read_line(&mut line).unwrap();
    serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

fn request(id: usize, method: &str, params: &Value) -> String {
    format!(
        "{}\n",
        json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params })
    )
}

#[test]
fn a_connection_has_a_bounded_number_of_subscriptions() {
    let machine = Machine::start(&[("web", STAYS)]);
    let mut stream = UnixStream::connect(machine.socket()).unwrap();
    for id in 0..6 {
        let method = ["events.subscribe", "logs.follow"][id % 2];
        let params = [json!({}), json!({ "follow": true })][id % 2].clone();
        stream.write_all(request(id, method, &params).as_bytes()).unwrap();
    }
    let mut lines = BufReader::new(stream);
    let mut refused = Vec::new();
    let mut answered = 0;
    while answered < 6 {
        let message = answer(&mut lines);
        if let Some(id) = message["id"].as_u64() {
            answered += 1;
            refused.extend((message["error"]["code"] == -32011).then_some(id));
        }
    }
    assert_eq!(refused, [4, 5]);
    let many: Vec<String> = (0..1001).map(|number| number.to_string()).collect();
    let mut stream = UnixStream::connect(machine.socket()).unwrap();
    let text = request(1, "events.subscribe", &json!({ "names": many }));
    stream.write_all(text.as_bytes()).unwrap();
    assert_eq!(answer(&mut BufReader::new(stream))["error"]["code"], -32011);
}

#[test]
fn who_asks_for_much_at_once_is_answered_in_turns_and_completely() {
    let machine = Machine::start(&[("web", STAYS)]);
    machine.wait_for_state("web", "running");
    let count = 1200;
    let stream = UnixStream::connect(machine.socket()).unwrap();
    stream.set_read_timeout(Some(common::PATIENCE)).unwrap();
    // All of it is there before the first answer, and each takes its time.
    let text: String = (0..count)
        .map(|id| request(id, "service.children", &json!(["web"])))
        .collect();
    let writer = {
        let mut stream = stream.try_clone().unwrap();
        std::thread::spawn(move || stream.write_all(text.as_bytes()))
    };
    let mut lines = BufReader::new(stream);
    for id in 0..count {
        if id == 10 {
            assert_eq!(machine.status("web")["state"], "running");
        }
        assert_eq!(answer(&mut lines)["id"], json!(id));
    }
    writer.join().unwrap().unwrap();
    // Also when whoever asked does not stay for it.
    let mut stream = UnixStream::connect(machine.socket()).unwrap();
    let text: String = (0..100).map(|id| request(id, "service.tree", &json!({}))).collect();
    stream.write_all(text.as_bytes()).unwrap();
    stream
        .write_all(request(100, "service.restart", &json!(["web"])).as_bytes())
        .unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut rest = String::new();
    stream.read_to_string(&mut rest).unwrap();
    assert_eq!(rest.lines().count(), 101);
    machine.wait("a restart", || machine.status("web")["restarts_by_hand"] == 1);
}

#[test]
fn what_not_everybody_may_read_is_not_told_everybody() {
    let secret = "[service]\nexec = \"sleep 1000\"\nenv = { TOKEN = \"secret\" }\n";
    let machine = Machine::start(&[("web", STAYS), ("safe", secret)]);
    if !rustix::process::geteuid().is_root() {
        println!("SKIPPED: needs root to become somebody else");
        return;
    }
    for path in [machine.directory.path().to_owned(), machine.socket()] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
    }
    let file = machine.path("services/safe.service.toml");
    fs::set_permissions(file, fs::Permissions::from_mode(0o600)).unwrap();
    fs::copy(env!("CARGO_BIN_EXE_my_init"), machine.path("my_init")).unwrap();
    let get = |user: &str, name: &str| -> Output {
        Command::new("setpriv")
            .args(["--reuid", user, "--clear-groups"])
            .arg(machine.path("my_init"))
            .arg("--socket")
            .arg(machine.socket())
            .args(["get", name])
            .output()
            .unwrap()
    };
    assert_eq!(get("65534", "web").status.code(), Some(0));
    let refused = get("65534", "safe");
    assert_eq!(refused.status.code(), Some(5));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("is not for everybody to read"));
    let told = get("0", "safe");
    assert!(String::from_utf8_lossy(&told.stdout).contains("secret"));
}

/// The kernel hands PID 1 whatever the boot loader was given, and whoever asks may type anything.
#[test]
fn words_that_are_not_utf_8_are_words() {
    use std::os::unix::ffi::OsStrExt as _;
    let output = program().arg(std::ffi::OsStr::from_bytes(b"l\xefst")).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("unknown verb"), "{said}");
}

#[test]
fn an_upgrade_goes_on_whatever_words_the_kernel_handed_to_pid_1() {
    let Some(machine) = Namespace::start_with_words(&[("etc/my_init/services/web.service.toml", STAYS)], &["splash"])
    else {
        return;
    };
    machine.wait_for_line("] ready");
    let ask = |method: &str, params: Value| {
        my_init::client::call(&machine.inside("/run/my_init.sock"), method, &params).unwrap()
    };
    let pid = ask("service.status", json!(["web"]))["pid"].clone();
    ask("system.upgrade", json!({ "program": "/my_init" }));
    machine.wait_for_line("has taken over, 1 service goes on");
    assert_eq!(ask("service.status", json!(["web"]))["pid"], pid);
}
