//! `my_init`: PID 1 of a node, a supervisor elsewhere, and the client of both.

use std::hash::{BuildHasher as _, RandomState};
use std::path::PathBuf;
use std::process::ExitCode;

use my_init::client::{self, AskError};
use my_init::clock;
use my_init::console::Console;
use my_init::driver::{Driver, End, Setup};
use my_init::keeper::{Beginning, Kept, UPGRADE, keep};
use my_init::kernel::CommandLine;
use my_init::options::{HELP, Options, Question, SERVICES, Task};
use my_init::supervisor::{Goal, Settings};
use my_init::upgrade::Handover;
use my_init::{halt, rescue, services, stage0};

/// The exit codes of every program, see the architecture page.
const PROBLEM: u8 = 1;
const USAGE: u8 = 2;
const NOT_FOUND: u8 = 4;
const REFUSED: u8 = 5;
const BUG: u8 = 70;

/// From the request to shut down until what still runs is killed.
const SHUTDOWN_MS: clock::Millis = 60_000;

fn main() -> ExitCode {
    let started = clock::now();
    let options = Options::parse(std::env::args().skip(1));
    let container = options.as_ref().is_ok_and(|options| options.container);
    if std::process::id() == 1 && !container && !asks_for_text(&options) {
        machine(started, options.ok().and_then(|options| options.handover));
    }
    match options {
        Err(error) => {
            eprintln!("my_init: {error}");
            ExitCode::from(USAGE)
        }
        Ok(options) => run(options, started),
    }
}

/// The kernel hands its unknown words to PID 1; only these two are taken for more than noise.
fn asks_for_text(options: &Result<Options, String>) -> bool {
    matches!(
        options,
        Ok(Options {
            task: Task::Help | Task::Version,
            ..
        })
    )
}

fn run(options: Options, started: clock::Millis) -> ExitCode {
    match &options.task {
        Task::Help => print!("{HELP}"),
        Task::Version => println!("my_init {}", env!("CARGO_PKG_VERSION")),
        Task::Check(directories) => return check(directories),
        Task::Ask(question) => return ask(&options, question),
        Task::Supervise => return supervise(options, started),
    }
    ExitCode::SUCCESS
}

/// PID 1: brings the machine up, keeps it running, takes it down. Whatever goes wrong, it stays.
fn machine(started: clock::Millis, handover: Option<Handover>) -> ! {
    rescue::install();
    let ground = match handover {
        None => stage0::prepare(),
        Some(_) => stage0::ground(Vec::new()),
    };
    let open_files = match &handover {
        None => stage0::raise_open_files(),
        Some(handover) => handover.open_files,
    };
    if handover.is_none() {
        prepare_console(&ground.problems);
    }
    let setup = Setup {
        services: SERVICES.map(PathBuf::from).to_vec(),
        socket: PathBuf::from(my_init::options::SOCKET),
        settings: settings(started, ground.command_line.boot_deadline),
        cgroups: ground.cgroups,
        open_files,
        machine: true,
        debug: ground.command_line.debug,
        taken_over: handover.is_some(),
        logs: ground.command_line.logs,
    };
    // Only a wish to go down ends it: any other end is a failure, and there is nobody else to try again.
    let beginning = Beginning { handover, open_files };
    match keep(&beginning, |kept| work(&setup, kept), |code| goal(code).is_none()) {
        Ok(code) => match console() {
            Ok(mut console) => rescue::stay(&halt::take_down(goal(code).unwrap_or(Goal::Reboot), &mut console)),
            Err(error) => rescue::stay(&format!("no console: {error}")),
        },
        Err(error) => rescue::stay(&error.to_string()),
    }
}

fn console() -> std::io::Result<Console> {
    Console::machine().or_else(|_| Console::standard_output())
}

