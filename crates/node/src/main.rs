//! What runs on a node beside PID 1: one program with three names.
//!
//! | name | does |
//! |---|---|
//! | `mos-node` | `fetch` (the channel's release becomes the current generation), `watch` (tries on when that failed), `state` (mounts the state disk) |
//! | `mosctl` | shows and steers what runs |
//! | `mosnet` | the network daemon |
//!
//! One program, since they share most of their code and a node's image is counted in kilobytes.

mod arguments;
mod ctl;
mod exit;
mod fetch;
mod mosnet;
mod rpc;
mod settings;
mod state_disk;
mod superblock;

use std::path::PathBuf;
use std::process::ExitCode;

use arguments::Arguments;
use exit::Exit;

const HELP: &str = "\
mos-node: what a node does with its channel and its disk

Usage: mos-node fetch   make the channel's release the current generation and start it
       mos-node watch   when that could not be done, try again until it can
       mos-node state   mount the state disk

Options: --config PATH   settings (default /etc/mos/node.toml)
         --state DIR     state directory (default /var/cache/mos)
         --socket PATH   my_init's socket (default /run/my_init.sock)
         --root DIR      look for all of these below DIR
         --help, --version
";

fn main() -> ExitCode {
    let name = arguments::program_name(std::env::args_os().next().map(PathBuf::from).as_deref());
    let exit = match Arguments::parse(lexopt::Parser::from_env()) {
        Ok(arguments) if arguments.version => {
            println!("{name} {}", env!("CARGO_PKG_VERSION"));
            Exit::Fine
        }
        Ok(arguments) => run(&name, &arguments),
        Err(error) => {
            eprintln!("{name}: {error}; see {name} --help");
            Exit::Usage
        }
    };
    exit.into()
}

fn run(name: &str, arguments: &Arguments) -> Exit {
    if arguments.help {
        println!("{}", help(name, arguments.verb()));
        return Exit::Fine;
    }
    match (name, arguments.verb()) {
        ("mosctl", _) => ctl::run(arguments),
        ("mosnet", _) => mosnet::run(arguments),
        (_, "fetch") => fetch::run(arguments),
        (_, "watch") => fetch::watch::run(arguments),
        (_, "state") => state_disk::run(arguments),
        (_, "") => {
            eprintln!("{HELP}");
            Exit::Usage
        }
        (_, other) => {
            eprintln!("mos-node: no verb `{other}`\n\n{HELP}");
            Exit::Usage
        }
    }
}

fn help(name: &str, verb: &str) -> &'static str {
    match (name, verb) {
        ("mosctl", _) => ctl::HELP,
        ("mosnet", _) => mosnet::HELP,
        (_, "fetch") => fetch::HELP,
        (_, "watch") => fetch::watch::HELP,
        (_, "state") => state_disk::HELP,
        _ => HELP,
    }
}
