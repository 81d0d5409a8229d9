//! The life of PID 1: brings the machine up, keeps it running, takes it down.

use std::path::PathBuf;

use crate::boot;
use crate::clock;
use crate::console::Console;
use crate::driver::Setup;
use crate::keeper::{Beginning, keep};
use crate::life::{goal, settings, work};
use crate::logs::syslog;
use crate::options::{SERVICES, SOCKET, STATE};
use crate::supervisor::Goal;
use crate::upgrade::Handover;
use crate::{halt, rescue};

/// Never returns: whatever goes wrong, PID 1 stays.
pub fn run(started: clock::Millis, handover: Option<Handover>) -> ! {
    rescue::install();
    let ground = match handover {
        None => boot::prepare(),
        Some(_) => boot::ground(),
    };
    let open_files = match &handover {
        None => boot::open_files::raise(),
        Some(handover) => handover.open_files,
    };
    if handover.is_none() {
        prepare_console(&ground);
    }
    let group = ground.command_line.group.as_deref().map(crate::group::number);
    let group = match group.transpose() {
        Ok(group) => group,
        Err(error) => {
            if let Ok(mut console) = console() {
                console.say(clock::now(), &format!("my_init.group: {error}"));
            }
            None
        }
    };
    let setup = Setup {
        services: SERVICES.into_iter().chain([STATE]).map(PathBuf::from).collect(),
        state: Some(PathBuf::from(STATE)),
        group,
        socket: PathBuf::from(SOCKET),
        settings: settings(started, ground.command_line.boot_deadline),
        cgroups: ground.cgroups,
        open_files,
        machine: true,
        debug: ground.command_line.debug,
        line: ground.command_line.clone(),
        taken_over: handover.is_some(),
        logs: ground.command_line.logs,
        log_level: ground.command_line.log_level.unwrap_or(syslog::INFO),
        syslog: Some(PathBuf::from("/dev/log")),
    };
    // Only a wish to go down ends it: any other end is a failure, and there is nobody else to try again.
    let beginning = Beginning {
        handover,
        open_files,
        machine: true,
    };
    match keep(&beginning, |kept| work(&setup, kept), |code, _| goal(code).is_none()) {
        Ok(code) => match console() {
            Ok(mut console) => rescue::stay(&halt::take_down(goal(code).unwrap_or(Goal::Reboot), &mut console)),
            Err(error) => rescue::stay(&format!("no console: {error}")),
        },
        Err(error) => rescue::stay(&error.to_string()),
    }
}

/// Where the machine speaks.
pub(crate) fn console() -> std::io::Result<Console> {
    Console::machine().or_else(|_| Console::standard_output())
}

/// Does the rest of early user space, and says what it could not do.
fn prepare_console(ground: &boot::Ground) {
    let mut console = match console() {
        Ok(console) => console,
        Err(error) => rescue::stay(&format!("no console: {error}")),
    };
    for problem in ground.problems.iter().chain(&boot::settle(&ground.command_line)) {
        console.say(clock::now(), problem);
    }
    // Ctrl-Alt-Del is ours to handle: the kernel then sends SIGINT (reboot(2)).
    if let Err(error) = rustix::system::reboot(rustix::system::RebootCommand::CadOff) {
        console.say(
            clock::now(),
            &format!("Ctrl-Alt-Del reboots at once: {}", std::io::Error::from(error)),
        );
    }
}
