//! Developer glue: `cargo xtask build|layers|bench|test-garage`. Everything a user needs is in `mos` itself.

mod bench;
mod build;
mod crates;
mod garage;
mod layers;

use std::path::PathBuf;
use std::process::ExitCode;

const USAGE: &str = "usage: cargo xtask COMMAND

  build     mos and the node's programs, into dist/bin and dist/node;
            `build node`: only the latter;
            `build node --architecture aarch64`: for other machines
  bench     measure what SPECIFICATION.md promises: `bench build`, `bench boot`,
            `bench image`, `bench flist`, `bench init`, or all of them
  layers    check that every crate uses only crates above it in ARCHITECTURE.md
  test-garage  the tests of buckets against Garage, which is built first when it is not there
";

fn main() -> ExitCode {
    let command = std::env::args().nth(1);
    let outcome = match command.as_deref() {
        // Our side of benches, in a process of its own.
        Some("flist-pack") => bench::pack_once(&paths()),
        Some("image-make") => bench::make_once(&paths()),
        Some("image-closure") => bench::closure_once(&paths()),
        Some("bench") => bench::run(std::env::args().nth(2).as_deref()),
        Some("build") => {
            let arguments: Vec<String> = std::env::args().skip(2).collect();
            build::run(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
        }
        Some("layers") => layers::check(),
        Some("test-garage") => garage::test(),
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

/// What comes after the command.
fn paths() -> Vec<PathBuf> {
    std::env::args_os().skip(2).map(Into::into).collect()
}
