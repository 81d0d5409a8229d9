//! Developer glue: `cargo xtask build|layers`. Everything a user needs is in `mos` itself.

mod build;
mod layers;

use std::process::ExitCode;

const USAGE: &str = "usage: cargo xtask COMMAND

  build     mos and the node's programs, into dist/bin and dist/node
  layers    check that every crate uses only crates above it in ARCHITECTURE.md
";

fn main() -> ExitCode {
    let command = std::env::args().nth(1);
    let outcome = match command.as_deref() {
        Some("build") => build::run(),
        Some("layers") => layers::check(),
        _ => {
            eprint!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(message) => {
            println!("{message}");
            ExitCode::SUCCESS
        }
        Err(message) => {
            eprintln!("xtask: {message}");
            ExitCode::FAILURE
        }
    }
}
