//! The control protocol: JSON-RPC 2.0, one object per line.
//!
//! | method | parameters | result |
//! |---|---|---|
//! | `system.ping` | | `"pong"` |
//! | `system.reload` | | `{added, changed, removed}`: names |
//! | `system.upgrade` | `program` (the file of this one) | `true`: another program takes over, services go on |
//! | `system.poweroff`, `system.reboot` | | `true` |
//! | `service.list` | | `{NAME: STATE, …}` |
//! | `service.list_full` | | a list of what `service.status` returns |
//! | `service.status` | `name` | `{name, kind, state, reason, pid, waits_for, …}`; times in milliseconds since the kernel started |
//! | `service.start`, `.stop`, `.restart` | `name` | `{name, state}` right after |
//! | `service.why` | `name` | `{name, state, waits_for, lines}`: `lines` are for people |
//! | `logs.tail` | `name`, `lines` (100) | `{lines, dropped}`: `dropped` counts bytes that are gone |
//!
//! States: `inactive blocked starting running degraded stopping restarting exited failed`.

use serde_json::{Value, json};

/// The longest request, in bytes.
pub const REQUEST_MAX: usize = 64 * 1024;
/// `logs.tail` without `lines`.
const LINES: u64 = 100;

/// The caller may only read (a code of our own).
pub const NOT_PERMITTED: i64 = -32015;
/// What was given cannot be used.
pub const VALIDATION: i64 = -32011;
const PARSE_ERROR: i64 = -32700;
const INVALID_REQUEST: i64 = -32600;
const METHOD_NOT_FOUND: i64 = -32601;
const INVALID_PARAMS: i64 = -32602;

/// A method with its parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is the method of its name, described above")]
pub enum Call {
    Ping,
    Reload,
    Upgrade(Option<String>),
    Poweroff,
    Reboot,
    List,
    ListFull,
    Status(String),
    Start(String),
    Stop(String),
    Restart(String),
    Why(String),
    Tail(String, usize),
}

impl Call {
    /// True when it changes something.
    pub fn writes(&self) -> bool {
        matches!(
            self,
            Self::Reload
                | Self::Upgrade(_)
                | Self::Poweroff
                | Self::Reboot
                | Self::Start(_)
                | Self::Stop(_)
                | Self::Restart(_)
        )
    }
}

/// A request.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// Handed back in the answer; absent in a notification, which gets none.
    pub id: Option<Value>,
    /// What to do.
    pub call: Call,
}

/// An error answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The code, see the architecture page.
    pub code: i64,
    /// What is wrong and what to do.
    pub message: String,
}

impl Refusal {
    /// A refusal with this code.
    pub fn new(code: i64, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }
}

/// Reads one line.
///
/// # Errors
/// The whole answer to send when it is no request.
pub fn parse(line: &[u8]) -> Result<Request, String> {
    let value: Value = serde_json::from_slice(line).map_err(|error| {
        answer(
            &Value::Null,
            Err(Refusal::new(PARSE_ERROR, format!("not JSON: {error}"))),
        )
    })?;
    let id = value.get("id").cloned();
    let refuse = |refusal| answer(id.as_ref().unwrap_or(&Value::Null), Err(refusal));
    let method = value.get("method").and_then(Value::as_str);
    let Some(method) = method.filter(|_| value.get("jsonrpc").and_then(Value::as_str) == Some("2.0")) else {
        return Err(refuse(Refusal::new(
            INVALID_REQUEST,
            "expected an object with `jsonrpc`: \"2.0\" and a `method`",
        )));
    };
    let call = call(method, value.get("params").unwrap_or(&Value::Null)).map_err(refuse)?;
    Ok(Request { id, call })
}

fn call(method: &str, params: &Value) -> Result<Call, Refusal> {
    let name = || match params.get("name").and_then(Value::as_str) {
        Some(name) => Ok(name.to_owned()),
        None => Err(Refusal::new(
            INVALID_PARAMS,
            format!("{method} needs the parameter `name`, a string"),
        )),
    };
    Ok(match method {
        "system.ping" => Call::Ping,
        "system.reload" => Call::Reload,
        "system.upgrade" => Call::Upgrade(params.get("program").and_then(Value::as_str).map(str::to_owned)),
        "system.poweroff" => Call::Poweroff,
        "system.reboot" => Call::Reboot,
        "service.list" => Call::List,
        "service.list_full" => Call::ListFull,
        "service.status" => Call::Status(name()?),
        "service.start" => Call::Start(name()?),
        "service.stop" => Call::Stop(name()?),
        "service.restart" => Call::Restart(name()?),
        "service.why" => Call::Why(name()?),
        "logs.tail" => {
            let lines = params.get("lines").and_then(Value::as_u64).unwrap_or(LINES);
            Call::Tail(name()?, usize::try_from(lines).unwrap_or(usize::MAX))
        }
        _ => return Err(Refusal::new(METHOD_NOT_FOUND, format!("no method is named `{method}`"))),
    })
}

/// The line that answers a request.
pub fn answer(id: &Value, result: Result<Value, Refusal>) -> String {
    let value = match result {
        Ok(result) => json!({ "jsonrpc": "2.0", "id": id, "result": result }),
        Err(Refusal { code, message }) => {
            json!({ "jsonrpc": "2.0", "id": id, "error": { "code": code, "message": message } })
        }
    };
    format!("{value}\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn requests_are_read() {
        let request = parse(br#"{"jsonrpc":"2.0","id":7,"method":"logs.tail","params":{"name":"web","lines":3}}"#);
        assert_eq!(
            request,
            Ok(Request {
                id: Some(json!(7)),
                call: Call::Tail("web".into(), 3)
            })
        );
        assert!(Call::Stop(String::new()).writes() && !Call::ListFull.writes());
    }

    #[test]
    fn what_is_wrong_is_said_with_the_standard_code() {
        for (line, id, code) in [
            ("{", Value::Null, PARSE_ERROR),
            ("[]", Value::Null, INVALID_REQUEST),
            (r#"{"id":1,"method":"system.ping"}"#, json!(1), INVALID_REQUEST),
            (r#"{"jsonrpc":"2.0","id":1,"method":"x"}"#, json!(1), METHOD_NOT_FOUND),
            (
                r#"{"jsonrpc":"2.0","id":"a","method":"service.stop"}"#,
                json!("a"),
                INVALID_PARAMS,
            ),
        ] {
            let answer: Value = serde_json::from_str(&parse(line.as_bytes()).expect_err(line)).expect("JSON");
            assert_eq!((&answer["id"], &answer["error"]["code"]), (&id, &json!(code)), "{line}");
        }
    }

    proptest! {
        #[test]
        fn any_line_is_answered(line in proptest::collection::vec(any::<u8>(), 0..100)) {
            if let Err(answer) = parse(&line) {
                prop_assert!(answer.ends_with('\n') && answer.lines().count() == 1);
            }
        }
    }
}
