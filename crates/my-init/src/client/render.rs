//! Answers as people read them.

use serde_json::Value;

use super::blame;
use crate::clock::{self, Millis};
use crate::lossy::printable;
use crate::options::Question;

/// Names longer than this do not make everybody's column wider.
const NAME_MAX: usize = 32;

/// The text for a verb, each line ended.
pub(super) fn text_of(question: &Question, result: &Value) -> String {
    match question.verb.as_str() {
        "list" => list(result, clock::now()),
        "blame" => blame::text_of(result),
        "timers" => result.as_array().into_iter().flatten().map(timer_line).collect(),
        "stop" | "restart" => ended(&question.verb, result),
        "start" | "kill" => format!("{}: {}\n", text(&result["name"]), text(&result["state"])),
        "tree" => text(&result["ascii"]),
        "status" => status(result, clock::now()),
        "reload" => reload(result),
        "get" => format!("{result:#}\n"),
        "add" => add(result),
        "remove" => format!("{}: removed\n", question.name()),
        verb => format!("{verb}: on its way\n"),
    }
}

/// What was stopped or restarted, and what that means for others.
fn ended(verb: &str, result: &Value) -> String {
    let first = match result["dry_run"].as_bool() {
        Some(true) => format!("{}: would {verb}\n", text(&result["name"])),
        _ => format!("{}: {}\n", text(&result["name"]), text(&result["state"])),
    };
    let others = [
        ("stops before it", "stops"),
        ("restarts with it", "restarts"),
        ("goes on without it", "keeps"),
    ];
    let line = |(what, key): (&str, &str)| {
        let names = strings(&result[key]);
        (!names.is_empty()).then(|| format!("  {what}: {}\n", names.join(", ")))
    };
    first + &others.into_iter().filter_map(line).collect::<String>()
}

fn strings(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().map(text).collect()
}

pub(super) fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        Value::Array(_) => strings(value).join(", "),
        other => other.to_string(),
    }
}

/// A table with the columns as wide as they have to be.
fn list(services: &Value, now: Millis) -> String {
    let services = || services.as_array().into_iter().flatten();
    let width = services().filter_map(|service| service["name"].as_str()).map(str::len);
    let width = width.max().unwrap_or(0).clamp("NAME".len(), NAME_MAX);
    let mut lines = format!("{:width$} {:10} {:>7} {:>7}\n", "NAME", "STATE", "PID", "FOR");
    for service in services() {
        let since = service["since_ms"]
            .as_u64()
            .map_or(0, |since| now.saturating_sub(since));
        let (name, state, pid) = (text(&service["name"]), text(&service["state"]), text(&service["pid"]));
        let line = format!(
            "{name:width$} {state:10} {pid:>7} {:>7} {}",
            span(since),
            remark(service)
        );
        lines.push_str(line.trim_end());
        lines.push('\n');
    }
    lines
}

/// What it waits for, or why it failed, and what comes next.
pub(super) fn remark(service: &Value) -> String {
    let waits = strings(&service["waits_for"]);
    let word = |key: &str| service[key].as_str().filter(|word| !word.is_empty());
    let after = || word("last_failure").map_or(String::new(), |failure| format!("after {failure}"));
    match (word("reason"), service["state"].as_str()) {
        (Some(reason), _) => reason.to_owned(),
        (None, Some("restarting")) => {
            let next = service["next_attempt_in_ms"].as_u64();
            let next = next.map_or(String::new(), |next| format!(", next try in {}", span(next)));
            format!("{}{next}", after())
        }
        (None, Some("degraded")) => word("probe_error").map_or_else(after, |error| format!("unhealthy: {error}")),
        _ if waits.is_empty() => String::new(),
        _ => format!("waits for {}", waits.join(", ")),
    }
}

