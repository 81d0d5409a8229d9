//! What shall happen on a machine, step by step: `mos run --check FILE`. Pure.
//!
//! ```toml
//! timeout = 120                                # seconds for each step; 300 when nothing is said
//! never = ["Kernel panic"]                     # fails the check as soon as the console says one of these
//!
//! [[step]]
//! wait = "ready"                               # a line of the console that contains this; `ready` is my_init's own
//!
//! [[step]]
//! fetch = "http://node:80/"                    # port 80 of the node; any other URL is fetched as it is
//! contains = "<h1>"
//!
//! [[step]]
//! send = "root\n"                              # typed on the console
//!
//! [[step]]
//! press = "power"                              # or "ctrl-alt-delete"
//!
//! [[step]]
//! exit = true                                  # the machine ends by itself
//! timeout = 30
//! ```
//!
//! Every complaint about a file names its line and column.

use std::fmt;
use std::time::Duration;

use mos_toml::{Document, Position, Problem, Problems, Table};

/// Seconds for a step when nothing is said.
const TIMEOUT: i64 = 300;
/// A day: longer is a mistake.
const LONGEST: i64 = 86_400;
/// The status that a page is expected to have when nothing is said.
const OK: i64 = 200;
/// The statuses of HTTP.
const STATUSES: std::ops::RangeInclusive<i64> = 100..=599;
/// What each step has one of.
const ACTIONS: [&str; 5] = ["wait", "send", "fetch", "press", "exit"];
/// The host by which URLs mean the node.
const NODE: &str = "http://node:";

/// A file of steps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scenario {
    /// What the console must never say.
    pub never: Vec<String>,
    /// In order.
    pub steps: Vec<Step>,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What happens.
    pub action: Action,
    /// How long it may take.
    pub timeout: Duration,
    /// Where it stands.
    pub position: Position,
}

/// What happens in a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// The console says this in one line.
    Wait(String),
    /// This is typed on the console.
    Send(String),
    /// A page is there, has this status, and contains this.
    Fetch {
        /// Its URL.
        url: Url,
        /// Status of the answer.
        status: u16,
        /// Part of the page.
        contains: Option<String>,
    },
    /// A button or keys are pressed.
    Press(Button),
    /// The machine ends by itself.
    Exit,
}

/// What is fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Url {
    /// From a port of the node.
    Node {
        /// The port.
        port: u16,
        /// What comes behind it, with its slash.
        path: String,
    },
    /// From anywhere else.
    Other(String),
}

/// What a finger can press.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Button {
    /// The power button.
    Power,
    /// Ctrl, Alt and Delete.
    CtrlAltDelete,
}

impl Scenario {
    /// Reads a file's text; `file` is its name, for messages.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn parse(file: &str, text: &str) -> Result<Self, Vec<Problem>> {
        let document = Document::parse(file, text).map_err(|problem| vec![problem])?;
        let problems = Problems::default();
        let root = document.root(&problems);
        let timeout = root.integer("timeout", 1..=LONGEST).unwrap_or(TIMEOUT);
        let never = root.string_list("never").into_iter().map(|item| item.value).collect();
        let steps = root.table_list("step");
        if steps.is_empty() {
            root.complain("step", "there is no [[step]]: nothing would be checked");
        }
        let steps = steps.into_iter().filter_map(|step| read_step(step, timeout)).collect();
        root.finish();
        match problems.any_error() {
            true => Err(problems.into_sorted()),
            false => Ok(Self { never, steps }),
        }
    }

    /// The ports of the node that pages are fetched from.
    pub fn ports(&self) -> Vec<u16> {
        let mut ports: Vec<u16> = self.steps.iter().filter_map(|step| step.action.port()).collect();
        ports.sort_unstable();
        ports.dedup();
        ports
    }
}

impl Action {
    fn port(&self) -> Option<u16> {
        match self {
            Self::Fetch {
                url: Url::Node { port, .. },
                ..
            } => Some(*port),
            _ => None,
        }
    }
}

fn read_step(step: Table<'_>, timeout: i64) -> Option<Step> {
    let position = step.position();
    let named: Vec<&str> = ACTIONS.into_iter().filter(|name| step.has(name)).collect();
    let timeout = step.integer("timeout", 1..=LONGEST).unwrap_or(timeout);
    let action = match named[..] {
        [name] => read_action(name, &step),
        [] => {
            step.complain(
                "",
                format!("the step does nothing: write one of {}", ACTIONS.join(", ")),
            );
            None
        }
        [first, second, ..] => {
            step.complain(
                second,
                format!("a step is either `{first}` or `{second}`: write two steps"),
            );
            None
        }
    };
    step.finish();
    Some(Step {
        action: action?,
        timeout: Duration::from_secs(timeout.unsigned_abs()),
        position,
    })
}

fn read_action(name: &str, step: &Table<'_>) -> Option<Action> {
    let text = |key| {
        let text = step.string(key)?;
        if text.is_empty() {
            step.complain(key, format!("`{key}` is empty"));
        }
        Some(text)
    };
    match name {
        "wait" => text("wait").map(Action::Wait),
        "send" => text("send").map(Action::Send),
        "press" => {
            let buttons = [("power", Button::Power), ("ctrl-alt-delete", Button::CtrlAltDelete)];
            step.choice("press", &buttons).map(Action::Press)
        }
        "exit" => {
            if step.boolean("exit") == Some(false) {
                step.complain("exit", "write `exit = true`, or leave the step out");
            }
            Some(Action::Exit)
        }
        _ => read_fetch(step, text("fetch")?, text("contains")),
    }
}