/// Says what early user space could not do, and loads modules.
fn prepare_console(problems: &[String]) {
    let mut console = match console() {
        Ok(console) => console,
        Err(error) => rescue::stay(&format!("no console: {error}")),
    };
    for problem in problems.iter().chain(&stage0::load_modules()) {
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

/// The exit code with which a supervisor tells the keeper what is to become of the machine.
const POWEROFF: u8 = 40;
const REBOOT: u8 = 41;

fn goal(code: u8) -> Option<Goal> {
    match code {
        POWEROFF => Some(Goal::Poweroff),
        REBOOT => Some(Goal::Reboot),
        _ => None,
    }
}

/// The supervisor's whole life, in a process of its own; returns its exit code.
fn work(setup: &Setup, kept: Kept) -> u8 {
    rescue::end_on_panic();
    let place = if setup.machine {
        console()
    } else {
        Console::standard_output()
    };
    let end = place
        .and_then(|console| Driver::new(setup.clone(), console, kept))
        .and_then(|mut driver| {
            let end = driver.run();
            if !setup.machine && !matches!(end, Ok(End::Upgrade)) {
                driver.close();
            }
            // What it has open is the keeper's too, and its successor's.
            std::mem::forget(driver);
            end
        });
    match end {
        Ok(End::Goal(Goal::Poweroff)) => POWEROFF,
        Ok(End::Goal(Goal::Reboot)) => REBOOT,
        Ok(End::Upgrade) => UPGRADE,
        Err(error) => {
            eprintln!("my_init: {error}");
            match error.kind() {
                std::io::ErrorKind::AddrInUse => REFUSED,
                _ => BUG,
            }
        }
    }
}

fn settings(started: clock::Millis, boot_deadline: clock::Millis) -> Settings {
    Settings {
        started,
        boot_deadline,
        shutdown_deadline: SHUTDOWN_MS,
        // The standard library's own seed is the kernel's random number.
        seed: RandomState::new().hash_one(started),
    }
}

/// An ordinary process that supervises: in a container, or for a test.
fn supervise(options: Options, started: clock::Millis) -> ExitCode {
    if options.services.is_empty() {
        eprintln!("my_init: not PID 1, so give --services DIR (or see --help)");
        return ExitCode::from(USAGE);
    }
    // Children of services that lose their parent come to us, as they would to PID 1.
    let _ = rustix::process::set_child_subreaper(rustix::process::Pid::from_raw(1));
    let deadline = options.deadline.map(|seconds| clock::Millis::from(seconds) * 1000);
    let open_files = match &options.handover {
        None => stage0::raise_open_files(),
        Some(handover) => handover.open_files,
    };
    let setup = Setup {
        services: options.services,
        socket: options.socket,
        settings: settings(started, deadline.unwrap_or(CommandLine::parse("").boot_deadline)),
        cgroups: None,
        open_files,
        machine: false,
        debug: options.debug,
        taken_over: options.handover.is_some(),
        logs: options.logs,
    };
    let beginning = Beginning {
        handover: options.handover,
        open_files,
    };
    match keep(&beginning, |kept| work(&setup, kept), |_| false) {
        Ok(POWEROFF | REBOOT) => ExitCode::SUCCESS,
        Ok(code) => ExitCode::from(code),
        Err(error) => fail(BUG, &error),
    }
}

fn fail(code: u8, error: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("my_init: {error}");
    ExitCode::from(code)
}

fn check(directories: &[PathBuf]) -> ExitCode {
    if let Some(directory) = directories.iter().find(|directory| !directory.is_dir()) {
        return fail(NOT_FOUND, &format!("{} is not a directory", directory.display()));
    }
    let (files, mut problems) = services::read(directories);
    let files: Vec<(&str, &str)> = files
        .iter()
        .map(|(name, text)| (name.as_str(), text.as_str()))
        .collect();
    problems.extend(mos_service::check(&files, &[]));
    problems.iter().for_each(|problem| println!("{problem}"));
    match problems
        .iter()
        .any(|problem| problem.severity == mos_toml::Severity::Error)
    {
        true => ExitCode::from(PROBLEM),
        false => ExitCode::SUCCESS,
    }
}

fn ask(options: &Options, question: &Question) -> ExitCode {
    let (method, parameters) = client::request(question);
    match client::call(&options.socket, method, &parameters) {
        Ok(result) if options.json => println!("{result}"),
        Ok(result) => print!("{}", client::render(&question.verb, &result)),
        Err(AskError::Offline(error)) => {
            let socket = options.socket.display();
            return fail(
                NOT_FOUND,
                &format!("nobody answers on {socket}: {error}; is my_init running there?"),
            );
        }
        Err(AskError::Refused(-32000, message)) => return fail(NOT_FOUND, &message),
        Err(AskError::Refused(_, message)) => return fail(REFUSED, &message),
    }
    ExitCode::SUCCESS
}
