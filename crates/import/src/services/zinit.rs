//! Service files of zinit 0.2 (YAML) as service files of my_init.
//!
//! `after` of zinit waits until the other runs or has ended well, which is `requires` here; the `test` of a service is a
//! health check. A process that ends is started again always, as zinit does.

use mos_service::Command;
use mos_toml::{Item, Position, Problem, Problems, nearest};

use crate::services::{Source, Surroundings};
use crate::toml::{Sections, key, list, quoted};
use mos_service::yaml::{self, Node, Value};

/// The keys of a service file of zinit.
const KEYS: [&str; 9] = [
    "exec",
    "test",
    "oneshot",
    "shutdown_timeout",
    "after",
    "signal",
    "log",
    "env",
    "dir",
];
/// How often zinit tries the `test` of a service, in milliseconds.
const TEST_INTERVAL: &str = "2000";
const MILLISECONDS: u64 = 1000;

/// Entries of a mapping that are asked for one by one.
struct Entries<'n> {
    entries: &'n [(String, Position, Node)],
    problems: &'n Problems,
}

/// The text for my_init, and the component whose program it runs; `None` when the file cannot be used.
pub(crate) fn convert(
    source: &Source<'_>,
    surroundings: &Surroundings<'_>,
    problems: &Problems,
) -> Option<(String, Option<String>)> {
    let node = yaml::parse(source.path, &source.text)
        .map_err(|problem| problems.push(problem))
        .ok()?;
    let Value::Map(entries) = &node.value else {
        problems.push(Problem::error(Some(node.position), "a service is a mapping: exec: …"));
        return None;
    };
    let entries = Entries { entries, problems };
    entries.complain_of_others(&KEYS);
    let exec = entries.text("exec");
    let Some(exec) = exec else {
        problems.push(Problem::error(Some(node.position), "the service has no `exec`"));
        return None;
    };
    let mut sections = Sections::default();
    let component = service(&entries, source, &exec, surroundings, &mut sections);
    let test = entries.text("test");
    dependencies(&entries, source, surroundings, &mut sections);
    lifecycle(&entries, &mut sections);
    let oneshot = entries.flag("oneshot");
    if let Some(test) = test.as_ref().filter(|_| oneshot) {
        let message = "a oneshot is ready when it has ended well: its `test` is left out";
        problems.push(Problem::warning(Some(test.position.clone()), message));
    } else if let Some(test) = test {
        sections.put("health", "type", quoted("exec"));
        sections.put("health", "target", quoted(&surroundings.command(test.value.trim()).0));
        sections.put("health", "interval_ms", TEST_INTERVAL);
    }
    if entries.text("log").is_some_and(|log| log.value == "stdout") {
        sections.put("logging", "console", "true");
    }
    Some((sections.render(&format!("# From {}.\n", source.path)), component))
}

fn service(
    entries: &Entries<'_>,
    source: &Source<'_>,
    exec: &Item<String>,
    surroundings: &Surroundings<'_>,
    sections: &mut Sections,
) -> Option<String> {
    let (line, component) = surroundings.command(exec.value.trim());
    sections.put("service", "name", quoted(&source.name));
    sections.put("service", "exec", quoted(&line));
    // zinit has no shell of its own: what looks like a shell's is meant as it stands.
    let shell =
        Command::parse(&line, None).is_ok_and(|command| command.argv().first().is_some_and(|word| *word == "/bin/sh"));
    if shell && !line.starts_with("/bin/sh") {
        sections.put("service", "shell", "false");
    }
    if entries.flag("oneshot") {
        sections.put("service", "oneshot", "true");
    }
    if let Some(dir) = entries.text("dir").filter(|dir| !dir.value.is_empty()) {
        sections.put("service", "dir", quoted(&dir.value));
    }
    let environment = entries.environment();
    if !environment.is_empty() {
        let pairs: Vec<String> = environment
            .iter()
            .map(|(name, value)| format!("{} = {}", key(name), quoted(value)))
            .collect();
        sections.put("service", "env", format!("{{ {} }}", pairs.join(", ")));
    }
    component
}