fn read_fetch(step: &Table<'_>, url: String, contains: Option<String>) -> Option<Action> {
    let status = step.integer("status", STATUSES).unwrap_or(OK);
    let url = match url.strip_prefix(NODE) {
        Some(rest) => node_url(rest),
        None => url.contains("://").then_some(Url::Other(url)),
    };
    if url.is_none() {
        step.complain("fetch", "write http://node:PORT/PATH, or another URL");
    }
    Some(Action::Fetch {
        url: url?,
        status: u16::try_from(status).ok()?,
        contains,
    })
}

fn node_url(rest: &str) -> Option<Url> {
    let (port, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let port = port.parse().ok().filter(|port| *port > 0)?;
    let path = if path.is_empty() { "/" } else { path }.to_owned();
    Some(Url::Node { port, path })
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wait(text) => write!(f, "wait for `{text}`"),
            Self::Send(text) => write!(f, "send `{}`", text.escape_debug()),
            Self::Fetch { url, .. } => write!(f, "fetch {url}"),
            Self::Press(Button::Power) => f.write_str("press the power button"),
            Self::Press(Button::CtrlAltDelete) => f.write_str("press Ctrl-Alt-Delete"),
            Self::Exit => f.write_str("wait for the end"),
        }
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node { port, path } => write!(f, "{NODE}{port}{path}"),
            Self::Other(url) => f.write_str(url),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_kind_of_step() {
        let text = "timeout = 9\nnever = [\"panic\"]\n[[step]]\nwait = \"ready\"\n[[step]]\nsend = \"root\\n\"\n[[step]]\n\
                    fetch = \"http://node:80/a/b\"\nstatus = 404\ncontains = \"no\"\n[[step]]\nfetch = \"https://h/\"\n\
                    [[step]]\nfetch = \"http://node:80\"\n[[step]]\npress = \"power\"\n[[step]]\nexit = true\ntimeout = 30\n";
        let scenario = Scenario::parse("s.toml", text).unwrap();
        assert_eq!(scenario.never, ["panic"]);
        assert_eq!(scenario.ports(), [80]);
        let shown: Vec<String> = scenario.steps.iter().map(|step| step.action.to_string()).collect();
        assert_eq!(
            shown,
            [
                "wait for `ready`",
                "send `root\\n`",
                "fetch http://node:80/a/b",
                "fetch https://h/",
                "fetch http://node:80/",
                "press the power button",
                "wait for the end"
            ]
        );
        let timeouts: Vec<u64> = scenario.steps.iter().map(|step| step.timeout.as_secs()).collect();
        assert_eq!(timeouts, [9, 9, 9, 9, 9, 9, 30]);
        assert_eq!(scenario.steps[1].position.to_string(), "s.toml:5:1");
        let Action::Fetch { status, contains, .. } = &scenario.steps[2].action else {
            panic!("{scenario:?}")
        };
        assert_eq!((*status, contains.as_deref()), (404, Some("no")));
    }

    #[test]
    fn complaints_name_their_place() {
        for (text, complaint) in [
            ("", "s.toml:1:1: there is no [[step]]"),
            ("[[step]]\ntimeout = 1\n", "s.toml:1:1: the step does nothing"),
            (
                "[[step]]\nwait = \"a\"\nsend = \"b\"\n",
                "s.toml:3:8: a step is either `wait` or `send`",
            ),
            ("[[step]]\nwait = \"\"\n", "s.toml:2:8: `wait` is empty"),
            ("[[step]]\nwait = 1\n", "s.toml:2:8: "),
            ("[[step]]\nwiat = \"a\"\n", "unknown key `wiat`"),
            ("[[step]]\npress = \"powr\"\n", "did you mean `power`?"),
            ("[[step]]\nexit = false\n", "s.toml:2:8: write `exit = true`"),
            (
                "[[step]]\nfetch = \"node:80\"\n",
                "s.toml:2:9: write http://node:PORT/PATH",
            ),
            (
                "[[step]]\nfetch = \"http://node:0/\"\n",
                "s.toml:2:9: write http://node:PORT/PATH",
            ),
            (
                "[[step]]\nfetch = \"http://a/\"\nstatus = 99\n",
                "s.toml:3:10: `status` is 99",
            ),
            ("timeout = 0\n[[step]]\nexit = true\n", "s.toml:1:11: `timeout` is 0"),
            ("[[step]]\nwait = \"a\"\nstatus = 200\n", "unknown key `status`"),
        ] {
            let problems = Scenario::parse("s.toml", text).unwrap_err();
            let said: Vec<String> = problems.iter().map(ToString::to_string).collect();
            assert!(said.iter().any(|said| said.contains(complaint)), "{text}: {said:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_scenario_or_refused(text in ".{0,200}", url in ".{0,40}") {
            let _ = Scenario::parse("s.toml", &text);
            let _ = node_url(&url);
        }
    }
}
