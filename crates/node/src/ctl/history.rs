//! `mosctl history`: the generations on the disk. Nothing is verified here, so nothing is said to be good.

use mos_update::Layout;
use serde_json::{Value, json};

use super::status::started;
use super::{Complaint, print_json, text};
use crate::arguments::Arguments;
use crate::exit::Exit;

pub fn run(arguments: &Arguments) -> Result<Exit, Complaint> {
    let generations = list(&Layout::new(arguments.state()), started(arguments))?;
    if arguments.json {
        print_json(&Value::from(generations));
        return Ok(Exit::Fine);
    }
    if generations.is_empty() {
        println!("no generations");
    }
    for generation in &generations {
        let marks = ["current", "running"].map(|mark| match generation[mark] == true {
            true => format!("  {mark}"),
            false => String::new(),
        });
        let made = text(&generation["made"]);
        println!(
            "generation {:<4} made {made}{}",
            text(&generation["number"]),
            marks.concat()
        );
    }
    Ok(Exit::Fine)
}

/// Number, time of making, whether it is current on the disk, and whether it was verified and started, ascending.
fn list(layout: &Layout, started: Option<u64>) -> Result<Vec<Value>, Complaint> {
    let current = layout.current_number()?;
    let numbers = layout.numbers()?.into_iter();
    let generations = numbers.map(|number| {
        let made = std::fs::metadata(layout.generation(number).join("release.json")).and_then(|meta| meta.modified());
        let made = made.ok().and_then(|time| jiff::Timestamp::try_from(time).ok());
        let made = made.map(|time| format!("{time:.0}"));
        json!({ "number": number, "current": current == Some(number), "running": started == Some(number), "made": made })
    });
    Ok(generations.collect())
}
