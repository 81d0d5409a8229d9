//! Readiness and health of real services.

#![allow(clippy::unwrap_used, reason = "a fixture that fails is a test that fails")]

mod common;

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use serde_json::json;

use common::{Machine, send};

/// An HTTP server on a unix socket, which answers with the status that it is told to.
fn server(path: &std::path::Path) -> Arc<AtomicU16> {
    let listener = UnixListener::bind(path).unwrap();
    let status = Arc::new(AtomicU16::new(200));
    let answer = status.clone();
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let mut line = String::new();
            let _ = BufReader::new(&stream).read_line(&mut line);
            let status = match line.starts_with("GET /health HTTP/1.0") {
                true => answer.load(Ordering::Relaxed),
                false => 404,
            };
            let _ = write!(stream, "HTTP/1.0 {status} X\r\n\r\n");
        }
    });
    status
}

#[test]
fn health_over_unix_sockets_goes_both_ways_and_outlives_the_supervisor() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("web.sock");
    let status = server(&socket);
    let socket = socket.display();
    let http = format!(
        "[service]\nexec = \"sleep 1000\"\n[health]\ntype = \"http\"\ntarget = \"unix:{socket}:/health\"\ninterval_ms = 100\nretries = 2\nsuccesses = 2\naction = \"mark\"\n"
    );
    let plain = format!(
        "[service]\nexec = \"sleep 1000\"\n[health]\ntype = \"tcp\"\ntarget = \"unix:{socket}\"\ninterval_ms = 100\n"
    );
    let machine = Machine::start(&[("http", &http), ("plain", &plain)]);
    machine.wait_for_state("http", "running");
    machine.wait_for_state("plain", "running");
    let pid = machine.status("http")["pid"].clone();
    status.store(503, Ordering::Relaxed);
    machine.wait_for_state("http", "degraded");
    machine.crash();
    let now = machine.status("http");
    assert_eq!(
        (&now["state"], &now["health"]),
        (&json!("degraded"), &json!("unhealthy"))
    );
    assert_eq!(now["probe_error"], "answers with status 503, expected 200");
    assert_eq!(now["verified_by"], format!("http unix:{socket}:/health"));
    status.store(200, Ordering::Relaxed);
    machine.wait_for_state("http", "running");
    assert_eq!(machine.status("http")["pid"], pid);
    assert_eq!(machine.status("plain")["state"], "running");
}

#[test]
fn an_unhealthy_service_is_restarted_and_the_log_says_why() {
    let sick = "[service]\nexec = \"touch $HERE/well; sleep 1000\"\n\
                [health]\ntype = \"exec\"\ntarget = \"test -e $HERE/well\"\ninterval_ms = 100\nretries = 2\n";
    let machine = Machine::start(&[("sick", sick)]);
    machine.wait_for_state("sick", "running");
    let first = machine.status("sick")["pid"].clone();
    std::fs::remove_file(machine.path("well")).unwrap();
    machine.wait("another process", || {
        let status = machine.status("sick");
        status["state"] == "running" && status["pid"] != first
    });
    let console = machine.console();
    assert!(
        console.contains("sick: unhealthy: probe: exit code 1, restart now (attempt 1)"),
        "{console}"
    );
}

#[test]
fn readiness_by_a_newline_on_a_descriptor_is_not_lost_with_the_supervisor() {
    let slow = "[service]\nready_fd = 3\n\
                exec = \"printf starting >&3; while ! test -e $HERE/go; do sleep 0.02; done; echo >&3; touch $HERE/said; exec 3>&-; sleep 1000\"\n";
    let needs = "[service]\nexec = \"sleep 1000\"\n[dependencies]\nrequires = [\"slow\"]\n";
    let machine = Machine::start(&[("slow", slow), ("needs", needs)]);
    machine.wait_for_state("slow", "starting");
    let status = machine.status("slow");
    assert_eq!(status["waits_for"], json!(["a newline from it on descriptor 3"]));
    assert_eq!(machine.status("needs")["state"], "blocked");
    machine.crash();
    // The newline comes while nobody reads, and whoever would have read it is killed.
    let supervisor = machine.supervisor();
    send(supervisor, rustix::process::Signal::STOP);
    std::fs::write(machine.path("go"), "").unwrap();
    machine.wait("its word", || machine.path("said").exists());
    send(supervisor, rustix::process::Signal::KILL);
    machine.wait_for_state("slow", "running");
    machine.wait_for_state("needs", "running");
    let now = machine.status("slow");
    assert_eq!((&now["pid"], &now["restarts"]), (&status["pid"], &json!(0)));
    assert_eq!(now["verified_by"], "a newline from it on descriptor 3");
}

#[test]
fn a_last_word_counts_also_when_its_speaker_has_ended() {
    let quick = "[service]\nready_fd = 7\nexec = \"echo >&7\"\n";
    let silent = "[service]\nready_fd = 7\nexec = \"exec 7>&-\"\n[lifecycle]\nrestart = \"never\"\n";
    let machine = Machine::start(&[("quick", quick), ("silent", silent)]);
    machine.wait_for_state("quick", "exited");
    machine.wait_for_state("silent", "failed");
    assert_eq!(machine.status("silent")["reason"], "exit code 0 before it was ready");
}

/// A limit of memory that the kernel keeps, without a control group that we would ask.
struct Limited(std::path::PathBuf);

impl Limited {
    fn new() -> Option<Self> {
        let place = std::path::PathBuf::from(format!("/sys/fs/cgroup/memory/my_init-{}", std::process::id()));
        std::fs::create_dir(&place).ok()?;
        let limited = Self(place);
        std::fs::write(limited.0.join("memory.limit_in_bytes"), "8M").ok()?;
        Some(limited)
    }
}

impl Drop for Limited {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.0);
    }
}

#[test]
fn who_was_killed_for_memory_is_told_so_by_the_kernel() {
    let first = std::fs::read_link("/proc/self/ns/pid").unwrap();
    let heard = mos_sys::kernel_log::tail(&mut [0; 64]).is_ok() && first.as_os_str() == "pid:[4026531836]";
    let Some(limited) = Limited::new().filter(|_| heard) else {
        println!("SKIPPED: no memory controller of cgroup v1, or no kernel messages");
        return;
    };
    let greedy = format!(
        "[service]\nexec = \"echo $$ >{}/cgroup.procs; exec tail /dev/zero\"\n[lifecycle]\nrestart = \"never\"\n",
        limited.0.display()
    );
    let machine = Machine::start(&[("greedy", &greedy)]);
    machine.wait_for_state("greedy", "failed");
    assert_eq!(
        machine.status("greedy")["reason"],
        "killed by SIGKILL, out of memory: the kernel killed 1 of its processes"
    );
}
