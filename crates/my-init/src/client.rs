//! The client verbs: thin calls over the control socket.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::options::Question;

/// How long an answer may take: the server answers at once, unless it is not there in spirit.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The longest answer, in bytes.
const ANSWER_MAX: u64 = 64 * 1024 * 1024;

/// Why there is no result.
#[derive(Debug)]
pub enum AskError {
    /// Nobody answers.
    Offline(io::Error),
    /// The server refused: code and message.
    Refused(i64, String),
}

/// Calls one method.
///
/// # Errors
/// When nobody answers in time, or the server refuses.
pub fn call(socket: &Path, method: &str, parameters: &Value) -> Result<Value, AskError> {
    let answer = exchange(socket, method, parameters).map_err(AskError::Offline)?;
    let mut value: Value = serde_json::from_str(&answer).map_err(|error| AskError::Offline(io::Error::other(error)))?;
    match value.get("error") {
        None => Ok(value["result"].take()),
        Some(error) => {
            let message = error["message"].as_str().unwrap_or("no reason given");
            Err(AskError::Refused(
                error["code"].as_i64().unwrap_or(0),
                message.to_owned(),
            ))
        }
    }
}

fn exchange(socket: &Path, method: &str, parameters: &Value) -> io::Result<String> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    let request = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": parameters });
    writeln!(stream, "{request}")?;
    let mut answer = String::new();
    BufReader::new(stream.take(ANSWER_MAX)).read_line(&mut answer)?;
    match answer.ends_with('\n') {
        true => Ok(answer),
        false => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the answer is cut off")),
    }
}

/// The method and parameters of a verb.
pub fn request(question: &Question) -> (&'static str, Value) {
    let method = match question.verb.as_str() {
        "list" | "blame" => "service.list_full",
        "status" => "service.status",
        "why" => "service.why",
        "start" => "service.start",
        "stop" => "service.stop",
        "restart" => "service.restart",
        "reload" => "system.reload",
        "upgrade" => "system.upgrade",
        "poweroff" => "system.poweroff",
        "reboot" => "system.reboot",
        "halt" => "system.halt",
        _ => "system.kexec",
    };
    if method == "system.upgrade" {
        let program = question.name.as_ref();
        return (method, json!({ "program": program }));
    }
    let mut parameters = json!({});
    if let Some(name) = &question.name {
        parameters["name"] = json!(name);
    }
    (method, parameters)
}

/// The result as people read it, each line ended.
pub fn render(verb: &str, result: &Value) -> String {
    let lines: Vec<String> = match verb {
        "list" => result.as_array().into_iter().flatten().map(list_line).collect(),
        "blame" => blame(result),
        "why" => strings(&result["lines"]),
        "start" | "stop" | "restart" => vec![format!("{}: {}", text(&result["name"]), text(&result["state"]))],
        "reload" => reload_lines(result),
        "status" => result
            .as_object()
            .into_iter()
            .flatten()
            .map(|(key, value)| format!("{key:13} {}", text(value)))
            .collect(),
        _ => vec![format!("{verb}: on its way")],
    };
    lines.iter().map(|line| format!("{line}\n")).collect()
}

fn strings(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().map(text).collect()
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        Value::Array(_) => strings(value).join(", "),
        other => other.to_string(),
    }
}

fn list_line(service: &Value) -> String {
    let mut line = format!("{:24} {:10}", text(&service["name"]), text(&service["state"]));
    if let Some(reason) = service["reason"].as_str() {
        line.push_str(&format!(" {reason}"));
    }
    let waits = strings(&service["waits_for"]);
    if !waits.is_empty() {
        line.push_str(&format!(" waits for {}", waits.join(", ")));
    }
    line.trim_end().to_owned()
}

fn blame(result: &Value) -> Vec<String> {
    let mut took: Vec<(u64, String)> = result
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|service| {
            let (spawned, ready) = (service["spawned_ms"].as_u64()?, service["ready_ms"].as_u64()?);
            Some((ready.saturating_sub(spawned), text(&service["name"])))
        })
        .collect();
    took.sort_by(|a, b| b.cmp(a));
    took.iter().map(|(span, name)| format!("{span:8} ms {name}")).collect()
}

fn reload_lines(result: &Value) -> Vec<String> {
    let each = ["added", "changed", "removed"].map(|key| (key, strings(&result[key])));
    each.into_iter()
        .filter(|(_, names)| !names.is_empty())
        .map(|(key, names)| format!("{key}: {}", names.join(", ")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_rendered_for_people() {
        let services = json!([
            { "name": "web", "state": "starting", "reason": null, "waits_for": ["tcp 127.0.0.1:80"], "spawned_ms": 5, "ready_ms": null },
            { "name": "net", "state": "running", "reason": null, "waits_for": [], "spawned_ms": 5, "ready_ms": 12 },
        ]);
        let list = render("list", &services);
        assert!(
            list.starts_with("web                      starting   waits for tcp 127.0.0.1:80\nnet "),
            "{list}"
        );
        assert_eq!(render("blame", &services), "       7 ms net\n");
        assert_eq!(render("why", &json!({ "lines": ["a", "b"] })), "a\nb\n");
        assert_eq!(
            render("reload", &json!({ "added": ["a"], "changed": [], "removed": [] })),
            "added: a\n"
        );
    }
}
