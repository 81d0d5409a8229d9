//! `mosctl`: shows and steers what runs on this node. One file per kind of verb.

mod change;
mod history;
mod logs;
mod services;
mod status;
mod why;

use serde_json::Value;

use crate::arguments::Arguments;
use crate::exit::Exit;
use crate::rpc::RpcError;

/// The help text.
pub const HELP: &str = "\
mosctl: shows and steers what runs on this node

Usage: mosctl status [--json]          image, release, generation, what is waited for, services
       mosctl services [--json]        services and their states
       mosctl logs NAME [--lines N]    the last lines of a service
       mosctl why NAME                 why a service is in its state
       mosctl start|stop|restart NAME
       mosctl history [--json]         generations on the disk: the current one, the running one
       mosctl reboot|poweroff

Options: --socket PATH   my_init's socket (default /run/my_init.sock)
         --state DIR     state directory (default /var/cache/mos)
         --root DIR      look for both below DIR
";

/// Runs the program.
pub fn run(arguments: &Arguments) -> Exit {
    let done = match arguments.verb() {
        "status" => status::run(arguments),
        "services" => services::run(arguments),
        "logs" => logs::run(arguments),
        "why" => why::run(arguments),
        "start" | "stop" | "restart" => change::service(arguments),
        "reboot" | "poweroff" => change::system(arguments),
        "history" => history::run(arguments),
        "" => Err(Complaint::usage("no verb")),
        other => Err(Complaint::usage(format!("no verb `{other}`"))),
    };
    done.unwrap_or_else(|complaint| {
        eprintln!("mosctl: {}", complaint.message);
        complaint.exit
    })
}

/// Why a verb could not do its work.
struct Complaint {
    message: String,
    exit: Exit,
}

impl Complaint {
    fn usage(message: impl Into<String>) -> Self {
        let message = format!("{}\n\n{HELP}", message.into());
        let exit = Exit::Usage;
        Self { message, exit }
    }
}

impl From<RpcError> for Complaint {
    fn from(error: RpcError) -> Self {
        let exit = error.exit();
        let message = error.to_string();
        Self { message, exit }
    }
}

impl From<mos_update::UpdateError> for Complaint {
    fn from(error: mos_update::UpdateError) -> Self {
        let exit = Exit::Problem;
        let message = error.to_string();
        Self { message, exit }
    }
}

/// The one service that a verb is about.
fn service_name(arguments: &Arguments) -> Result<&str, Complaint> {
    match arguments.words.as_slice() {
        [_, name] => Ok(name),
        _ => Err(Complaint::usage(format!(
            "`{}` needs the name of one service",
            arguments.verb()
        ))),
    }
}

fn print_json(value: &Value) {
    println!("{value:#}");
}

/// Text of a field for people: `-` when there is none.
fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) if text.is_empty() => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) if items.is_empty() => "-".to_owned(),
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}
