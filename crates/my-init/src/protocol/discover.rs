//! `rpc.discover`: the table as an OpenRPC document (<https://spec.open-rpc.org>, version 1.3.2).

use serde_json::{Value, json};

use super::codes::{NOT_PERMITTED, meaning};
use super::methods::{Call, Kind, METHODS, Method, Parameter};

/// The document.
pub fn document() -> Value {
    let methods = METHODS.iter().filter(|method| method.call != Call::Refused);
    json!({
        "openrpc": "1.3.2",
        "info": { "title": "my_init", "version": env!("CARGO_PKG_VERSION") },
        "methods": methods.map(described).collect::<Vec<Value>>(),
    })
}

fn described(method: &Method) -> Value {
    let permission = method.writes.then_some(&NOT_PERMITTED);
    let codes = method.errors.iter().chain(permission);
    let errors: Vec<Value> = codes
        .map(|code| json!({ "code": code, "message": meaning(*code) }))
        .collect();
    let (kind, result) = method.result;
    json!({
        "name": method.name,
        "summary": method.text,
        "paramStructure": "either",
        "params": method.parameters.iter().map(parameter).collect::<Vec<Value>>(),
        "result": { "name": "result", "description": result, "schema": schema(kind) },
        "errors": errors,
    })
}

fn parameter(parameter: &Parameter) -> Value {
    json!({
        "name": parameter.name,
        "description": parameter.text,
        "required": parameter.required,
        "schema": schema(parameter.kind),
    })
}

fn schema(kind: Kind) -> Value {
    match kind {
        Kind::Text => json!({ "type": "string" }),
        Kind::Number => json!({ "type": "integer", "minimum": 0 }),
        Kind::Truth => json!({ "type": "boolean" }),
        Kind::Texts => json!({ "type": "array", "items": { "type": "string" } }),
        Kind::Objects => json!({ "type": "array", "items": { "type": "object" } }),
        Kind::Object => json!({ "type": "object" }),
        Kind::Service => json!({ "type": ["object", "string"] }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_that_works_is_described_once() {
        let document = document();
        let methods = document["methods"].as_array().expect("a list");
        let mut names: Vec<&str> = methods.iter().filter_map(|method| method["name"].as_str()).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
        assert!(names.contains(&"service.start") && !names.contains(&"system.prepare_restart"));
        let kill = methods
            .iter()
            .find(|method| method["name"] == "service.kill")
            .expect("kill");
        assert_eq!(kill["params"][1]["required"], false);
        assert_eq!(
            kill["errors"][3],
            json!({ "code": NOT_PERMITTED, "message": "the caller may only read" })
        );
    }

    #[test]
    fn every_error_has_a_meaning() {
        for method in METHODS {
            for code in method.errors {
                assert_ne!(meaning(*code), "", "{}: {code}", method.name);
            }
        }
    }
}
