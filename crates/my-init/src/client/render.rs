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
        "status" => status(result),
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

/// What it waits for, or why it failed.
pub(super) fn remark(service: &Value) -> String {
    let waits = strings(&service["waits_for"]);
    match service["reason"].as_str() {
        Some(reason) => reason.to_owned(),
        None if waits.is_empty() => String::new(),
        None => format!("waits for {}", waits.join(", ")),
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

fn status(status: &Value) -> String {
    let fields = status.as_object().into_iter().flatten();
    let line = |(key, value): (&String, &Value)| match key.as_str() {
        "dependencies" => relations(value),
        _ => format!("{key:17} {}\n", text(value)),
    };
    fields.map(line).collect()
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
        Some(span) => format!("in {}", crate::clock::seconds(span / 1000 * 1000)),
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
