//! The YAML service files of zinit 0.2, as TOML.
//!
//! What comes out says each thing on the line on which the YAML said it, so that every later problem names the right line.

use std::fmt::Write as _;

use mos_toml::{Position, Problem};

use super::reader::{Node, Value, parse};

/// True for the names of such files.
pub fn is_yaml(file: &str) -> bool {
    file.ends_with(".yaml") || file.ends_with(".yml")
}

/// The keys of a file.
const KEYS: [&str; 9] = [
    "exec",
    "dir",
    "test",
    "oneshot",
    "shutdown_timeout",
    "log",
    "after",
    "env",
    "signal",
];

/// A service of 0.2 is restarted for ever after 2 s, and tested every 2 s until a test succeeds; nothing follows from a
/// test after that.
const PROCESS: &str = "lifecycle.restart = \"always\"\nlifecycle.restart_delay_ms = 2000\n\
lifecycle.restart_delay_max_ms = 2000\nlifecycle.max_restarts = 0\n";
const TESTED: &str = "health.type = \"exec\"\nhealth.interval_ms = 2000\nhealth.action = \"none\"\n\
lifecycle.start_timeout_ms = 0\n";

/// The same as TOML, line by line.
///
/// # Errors
/// What is not understood, with its place.
pub fn to_toml(file: &str, text: &str) -> Result<String, Problem> {
    let node = parse(file, text)?;
    let Value::Map(entries) = &node.value else {
        return Err(Problem::error(Some(node.position), "expected `exec: …`"));
    };
    let mut output = vec![String::new(); text.lines().count()];
    for (key, position, node) in entries {
        if let Some(place) = output.get_mut(position.line - 1) {
            *place = line(key, position, node)?;
        }
    }
    let stands = |key: &str| entries.iter().find(|(name, ..)| name == key);
    let oneshot = stands("oneshot").is_some_and(|(.., node)| node.value == Value::Scalar("true".to_owned()));
    let test = stands("test").filter(|(.., node)| !is_empty(node));
    // A oneshot is ready when it has ended, whatever a test says.
    if let Some(place) = test
        .filter(|_| oneshot)
        .and_then(|(_, position, _)| output.get_mut(position.line - 1))
    {
        place.clear();
    }
    let mut text = output.join("\n") + "\n";
    if !oneshot {
        text.push_str(PROCESS);
        text.push_str(test.map_or("", |_| TESTED));
    }
    Ok(text)
}

fn is_empty(node: &Node) -> bool {
    match &node.value {
        Value::Null => true,
        Value::Scalar(text) => text.is_empty(),
        _ => false,
    }
}

/// The line of TOML for a key; empty when nothing has to be said.
fn line(key: &str, position: &Position, node: &Node) -> Result<String, Problem> {
    if !KEYS.contains(&key) {
        return Err(unknown(key, position));
    }
    if is_empty(node) && key != "exec" {
        return Ok(String::new());
    }
    match key {
        "after" => {
            let names: Vec<String> = texts(node)?.into_iter().map(quoted).collect();
            Ok(format!("dependencies.requires = [{}]", names.join(", ")))
        }
        "env" => {
            let pairs = pairs(node)?.into_iter();
            let pairs: Vec<String> = pairs
                .map(|(key, _, value)| format!("{} = {}", quoted(key), quoted(value)))
                .collect();
            Ok(format!("service.env = {{ {} }}", pairs.join(", ")))
        }
        "signal" => signal(node),
        _ => scalar(key, node),
    }
}

fn unknown(key: &str, position: &Position) -> Problem {
    let problem = Problem::error(Some(position.clone()), format!("unknown key `{key}`"));
    match mos_toml::nearest(key, KEYS) {
        Some(near) => problem.with_hint(format!("did you mean `{near}`?")),
        None => problem.with_hint(format!("zinit knows: {}", KEYS.join(", "))),
    }
}

fn wrong(node: &Node, message: impl Into<String>) -> Problem {
    Problem::error(Some(node.position.clone()), message)
}

fn scalar(key: &str, node: &Node) -> Result<String, Problem> {
    let value = text(node)?;
    let (name, value) = match (key, value) {
        ("exec", _) => ("service.exec", quoted(value)),
        ("dir", _) => ("service.dir", quoted(value)),
        ("test", _) => ("health.target", quoted(value)),
        ("oneshot", "true" | "false") => ("service.oneshot", value.to_owned()),
        ("oneshot", _) => return Err(wrong(node, format!("`oneshot` is `{value}`, expected true or false"))),
        // There is a ring for everybody here.
        ("log", "ring" | "none") => return Ok(String::new()),
        ("log", "stdout") => ("logging.console", "true".to_owned()),
        ("log", _) => {
            return Err(wrong(
                node,
                format!("`log` is `{value}`, expected ring, stdout or none"),
            ));
        }
        _ => match value.parse::<u32>() {
            Ok(seconds) => ("lifecycle.stop_timeout_ms", (u64::from(seconds) * 1000).to_string()),
            Err(_) => {
                let message = format!("`shutdown_timeout` is `{value}`, expected whole seconds");
                return Err(wrong(node, message));
            }
        },
    };
    Ok(format!("{name} = {value}"))
}

