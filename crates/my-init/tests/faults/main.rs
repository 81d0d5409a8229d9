//! What goes wrong on real machines, done to the real program on purpose: whatever happens to the supervisor, to its
//! memory, its descriptors, its console, its files and its clients, services go on and their state is the truth.

#![allow(clippy::unwrap_used, reason = "a fixture that fails is a test that fails")]

mod clients;
#[path = "../common/mod.rs"]
mod common;
mod files;
mod limits;
mod processes;
mod supervisors;
mod surroundings;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use common::Machine;

fn pid_of(machine: &Machine, name: &str) -> u32 {
    u32::try_from(machine.status(name)["pid"].as_u64().unwrap_or(0)).unwrap()
}

/// The children of the keeper that have ended and were not taken in.
fn zombies(machine: &Machine) -> usize {
    let children = my_init::children::children_of(machine.child.id());
    let dead = |pid: &&u32| fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") Z "));
    children.iter().filter(dead).count()
}

/// Every service and its state.
fn states(machine: &Machine) -> Vec<(String, String)> {
    let list = machine.call("service.list_full", json!({}));
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let services = list.as_array().unwrap().iter();
    services
        .map(|service| (text(&service["name"]), text(&service["state"])))
        .collect()
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Sets the soft limit of another process, or puts it where the hard one is.
fn limit(pid: u32, resource: &str, value: Option<u64>) {
    let value = value.map_or_else(|| hard_limit(pid, resource), |value| value.to_string());
    let mut program = Command::new("prlimit");
    program
        .arg("--pid")
        .arg(pid.to_string())
        .arg(format!("--{resource}={value}:"));
    assert!(program.status().unwrap().success());
}

fn hard_limit(pid: u32, resource: &str) -> String {
    let output = Command::new("prlimit")
        .args(["--noheadings", "--output", "HARD", "--pid"])
        .arg(pid.to_string())
        .arg(format!("--{resource}"))
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// A line of `/proc/PID/status`, in kilobytes.
fn kilobytes(pid: u32, key: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(key)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// A control group of the test's own with a limit, removed in the end; `None` where there is no such thing.
struct Group(PathBuf);

impl Group {
    fn new(controller: &str, files: [(&str, &str); 2]) -> Option<Self> {
        // Version 2 has one file for all, version 1 a hierarchy for each controller (cgroups(7)).
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let of = |wanted: &dyn Fn(&str) -> bool| {
            let mut lines = own.lines().map(|line| line.splitn(3, ':').collect::<Vec<&str>>());
            lines
                .find(|parts| parts.len() == 3 && wanted(parts[1]))
                .map(|parts| parts[2].trim_start_matches('/').to_owned())
        };
        let second = of(&|list| list.is_empty()).map(|path| (Path::new("/sys/fs/cgroup").join(path), files[1]));
        let first = of(&|list| list.split(',').any(|one| one == controller));
        let first = first.map(|path| (Path::new("/sys/fs/cgroup").join(controller).join(path), files[0]));
        for (place, (file, value)) in first.into_iter().chain(second) {
            let group = place.join(format!("my-init-test-{}", std::process::id()));
            if fs::create_dir(&group).is_err() {
                continue;
            }
            let made = Self(group);
            if fs::write(made.0.join(file), value).is_ok() {
                return Some(made);
            }
        }
        println!("SKIPPED: no control group with {controller} can be made here");
        None
    }

    fn take_in(&self, pid: u32) {
        fs::write(self.0.join("cgroup.procs"), pid.to_string()).unwrap();
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        for _ in 0..500 {
            if fs::remove_dir(&self.0).is_ok() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
}

/// True while the process sleeps for a time (`clock_nanosleep` of x86-64), in which it waits for nothing else.
fn pauses(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/syscall")).is_ok_and(|call| call.starts_with("230 "))
}
