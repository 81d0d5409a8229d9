//! The control protocol: JSON-RPC 2.0, one object per line.
//!
//! | file | concern |
//! |---|---|
//! | `methods` | the table of methods, from which the rest comes |
//! | `params` | what a caller gave, checked against the table |
//! | `codes` | error codes |
//! | `discover` | the table as an OpenRPC document |
//! | `page` | the table as `docs/protocol.md`; a test |
//!
//! A new method is a row of the table, a [`Call`] and its arm in `driver/answers.rs`.

pub mod codes;
mod discover;
mod methods;
#[cfg(test)]
mod page;
mod params;

use serde_json::{Value, json};

use codes::{INVALID_REQUEST, METHOD_NOT_FOUND, PARSE_ERROR};
pub use discover::document;
pub use methods::{Call, Kind, METHODS, Method, Parameter};
pub use params::Params;

/// The longest request, in bytes.
pub const REQUEST_MAX: usize = 64 * 1024;

/// A request.
#[derive(Debug)]
pub struct Request {
    /// Handed back in the answer; absent in a notification, which gets none.
    pub id: Option<Value>,
    /// What to do.
    pub method: &'static Method,
    /// What with.
    pub params: Params,
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
    let mut value: Value = serde_json::from_slice(line).map_err(|error| {
        answer(
            &Value::Null,
            Err(Refusal::new(PARSE_ERROR, format!("not JSON: {error}"))),
        )
    })?;
    let id = value.get("id").cloned();
    let params = value.get_mut("params").map_or(Value::Null, Value::take);
    understand(&value, params)
        .map(|(method, params)| Request {
            id: id.clone(),
            method,
            params,
        })
        .map_err(|refusal| answer(id.as_ref().unwrap_or(&Value::Null), Err(refusal)))
}

fn understand(value: &Value, params: Value) -> Result<(&'static Method, Params), Refusal> {
    let name = value.get("method").and_then(Value::as_str);
    let Some(name) = name.filter(|_| value.get("jsonrpc").and_then(Value::as_str) == Some("2.0")) else {
        return Err(Refusal::new(
            INVALID_REQUEST,
            "expected an object with `jsonrpc`: \"2.0\" and a `method`",
        ));
    };
    let method = methods::find(name).ok_or_else(|| unknown(name))?;
    if method.call == Call::Refused {
        return Err(Refusal::new(
            METHOD_NOT_FOUND,
            format!("{name} is refused: {}", method.text),
        ));
    }
    Ok((method, Params::check(method, params)?))
}

fn unknown(name: &str) -> Refusal {
    let names = METHODS.iter().map(|method| method.name);
    let hint = mos_toml::nearest(name, names).map_or(String::new(), |name| format!(", did you mean `{name}`?"));
    Refusal::new(METHOD_NOT_FOUND, format!("no method is named `{name}`{hint}"))
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
    use super::codes::INVALID_PARAMS;
    use super::*;
    use proptest::prelude::*;

    fn request(method: &str, params: &str) -> Result<Request, String> {
        parse(format!(r#"{{"jsonrpc":"2.0","id":7,"method":"{method}","params":{params}}}"#).as_bytes())
    }

    fn refusal(answer: Result<Request, String>) -> (i64, String) {
        let answer: Value = serde_json::from_str(&answer.expect_err("refused")).expect("JSON");
        let error = &answer["error"];
        let message = error["message"].as_str().expect("a message");
        (error["code"].as_i64().expect("a code"), message.to_owned())
    }

    #[test]
    fn requests_are_read_with_parameters_by_name_or_by_place() {
        for params in [r#"{"name":"web","lines":3}"#, r#"["web",3]"#] {
            let Request { id, method, params } = request("logs.tail", params).expect("a request");
            assert_eq!((id, method.call, method.writes), (Some(json!(7)), Call::Tail, false));
            assert_eq!((params.text("name"), params.number("lines")), ("web", Some(3)));
        }
        let stop = request("service.stop", r#"{"name":"web"}"#).expect("a request");
        assert!(stop.method.writes && stop.params.number("lines").is_none());
        let null = request("logs.tail", r#"{"name":"web","lines":null}"#).expect("a request");
        assert_eq!(null.params.number("lines"), None);
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

    #[test]
    fn bad_parameters_are_named() {
        for (method, params, message) in [
            (
                "service.stop",
                "{}",
                "service.stop needs the parameter `name`, a string",
            ),
            (
                "service.stop",
                "[7]",
                "service.stop: the parameter `name` must be a string",
            ),
            (
                "service.stop",
                "3",
                "service.stop: `params` is neither an object nor a list",
            ),
            ("service.get", r#"["a","b"]"#, "service.get takes 1 parameters, not 2"),
            (
                "logs.tail",
                r#"{"name":"a","lins":3}"#,
                "logs.tail has no parameter `lins`, did you mean `lines`?",
            ),
            (
                "system.ping",
                r#"{"a":1}"#,
                "system.ping has no parameter `a`: it takes none",
            ),
            (
                "logs.tail",
                r#"{"name":"a","lines":-1}"#,
                "logs.tail: the parameter `lines` must be an integer, 0 or more",
            ),
        ] {
            assert_eq!(refusal(request(method, params)), (INVALID_PARAMS, message.to_owned()));
        }
    }

    #[test]
    fn methods_of_older_clients_are_answered_with_the_name_of_today() {
        let (code, message) = refusal(request("service_list", "[]"));
        assert_eq!(code, METHOD_NOT_FOUND);
        assert_eq!(
            message,
            "no method is named `service_list`, did you mean `service.list`?"
        );
        let (code, message) = refusal(request("system.prepare_restart", "{}"));
        assert_eq!(code, METHOD_NOT_FOUND);
        assert!(message.starts_with("system.prepare_restart is refused: "), "{message}");
    }

    proptest! {
        #[test]
        fn any_line_is_answered(line in proptest::collection::vec(any::<u8>(), 0..100)) {
            if let Err(answer) = parse(&line) {
                prop_assert!(answer.ends_with('\n') && answer.lines().count() == 1);
            }
        }

        #[test]
        fn any_parameters_are_answered(method in 0..METHODS.len(), value in "[\\[{][\"a-z:,0-9]{0,12}[\\]}]") {
            if let Err(answer) = request(METHODS[method].name, &value) {
                prop_assert!(serde_json::from_str::<Value>(&answer).is_ok());
            }
        }
    }
}
