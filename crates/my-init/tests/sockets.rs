//! Services that are handed their sockets.

#![allow(clippy::unwrap_used, reason = "a fixture that fails is a test that fails")]

mod common;

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;

use serde_json::json;

use common::{ECHO, Machine, is_alive, send};

/// Answers each connection with a line: what it was told of its sockets, and its process id. Told to end it leaves alone
/// what it has not taken, and answers what it has.
const SERVER: &str = r#"
import os, select, signal, socket, sys
assert os.environ["LISTEN_PID"] == str(os.getpid()), os.environ["LISTEN_PID"]
told = os.environ["LISTEN_FDS"] + " " + os.environ["LISTEN_FDNAMES"]
listener = socket.socket(fileno=3)
end, told_to = os.pipe()
os.set_blocking(told_to, False)
signal.set_wakeup_fd(told_to)
signal.signal(signal.SIGTERM, lambda *_: None)
for _ in range(int(sys.argv[1])):
    if end in select.select([listener, end], [], [])[0]:
        break
    connection, _ = listener.accept()
    connection.sendall(f"{told} {os.getpid()}\n".encode())
    connection.close()
"#;

fn has_python() -> bool {
    let found = Path::new("/usr/bin/python3").exists();
    if !found {
        println!("SKIPPED: /usr/bin/python3 is not there");
    }
    found
}

/// `count`: so many connections are served before it ends.
fn file(directory: &Path, count: usize, rest: &str) -> String {
    fs::write(directory.join("server.py"), SERVER).unwrap();
    let (server, socket) = (directory.join("server.py"), directory.join("web.sock"));
    format!(
        "[service]\nexec = \"/usr/bin/python3 {} {count}\"\n[socket]\nlisten = [\"{}\"]\nnames = [\"http\"]\nmode = \"640\"\n{rest}",
        server.display(),
        socket.display()
    )
}

fn start(count: usize, rest: &str) -> Machine {
    let machine = Machine::start(&[]);
    machine.write_service("web", &file(machine.directory.path(), count, rest));
    machine.call("system.reload", json!({}));
    machine
}

fn ask(path: &Path) -> String {
    let mut stream = UnixStream::connect(path).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn the_first_connection_starts_it_and_it_is_told_of_its_sockets() {
    if !has_python() {
        return;
    }
    let machine = start(1, "");
    machine.wait_for_state("web", "listening");
    let path = machine.path("web.sock");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
    assert!(machine.status("web")["pid"].is_null());
    let first = ask(&path);
    assert!(first.starts_with("1 http "), "{first}");
    // It has served one and ended; the next one has the next one started.
    let second = ask(&path);
    assert!(second.starts_with("1 http ") && second != first, "{second}");
    machine.wait_for_state("web", "listening");
    machine.call("service.stop", json!({ "name": "web" }));
    machine.wait("no socket", || !path.exists());
}

#[test]
fn no_connection_is_lost_when_the_service_or_the_supervisor_is_killed() {
    if !has_python() {
        return;
    }
    let machine = start(100_000, "start = \"boot\"\n");
    machine.wait_for_state("web", "running");
    let path = machine.path("web.sock");
    ask(&path);
    let pid = machine.status("web")["pid"].clone();
    let number = u32::try_from(pid.as_u64().unwrap()).unwrap();
    // Both are dead, and somebody connects: the next supervisor's next service answers.
    send(number, rustix::process::Signal::STOP);
    // Until it really stands still it may take the connection along into its grave.
    machine.wait("it stands still", || {
        fs::read_to_string(format!("/proc/{number}/stat"))
            .unwrap()
            .contains(") T ")
    });
    let mut waiting = UnixStream::connect(&path).unwrap();
    let supervisor = machine.supervisor();
    send(number, rustix::process::Signal::KILL);
    send(supervisor, rustix::process::Signal::KILL);
    let mut answer = String::new();
    waiting.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("1 http "), "{answer}");
    assert!(!is_alive(&pid));

    // Another program of its own kind takes over, and a restart does not close what listens.
    machine.call("system.upgrade", json!({}));
    machine.wait("another one", || machine.console().contains("has taken over"));
    for _ in 0..3 {
        machine.call("service.restart", json!({ "name": "web" }));
        assert!(ask(&path).starts_with("1 http "));
    }
}