fn signal(node: &Node) -> Result<String, Problem> {
    let mut line = String::new();
    for (key, position, value) in pairs(node)? {
        if key != "stop" {
            return Err(Problem::error(
                Some(position.clone()),
                format!("unknown key `signal.{key}`, expected `stop`"),
            ));
        }
        line = format!("lifecycle.stop_signal = {}", quoted(&value.to_uppercase()));
    }
    Ok(line)
}

fn text(node: &Node) -> Result<&str, Problem> {
    match &node.value {
        Value::Null => Ok(""),
        Value::Scalar(text) => Ok(text.strip_suffix('\n').unwrap_or(text)),
        Value::List(_) | Value::Map(_) => Err(wrong(node, "expected a text")),
    }
}

fn texts(node: &Node) -> Result<Vec<&str>, Problem> {
    match &node.value {
        Value::List(items) => items.iter().map(text).collect(),
        _ => Err(wrong(node, "expected a list")),
    }
}

fn pairs(node: &Node) -> Result<Vec<(&str, &Position, &str)>, Problem> {
    let Value::Map(entries) = &node.value else {
        return Err(wrong(node, "expected a map"));
    };
    let pair = |(key, position, node)| Ok((String::as_str(key), position, text(node)?));
    let entries = entries.iter().map(|(key, position, node)| (key, position, node));
    entries.map(pair).collect()
}

/// A basic string of TOML 1.0.
fn quoted(text: &str) -> String {
    let mut quoted = "\"".to_owned();
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            control if control.is_control() => {
                let _ = write!(quoted, "\\u{:04X}", u32::from(control));
            }
            other => quoted.push(other),
        }
    }
    quoted + "\""
}

#[cfg(test)]
mod tests {
    use crate::{Kind, Restart, Service, Signal, parse};
    use proptest::prelude::*;

    fn service(text: &str) -> Service {
        let parsed = parse("/etc/zinit/redis.yaml", text);
        assert_eq!(parsed.problems, [], "{text}");
        parsed.service.unwrap()
    }

    #[test]
    fn a_file_of_zinit_is_a_service() {
        let service = service(
            "# a comment\n---\nexec: redis-server --port 0 # more\ntest: redis-cli -s /var/run/redis.sock PING\nafter:\n- node-ready\n\
- network\nenv:\n  A: \"x y\"\n  B: 'it''s'\nsignal:\n  stop: sigint\nshutdown_timeout: 5\nlog: stdout\ndir: \"\"\n",
        );
        assert_eq!(service.name, "redis");
        assert_eq!(service.command.unwrap().argv(), ["redis-server", "--port", "0"]);
        assert_eq!(service.health.unwrap().interval_ms, 2000);
        let names: Vec<&str> = service
            .dependencies
            .requires
            .iter()
            .map(|one| one.name.as_str())
            .collect();
        assert_eq!(names, ["node-ready", "network"]);
        assert_eq!(
            service.environment,
            [("A".into(), "x y".into()), ("B".into(), "it's".into())]
        );
        let lifecycle = service.lifecycle;
        assert_eq!((lifecycle.stop_signal, lifecycle.stop_timeout_ms), (Signal(2), 5000));
        assert_eq!(
            (lifecycle.restart, lifecycle.max_restarts, lifecycle.start_timeout_ms),
            (Restart::Always, 0, 0)
        );
        assert!(service.logging.console);
    }

    #[test]
    fn oneshots_blocks_and_brackets() {
        let service =
            service("oneshot: true\ntest: x\nexec: |\n  sh -c '\n    modprobe x\n  '\nafter: [a, b]\nenv: { A: b }\n");
        assert_eq!((service.kind, service.health.is_none()), (Kind::Oneshot, true));
        assert_eq!(service.command.unwrap().argv()[2], "\n  modprobe x\n");
        assert_eq!(service.dependencies.requires.len(), 2);
        let folded = self::service("exec: sh -c \"a\n  b\"\n");
        assert_eq!(folded.command.unwrap().argv(), ["sh", "-c", "a b"]);
    }

    #[test]
    fn problems_name_the_line() {
        for (text, problem) in [
            (
                "exec: x\nafetr: [a]\n",
                "error: a.yaml:2:1: unknown key `afetr`\n  hint: did you mean `after`?",
            ),
            ("exec: x\n\nnonsense\n", "error: a.yaml:3:1: expected `key: value`"),
            (
                "exec: &a x\n",
                "error: a.yaml:1:7: anchors, tags and the like are not read here",
            ),
            ("exec: 'x\n", "error: a.yaml:1:7: the closing quote is missing"),
            (
                "exec: x\noneshot: yes\n",
                "error: a.yaml:2:10: `oneshot` is `yes`, expected true or false",
            ),
            ("after: x\n", "error: a.yaml:1:8: expected a list"),
        ] {
            let problems: Vec<String> = parse("a.yaml", text).problems.iter().map(ToString::to_string).collect();
            assert_eq!(problems, [problem]);
        }
        let problems = parse("a.yaml", "exec: x\nsignal:\n  stop: sigtrem\n").problems;
        assert!(problems[0].to_string().starts_with("error: a.yaml:2:"), "{problems:?}");
    }

    proptest! {
        #[test]
        fn any_text_is_a_service_or_a_problem(text in "([a-z:' \"\\\\\\[\\]{}|>#-]|\n|exec: |after:|  )*") {
            let parsed = parse("a.yaml", &text);
            prop_assert!(parsed.service.is_some() || !parsed.problems.is_empty());
        }
    }
}
