//! `mosctl status`: image, release, generation, what is waited for, when it was last verified, services.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use jiff::Timestamp;
use mos_toml::{Document, Problems};
use mos_update::Layout;
use serde_json::{Value, json};

use super::{Complaint, print_json, services, text};
use crate::arguments::Arguments;
use crate::exit::Exit;
use crate::rpc;

/// Largest file of our own that is read, in bytes.
const LARGEST: u64 = 1 << 20;
/// What the boot image says of itself.
const IMAGE: &str = "/etc/mos-build";
/// The last second that a time stamp can be, in the year 9999.
const LAST_SECOND: i64 = 253_402_207_200;

pub fn run(arguments: &Arguments) -> Result<Exit, Complaint> {
    let layout = Layout::new(arguments.state());
    let fetch = read_json(&arguments.progress());
    let remembered = read_json(&layout.channel().join("state.json"));
    let services = rpc::call(&arguments.socket(), "service.list_full", Value::Null);
    let status = json!({
        "image": image(&arguments.below_root(IMAGE)),
        "environment": fetch["environment"],
        "release": fetch["release"],
        "generation": started(arguments),
        "phase": fetch["phase"],
        "message": fetch["message"],
        "waiting_for": fetch["waiting_for"],
        "offline_since": time(&fetch["offline_since"]),
        "next_try": time(&fetch["next_try"]),
        "last_verified": time(&remembered["last_verified"]),
        "failed_releases": remembered["failed"],
        "services": services.as_ref().unwrap_or(&Value::Null),
    });
    match arguments.json {
        true => print_json(&status),
        false => print(&status),
    }
    services.map(|_| Exit::Fine).map_err(Complaint::from)
}

fn print(status: &Value) {
    let field = |name: &str| text(&status[name]);
    if let Value::Object(_) = &status["image"] {
        let of_image = |name: &str| text(&status["image"][name]);
        println!(
            "image          {} of {}, kernel {}, mos {}, built {}",
            of_image("build_id"),
            of_image("environment"),
            of_image("kernel"),
            of_image("mos"),
            of_image("built"),
        );
    }
    println!("release        {} of {}", field("release"), field("environment"));
    println!("generation     {}", field("generation"));
    println!("fetch          {}: {}", field("phase"), field("message"));
    println!("waiting for    {}", field("waiting_for"));
    if !status["offline_since"].is_null() {
        println!(
            "offline since  {}, next try {}",
            field("offline_since"),
            next_try(status)
        );
    }
    println!("last verified  {}", field("last_verified"));
    for failure in status["failed_releases"].as_array().into_iter().flatten() {
        println!(
            "failed         release {}: {}",
            text(&failure["sequence"]),
            text(&failure["reason"])
        );
    }
    services::print(&status["services"]);
}

/// Seconds since 1970 as a time; `null` when there are none.
fn time(seconds: &Value) -> Option<String> {
    let seconds = seconds.as_i64().filter(|seconds| *seconds > 0)?;
    Some(Timestamp::from_second(seconds).ok()?.to_string())
}

/// How long it is until the channel is tried again.
fn next_try(status: &Value) -> String {
    let time: Option<Timestamp> = status["next_try"].as_str().and_then(|time| time.parse().ok());
    match time.map(|time| time.as_second().saturating_sub(Timestamp::now().as_second())) {
        None => "not planned: mosctl restart runtime-fetch".to_owned(),
        Some(..=0) => "now".to_owned(),
        Some(seconds) => format!("in {seconds} s"),
    }
}

/// The generation that was verified and started since this boot. One that only lies on the disk does not count.
pub fn started(arguments: &Arguments) -> Option<u64> {
    let target = std::fs::read_link(arguments.verified()).ok()?;
    target.file_name()?.to_str()?.parse().ok()
}

/// What the boot image was made from; `null` when it does not say. The packages are in the file.
fn image(path: &Path) -> Value {
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(LARGEST).read_to_string(&mut text));
    let document = read.ok().and_then(|_| Document::parse("mos-build", text).ok());
    let Some(document) = document else {
        return Value::Null;
    };
    let problems = Problems::default();
    let root = document.root(&problems);
    let string = |key| root.string(key);
    json!({
        "build_id": string("build_id"),
        "inputs": string("inputs"),
        "project": string("project"),
        "environment": string("environment"),
        "kernel": string("kernel"),
        "mos": string("mos"),
        "built": root.integer("built", 1..=LAST_SECOND).and_then(|built| time(&Value::from(built))),
    })
}

/// A file of ours, or `null` when it is not there (yet) or senseless.
fn read_json(path: &Path) -> Value {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(LARGEST).read_to_end(&mut bytes));
    read.ok()
        .and_then(|_| serde_json::from_slice(&bytes).ok())
        .unwrap_or(Value::Null)
}
