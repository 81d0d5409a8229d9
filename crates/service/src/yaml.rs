//! The YAML service files of zinit 0.2, as TOML.
//!
//! Of YAML 1.2 this reads what such files are made of: one level of `key: value`, plain, quoted and block scalars, lists
//! in blocks or brackets, maps in blocks or braces. Whatever else there is (anchors, tags, documents) is refused. What
//! comes out says each thing on the line on which the YAML said it, so that every later problem names the right line.

use std::fmt::Write as _;

use mos_toml::{Position, Problem};

/// True for the names of such files.
pub fn is_yaml(file: &str) -> bool {
    file.ends_with(".yaml") || file.ends_with(".yml")
}

/// The keys of a file, in the words of the facts of zinit 0.2; with what each becomes.
const SCALARS: [(&str, &str); 6] = [
    ("exec", "service.exec"),
    ("dir", "service.dir"),
    ("test", "health.target"),
    ("oneshot", "service.oneshot"),
    ("shutdown_timeout", "lifecycle.stop_timeout_ms"),
    ("log", "logging.console"),
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
/// What is not understood, with its line.
pub fn to_toml(file: &str, text: &str) -> Result<String, Problem> {
    let mut reader = Reader {
        lines: text.lines().collect(),
        next: 0,
        output: vec![String::new(); text.lines().count()],
        oneshot: false,
        test: None,
    };
    match reader.read() {
        Ok(()) => Ok(reader.finish()),
        Err(message) => {
            let position = Position {
                file: file.to_owned(),
                line: reader.next.max(1),
                column: 1,
            };
            Err(Problem::error(Some(position), message))
        }
    }
}

struct Reader<'t> {
    lines: Vec<&'t str>,
    /// The line after the one that is being looked at, so its number as people count.
    next: usize,
    output: Vec<String>,
    oneshot: bool,
    /// The line that holds a test.
    test: Option<usize>,
}

impl<'t> Reader<'t> {
    fn read(&mut self) -> Result<(), String> {
        while let Some(line) = self.lines.get(self.next).copied() {
            let place = self.next;
            self.next += 1;
            if is_blank(line) || line.trim_end() == "---" {
                continue;
            }
            if line.starts_with([' ', '\t']) {
                return Err("this line is indented, and nothing above it has parts".to_owned());
            }
            let (key, rest) = pair(line)?;
            self.output[place] = self.key(place, key, rest)?;
        }
        Ok(())
    }

    fn finish(mut self) -> String {
        // A oneshot is ready when it has ended, whatever a test says.
        if let Some(place) = self.test.filter(|_| self.oneshot) {
            self.output[place].clear();
        }
        let mut text = self.output.join("\n") + "\n";
        if !self.oneshot {
            text.push_str(PROCESS);
            text.push_str(self.test.map_or("", |_| TESTED));
        }
        text
    }

    fn key(&mut self, place: usize, key: &str, rest: &'t str) -> Result<String, String> {
        match key {
            "after" => {
                let names = self.list(rest)?;
                let names: Vec<String> = names.iter().map(|name| quoted(name)).collect();
                Ok(format!("dependencies.requires = [{}]", names.join(", ")))
            }
            "env" => {
                let pairs = self.map(rest)?;
                let pairs: Vec<String> = pairs
                    .iter()
                    .map(|(key, value)| format!("{} = {}", quoted(key), quoted(value)))
                    .collect();
                Ok(format!("service.env = {{ {} }}", pairs.join(", ")))
            }
            "signal" => self.signal(rest),
            _ => {
                let Some((_, name)) = SCALARS.iter().find(|(known, _)| *known == key) else {
                    let known = SCALARS.iter().map(|(key, _)| *key).chain(["after", "env", "signal"]);
                    let hint =
                        mos_toml::nearest(key, known).map_or(String::new(), |name| format!(", did you mean `{name}`?"));
                    return Err(format!("unknown key `{key}`{hint}"));
                };
                let value = self.scalar(rest)?;
                self.value(place, key, name, &value)
            }
        }
    }

