//! `my_init console` on a terminal, as somebody sees it who sits there, and without one.

#![allow(clippy::unwrap_used, reason = "a fixture that fails is a test that fails")]

mod common;

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::json;

use common::{Machine, PATIENCE, STAYS, program};

/// What is written when the screen of its own is left (xterm's control sequences).
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";
/// Notes the terminal and how it is, and has the console on it. Ctrl-C is for who is on the terminal then, and not the end
/// of the shell that waits for the console (some shells end by it once they have waited).
const BEGIN: &str =
    "trap : INT; stty rows 24 cols 80; stty -g > \"$SEAT/before\"; echo $$ > \"$SEAT/pid\"; tty > \"$SEAT/tty\";";
/// What is on it afterwards.
const STAY: &str = "\"$MY_INIT\" console --socket \"$SOCKET\"; echo \"left with $?\"; stty -g > \"$SEAT/after\"";
/// The console is the first program on it, as one that my_init starts there.
const ALONE: &str = "exec \"$MY_INIT\" console --socket \"$SOCKET\"";

/// A terminal (script(1) makes one), and the console on it.
struct Seat {
    keyboard: ChildStdin,
    output: Arc<Mutex<Vec<u8>>>,
    directory: PathBuf,
    child: Child,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Seat {
    fn take(machine: &Machine, then: &str) -> Self {
        let directory = machine.path("seat");
        fs::create_dir(&directory).unwrap();
        let mut child = Command::new("script")
            .args(["-q", "-f", "-c", &format!("{BEGIN} {then}"), "/dev/null"])
            .env("SHELL", "/bin/sh")
            .env("TERM", "linux")
            .env("MY_INIT", env!("CARGO_BIN_EXE_my_init"))
            .env("SOCKET", machine.socket())
            .env("SEAT", &directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = Arc::new(Mutex::new(Vec::new()));
        let (mut reader, written) = (child.stdout.take().unwrap(), Arc::clone(&output));
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = reader.read(&mut bytes) {
                written.lock().unwrap().extend(&bytes[..count]);
            }
        });
        Self {
            keyboard: child.stdin.take().unwrap(),
            output,
            directory,
            child,
        }
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.directory.join(name))
            .unwrap_or_default()
            .trim()
            .to_owned()
    }

    fn stty(&self, words: &[&str]) -> String {
        let output = Command::new("stty")
            .arg("-F")
            .arg(self.read("tty"))
            .args(words)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn resize(&self, rows: &str, columns: &str) {
        self.stty(&["rows", rows, "cols", columns]);
    }

    fn press(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
        self.keyboard.flush().unwrap();
    }

    /// Everything that was written until now.
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.output.lock().unwrap()).into_owned()
    }

    /// Forgets what was written until now.
    fn blink(&self) {
        self.output.lock().unwrap().clear();
    }

    /// The last whole picture, as it stands on the screen.
    fn screen(&self) -> Vec<String> {
        let text = self.text();
        let Some(end) = text.rfind("\x1b[J") else {
            return Vec::new();
        };
        let Some(begin) = text[..end].rfind("\x1b[H") else {
            return Vec::new();
        };
        let lines = text[begin..end].split('\n').map(|line| line.trim_end_matches('\r'));
        lines.map(without_sequences).collect()
    }

    fn wait(&self, what: &str, done: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !done(self) {
            assert!(Instant::now() < deadline, "{what} did not come about:\n{}", self.text());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn wait_for_line(&self, part: &str) {
        self.wait(part, |seat| seat.screen().iter().any(|line| line.contains(part)));
    }

    /// What the console has ended with, when it has left the terminal as it was.
    fn end(&self) -> String {
        self.wait("its end", |seat| !seat.read("after").is_empty());
        assert_eq!(self.read("after"), self.read("before"));
        let text = self.text();
        let (_, after) = text.split_once(LEAVE).unwrap_or_else(|| panic!("{text}"));
        after.trim().to_owned()
    }
}

/// Without what a terminal obeys (ECMA-48: `ESC [`, parameters, a letter).
fn without_sequences(line: &str) -> String {
    let mut parts = line.split("\x1b[");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part
            .find(|character: char| character.is_ascii_alphabetic())
            .map_or(part.len(), |end| end + 1);
        text.push_str(&part[end..]);
    }
    text
}

fn has_script() -> bool {
    let found = Path::new("/usr/bin/script").exists();
    if !found {
        println!("SKIPPED: /usr/bin/script is not there");
    }
    found
}

fn machine() -> Machine {
    let fails = "[service]\nexec = \"echo no key; exit 3\"\noneshot = true\n";
    let needs = "[service]\nexec = \"sleep 1000\"\n[dependencies]\nrequires = [\"fetch\"]\n";
    let machine = Machine::start(&[("db", STAYS), ("fetch", fails), ("web", needs)]);
    machine.wait_for_state("db", "running");
    machine.wait_for_state("fetch", "failed");
    machine.wait_for_state("web", "failed");
    machine
}