#[test]
fn a_successor_waits_for_connections_and_a_reload_opens_other_sockets() {
    if !has_python() {
        return;
    }
    let machine = start(1, "");
    machine.wait_for_state("web", "listening");
    machine.crash();
    assert_eq!(machine.status("web")["state"], "listening");
    let path = machine.path("web.sock");
    assert!(ask(&path).starts_with("1 http "));
    machine.wait_for_state("web", "listening");

    let other = machine.path("other.sock");
    let text = file(machine.directory.path(), 1, "").replace("web.sock", "other.sock");
    machine.write_service("web", &text);
    machine.call("system.reload", json!({}));
    machine.wait("the other socket", || other.exists() && !path.exists());
    assert!(ask(&other).starts_with("1 http "));

    // What is there and is no socket is not replaced.
    fs::write(&path, "a file").unwrap();
    machine.write_service(
        "web",
        &text
            .replace("other.sock", "web.sock")
            .replace("[socket]", "[lifecycle]\nrestart = \"never\"\n[socket]"),
    );
    machine.call("system.reload", json!({}));
    machine.wait_for_state("web", "failed");
    assert!(
        machine.console().contains("web.sock: Address already in use"),
        "{}",
        machine.console()
    );
    assert_eq!(fs::read_to_string(&path).unwrap(), "a file");
}

#[test]
fn udp_and_tcp_are_handed_over_too() {
    if !has_python() {
        return;
    }
    let machine = Machine::start(&[]);
    // Ports that are free now; nobody else takes them from this range.
    let port = |udp: bool| match udp {
        true => std::net::UdpSocket::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port(),
        false => std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port(),
    };
    let (tcp, udp) = (port(false), port(true));
    let script = "import socket\ntcp = socket.socket(fileno=3)\nudp = socket.socket(fileno=4)\ndata, peer = udp.recvfrom(100)\nconnection, _ = tcp.accept()\nconnection.sendall(data)\n";
    fs::write(machine.path("both.py"), script).unwrap();
    let both = machine.path("both.py");
    machine.write_service(
        "both",
        &format!("[service]\nexec = \"/usr/bin/python3 {}\"\n[socket]\nlisten = [\"127.0.0.1:{tcp}\", \"udp:127.0.0.1:{udp}\"]\n", both.display()),
    );
    machine.call("system.reload", json!({}));
    machine.wait_for_state("both", "listening");
    let sender = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    sender.send_to(b"datagram", ("127.0.0.1", udp)).unwrap();
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", tcp)).unwrap();
    stream.flush().unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "datagram");
}

fn echo(path: &Path, bytes: &[u8]) -> Vec<u8> {
    let mut stream = UnixStream::connect(path).unwrap();
    let mut writer = stream.try_clone().unwrap();
    let bytes = bytes.to_vec();
    let writes = std::thread::spawn(move || {
        writer.write_all(&bytes).unwrap();
        writer.shutdown(std::net::Shutdown::Write).unwrap();
    });
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    writes.join().unwrap();
    answer
}

#[test]
fn d4_a_proxy_starts_what_is_only_started_by_hand_and_stops_it_when_it_is_idle() {
    if !has_python() {
        return;
    }
    let machine = Machine::start(&[]);
    let (front, back, script) = (
        machine.path("front.sock"),
        machine.path("back.sock"),
        machine.path("echo.py"),
    );
    fs::write(&script, ECHO).unwrap();
    machine.write_service(
        "echo",
        &format!(
            "[service]\nexec = \"rm -f {0}; exec /usr/bin/python3 {1} {0}\"\nstatus = \"stop\"\n",
            back.display(),
            script.display()
        ),
    );
    machine.write_service(
        "front",
        &format!(
            "[proxy]\nservice = \"echo\"\nbackend = \"{}\"\nidle_timeout_ms = 1500\n[socket]\nlisten = [\"{}\"]\n",
            back.display(),
            front.display()
        ),
    );
    machine.call("system.reload", json!({}));
    machine.wait_for_state("front", "listening");
    assert_eq!(machine.status("echo")["state"], "inactive");
    // More than all buffers on the way hold, both ways at once.
    let bytes: Vec<u8> = (0..4_000_000_u32).map(|number| (number % 251) as u8).collect();
    assert!(echo(&front, &bytes) == bytes);
    assert_eq!(machine.status("echo")["state"], "running");
    machine.wait("both at rest", || {
        machine.status("front")["state"] == "listening" && machine.status("echo")["state"] == "inactive"
    });
    // Once more, with the supervisor killed in between.
    let mut open = UnixStream::connect(&front).unwrap();
    open.write_all(b"one").unwrap();
    let mut three = [0; 3];
    open.read_exact(&mut three).unwrap();
    machine.crash();
    open.write_all(b"two").unwrap();
    open.read_exact(&mut three).unwrap();
    assert_eq!(&three, b"two");
    // The service ends: nobody is left hanging, and the next one has it started again.
    machine.call("service.stop", json!({ "name": "echo" }));
    assert!(matches!(open.read(&mut three), Ok(0) | Err(_)));
    machine.wait_for_state("front", "listening");
    assert!(echo(&front, b"again") == b"again");
}
