//! The parameters of a call, checked against the table.

use serde_json::{Map, Value};

use super::Refusal;
use super::codes::INVALID_PARAMS;
use super::methods::{Kind, Method, Parameter};

/// What was given, each of the type that the table says.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Params(Map<String, Value>);

impl Params {
    /// Checks what a caller gave: an object, or a list in the order of the table. What is unknown is refused too: a
    /// misspelt `dry_run` must not become the real thing.
    pub(super) fn check(method: &Method, given: Value) -> Result<Self, Refusal> {
        let given = match given {
            Value::Object(given) => given,
            Value::Array(given) => by_place(method, given)?,
            Value::Null => Map::new(),
            _ => {
                return Err(refuse(format!(
                    "{}: `params` is neither an object nor a list",
                    method.name
                )));
            }
        };
        let parameter = |name: &String| method.parameters.iter().find(|one| one.name == name);
        if let Some(name) = given.keys().find(|name| parameter(name).is_none()) {
            return Err(unknown(method, name));
        }
        for parameter in method.parameters {
            check_one(method, parameter, given.get(parameter.name))?;
        }
        let given = given.into_iter().filter(|(_, value)| !value.is_null());
        Ok(Self(given.collect()))
    }

    /// A string; empty when it was not given.
    pub fn text(&self, name: &str) -> &str {
        self.given(name).unwrap_or_default()
    }

    /// A string, if it was given.
    pub fn given(&self, name: &str) -> Option<&str> {
        self.0.get(name).and_then(Value::as_str)
    }

    /// A number, if it was given.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.0.get(name).and_then(Value::as_u64)
    }

    /// True when it was given as `true`.
    pub fn truth(&self, name: &str) -> bool {
        self.0.get(name).and_then(Value::as_bool).unwrap_or(false)
    }

    /// Whatever it is.
    pub fn value(&self, name: &str) -> &Value {
        self.0.get(name).unwrap_or(&Value::Null)
    }

    /// The strings of a list.
    pub fn texts(&self, name: &str) -> Vec<String> {
        let list = self.value(name).as_array().into_iter().flatten();
        list.filter_map(|text| text.as_str().map(str::to_owned)).collect()
    }
}

fn by_place(method: &Method, given: Vec<Value>) -> Result<Map<String, Value>, Refusal> {
    let (most, count) = (method.parameters.len(), given.len());
    if count > most {
        return Err(refuse(format!("{} takes {most} parameters, not {count}", method.name)));
    }
    let names = method.parameters.iter().map(|parameter| parameter.name.to_owned());
    Ok(names.zip(given).collect())
}

fn check_one(method: &Method, parameter: &Parameter, given: Option<&Value>) -> Result<(), Refusal> {
    let fits = match given {
        None | Some(Value::Null) => !parameter.required,
        Some(value) => parameter.kind.holds(value),
    };
    let (name, kind) = (parameter.name, parameter.kind.words());
    match (fits, given) {
        (true, _) => Ok(()),
        (false, None | Some(Value::Null)) => {
            Err(refuse(format!("{} needs the parameter `{name}`, {kind}", method.name)))
        }
        (false, Some(_)) => Err(refuse(format!(
            "{}: the parameter `{name}` must be {kind}",
            method.name
        ))),
    }
}

fn unknown(method: &Method, name: &str) -> Refusal {
    let names = || method.parameters.iter().map(|parameter| parameter.name);
    let hint = match mos_toml::nearest(name, names()) {
        Some(name) => format!(", did you mean `{name}`?"),
        None if method.parameters.is_empty() => ": it takes none".to_owned(),
        None => format!(": it takes {}", names().collect::<Vec<_>>().join(", ")),
    };
    refuse(format!("{} has no parameter `{name}`{hint}", method.name))
}

fn refuse(message: String) -> Refusal {
    Refusal::new(INVALID_PARAMS, message)
}

impl Kind {
    fn holds(self, value: &Value) -> bool {
        match self {
            Self::Text => value.is_string(),
            Self::Number => value.is_u64(),
            Self::Truth => value.is_boolean(),
            Self::Texts => value.as_array().is_some_and(|list| list.iter().all(Value::is_string)),
            Self::Objects => value.is_array(),
            Self::Object => value.is_object(),
            Self::Service => value.is_object() || value.is_string(),
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Text => "a string",
            Self::Number => "an integer, 0 or more",
            Self::Truth => "true or false",
            Self::Texts => "a list of strings",
            Self::Objects => "a list",
            Self::Object => "an object",
            Self::Service => "an object, or the text of a service file",
        }
    }
}