/// A span in the largest unit that fits: `5s`, `12m`, `3h`, `9d`.
pub(super) fn span(span: Millis) -> String {
    let seconds = span / 1000;
    match seconds {
        0..=119 => format!("{seconds}s"),
        120..=7199 => format!("{}m", seconds / 60),
        7200..=172_799 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// What is asked for most, in the order in which it is read; the rest follows by name.
const FIRST: [&str; 9] = [
    "name",
    "state",
    "reason",
    "waits_for",
    "status",
    "pid",
    "since_ms",
    "last_failure",
    "next_attempt_in_ms",
];

/// Everything that says something; times as spans until now.
fn status(status: &Value, now: Millis) -> String {
    let rest = status.as_object().into_iter().flatten();
    let rest = rest.map(|(key, _)| key.as_str()).filter(|key| !FIRST.contains(key));
    let line = |key: &str| match &status[key] {
        Value::Null => String::new(),
        Value::String(text) if text.is_empty() => String::new(),
        Value::Array(items) if items.is_empty() => String::new(),
        value if key == "dependencies" => relations(value),
        value => field(key, value, now),
    };
    FIRST.into_iter().chain(rest).map(line).collect()
}

/// A field; what is in milliseconds loses its unit.
fn field(key: &str, value: &Value, now: Millis) -> String {
    let time = value.as_u64();
    let (key, value) = match (
        key.strip_suffix("_ms"),
        key.strip_suffix("_in_ms"),
        key.strip_suffix("_ms_ago"),
        time,
    ) {
        (_, Some(key), _, Some(time)) => (key, format!("in {}", span(time))),
        (_, _, Some(key), Some(time)) => (key, format!("{} ago", span(time))),
        (Some(key), _, _, Some(time)) => (key, format!("{} ago", span(now.saturating_sub(time)))),
        _ => (key, shown(value)),
    };
    format!("{key:17} {value}\n")
}

/// An object as `key value, key value`.
fn shown(value: &Value) -> String {
    let Value::Object(fields) = value else {
        return text(value);
    };
    let pairs = fields.iter().map(|(key, value)| format!("{key} {}", text(value)));
    pairs.collect::<Vec<String>>().join(", ")
}

fn relations(relations: &Value) -> String {
    let each = relations.as_array().into_iter().flatten();
    let line = |one: &Value| {
        format!(
            "{:17} {} ({})\n",
            text(&one["dep_type"]),
            text(&one["name"]),
            text(&one["state"])
        )
    };
    each.map(line).collect()
}

pub(super) fn why(story: &Value) -> String {
    let mut lines = strings(&story["lines"]);
    let log = strings(&story["log"]);
    if !log.is_empty() {
        lines.push("it printed last:".to_owned());
        lines.extend(log.iter().map(|line| format!("  {}", printable(line))));
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}

fn add(result: &Value) -> String {
    let warnings = strings(&result["warnings"]);
    let warnings: String = warnings.iter().map(|warning| format!("{warning}\n")).collect();
    format!("{warnings}{}: {}\n", text(&result["name"]), text(&result["path"]))
}

fn reload(result: &Value) -> String {
    let mut lines = String::new();
    for problem in strings(&result["problems"]) {
        lines.push_str(&format!("{problem}\n"));
    }
    for key in ["added", "removed", "kept"] {
        let names = strings(&result[key]);
        if !names.is_empty() {
            lines.push_str(&format!("{key}: {}\n", names.join(", ")));
        }
    }
    let restarted = strings(&result["restarted"]);
    for name in strings(&result["changed"]) {
        let what = if restarted.contains(&name) {
            "restarted"
        } else {
            "changed"
        };
        lines.push_str(&format!("{what}: {name} ({})\n", text(&result["why"][&name])));
    }
    match lines.is_empty() {
        true => "nothing is different\n".to_owned(),
        false => lines,
    }
}

fn timer_line(timer: &Value) -> String {
    let next = match timer["next_in_ms"].as_u64() {
        Some(next) => format!("in {}", span(next)),
        None => "never".to_owned(),
    };
    format!("{:24} {:10} {next}\n", text(&timer["name"]), text(&timer["state"]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_list_is_a_table() {
        let services = json!([
            { "name": "web", "state": "starting", "waits_for": ["tcp 127.0.0.1:80"], "pid": 17, "since_ms": 1000 },
            { "name": "network", "state": "failed", "reason": "exit code 1", "waits_for": [], "since_ms": 0 },
        ]);
        let expected = "\
NAME    STATE          PID     FOR
web     starting        17      2s waits for tcp 127.0.0.1:80
network failed           -      3s exit code 1
";
        assert_eq!(list(&services, 3000), expected);
    }

    #[test]
    fn a_reload_names_what_was_done_and_why() {
        let result = json!({
            "added": ["a"], "changed": ["b", "c"], "removed": [], "restarted": ["b"], "kept": [],
            "why": { "b": "exec", "c": "[lifecycle]" }, "problems": ["error: x"],
        });
        assert_eq!(
            reload(&result),
            "error: x\nadded: a\nrestarted: b (exec)\nchanged: c ([lifecycle])\n"
        );
        assert_eq!(reload(&json!({ "added": [] })), "nothing is different\n");
    }

    #[test]
    fn a_status_says_what_there_is_to_say_the_state_first() {
        let status = json!({
            "attempts": 0, "dependencies": [{ "name": "db", "dep_type": "requires", "state": "running" }],
            "log": { "dropped": 0, "memory": 12 }, "name": "web", "pid": 7, "probe_error": "", "since_ms": 1000,
            "state": "restarting", "verified_ms_ago": 2000, "waits_for": [], "next_attempt_in_ms": 3000,
        });
        let expected = [
            "name              web",
            "state             restarting",
            "pid               7",
            "since             4s ago",
            "next_attempt      in 3s",
            "attempts          0",
            "requires          db (running)",
            "log               dropped 0, memory 12",
            "verified          2s ago",
        ];
        assert_eq!(
            super::status(&status, 5000),
            expected.map(|line| format!("{line}\n")).concat()
        );
    }

    #[test]
    fn a_remark_says_what_comes_next() {
        let service = json!({ "state": "restarting", "last_failure": "exit code 1", "next_attempt_in_ms": 12_000 });
        assert_eq!(remark(&service), "after exit code 1, next try in 12s");
        let service = json!({ "state": "degraded", "last_failure": "exit code 1", "probe_error": "refused" });
        assert_eq!(remark(&service), "unhealthy: refused");
        assert_eq!(
            remark(&json!({ "state": "running", "last_failure": "exit code 1" })),
            ""
        );
    }

    #[test]
    fn spans_are_short() {
        let spans = [0, 119_000, 120_000, 7_200_000, 172_800_000].map(span);
        assert_eq!(spans, ["0s", "119s", "2m", "2h", "2d"]);
    }

    #[test]
    fn a_story_ends_with_the_log() {
        let story = json!({ "lines": ["web: failed"], "log": ["a", "b"] });
        assert_eq!(why(&story), "web: failed\nit printed last:\n  a\n  b\n");
    }
}
