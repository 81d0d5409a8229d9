//! `mosctl services`: what my_init supervises.

use serde_json::Value;

use super::{Complaint, print_json, text};
use crate::arguments::Arguments;
use crate::exit::Exit;
use crate::rpc;

pub fn run(arguments: &Arguments) -> Result<Exit, Complaint> {
    let services = rpc::call(&arguments.socket(), "service.list_full", Value::Null)?;
    match arguments.json {
        true => print_json(&services),
        false => print(&services),
    }
    Ok(Exit::Fine)
}

/// One line per service: name, state, why, what it waits for.
pub fn print(services: &Value) {
    for service in services.as_array().into_iter().flatten() {
        let (name, state) = (text(&service["name"]), text(&service["state"]));
        let mut line = format!("{name:24} {state:10}");
        for (label, field) in [("", "reason"), ("waits for ", "waits_for")] {
            match text(&service[field]) {
                none if none == "-" => {}
                some => line.push_str(&format!("  {label}{some}")),
            }
        }
        println!("{}", line.trim_end());
    }
}
