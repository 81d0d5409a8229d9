//! The verbs that ask a running my_init: what is sent, and what is done with the answer.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use serde_json::{Value, json};

use super::{AskError, blame, call, console, events, render, top, xinet};
use crate::options::Question;

/// So many lines of its log `why` shows.
const LINES: u64 = 5;

/// Does what a verb says and prints the result.
///
/// # Errors
/// When nobody answers, the server refuses, or a file cannot be read or written.
pub fn run(socket: &Path, question: &Question, json: bool, out: &mut dyn Write) -> Result<(), AskError> {
    match question.verb.as_str() {
        "events" => events::follow(socket, question, json, out),
        "top" => top::run(socket, question, json, out),
        "console" => console::run(socket, out),
        "blame" if question.svg.is_some() => picture(socket, question),
        "why" => why(socket, question, json, out),
        "xinet" => xinet::run(socket, question, json, out),
        _ => ask(socket, question, json, out),
    }
}

fn ask(socket: &Path, question: &Question, json: bool, out: &mut dyn Write) -> Result<(), AskError> {
    let (method, parameters) = request(question)?;
    let result = call(socket, method, &parameters)?;
    let text = match json {
        true => format!("{result}\n"),
        false => render::text_of(question, &result),
    };
    print(out, &text)
}

/// What is gone to is not there any more: nobody is to blame.
pub(super) fn print(out: &mut dyn Write, text: &str) -> Result<(), AskError> {
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(AskError::File("standard output".to_owned(), error))
        }
        _ => Ok(()),
    }
}

fn why(socket: &Path, question: &Question, json: bool, out: &mut dyn Write) -> Result<(), AskError> {
    let name = question.name();
    let mut story = call(socket, "service.why", &json!({ "name": name }))?;
    story["log"] = call(socket, "logs.get", &json!({ "name": name, "lines": LINES }))?;
    let text = match json {
        true => format!("{story}\n"),
        false => render::why(&story),
    };
    print(out, &text)
}

fn picture(socket: &Path, question: &Question) -> Result<(), AskError> {
    let services = call(socket, "service.list_full", &json!({}))?;
    let file = question.svg.clone().unwrap_or_default();
    fs::write(&file, blame::svg(&services)).map_err(|error| AskError::File(file.display().to_string(), error))
}

/// The method and parameters of a verb.
fn request(question: &Question) -> Result<(&'static str, Value), AskError> {
    let name = question.name();
    let named = json!({ "name": name });
    Ok(match question.verb.as_str() {
        "timers" => ("service.timers", json!({})),
        "list" | "blame" => ("service.list_full", json!({})),
        "status" => ("service.status_full", named),
        "tree" => ("service.tree", json!({})),
        "start" => ("service.start", json!({ "name": name, "tree": question.tree })),
        "stop" => ("service.stop", ending(question, !question.only)),
        "restart" => ("service.restart", ending(question, question.tree)),
        "get" => ("service.get", named),
        "kill" => ("service.kill", json!({ "name": name, "signal": question.words.get(1) })),
        "add" => ("service.set", added(Path::new(name))?),
        "remove" => ("service.delete", named),
        "reload" => ("system.reload", json!({ "dry_run": question.dry_run })),
        "upgrade" => ("system.upgrade", json!({ "program": question.words.first() })),
        "poweroff" => ("system.poweroff", json!({})),
        "reboot" => ("system.reboot", json!({})),
        "halt" => ("system.halt", json!({})),
        _ => ("system.kexec", json!({})),
    })
}

fn ending(question: &Question, tree: bool) -> Value {
    json!({ "name": question.name(), "tree": tree, "dry_run": question.dry_run })
}

/// A service file as it is sent: its name is that of the file, unless it says otherwise.
fn added(file: &Path) -> Result<Value, AskError> {
    let text = fs::read_to_string(file).map_err(|error| AskError::File(file.display().to_string(), error))?;
    let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    Ok(json!({ "config": text, "name": mos_service::stem(name) }))
}