    fn value(&mut self, place: usize, key: &str, name: &str, value: &str) -> Result<String, String> {
        match (key, value) {
            ("oneshot", "true" | "false") => {
                self.oneshot = value == "true";
                Ok(format!("{name} = {value}"))
            }
            ("oneshot", _) => Err(format!("`oneshot` is `{value}`, expected true or false")),
            ("shutdown_timeout", _) => match value.parse::<u32>() {
                Ok(seconds) => Ok(format!("{name} = {}", u64::from(seconds) * 1000)),
                Err(_) => Err(format!("`shutdown_timeout` is `{value}`, expected whole seconds")),
            },
            // There is a ring for everybody here.
            ("log", "ring" | "none") => Ok(String::new()),
            ("log", "stdout") => Ok(format!("{name} = true")),
            ("log", _) => Err(format!("`log` is `{value}`, expected ring, stdout or none")),
            ("test", "") => Ok(String::new()),
            ("dir", "") => Ok(String::new()),
            _ => {
                if key == "test" {
                    self.test = Some(place);
                }
                Ok(format!("{name} = {}", quoted(value)))
            }
        }
    }

    fn signal(&mut self, rest: &'t str) -> Result<String, String> {
        let mut line = String::new();
        for (key, value) in self.map(rest)? {
            match key.as_str() {
                "stop" => line = format!("lifecycle.stop_signal = {}", quoted(&value.to_uppercase())),
                _ => return Err(format!("unknown key `signal.{key}`, expected `stop`")),
            }
        }
        Ok(line)
    }

    /// The next line if it belongs to what is above it; blank ones between are passed over.
    fn part(&mut self, belongs: impl Fn(&str) -> bool) -> Option<&'t str> {
        let ahead = self.lines[self.next..].iter().position(|line| !is_blank(line))?;
        let line = self.lines[self.next + ahead];
        if !belongs(line) {
            return None;
        }
        self.next += ahead + 1;
        Some(line)
    }

    fn list(&mut self, rest: &'t str) -> Result<Vec<String>, String> {
        if let Some(inner) = bracketed(rest, '[', ']')? {
            return inner.iter().map(|item| inline(item)).collect();
        }
        if !uncommented(rest).is_empty() {
            return Err("expected a list".to_owned());
        }
        let mut items = Vec::new();
        while let Some(line) = self.part(|line| line.trim_start().starts_with("- ")) {
            items.push(inline(line.trim_start().trim_start_matches("- "))?);
        }
        Ok(items)
    }

    fn map(&mut self, rest: &'t str) -> Result<Vec<(String, String)>, String> {
        let of_pair = |text: &str| {
            let (key, value) = pair(text.trim())?;
            Ok((inline(key)?, inline(value)?))
        };
        if let Some(inner) = bracketed(rest, '{', '}')? {
            return inner.iter().map(|item| of_pair(item)).collect();
        }
        if !uncommented(rest).is_empty() {
            return Err("expected a map".to_owned());
        }
        let mut pairs = Vec::new();
        while let Some(line) = self.part(|line| line.starts_with(' ')) {
            pairs.push(of_pair(line)?);
        }
        Ok(pairs)
    }

    /// One value, which may go on in the lines below.
    fn scalar(&mut self, rest: &'t str) -> Result<String, String> {
        if rest.starts_with(['|', '>']) {
            return Ok(self.block(rest.starts_with('|')));
        }
        let mut text = rest.to_owned();
        while let Some(line) = self.part(|line| line.starts_with(' ')) {
            let _ = write!(text, " {}", line.trim());
        }
        inline(&text)
    }

    fn block(&mut self, literal: bool) -> String {
        let mut lines: Vec<&str> = Vec::new();
        while let Some(line) = self
            .lines
            .get(self.next)
            .filter(|line| line.starts_with(' ') || line.trim().is_empty())
        {
            lines.push(line);
            self.next += 1;
        }
        let indent = lines
            .iter()
            .find(|line| !line.trim().is_empty())
            .map_or(0, |line| line.len() - line.trim_start().len());
        let lines: Vec<&str> = lines.iter().map(|line| line.get(indent..).unwrap_or("")).collect();
        lines.join(if literal { "\n" } else { " " }).trim_end().to_owned()
    }
}