fn dependencies(entries: &Entries<'_>, source: &Source<'_>, surroundings: &Surroundings<'_>, sections: &mut Sections) {
    let mut requires: Vec<String> = Vec::new();
    for other in entries.list("after") {
        let Some(name) = surroundings.stand_in(&other.value) else {
            continue;
        };
        if !surroundings.knows(&name) {
            let message = format!(
                "`{}` waits for `{name}`, which no service file defines: it no longer does",
                source.name
            );
            let problem = Problem::warning(Some(other.position), message);
            let known = surroundings.names.iter().map(String::as_str);
            entries.problems.push(match nearest(&name, known) {
                Some(near) => problem.with_hint(format!("did you mean `{near}`?")),
                None => problem,
            });
        } else if !requires.contains(&name) && name != source.name {
            requires.push(name);
        }
    }
    // The network may stay away: what waits for it starts nevertheless, with what the node has.
    let (after, requires): (Vec<String>, Vec<String>) = requires.into_iter().partition(|name| name == "mosnet");
    for (key, names) in [("requires", requires), ("after", after)] {
        if !names.is_empty() {
            sections.put("dependencies", key, list(names.iter().map(String::as_str)));
        }
    }
}

fn lifecycle(entries: &Entries<'_>, sections: &mut Sections) {
    if !entries.flag("oneshot") {
        sections.put("lifecycle", "restart", quoted("always"));
    }
    if let Some(seconds) = entries.text("shutdown_timeout") {
        match seconds.value.parse::<u64>() {
            Ok(number) => sections.put(
                "lifecycle",
                "stop_timeout_ms",
                number.saturating_mul(MILLISECONDS).to_string(),
            ),
            Err(_) => entries.complain(&seconds.position, "`shutdown_timeout` is no number of seconds"),
        }
    }
    if let Some(signal) = entries.signal() {
        sections.put("lifecycle", "stop_signal", quoted(&signal.to_uppercase()));
    }
}

