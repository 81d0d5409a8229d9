//! Logs in files: the process that writes them may be slow, stuck, killed or without room, and nobody else notices.

#![allow(clippy::unwrap_used, reason = "a fixture that fails is a test that fails")]

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;
use serde_json::json;

use common::{Machine, send};

/// A service that prints the numbers from 1 to `last`, padded to 9 digits and a line's end, once.
fn counts(machine: &Machine, last: u64, logging: &str) -> String {
    let file = machine.path("logs/counts.log");
    format!(
        "[service]\noneshot = true\nexec = \"seq -f %09.0f 1 {last}; echo; sleep 0.2; echo the end\"\n[logging]\nfile = \"{}\"\n{logging}\n",
        file.display()
    )
}

fn log_writer(machine: &Machine) -> u32 {
    let keeper = machine.child.id();
    let find = || {
        let children = fs::read_to_string(format!("/proc/{keeper}/task/{keeper}/children")).unwrap();
        let mut pids = children.split_whitespace().map(|pid| pid.parse::<u32>().unwrap());
        pids.find(|pid| {
            fs::read_to_string(format!("/proc/{pid}/cmdline"))
                .unwrap_or_default()
                .contains("--log-writer")
        })
    };
    machine.wait("a writer", || find().is_some());
    find().unwrap()
}

/// All that was written, the oldest first.
fn written(machine: &Machine) -> String {
    let mut texts = Vec::new();
    for number in 0.. {
        let end = if number == 0 {
            String::new()
        } else {
            format!(".{number}")
        };
        match fs::read(machine.path(&format!("logs/counts.log{end}"))) {
            Ok(bytes) => texts.push(String::from_utf8(bytes).unwrap()),
            Err(_) => break,
        }
    }
    texts.reverse();
    texts.concat()
}

fn numbers(last: u64) -> String {
    (1..=last).map(|number| format!("{number:09}\n")).collect()
}

#[test]
fn nothing_is_lost_and_nothing_written_twice_while_writer_and_supervisor_are_killed() {
    let machine = Machine::start(&[]);
    let endless = format!(
        "[service]\nexec = \"i=1; while [ $i -le 3000 ]; do printf '%09d\\\\n' $i; i=$((i + 1)); [ $((i % 50)) -ne 0 ] || sleep 0.01; done; exec sleep 1000\"\n[logging]\nfile = \"{}\"\nfile_bytes = 4096\nfile_count = 100\n",
        machine.path("logs/counts.log").display()
    );
    machine.write_service("counts", &endless);
    machine.call("system.reload", json!({}));
    for _ in 0..3 {
        let before = written(&machine).len();
        send(log_writer(&machine), Signal::KILL);
        machine.crash();
        machine.wait("more", || written(&machine).len() > before || before == 30_000);
    }
    machine.wait("everything", || written(&machine).len() >= 30_000);
    assert_eq!(written(&machine), numbers(3000));
    let lengths = (1..).map_while(|number| fs::metadata(machine.path(&format!("logs/counts.log.{number}"))).ok());
    let lengths: Vec<u64> = lengths.map(|file| file.len()).collect();
    assert!(
        lengths.len() >= 7 && lengths.iter().all(|length| (1..=4096).contains(length)),
        "{lengths:?}"
    );
    machine.wait("the counters", || {
        let log = &machine.status("counts")["log"];
        log["written"] == 30_000 && log["lost"] == 0 && log["printed"] == 30_000
    });
}

#[test]
fn a_writer_that_is_stuck_delays_nobody_and_what_was_lost_is_said() {
    let machine = Machine::start(&[]);
    machine.write_service("first", &counts(&machine, 1, "").replace("counts.log", "first.log"));
    machine.call("system.reload", json!({}));
    let writer = log_writer(&machine);
    send(writer, Signal::STOP);
    machine.write_service("counts", &counts(&machine, 400_000, "buffer_bytes = 4096"));
    machine.call("system.reload", json!({}));
    machine.wait_for_state("counts", "exited");
    assert_eq!(
        machine.call("logs.tail", json!({ "name": "counts", "lines": 1 }))["lines"],
        json!(["the end"])
    );
    // A megabyte waits for the writer beyond what is kept anyway, and no more.
    let memory = machine.status("counts")["log"]["memory"].as_u64().unwrap();
    assert!((1 << 20..3 << 19).contains(&memory), "{memory} bytes");
    send(writer, Signal::CONT);
    machine.wait("the end", || written(&machine).ends_with("the end\n"));
    let text = written(&machine);
    let missing = text
        .lines()
        .find(|line| line.contains("bytes are missing here"))
        .unwrap();
    let missing: u64 = missing.split(' ').nth(1).unwrap().parse().unwrap();
    let log = machine.status("counts")["log"].clone();
    assert_eq!(log["lost"], missing);
    assert_eq!(log["written"].as_u64().unwrap() + missing, 4_000_000 + 9);
    assert!(missing > 2_500_000, "{missing}");
}

