//! Service files as JSON and back: clients of the control socket speak JSON, files are TOML.

use std::collections::BTreeMap;

use mos_toml::{Document, Node, Problem, Span};
use serde_json::Value;

/// How deep what is given may be nested.
const DEPTH_MAX: usize = 8;

/// The text of a TOML file that says what an object says. What is `null` is left out, as TOML has no such thing.
///
/// # Errors
/// When it is no object, nested too deeply, or holds a number that is no integer.
pub fn to_toml(value: &Value) -> Result<String, String> {
    let sections = value.as_object().ok_or("not an object")?;
    let mut text = String::new();
    for (name, section) in sections {
        let Value::Object(keys) = section else {
            return Err(format!("`{name}` is not a section (an object)"));
        };
        text.push_str(&format!("[{}]\n", string(name)));
        for (key, value) in keys.iter().filter(|(_, value)| !value.is_null()) {
            text.push_str(&format!("{} = {}\n", string(key), inline(value, DEPTH_MAX)?));
        }
    }
    Ok(text)
}

fn inline(value: &Value, depth: usize) -> Result<String, String> {
    let deeper = depth.checked_sub(1).ok_or("nested too deeply")?;
    match value {
        Value::Null => Err("`null` in a list".to_owned()),
        Value::Bool(truth) => Ok(truth.to_string()),
        Value::Number(number) if number.is_i64() => Ok(number.to_string()),
        Value::Number(number) => Err(format!("{number} is not an integer")),
        Value::String(text) => Ok(string(text)),
        Value::Array(list) => {
            let items: Result<Vec<String>, String> = list.iter().map(|item| inline(item, deeper)).collect();
            Ok(format!("[{}]", items?.join(", ")))
        }
        Value::Object(keys) => {
            let keys = keys.iter().filter(|(_, value)| !value.is_null());
            let pairs: Result<Vec<String>, String> = keys
                .map(|(key, value)| Ok(format!("{} = {}", string(key), inline(value, deeper)?)))
                .collect();
            Ok(format!("{{ {} }}", pairs?.join(", ")))
        }
    }
}

/// A basic string of TOML 1.0: as one of JSON, which escapes no other way than TOML does, but that TOML wants DEL escaped.
fn string(text: &str) -> String {
    Value::from(text).to_string().replace('\u{7f}', "\\u007f")
}

/// What a TOML file says, as an object.
///
/// # Errors
/// When it is not TOML.
pub fn from_toml(file: &str, text: &str) -> Result<Value, Problem> {
    let document = Document::parse(file, text)?;
    Ok(table(document.entries()))
}

fn table(entries: &BTreeMap<String, (Span, Node)>) -> Value {
    let entries = entries.iter().map(|(key, (_, node))| (key.clone(), value(node)));
    Value::Object(entries.collect())
}

fn value(node: &Node) -> Value {
    match &node.value {
        mos_toml::Value::String(text) => Value::from(text.as_str()),
        mos_toml::Value::Integer(number) => Value::from(*number),
        mos_toml::Value::Boolean(truth) => Value::from(*truth),
        mos_toml::Value::Array(list) => list.iter().map(value).collect(),
        mos_toml::Value::Float(number) => Value::from(*number),
        mos_toml::Value::Datetime(text) => Value::from(text.as_str()),
        mos_toml::Value::Table(entries) => table(entries),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn sections_become_a_file_and_come_back() {
        let object = json!({
            "service": { "exec": "a \"b\"\n\u{7f}", "notify": true, "dir": null, "env": { "A": "1", "b.c": "é" } },
            "dependencies": { "requires": ["x", "y"] },
            "health": { "type": "tcp", "target": "127.0.0.1:1", "retries": 3 },
        });
        let text = to_toml(&object).unwrap();
        let mut expected = object.clone();
        expected["service"].as_object_mut().unwrap().remove("dir");
        assert_eq!(from_toml("a.toml", &text).unwrap(), expected);
        assert!(mos_service::parse("a.toml", &text).service.is_some(), "{text}");
    }

    #[test]
    fn what_toml_cannot_say_is_refused() {
        let mut deep = json!(1);
        for _ in 0..20 {
            deep = json!([deep]);
        }
        for (object, message) in [
            (json!(3), "not an object"),
            (json!({ "service": 3 }), "`service` is not a section (an object)"),
            (json!({ "service": { "nice": 1.5 } }), "1.5 is not an integer"),
            (json!({ "service": { "a": [null] } }), "`null` in a list"),
            (json!({ "service": { "a": deep } }), "nested too deeply"),
        ] {
            assert_eq!(to_toml(&object), Err(message.to_owned()));
        }
    }

    proptest! {
        #[test]
        fn any_text_survives(key in ".{0,10}", text in ".*") {
            let object = json!({ "service": { key: text } });
            let toml = to_toml(&object).unwrap();
            prop_assert_eq!(from_toml("a.toml", &toml).unwrap(), object);
        }
    }
}
