//! `mos`: builds, signs, ships, boots and updates immutable Linux nodes.
//!
//! One verb, one file: `commands/<verb>.rs` holds the arguments (their doc comments are the help text) and a function
//! that calls the libraries. What belongs to several verbs is in `context.rs`, `ui.rs` and `error.rs`.

// `output.rs` prints: a closed pipe must be no panic.
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod commands;
mod context;
#[cfg(test)]
mod documented;
mod error;
mod output;
mod pipeline;
#[cfg(test)]
mod reference;
mod stores;
mod turn;
mod ui;

use std::panic::{self, AssertUnwindSafe};
use std::process::ExitCode;

use clap::Parser;

use crate::commands::Command;
use crate::context::{Context, GlobalArgs};

/// Builds, signs, ships, boots and updates immutable Linux nodes.
///
/// Begin with `mos new DIR`, then, in that folder, `mos run --env dev`.
///
/// Exit codes: 0 fine, 1 a check found a problem, 2 usage, 3 trust failure, 4 not found or offline, 5 locked or
/// conflicting, 70 a bug.
#[derive(Debug, Parser)]
#[command(name = "mos", version, max_term_width = 120)]
pub(crate) struct Cli {
    #[command(flatten)]
    global: GlobalArgs,
    #[command(subcommand)]
    command: Command,
}

fn main() -> ExitCode {
    // Packing and unpacking take and give megabytes on many threads.
    mos_sys::memory::give_back();
    let cli = Cli::parse();
    let context = Context::new(cli.global);
    match panic::catch_unwind(AssertUnwindSafe(|| commands::run(&context, cli.command))) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => {
            if !error.is_said() {
                output::say(&error);
            }
            error.exit_code()
        }
        Err(_) => {
            output::say("This is a bug in mos: please report what you did, and the lines above.");
            ExitCode::from(error::BUG)
        }
    }
}
