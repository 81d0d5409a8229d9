//! Proxies as clients of zinit ask for them, with real connections.

#![allow(clippy::unwrap_used, reason = "a fixture that fails is a test that fails")]

mod common;

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;

use my_init::client::{AskError, call};
use serde_json::json;

use common::{ECHO, Machine, program};

/// A service that is only started when somebody wants it; `None` where there is no python.
fn machine() -> Option<Machine> {
    if !Path::new("/usr/bin/python3").exists() {
        println!("SKIPPED: /usr/bin/python3 is not there");
        return None;
    }
    let machine = Machine::start(&[]);
    fs::write(machine.path("echo.py"), ECHO).unwrap();
    let (script, back) = (machine.path("echo.py"), machine.path("back.sock"));
    let exec = format!("/usr/bin/python3 {} {}", script.display(), back.display());
    machine.write_service("echo", &format!("[service]\nexec = \"{exec}\"\nstatus = \"stop\"\n"));
    machine.call("system.reload", json!({}));
    Some(machine)
}

fn say(stream: &mut (impl std::io::Read + std::io::Write), words: &str) {
    stream.write_all(words.as_bytes()).unwrap();
    let mut answer = vec![0; words.len()];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(answer, words.as_bytes());
}

#[test]
fn a_proxy_comes_and_goes_by_request_and_outlives_the_supervisor() {
    let Some(machine) = machine() else { return };
    let (front, back) = (machine.path("front.sock"), machine.path("back.sock"));
    // The port is ours until the proxy takes it, at once.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let config = json!({
        "name": "front", "service": "echo", "backend": format!("unix:{}", back.display()),
        "listen": [format!("unix:{}", front.display()), format!("127.0.0.1:{port}")], "idle_timeout": 600,
    });
    let set = machine.call("xinet.set", json!({ "config": config }));
    assert_eq!((&set["ok"], &set["name"]), (&json!(true), &json!("front")));
    machine.wait_for_state("front", "listening");
    assert_eq!(machine.call("xinet.list", json!({})), json!(["front"]));
    let status = || machine.call("xinet.status", json!({ "name": "front" }));
    assert_eq!(status(), json!({ "name": "front", "running": true, "connections": 0 }));
    assert_eq!(machine.status("echo")["state"], "inactive");

    let mut unix = UnixStream::connect(&front).unwrap();
    say(&mut unix, "over a file");
    let mut tcp = TcpStream::connect(("127.0.0.1", port)).unwrap();
    say(&mut tcp, "over a port");
    assert_eq!(machine.status("echo")["state"], "running");
    machine.wait("two connections", || status()["connections"] == 2);

    machine.crash();
    assert_eq!(status()["connections"], 2);
    say(&mut unix, "still there");
    drop(unix);
    machine.wait("one connection", || status()["connections"] == 1);
    let all = machine.call("xinet.status_all", json!({}));
    assert_eq!(
        (&all[0]["total_connections"], &all[0]["service"], &all[0]["backend"]),
        (&json!(2), &json!("echo"), &json!(back.display().to_string()))
    );
    let bytes = "over a file".len() + "over a port".len() + "still there".len();
    assert_eq!(
        (&all[0]["bytes_to_backend"], &all[0]["bytes_from_backend"]),
        (&json!(bytes), &json!(bytes))
    );

    // It is replaced as a whole, and removed with its file.
    let other = machine.path("other.sock");
    let config =
        json!({ "name": "front", "service": "echo", "backend": back, "listen": format!("unix:{}", other.display()) });
    machine.call("xinet.set", json!({ "config": config }));
    machine.wait("the other socket", || other.exists() && !front.exists());
    machine.call("xinet.delete", json!({ "name": "front" }));
    machine.wait("it is gone", || machine.call("xinet.list", json!({})) == json!([]));
    machine.wait("no socket", || !other.exists());
    assert!(!machine.path("services/front.service.toml").exists());
}

#[test]
fn the_verbs_of_zinit_do_the_same() {
    let Some(machine) = machine() else { return };
    let (front, back) = (machine.path("front.sock"), machine.path("back.sock"));
    let xinet = |words: &[&str]| {
        let output = program()
            .arg("--socket")
            .arg(machine.socket())
            .arg("xinet")
            .args(words)
            .output()
            .unwrap();
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        (output.status.code(), text)
    };
    let (front_text, back_text) = (front.display().to_string(), back.display().to_string());
    let register = [
        "register",
        "front",
        "--listen",
        &front_text,
        "--backend",
        &back_text,
        "--service",
        "echo",
    ];
    let (code, text) = xinet(&register);
    assert!(
        code == Some(0) && text.starts_with("front: ") && text.ends_with("front.service.toml\n"),
        "{text}"
    );
    machine.wait_for_state("front", "listening");
    say(&mut UnixStream::connect(&front).unwrap(), "hello");
    assert_eq!(xinet(&["list"]), (Some(0), "front\n".to_owned()));
    let (_, table) = xinet(&["status"]);
    assert!(table.starts_with("NAME  STATE     LISTEN"), "{table}");
    assert!(xinet(&["status", "front"]).1.starts_with("front: listening, "));
    assert_eq!(
        xinet(&["unregister", "echo"]),
        (Some(4), "my_init: echo is no proxy\n".to_owned())
    );
    assert_eq!(
        xinet(&["unregister", "front"]),
        (Some(0), "front: removed\n".to_owned())
    );
    assert_eq!(xinet(&["dance"]).0, Some(2));
}

#[test]
fn a_bad_proxy_is_refused_and_leaves_nothing() {
    let machine = Machine::start(&[]);
    for (config, part) in [
        (json!({ "name": "x" }), "`listen` is missing"),
        (
            json!({ "name": "x", "listen": "nowhere", "backend": "/b", "service": "s" }),
            "nowhere",
        ),
        (
            json!({ "name": "x", "listen": "/a", "backend": "/b", "service": "s", "idel_timeout": 1 }),
            "idle_timeout",
        ),
    ] {
        match call(&machine.socket(), "xinet.set", &json!({ "config": config })) {
            Err(AskError::Refused(-32011, message)) => assert!(message.contains(part), "{message}"),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(machine.call("xinet.list", json!({})), json!([]));
    assert_eq!(fs::read_dir(machine.path("services")).unwrap().count(), 0);
}
