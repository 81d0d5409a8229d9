//! `mosctl why NAME`: why a service is in its state.

use serde_json::json;

use super::{Complaint, print_json, service_name, text};
use crate::arguments::Arguments;
use crate::exit::Exit;
use crate::rpc;

pub fn run(arguments: &Arguments) -> Result<Exit, Complaint> {
    let name = service_name(arguments)?;
    let result = rpc::call(&arguments.socket(), "service.why", json!({ "name": name }))?;
    if arguments.json {
        print_json(&result);
        return Ok(Exit::Fine);
    }
    println!("{name}: {}", text(&result["state"]));
    for line in result["lines"].as_array().into_iter().flatten() {
        println!("  {}", text(line));
    }
    Ok(Exit::Fine)
}
