//! `console`: the node at a glance on a terminal or a serial line. It sleeps until something happens or a key is pressed;
//! without a terminal it prints lines.

use std::fs;
use std::io::{Read as _, Write};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::Command;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr,
};
use serde_json::{Value, json};

use super::events::{Events, line};
use super::render::{remark, text};
use super::verbs::print;
use super::{AskError, call};
use crate::boot::command_line::CommandLine;

/// Clears a terminal and goes to its upper left corner (ECMA-48).
const CLEAR: &str = "\x1b[H\x1b[J";
/// Events that are shown.
const RECENT: usize = 5;
/// Rows of a terminal that does not say how many it has, as a serial line does not.
const ROWS: usize = 24;
/// States in which nothing is to be said of a service.
const FINE: [&str; 4] = ["running", "exited", "inactive", "skipped"];

/// Shows the node until the key `q`, or for ever.
pub(super) fn run(socket: &Path, out: &mut dyn Write) -> Result<(), AskError> {
    let input = std::io::stdin();
    let mut events = Events::subscribe(socket, &[])?;
    if !isatty(input.as_fd()) || !isatty(std::io::stdout().as_fd()) {
        print(out, &picture(socket, &[], usize::MAX, "")?)?;
        loop {
            let message = events.next()?;
            print(out, &line(&message))?;
        }
    }
    let terminal = Terminal::take().map_err(|error| AskError::File("the terminal".to_owned(), error))?;
    let debug = CommandLine::parse(&fs::read_to_string("/proc/cmdline").unwrap_or_default()).debug;
    let help = if debug {
        "l logs  s shell  q quit"
    } else {
        "l logs  q quit"
    };
    let mut recent: Vec<String> = Vec::new();
    loop {
        print(out, &format!("{CLEAR}{}", picture(socket, &recent, rows(), help)?))?;
        match wait(&events)? {
            Woken::Event => {
                take(&mut events, &mut recent)?;
            }
            Woken::Key(b'q') => return print(out, CLEAR),
            Woken::Key(b'l') => terminal.lend(&mut own(socket, &["logs", "-n", "200"])),
            Woken::Key(b's') if debug => terminal.lend(&mut Command::new("/bin/sh")),
            Woken::Key(_) => {}
        }
    }
}

enum Woken {
    Event,
    Key(u8),
}

/// Waits for an event or a key; the end of the keyboard is as `q`.
fn wait(events: &Events) -> Result<Woken, AskError> {
    let mut input = std::io::stdin();
    loop {
        let stdin = std::io::stdin();
        let mut sources = [
            PollFd::new(events.stream(), PollFlags::IN),
            PollFd::new(&stdin, PollFlags::IN),
        ];
        match poll(&mut sources, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(AskError::Offline(error.into())),
        }
        if !sources[1].revents().is_empty() {
            let mut key = [0];
            let count = input.read(&mut key).unwrap_or(0);
            return Ok(Woken::Key(if count == 0 { b'q' } else { key[0] }));
        }
        if !sources[0].revents().is_empty() {
            return Ok(Woken::Event);
        }
    }
}

/// Takes what has come.
fn take(events: &mut Events, recent: &mut Vec<String>) -> Result<(), AskError> {
    loop {
        recent.push(line(&events.next()?));
        if recent.len() > RECENT {
            recent.remove(0);
        }
        if !events.has_more() {
            return Ok(());
        }
    }
}

/// This program with other words.
fn own(socket: &Path, words: &[&str]) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.arg("--socket").arg(socket).args(words);
    command
}

/// A terminal that gives keys at once and does not show them.
struct Terminal {
    before: Termios,
}

impl Terminal {
    fn take() -> std::io::Result<Self> {
        let before = tcgetattr(std::io::stdin())?;
        let terminal = Self { before };
        terminal.keys_at_once();
        Ok(terminal)
    }

    fn keys_at_once(&self) {
        let mut now = self.before.clone();
        now.local_modes -= LocalModes::ICANON | LocalModes::ECHO;
        now.special_codes[SpecialCodeIndex::VMIN] = 1;
        now.special_codes[SpecialCodeIndex::VTIME] = 0;
        // Keys then need Enter, which is a nuisance and no more.
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &now);
    }

    fn give_back(&self) {
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &self.before);
    }

    /// Lets another program have the terminal until it ends and Enter is pressed.
    fn lend(&self, command: &mut Command) {
        self.give_back();
        let mut out = std::io::stdout();
        let _ = out.write_all(CLEAR.as_bytes()).and_then(|()| out.flush());
        let told = match command.status() {
            Ok(_) => "\n(Enter goes back)".to_owned(),
            Err(error) => format!("{error}\n(Enter goes back)"),
        };
        let _ = out.write_all(told.as_bytes()).and_then(|()| out.flush());
        let _ = std::io::stdin().read_line(&mut String::new());
        self.keys_at_once();
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.give_back();
    }
}

fn rows() -> usize {
    let size = tcgetwinsize(std::io::stdout())
        .ok()
        .map(|size| usize::from(size.ws_row));
    size.filter(|rows| *rows > 0).unwrap_or(ROWS)
}

