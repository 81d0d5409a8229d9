//! `mosnet`: the network daemon.

use mos_net::{Settings, Status, daemon, status};

use crate::arguments::Arguments;
use crate::exit::Exit;

/// The help text.
pub const HELP: &str = "\
mosnet: brings the network up and keeps it up

Usage: mosnet            run the daemon (my_init does)
       mosnet status [--json]   show the network as it stands

Kernel command line: mosip4=ADDRESS/PREFIX,GATEWAY[,LINK]  mosdns=ADDRESS[,ADDRESS]  moslink=NAME
";

/// Runs the program.
pub fn run(arguments: &Arguments) -> Exit {
    match arguments.verb() {
        "" => run_daemon(arguments),
        "status" => show(arguments),
        other => {
            eprintln!("mosnet: no verb `{other}`\n\n{HELP}");
            Exit::Usage
        }
    }
}

fn run_daemon(arguments: &Arguments) -> Exit {
    let settings = match Settings::from_command_line(&arguments.kernel_command_line()) {
        Ok(settings) => settings,
        Err(error) => {
            // A node that can be reached by DHCP can be repaired; one that stops here cannot.
            eprintln!("mosnet: {error}; using DHCP instead");
            Settings::default()
        }
    };
    match daemon::run(&settings, &mut |event| println!("{event}")) {
        Err(error) => {
            eprintln!("mosnet: {error}");
            Exit::Problem
        }
    }
}

fn show(arguments: &Arguments) -> Exit {
    match Status::read(&arguments.below_root(status::PATH)) {
        Ok(Some(status)) if arguments.json => match serde_json::to_string_pretty(&status) {
            Ok(json) => {
                println!("{json}");
                Exit::Fine
            }
            Err(error) => {
                eprintln!("mosnet: {error}");
                Exit::Problem
            }
        },
        Ok(Some(status)) => {
            println!("{status}");
            Exit::Fine
        }
        Ok(None) => {
            eprintln!("mosnet: the network is down");
            Exit::Offline
        }
        Err(error) => {
            eprintln!("mosnet: {error}");
            Exit::Problem
        }
    }
}
