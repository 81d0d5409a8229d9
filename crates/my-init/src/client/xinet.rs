//! `xinet`: proxies before services that cannot be handed their sockets, in the words of zinit.

use std::io::Write;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::render::text;
use super::verbs::print;
use super::{AskError, call};
use crate::options::Question;

/// Options of `register`.
const OPTIONS: [&str; 6] = [
    "--listen",
    "--backend",
    "--service",
    "--connect-timeout",
    "--idle-timeout",
    "--single-connection",
];
/// The code of a wrong command line (JSON-RPC 2.0: invalid params).
const USAGE: i64 = -32602;

/// True for an option of `register`.
pub(crate) fn takes(option: &str) -> bool {
    OPTIONS.contains(&option)
}

/// Notes what an option says, in the key of `xinet.set`.
pub(crate) fn take(
    proxy: &mut Map<String, Value>,
    option: &str,
    mut value: impl FnMut() -> Result<String, String>,
) -> Result<(), String> {
    let key = option.trim_start_matches('-').replace('-', "_");
    match option {
        "--single-connection" => {
            proxy.insert(key, json!(true));
        }
        "--listen" => {
            let mut list = proxy.get(&key).and_then(Value::as_array).cloned().unwrap_or_default();
            list.push(json!(value()?));
            proxy.insert(key, json!(list));
        }
        "--backend" | "--service" => {
            proxy.insert(key, json!(value()?));
        }
        _ => {
            let text = value()?;
            let seconds: u32 = text
                .parse()
                .map_err(|_| format!("{option} is `{text}`, expected whole seconds"))?;
            proxy.insert(key, json!(seconds));
        }
    }
    Ok(())
}

pub(super) fn run(socket: &Path, question: &Question, json: bool, out: &mut dyn Write) -> Result<(), AskError> {
    let words: Vec<&str> = question.words.iter().map(String::as_str).collect();
    let (method, parameters) = match *words {
        ["list"] => ("xinet.list", json!({})),
        ["status"] => ("xinet.status_all", json!({})),
        ["status", name] => ("xinet.status", json!({ "name": name })),
        ["unregister", name] => ("xinet.delete", json!({ "name": name })),
        ["register", name] => {
            let mut proxy = question.proxy.clone();
            proxy.insert("name".to_owned(), json!(name));
            ("xinet.set", json!({ "config": proxy }))
        }
        _ => {
            let message = "xinet takes list, status [NAME], register NAME or unregister NAME, see --help";
            return Err(AskError::Refused(USAGE, message.to_owned()));
        }
    };
    let result = call(socket, method, &parameters)?;
    let text = match json {
        true => format!("{result}\n"),
        false => shown(&words, &result),
    };
    print(out, &text)
}

fn shown(words: &[&str], result: &Value) -> String {
    match *words {
        ["list"] => {
            let names = result.as_array().into_iter().flatten();
            names.map(|name| format!("{}\n", text(name))).collect()
        }
        ["status"] => table(result),
        ["unregister", name] => format!("{name}: removed\n"),
        ["register", name] => format!("{name}: {}\n", text(&result["path"])),
        _ => format!(
            "{}: {}, {} connected\n",
            text(&result["name"]),
            there(result),
            text(&result["connections"])
        ),
    }
}

fn there(proxy: &Value) -> &'static str {
    match proxy["running"].as_bool() {
        Some(true) => "listening",
        _ => "closed",
    }
}

fn table(proxies: &Value) -> String {
    let proxies = || proxies.as_array().into_iter().flatten();
    let columns = [
        "NAME", "STATE", "LISTEN", "BACKEND", "SERVICE", "NOW", "TOTAL", "UP", "DOWN",
    ]
    .map(str::to_owned);
    let row = |proxy: &Value| {
        let of = |key: &str| text(&proxy[key]);
        [
            of("name"),
            there(proxy).to_owned(),
            of("listen"),
            of("backend"),
            of("service"),
            of("active_connections"),
            of("total_connections"),
            of("bytes_to_backend"),
            of("bytes_from_backend"),
        ]
    };
    let rows: Vec<[String; 9]> = std::iter::once(columns).chain(proxies().map(row)).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..9).map(width).collect();
    let line = |row: &[String; 9]| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$} "));
        format!("{}\n", cells.collect::<String>().trim_end())
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_become_the_keys_of_the_method() {
        let mut proxy = Map::new();
        for (option, value) in [
            ("--listen", "/a"),
            ("--listen", "127.0.0.1:80"),
            ("--idle-timeout", "7"),
            ("--single-connection", ""),
        ] {
            take(&mut proxy, option, || Ok(value.to_owned())).unwrap();
        }
        assert_eq!(
            Value::Object(proxy.clone()),
            json!({ "listen": ["/a", "127.0.0.1:80"], "idle_timeout": 7, "single_connection": true })
        );
        let error = take(&mut proxy, "--connect-timeout", || Ok("soon".to_owned()));
        assert_eq!(
            error,
            Err("--connect-timeout is `soon`, expected whole seconds".to_owned())
        );
    }

    #[test]
    fn the_table_is_as_wide_as_it_has_to_be() {
        let proxies = json!([{
            "name": "front", "listen": "/run/front.sock", "backend": "127.0.0.1:81", "service": "web", "running": true,
            "active_connections": 1, "total_connections": 20, "bytes_to_backend": 300, "bytes_from_backend": 4000,
        }]);
        assert_eq!(
            table(&proxies),
            "NAME  STATE     LISTEN          BACKEND      SERVICE NOW TOTAL UP  DOWN\n\
             front listening /run/front.sock 127.0.0.1:81 web     1   20    300 4000\n"
        );
    }
}
