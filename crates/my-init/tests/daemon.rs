//! A daemon that other people wrote, with many processes: nginx, from packages. Supervised, probed, limited, reloaded by a
//! signal, replaced by another program, under a my_init that is replaced as well, and stopped without anybody left.

#![allow(clippy::unwrap_used, reason = "a fixture that fails is a test that fails")]

mod common;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;

use my_init::children::children_of;
use rustix::process::Signal;
use serde_json::json;

use common::{Machine, send};

const NGINX: &str = "/usr/sbin/nginx";
const WORKERS: usize = 4;

struct Daemon {
    machine: Machine,
    address: SocketAddr,
}

impl Daemon {
    /// `None`, after saying so, where there is no nginx.
    fn start() -> Option<Self> {
        if !Path::new(NGINX).exists() {
            println!("SKIPPED: there is no {NGINX}");
            return None;
        }
        let machine = Machine::start(&[]);
        // A port that nobody had a moment ago, on an address of this process's own.
        let own = std::process::id();
        let [_, a, b, c] = own.to_be_bytes();
        let host = Ipv4Addr::new(127, 1 + a % 200, b, c.max(2));
        let port = TcpListener::bind((host, 0)).unwrap().local_addr().unwrap().port();
        let daemon = Self {
            machine,
            address: SocketAddr::from((host, port)),
        };
        daemon.write_configuration("one");
        fs::copy(NGINX, daemon.machine.path("nginx")).unwrap();
        daemon.machine.write_service("nginx", &daemon.service());
        daemon.machine.call("system.reload", json!({}));
        daemon.machine.wait_for_state("nginx", "running");
        Some(daemon)
    }

    fn service(&self) -> String {
        let directory = self.machine.directory.path().display();
        format!(
            "[service]\nexec = \"{directory}/nginx -p {directory}/ -c {directory}/nginx.conf\"\n\
             [lifecycle]\nstop_signal = \"SIGQUIT\"\n\
             [health]\ntype = \"http\"\ntarget = \"{}/\"\ninterval_ms = 200\n\
             [limits]\nopen_files = 512\ncore = 0\n",
            self.address
        )
    }

    fn write_configuration(&self, word: &str) {
        let directory = self.machine.directory.path().display();
        let text = format!(
            "daemon off;\nworker_processes {WORKERS};\npid {directory}/pid;\nerror_log stderr;\n{}events {{}}\n\
             http {{\n access_log off;\n client_body_temp_path {directory}/t1; proxy_temp_path {directory}/t2;\n\
             fastcgi_temp_path {directory}/t3; uwsgi_temp_path {directory}/t4; scgi_temp_path {directory}/t5;\n\
             server {{ listen {}; location / {{ return 200 \"{word}\\n\"; }} }}\n}}\n",
            if rustix::process::geteuid().is_root() {
                "user root;\n"
            } else {
                ""
            },
            self.address
        );
        fs::write(self.machine.path("nginx.conf"), text).unwrap();
    }

    fn get(&self) -> Option<String> {
        let mut stream = TcpStream::connect(self.address).ok()?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer.split_once("\r\n\r\n")?.1.trim().to_owned())
    }

    fn master(&self) -> u32 {
        u32::try_from(self.machine.status("nginx")["pid"].as_u64().unwrap_or(0)).unwrap()
    }

    fn workers(&self) -> Vec<u32> {
        children_of(self.master())
    }

    fn wait_for_workers(&self) -> Vec<u32> {
        self.machine.wait("the workers", || self.workers().len() == WORKERS);
        self.workers()
    }

    fn wait_for_end(&self, pids: &[u32]) {
        let there = |pid: &u32| Path::new(&format!("/proc/{pid}")).exists();
        self.machine
            .wait("the end of every process", || !pids.iter().any(there));
    }
}

