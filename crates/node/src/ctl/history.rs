//! `mosctl history`: the generations on the disk. Nothing is verified here, so nothing is said to be good.

use mos_update::Layout;
use serde_json::{Value, json};

use super::{Complaint, print_json, text};
use crate::arguments::Arguments;
use crate::exit::Exit;

pub fn run(arguments: &Arguments) -> Result<Exit, Complaint> {
    let generations = list(&Layout::new(arguments.state()))?;
    if arguments.json {
        print_json(&Value::from(generations));
        return Ok(Exit::Fine);
    }
    if generations.is_empty() {
        println!("no generations");
    }
    for generation in &generations {
        let mark = if generation["current"] == true { "  current" } else { "" };
        let made = text(&generation["made"]);
        println!("generation {:<4} made {made}{mark}", text(&generation["number"]));
    }
    Ok(Exit::Fine)
}

/// Number, time of making, and whether it is current, ascending.
fn list(layout: &Layout) -> Result<Vec<Value>, Complaint> {
    let current = layout.current_number()?;
    let numbers = layout.numbers()?.into_iter();
    let generations = numbers.map(|number| {
        let made = std::fs::metadata(layout.generation(number).join("release.json")).and_then(|meta| meta.modified());
        let made = made.ok().and_then(|time| jiff::Timestamp::try_from(time).ok());
        let made = made.map(|time| format!("{time:.0}"));
        json!({ "number": number, "current": current == Some(number), "made": made })
    });
    Ok(generations.collect())
}