#[test]
fn a_person_sees_what_is_stuck_opens_logs_and_a_shell_and_comes_back() {
    if !has_script() {
        return;
    }
    let machine = machine();
    let mut seat = Seat::take(&machine, STAY);
    seat.wait_for_line("q quit");
    let screen = seat.screen();
    println!("{}", screen.join("\n"));
    let of = |name: &str| {
        screen
            .iter()
            .find(|line| line.starts_with(name))
            .cloned()
            .unwrap_or_default()
    };
    assert!(
        of("fetch ").contains("failed") && of("fetch ").ends_with("exit code 3"),
        "{screen:#?}"
    );
    assert!(of("web ").ends_with("requires fetch, which failed"), "{screen:#?}");
    assert!(screen[1].starts_with("3 services: 1 running, 2 failed"), "{screen:#?}");
    assert!(screen.iter().any(|line| line == "db"), "{screen:#?}");
    assert_eq!(
        (screen.len(), screen[23].as_str()),
        (24, "l logs  s shell  space more  q quit")
    );

    seat.resize("10", "40");
    seat.wait("a smaller picture", |seat| seat.screen().len() == 10);
    assert!(
        seat.screen().iter().all(|line| line.chars().count() <= 40),
        "{:#?}",
        seat.screen()
    );
    seat.resize("24", "80");
    seat.wait("the picture as it was", |seat| seat.screen().len() == 24);

    // What happens is shown without a key.
    machine.call("service.stop", json!({ "name": "db" }));
    seat.wait_for_line("db: stopping -> inactive");

    seat.blink();
    seat.press("l");
    seat.wait("logs", |seat| {
        seat.text().contains("(Ctrl-C goes back)") && seat.text().contains("no key")
    });
    assert_eq!(seat.stty(&["-g"]).trim(), seat.read("before"));
    seat.blink();
    seat.press("\x03");
    seat.wait_for_line("q quit");

    seat.blink();
    seat.press("s");
    seat.wait("a shell", |seat| seat.text().contains("(exit goes back)"));
    seat.press("echo $((40 + 2))\n");
    seat.wait("its answer", |seat| seat.text().contains("42"));
    seat.blink();
    seat.press("exit\n");
    seat.wait_for_line("q quit");

    // Another supervisor is as good, and is listened to.
    machine.crash();
    machine.call("service.start", json!({ "name": "db" }));
    seat.wait_for_line("db: ");
    seat.wait_for_line("1 running");
    seat.blink();
    seat.press("q");
    assert_eq!(seat.end(), "left with 0");
}

#[test]
fn the_terminal_is_given_back_at_a_signal_and_one_that_sits_alone_gets_no_shell() {
    if !has_script() {
        return;
    }
    let machine = machine();
    let seat = Seat::take(&machine, STAY);
    seat.wait_for_line("s shell");
    let shell = seat.read("pid");
    let children = fs::read_to_string(format!("/proc/{shell}/task/{shell}/children")).unwrap();
    common::send(children.trim().parse().unwrap(), rustix::process::Signal::TERM);
    assert_eq!(seat.end(), "left with 0");

    fs::remove_dir_all(&seat.directory).unwrap();
    let seat = Seat::take(&machine, ALONE);
    seat.wait_for_line("q quit");
    assert!(
        seat.screen().iter().all(|line| !line.contains("s shell")),
        "{:#?}",
        seat.screen()
    );
}

#[test]
fn without_an_answer_it_says_so_and_goes_on_when_there_is_one() {
    if !has_script() {
        return;
    }
    let mut machine = machine();
    let mut seat = Seat::take(&machine, STAY);
    seat.wait_for_line("q quit");
    machine.signal(15);
    machine.end();
    seat.wait_for_line("my_init does not answer");
    let again = program()
        .arg("--container")
        .arg("--services")
        .arg(machine.path("services"))
        .arg("--socket")
        .arg(machine.socket())
        .stdout(Stdio::null())
        .spawn();
    machine.child = again.unwrap();
    seat.wait_for_line("3 services: 1 running, 2 failed");
    seat.press("\x03");
    assert_eq!(seat.end(), "left with 0");
}

#[test]
fn without_a_terminal_it_prints_lines() {
    let machine = machine();
    let mut child = program()
        .args(["console", "--socket"])
        .arg(machine.socket())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line.starts_with("fetch") && line.ends_with("exit code 3")));
    assert!(lines.any(|line| line == "db"));
    machine.call("service.stop", json!({ "name": "db" }));
    let line = lines.find(|line| line.contains("db: ")).unwrap();
    assert!(
        line.ends_with("db: running -> stopping") && !line.contains('\x1b'),
        "{line}"
    );
    child.kill().unwrap();
    child.wait().unwrap();
}