#[test]
fn nginx_is_probed_limited_reloaded_and_stopped_with_all_its_workers() {
    let Some(mut daemon) = Daemon::start() else { return };
    let (master, workers) = (daemon.master(), daemon.wait_for_workers());
    assert_eq!(daemon.get().as_deref(), Some("one"));
    let limits = fs::read_to_string(format!("/proc/{}/limits", workers[0])).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    assert_eq!(line.split_whitespace().nth(3), Some("512"));
    // Another configuration, by its own signal: the same master, other workers.
    daemon.write_configuration("two");
    daemon
        .machine
        .call("service.kill", json!({"name": "nginx", "signal": "SIGHUP"}));
    daemon
        .machine
        .wait("the other answer", || daemon.get().as_deref() == Some("two"));
    daemon.wait_for_end(&workers);
    let workers = daemon.wait_for_workers();
    assert_eq!(
        (daemon.master(), daemon.machine.status("nginx")["restarts"].clone()),
        (master, json!(0))
    );
    daemon.machine.call("system.poweroff", json!({}));
    assert_eq!(daemon.machine.end(), Some(0));
    daemon.wait_for_end(&[&workers[..], &[master]].concat());
    assert!(
        !daemon.machine.console().contains("killed"),
        "{}",
        daemon.machine.console()
    );
}

#[test]
fn nginx_whose_master_is_killed_leaves_no_worker_and_comes_back() {
    let Some(daemon) = Daemon::start() else { return };
    for round in 1..=2 {
        let (master, workers) = (daemon.master(), daemon.wait_for_workers());
        send(master, Signal::KILL);
        daemon.wait_for_end(&workers);
        daemon
            .machine
            .wait("another master", || ![0, master].contains(&daemon.master()));
        // A worker that was left would hold the port, and the next master fail.
        daemon.machine.wait_for_state("nginx", "running");
        assert_eq!(daemon.machine.status("nginx")["restarts"], json!(round));
        assert_eq!(daemon.get().as_deref(), Some("one"));
    }
}

#[test]
fn nginx_is_replaced_under_a_my_init_that_is_replaced() {
    let Some(daemon) = Daemon::start() else { return };
    let (master, workers) = (daemon.master(), daemon.wait_for_workers());
    let next = daemon.machine.path("next_init");
    fs::copy(env!("CARGO_BIN_EXE_my_init"), &next).unwrap();
    daemon.machine.call("system.upgrade", json!({ "program": next }));
    let taken_over = || daemon.machine.console().contains("has taken over");
    daemon.machine.wait("the other my_init", taken_over);
    daemon.machine.wait_for_state("nginx", "running");
    assert_eq!((daemon.master(), daemon.workers()), (master, workers.clone()));
    daemon.machine.crash();
    assert_eq!((daemon.master(), daemon.workers()), (master, workers.clone()));
    // Another file in the program's place: a reload restarts who runs it.
    fs::copy(NGINX, daemon.machine.path("new")).unwrap();
    fs::rename(daemon.machine.path("new"), daemon.machine.path("nginx")).unwrap();
    assert_eq!(
        daemon.machine.call("system.reload", json!({}))["changed"],
        json!(["nginx"])
    );
    daemon.wait_for_end(&[&workers[..], &[master]].concat());
    daemon.machine.wait_for_state("nginx", "running");
    assert_ne!(daemon.master(), master);
    assert_eq!(daemon.wait_for_workers().len(), WORKERS);
    assert_eq!(daemon.get().as_deref(), Some("one"));
    daemon.machine.call("service.stop", json!({"name": "nginx"}));
    daemon.machine.wait_for_state("nginx", "inactive");
    assert_eq!(daemon.get(), None);
}

#[test]
fn nginx_that_does_not_answer_any_more_is_unhealthy_and_restarted() {
    let Some(daemon) = Daemon::start() else { return };
    let (master, workers) = (daemon.master(), daemon.wait_for_workers());
    // A configuration with which it answers otherwise.
    let bad = fs::read_to_string(daemon.machine.path("nginx.conf"))
        .unwrap()
        .replace("return 200", "return 503");
    fs::write(daemon.machine.path("nginx.conf"), bad).unwrap();
    daemon
        .machine
        .call("service.kill", json!({"name": "nginx", "signal": "SIGHUP"}));
    daemon.machine.wait("its health to be noticed", || {
        daemon
            .machine
            .console()
            .contains("answers with status 503, expected 200")
    });
    daemon.write_configuration("three");
    daemon
        .machine
        .wait("another master", || ![0, master].contains(&daemon.master()));
    daemon.wait_for_end(&workers);
    // The new one may have been started before the configuration was whole again.
    let again = json!({"name": "nginx", "signal": "SIGHUP"});
    let _ = my_init::client::call(&daemon.machine.socket(), "service.kill", &again);
    daemon
        .machine
        .wait("its health", || daemon.get().as_deref() == Some("three"));
    daemon.machine.wait_for_state("nginx", "running");
}