/// Everything, in as many lines as fit.
fn picture(socket: &Path, recent: &[String], rows: usize, help: &str) -> Result<String, AskError> {
    let services = call(socket, "service.list_full", &json!({}))?;
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let facts = Facts {
        name,
        release: release(&fs::read_to_string("/etc/os-release").unwrap_or_default()),
        addresses: addresses(),
    };
    Ok(draw(&facts, &services, recent, rows, help))
}

/// What is known of the node.
struct Facts {
    name: String,
    release: String,
    addresses: Vec<String>,
}

fn draw(facts: &Facts, services: &Value, recent: &[String], rows: usize, help: &str) -> String {
    let services: Vec<&Value> = services.as_array().into_iter().flatten().collect();
    let stands = |state: &str| services.iter().filter(|service| service["state"] == state).count();
    let stuck: Vec<&&Value> = services
        .iter()
        .filter(|service| !FINE.contains(&service["state"].as_str().unwrap_or_default()))
        .collect();
    let mut lines = vec![
        format!("{}  {}", facts.name, facts.release).trim_end().to_owned(),
        facts.addresses.join("  "),
        format!(
            "{} services: {} running, {} done, {} not as they should be",
            services.len(),
            stands("running"),
            stands("exited"),
            stuck.len()
        ),
        String::new(),
    ];
    let room = rows.saturating_sub(lines.len() + recent.len() + 4);
    for service in stuck.iter().take(room) {
        let line = format!(
            "{}: {} {}",
            text(&service["name"]),
            text(&service["state"]),
            remark(service)
        );
        lines.push(line.trim_end().to_owned());
    }
    if stuck.len() > room {
        lines.push(format!("and {} more", stuck.len() - room));
    }
    if !recent.is_empty() {
        lines.push(String::new());
        lines.extend(recent.iter().map(|line| line.trim_end().to_owned()));
    }
    if !help.is_empty() {
        lines.extend([String::new(), help.to_owned()]);
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// `PRETTY_NAME` (os-release(5)).
fn release(text: &str) -> String {
    let name = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.unwrap_or_default().trim_matches(['"', '\'']).to_owned()
}

/// The node's own addresses, without those that every node has.
fn addresses() -> Vec<String> {
    let mut addresses = ipv4(&fs::read_to_string("/proc/net/fib_trie").unwrap_or_default());
    addresses.extend(ipv6(&fs::read_to_string("/proc/net/if_inet6").unwrap_or_default()));
    addresses
}

/// Leaves of the routing table that are the node itself: an address, and below it `/32 host LOCAL`.
fn ipv4(trie: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut last = "";
    for line in trie.lines() {
        if let Some((_, address)) = line.split_once("|-- ") {
            last = address.trim();
        } else if line.contains("/32 host LOCAL") && !last.starts_with("127.") && !found.iter().any(|one| one == last) {
            found.push(last.to_owned());
        }
    }
    found
}

/// Lines of `address index length scope flags name`; scope 00 is global (if_inet6).
fn ipv6(table: &str) -> Vec<String> {
    let address = |line: &str| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let global = fields.get(3) == Some(&"00");
        let number = u128::from_str_radix(fields.first()?, 16).ok().filter(|_| global)?;
        Some(std::net::Ipv6Addr::from(number).to_string())
    };
    table.lines().filter_map(address).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_picture_names_what_is_stuck_and_fits() {
        let facts = Facts {
            name: "node1".into(),
            release: "MOS 1".into(),
            addresses: vec!["10.0.0.2".into()],
        };
        let mut services = vec![json!({ "name": "web", "state": "running" })];
        services
            .extend((0..30).map(|n| json!({ "name": format!("s{n}"), "state": "failed", "reason": "exit code 1" })));
        let picture = draw(&facts, &json!(services), &["[   1.000] ready\n".into()], 20, "q quit");
        let lines: Vec<&str> = picture.lines().collect();
        assert_eq!(
            lines[..3],
            [
                "node1  MOS 1",
                "10.0.0.2",
                "31 services: 1 running, 0 done, 30 not as they should be"
            ]
        );
        assert_eq!((lines[4], lines.last()), ("s0: failed exit code 1", Some(&"q quit")));
        assert!(lines.len() <= 20 && lines.contains(&"and 19 more"), "{picture}");
    }

    #[test]
    fn addresses_are_those_of_the_node() {
        let trie = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 10.0.0.0\n        /24 link UNICAST\n     |-- 10.0.0.2\n        /32 host LOCAL\n     |-- 127.0.0.1\n        /32 host LOCAL\n     |-- 10.0.0.2\n        /32 host LOCAL\n";
        assert_eq!(ipv4(trie), ["10.0.0.2"]);
        let table =
            "fe800000000000000000000000000001 02 40 20 80 eth0\n20010db8000000000000000000000005 02 40 00 80 eth0\n";
        assert_eq!(ipv6(table), ["2001:db8::5"]);
        assert_eq!(release("NAME=x\nPRETTY_NAME=\"MOS 1\"\n"), "MOS 1");
    }
}