fn is_blank(line: &str) -> bool {
    let text = line.trim_start();
    text.is_empty() || text.starts_with('#')
}

/// `key: rest`.
fn pair(line: &str) -> Result<(&str, &str), String> {
    let (key, rest) = line
        .split_once(": ")
        .or_else(|| Some((line.trim_end().strip_suffix(':')?, "")))
        .ok_or_else(|| format!("`{}` is not `key: value`", line.trim()))?;
    Ok((key.trim(), rest.trim()))
}

/// What stands before a comment.
fn uncommented(text: &str) -> &str {
    match text.starts_with('#') {
        true => "",
        false => text.split(" #").next().unwrap_or("").trim(),
    }
}

/// The parts between brackets, if there are brackets.
fn bracketed(text: &str, open: char, close: char) -> Result<Option<Vec<String>>, String> {
    let Some(inner) = uncommented(text).strip_prefix(open) else {
        return Ok(None);
    };
    let inner = inner
        .strip_suffix(close)
        .ok_or_else(|| format!("the bracket {open} is not closed on this line"))?;
    let parts = inner.split(',').map(str::trim).filter(|part| !part.is_empty());
    Ok(Some(parts.map(str::to_owned).collect()))
}

/// A scalar on one line.
fn inline(text: &str) -> Result<String, String> {
    let text = text.trim();
    match text.chars().next() {
        Some('\'') => single(&text[1..]),
        Some('"') => double(&text[1..]),
        Some(mark @ ('&' | '*' | '!' | '[' | '{' | '@' | '`' | '%')) => Err(format!(
            "a value that begins with `{mark}` is not understood here: put it in quotes"
        )),
        _ => Ok(uncommented(text).to_owned()),
    }
}

/// Behind the closing quote only a comment may stand.
fn ended(rest: &str) -> Result<(), String> {
    match uncommented(rest.trim_start()).is_empty() {
        true => Ok(()),
        false => Err(format!("`{}` stands behind a closing quote", rest.trim())),
    }
}

fn single(text: &str) -> Result<String, String> {
    let mut value = String::new();
    let mut rest = text;
    loop {
        let (part, after) = rest.split_once('\'').ok_or("the quote ' is never closed")?;
        value.push_str(part);
        match after.strip_prefix('\'') {
            Some(after) => {
                value.push('\'');
                rest = after;
            }
            None => return ended(after).map(|()| value),
        }
    }
}

fn double(text: &str) -> Result<String, String> {
    let mut value = String::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '"' => return ended(characters.as_str()).map(|()| value),
            '\\' => value.push(escape(&mut characters)?),
            other => value.push(other),
        }
    }
    Err("the quote \" is never closed".to_owned())
}

fn escape(characters: &mut std::str::Chars<'_>) -> Result<char, String> {
    match characters.next() {
        Some('n') => Ok('\n'),
        Some('t') => Ok('\t'),
        Some(plain @ ('"' | '\\' | '/' | ' ')) => Ok(plain),
        Some(other) => Err(format!("`\\{other}` is not understood here")),
        None => Err("the quote \" is never closed".to_owned()),
    }
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
            "# a comment\n---\nexec: redis-server --port 0 # more\ntest: redis-cli -s /var/run/redis.sock PING\nafter:\n  - node-ready\n\
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
                "error: a.yaml:2:1: unknown key `afetr`, did you mean `after`?",
            ),
            (
                "exec: x\n\nnonsense\n",
                "error: a.yaml:3:1: `nonsense` is not `key: value`",
            ),
            (
                "exec: &a x\n",
                "error: a.yaml:1:1: a value that begins with `&` is not understood here: put it in quotes",
            ),
            ("exec: 'x\n", "error: a.yaml:1:1: the quote ' is never closed"),
            (
                "exec: x\noneshot: yes\n",
                "error: a.yaml:2:1: `oneshot` is `yes`, expected true or false",
            ),
            (
                "  exec: x\n",
                "error: a.yaml:1:1: this line is indented, and nothing above it has parts",
            ),
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
