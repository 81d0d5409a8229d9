//! `mosctl start|stop|restart NAME`, `mosctl reboot|poweroff`.

use serde_json::{Value, json};

use super::{Complaint, service_name, text};
use crate::arguments::Arguments;
use crate::exit::Exit;
use crate::rpc;

pub fn service(arguments: &Arguments) -> Result<Exit, Complaint> {
    let name = service_name(arguments)?;
    let method = format!("service.{}", arguments.verb());
    let result = rpc::call(&arguments.socket(), &method, json!({ "name": name }))?;
    println!("{name}: {}", text(&result["state"]));
    Ok(Exit::Fine)
}

pub fn system(arguments: &Arguments) -> Result<Exit, Complaint> {
    rpc::call(
        &arguments.socket(),
        &format!("system.{}", arguments.verb()),
        Value::Null,
    )?;
    println!("{}: on its way", arguments.verb());
    Ok(Exit::Fine)
}
