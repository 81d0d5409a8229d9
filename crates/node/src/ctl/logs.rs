//! `mosctl logs NAME`: the last lines of a service.

use serde_json::json;

use super::{Complaint, print_json, service_name, text};
use crate::arguments::Arguments;
use crate::exit::Exit;
use crate::rpc;

/// Lines shown without `--lines`.
const LINES: u64 = 100;

pub fn run(arguments: &Arguments) -> Result<Exit, Complaint> {
    let parameters = json!({ "name": service_name(arguments)?, "lines": arguments.lines.unwrap_or(LINES) });
    let result = rpc::call(&arguments.socket(), "logs.tail", parameters)?;
    if arguments.json {
        print_json(&result);
        return Ok(Exit::Fine);
    }
    for line in result["lines"].as_array().into_iter().flatten() {
        println!("{}", text(line));
    }
    Ok(Exit::Fine)
}