impl Entries<'_> {
    fn node(&self, key: &str) -> Option<&Node> {
        let entry = self.entries.iter().find(|(name, ..)| name == key);
        entry.map(|(.., node)| node).filter(|node| node.value != Value::Null)
    }

    fn complain(&self, position: &Position, message: &str) {
        self.problems.push(Problem::error(Some(position.clone()), message));
    }

    fn complain_of_others(&self, keys: &[&str]) {
        for (name, position, _) in self.entries.iter().filter(|(name, ..)| !keys.contains(&name.as_str())) {
            let problem = Problem::error(Some(position.clone()), format!("unknown key `{name}`"));
            self.problems.push(match nearest(name, keys.iter().copied()) {
                Some(near) => problem.with_hint(format!("did you mean `{near}`?")),
                None => problem.with_hint(format!("zinit knows: {}", keys.join(", "))),
            });
        }
    }

    fn text(&self, key: &str) -> Option<Item<String>> {
        let node = self.node(key)?;
        let Value::Scalar(value) = &node.value else {
            self.complain(&node.position, &format!("`{key}` is not a text"));
            return None;
        };
        Some(Item {
            value: value.clone(),
            position: node.position.clone(),
        })
    }

    fn flag(&self, key: &str) -> bool {
        self.text(key)
            .is_some_and(|text| matches!(text.value.as_str(), "true" | "True" | "TRUE"))
    }

    fn list(&self, key: &str) -> Vec<Item<String>> {
        let Some(node) = self.node(key) else { return Vec::new() };
        let items = match &node.value {
            Value::List(items) => items.as_slice(),
            Value::Scalar(_) => std::slice::from_ref(node),
            _ => {
                self.complain(&node.position, &format!("`{key}` is not a list"));
                return Vec::new();
            }
        };
        let text = |node: &Node| match &node.value {
            Value::Scalar(value) => Some(Item {
                value: value.clone(),
                position: node.position.clone(),
            }),
            _ => None,
        };
        items.iter().filter_map(text).collect()
    }

    fn map(&self, key: &str) -> Vec<(&str, &str)> {
        let Some(node) = self.node(key) else { return Vec::new() };
        let Value::Map(entries) = &node.value else {
            self.complain(&node.position, &format!("`{key}` is not a mapping"));
            return Vec::new();
        };
        entries
            .iter()
            .filter_map(|(name, _, node)| match &node.value {
                Value::Scalar(value) => Some((name.as_str(), value.as_str())),
                Value::Null => Some((name.as_str(), "")),
                _ => None,
            })
            .collect()
    }

    fn environment(&self) -> Vec<(&str, &str)> {
        self.map("env")
    }

    fn signal(&self) -> Option<&str> {
        let entries = self.map("signal");
        entries
            .into_iter()
            .find(|(name, _)| *name == "stop")
            .map(|(_, signal)| signal)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use expect_test::expect;

    use super::*;

    fn converted(text: &str) -> (Option<(String, Option<String>)>, String) {
        let source = Source {
            path: "config/zinit/a.yaml",
            name: "a".to_owned(),
            text: text.to_owned(),
        };
        let programs = BTreeMap::from([("mycelium".to_owned(), "mycelium".to_owned())]);
        let surroundings = Surroundings {
            programs: &programs,
            names: vec!["a".to_owned(), "udevd".to_owned()],
        };
        let problems = Problems::default();
        let converted = convert(&source, &surroundings, &problems);
        if let Some((text, _)) = &converted {
            let found = mos_service::parse("a.service.toml", text).problems;
            assert!(found.is_empty(), "{found:?}\n{text}");
        }
        (converted, problems.to_string())
    }

    #[test]
    fn everything_of_a_service_is_carried_over() {
        let (converted, problems) = converted(
            "exec: /usr/bin/mycelium --key /tmp/*.bin\ntest: mycelium inspect\nafter:\n  - network\n  - udevd\n  - load-modules\n\
             shutdown_timeout: 30\nsignal:\n  stop: sigint\nenv: {RUST_LOG: info}\nlog: stdout\ndir: /tmp\n",
        );
        assert_eq!(problems, "");
        let (text, component) = converted.unwrap();
        assert_eq!(component.as_deref(), Some("mycelium"));
        expect![[r#"
            # From config/zinit/a.yaml.

            [service]
            name = "a"
            exec = "/var/cache/bin/mycelium --key /tmp/*.bin"
            shell = false
            dir = "/tmp"
            env = { RUST_LOG = "info" }

            [dependencies]
            requires = ["udevd"]
            after = ["mosnet"]

            [lifecycle]
            restart = "always"
            stop_timeout_ms = 30000
            stop_signal = "SIGINT"

            [health]
            type = "exec"
            target = "/var/cache/bin/mycelium inspect"
            interval_ms = 2000

            [logging]
            console = true
        "#]]
        .assert_eq(&text);
    }

    #[test]
    fn a_oneshot_ends() {
        let (converted, problems) = converted("exec: sh /etc/zinit/init/a.sh\noneshot: true\n");
        assert_eq!(problems, "");
        expect![[r#"
            # From config/zinit/a.yaml.

            [service]
            name = "a"
            exec = "sh /etc/zinit/init/a.sh"
            oneshot = true
        "#]]
        .assert_eq(&converted.unwrap().0);
    }

    #[test]
    fn what_has_no_counterpart_is_named() {
        let (converted, problems) = converted("exec: x\nafter: [udevdd]\nshutdown_timeout: soon\nrestart: never\n");
        assert!(converted.is_some());
        expect![[r#"
            error: config/zinit/a.yaml:4:1: unknown key `restart`
              hint: zinit knows: exec, test, oneshot, shutdown_timeout, after, signal, log, env, dir
            warning: config/zinit/a.yaml:2:9: `a` waits for `udevdd`, which no service file defines: it no longer does
              hint: did you mean `udevd`?
            error: config/zinit/a.yaml:3:19: `shutdown_timeout` is no number of seconds"#]]
        .assert_eq(&problems);
        assert!(
            super::tests::converted("test: x\n")
                .1
                .contains("the service has no `exec`")
        );
    }
}