#[test]
fn the_oldest_goes_when_there_are_too_many_and_the_end_is_written_too() {
    let mut machine = Machine::start(&[]);
    machine.write_service("counts", &counts(&machine, 4000, "file_bytes = 8192\nfile_count = 3"));
    machine.call("system.reload", json!({}));
    machine.wait_for_state("counts", "exited");
    // Nothing is waited for: what is on its way is written before my_init ends.
    machine.call("system.poweroff", json!({}));
    machine.end();
    let text = written(&machine);
    let expected = format!("{}\nthe end\n", numbers(4000));
    assert!(text.len() > 16_000 && expected.ends_with(&text), "{} bytes", text.len());
    let left = fs::read_dir(machine.path("logs")).unwrap().count();
    assert_eq!(left, 3);
}

#[test]
fn a_link_is_not_followed_and_that_is_said_once() {
    let machine = Machine::start(&[]);
    fs::create_dir(machine.path("logs")).unwrap();
    fs::write(machine.path("secret"), "").unwrap();
    std::os::unix::fs::symlink(machine.path("secret"), machine.path("logs/counts.log")).unwrap();
    machine.write_service("counts", &counts(&machine, 5, ""));
    machine.call("system.reload", json!({}));
    machine.wait("the complaint", || {
        machine
            .console()
            .contains("counts.log is a symbolic link, which is not followed")
    });
    assert_eq!(machine.read("secret"), "");
    fs::remove_file(machine.path("logs/counts.log")).unwrap();
    machine.wait("the file", || written(&machine) == format!("{}\nthe end\n", numbers(5)));
    assert_eq!(
        machine.console().matches("is a symbolic link").count(),
        1,
        "{}",
        machine.console()
    );
}

/// A file system of its own, with little room.
struct Disk<'a>(&'a Path);

impl<'a> Disk<'a> {
    fn mount(place: &'a Path) -> Option<Self> {
        fs::create_dir(place).unwrap();
        mount(place, "size=64k").then_some(Self(place))
    }
}

fn mount(place: &Path, options: &str) -> bool {
    let status = Command::new("mount")
        .args(["-t", "tmpfs", "-o", options, "none"])
        .arg(place)
        .status();
    status.is_ok_and(|status| status.success())
}

impl Drop for Disk<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").args(["-l"]).arg(self.0).status();
    }
}

#[test]
fn a_full_disk_delays_nobody_and_writing_goes_on_when_there_is_room() {
    let machine = Machine::start(&[]);
    let place = machine.path("logs");
    let Some(_disk) = Disk::mount(&place) else {
        println!("SKIPPED: no file system can be mounted here");
        return;
    };
    machine.write_service("counts", &counts(&machine, 20_000, ""));
    machine.call("system.reload", json!({}));
    machine.wait_for_state("counts", "exited");
    machine.wait("the complaint", || {
        machine.console().contains("No space left on device")
    });
    assert!(mount(&place, "remount,size=1m"));
    machine.wait("the end", || written(&machine).ends_with("the end\n"));
    assert_eq!(written(&machine), format!("{}\nthe end\n", numbers(20_000)));
}

#[test]
fn all_files_together_have_a_limit_and_the_largest_pays() {
    let directory = tempfile::tempdir().unwrap();
    let small = directory.path().join("small.log");
    let mut services = vec![(
        "small".to_owned(),
        format!(
            "[service]\noneshot = true\nexec = \"echo small\"\n[logging]\nfile = \"{}\"\n",
            small.display()
        ),
    )];
    for name in ["a", "b", "c"] {
        let file = directory.path().join(format!("{name}.log"));
        let text = format!(
            "[service]\noneshot = true\nexec = \"seq -f %0999.0f 1 900; echo the end\"\n[logging]\nfile = \"{}\"\nbuffer_bytes = 1048576\nfile_bytes = 65536\nfile_count = 50\n",
            file.display()
        );
        services.push((name.to_owned(), text));
    }
    let services: Vec<(&str, &str)> = services
        .iter()
        .map(|(name, text)| (name.as_str(), text.as_str()))
        .collect();
    let machine = Machine::start_with(&services, &["--log-files", "1M"]);
    let ends = |name: &str| fs::read_to_string(directory.path().join(format!("{name}.log"))).unwrap_or_default();
    machine.wait("every end", || {
        ["a", "b", "c"].iter().all(|name| ends(name).ends_with("the end\n"))
    });
    machine.wait("the small one", || ends("small") == "small\n");
    let files = fs::read_dir(directory.path()).unwrap();
    let total: u64 = files.map(|file| file.unwrap().metadata().unwrap().len()).sum();
    assert!(
        (700_000..=1 << 20).contains(&total),
        "{total} bytes; console:\n{}",
        machine.console()
    );
}
