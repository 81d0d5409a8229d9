//! `xinet.*`: proxies as clients of zinit ask for them. A proxy is a service with `[proxy]` and `[socket]`; one that is
//! asked for here is a file among those of added services, so it outlives the supervisor as they do.

use serde_json::{Map, Value, json};

use super::{Driver, Id};
use crate::json_toml::to_toml;
use crate::protocol::Refusal;
use crate::protocol::codes::{NOT_FOUND, VALIDATION};
use crate::proxy::Counts;
use crate::supervisor::{State, Unit};

/// The keys of a proxy, as zinit names them.
const KEYS: [&str; 7] = [
    "name",
    "service",
    "backend",
    "listen",
    "connect_timeout",
    "idle_timeout",
    "single_connection",
];

impl Driver {
    pub(super) fn set_proxy(&mut self, config: &Value) -> Result<Value, Refusal> {
        let wrong = |error: String| Refusal::new(VALIDATION, error);
        let text = file_of(config).and_then(|file| to_toml(&file)).map_err(wrong)?;
        let name = config["name"].as_str().unwrap_or_default();
        let mut result = self.define_as(name, &text)?;
        result["ok"] = json!(true);
        Ok(result)
    }

    pub(super) fn drop_proxy(&mut self, name: &str) -> Result<Value, Refusal> {
        self.proxy_named(name)?;
        self.undefine(name)
    }

    pub(super) fn list_proxies(&self) -> Value {
        self.proxies().map(|unit| unit.service().name.as_str()).collect()
    }

    pub(super) fn proxy_status(&self, name: &str) -> Result<Value, Refusal> {
        let unit = self.supervisor.unit(self.proxy_named(name)?);
        let connections = unit.map_or(0, |unit| counts(unit).open);
        Ok(json!({ "name": name, "running": unit.is_some_and(is_there), "connections": connections }))
    }

    pub(super) fn proxy_status_all(&self) -> Value {
        self.proxies().map(described).collect()
    }

    fn proxies(&self) -> impl Iterator<Item = &Unit> {
        let units = self.sorted().into_iter().filter_map(|id| self.supervisor.unit(id));
        units.filter(|unit| unit.service().proxy.is_some())
    }

    fn proxy_named(&self, name: &str) -> Result<Id, Refusal> {
        let id = self.named(name)?;
        match self
            .supervisor
            .unit(id)
            .is_some_and(|unit| unit.service().proxy.is_some())
        {
            true => Ok(id),
            false => Err(Refusal::new(NOT_FOUND, format!("{name} is no proxy"))),
        }
    }
}

/// What its process last said.
fn counts(unit: &Unit) -> Counts {
    let running = unit.pid().and_then(|_| Counts::parse(unit.status_text()));
    running.unwrap_or_default()
}

/// True while somebody takes connections.
fn is_there(unit: &Unit) -> bool {
    matches!(unit.state(), State::Listening | State::Starting | State::Running)
}

fn described(unit: &Unit) -> Value {
    let service = unit.service();
    let listen = service.sockets.as_ref().map_or(&[][..], |sockets| &*sockets.listen);
    let listen: Vec<String> = listen.iter().map(ToString::to_string).collect();
    let proxy = service.proxy.as_ref();
    let counts = counts(unit);
    json!({
        "name": service.name,
        "listen": listen.join(", "),
        "backend": proxy.map(|proxy| proxy.backend.to_string()),
        "service": proxy.map(|proxy| proxy.service.as_str()),
        "running": is_there(unit),
        "active_connections": counts.open,
        "total_connections": counts.total,
        "bytes_to_backend": counts.up,
        "bytes_from_backend": counts.down,
    })
}

/// The service file that says the same.
fn file_of(config: &Value) -> Result<Value, String> {
    let empty = Map::new();
    let keys = config.as_object().unwrap_or(&empty);
    if let Some(key) = keys.keys().find(|key| !KEYS.contains(&key.as_str())) {
        let hint = mos_toml::nearest(key, KEYS).map_or(String::new(), |near| format!(", did you mean `{near}`?"));
        return Err(format!("unknown key `{key}`{hint}"));
    }
    let text = |key: &str| {
        config[key]
            .as_str()
            .ok_or_else(|| format!("`{key}` is missing, a string"))
    };
    let listen = match &config["listen"] {
        Value::String(one) => vec![one.as_str()],
        list => list
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect(),
    };
    if listen.is_empty() {
        return Err("`listen` is missing: an address, or a list of them".to_owned());
    }
    let listen: Vec<&str> = listen.into_iter().map(address).collect();
    Ok(json!({
        "proxy": {
            "name": text("name")?,
            "service": text("service")?,
            "backend": address(text("backend")?),
            "connect_timeout_ms": milliseconds(&config["connect_timeout"], "connect_timeout")?,
            "idle_timeout_ms": milliseconds(&config["idle_timeout"], "idle_timeout")?,
            "single_connection": config["single_connection"],
        },
        "socket": { "listen": listen },
    }))
}

/// zinit writes `unix:/path`.
fn address(text: &str) -> &str {
    text.strip_prefix("unix:").unwrap_or(text)
}

fn milliseconds(seconds: &Value, key: &str) -> Result<Value, String> {
    match seconds {
        Value::Null => Ok(Value::Null),
        seconds => match seconds.as_u64() {
            Some(seconds) => Ok(json!(seconds.saturating_mul(1000))),
            None => Err(format!("`{key}` is not a number of seconds")),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_zinit_says_is_a_service_file() {
        let config = json!({
            "name": "front", "service": "web", "backend": "unix:/run/web.sock", "listen": "127.0.0.1:80",
            "connect_timeout": 5, "single_connection": true,
        });
        let text = to_toml(&file_of(&config).unwrap()).unwrap();
        let parsed = mos_service::parse("front.service.toml", &text);
        assert_eq!(parsed.problems, []);
        let service = parsed.service.unwrap();
        let proxy = service.proxy.unwrap();
        assert_eq!(
            (&*service.name, &*proxy.service, proxy.backend.to_string()),
            ("front", "web", "/run/web.sock".into())
        );
        let words = service.command.unwrap();
        assert_eq!(words.argv()[2..], ["/run/web.sock", "5000", "0", "true"]);
    }

    #[test]
    fn what_is_missing_or_unknown_is_named() {
        for (config, message) in [
            (json!({ "nmae": "x" }), "unknown key `nmae`, did you mean `name`?"),
            (
                json!({ "name": "x" }),
                "`listen` is missing: an address, or a list of them",
            ),
            (
                json!({ "name": "x", "listen": ["/a"] }),
                "`service` is missing, a string",
            ),
            (
                json!({ "name": "x", "listen": "/a", "service": "s", "backend": "/b", "idle_timeout": "1" }),
                "`idle_timeout` is not a number of seconds",
            ),
        ] {
            assert_eq!(file_of(&config), Err(message.to_owned()));
        }
    }
}
