//! `my_init`: PID 1 of a node, a supervisor elsewhere, and the client of both.

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use my_init::boot;
use my_init::boot::command_line::CommandLine;
use my_init::client::{self, AskError};
use my_init::clock;
use my_init::driver::Setup;
use my_init::keeper::{Beginning, keep};
use my_init::life::{goal, settings, work};
use my_init::logs::show::{Wanted, show};
use my_init::logs::{syslog, writer};
use my_init::options::{HELP, Options, Question, SERVICES, Task};
use my_init::upgrade::Handover;
use my_init::{children, conf, container, kexec, lossy, machine, services};

/// The exit codes of every program, see the architecture page.
const PROBLEM: u8 = 1;
const USAGE: u8 = 2;
const NOT_FOUND: u8 = 4;
const REFUSED: u8 = 5;
const BUG: u8 = 70;

fn main() -> ExitCode {
    let words = lossy::arguments();
    if words.first().is_some_and(|word| word == my_init::proxy::OPTION) {
        return ExitCode::from(my_init::proxy::run(&words[1..]));
    }
    if let Some(module) = boot::requests::wanted(&words).filter(|_| std::process::id() != 1) {
        return ExitCode::from(if boot::requests::load(module) { 0 } else { PROBLEM });
    }
    let started = clock::now();
    let (handover, contained) = (Handover::among(&words), std::process::id() == 1 && is_container(&words));
    let options = Options::parse(words);
    if std::process::id() == 1 && !contained && !asks_for_text(&options) {
        machine::run(started, handover);
    }
    match options {
        Err(error) => fail(USAGE, &error),
        Ok(options) => run(options, started),
    }
}

/// Asked of the words themselves: the kernel may have handed us others beside them that mean nothing.
fn is_container(words: &[String]) -> bool {
    let given = |option: &str| words.iter().any(|word| word == option);
    given("--container") || !given("--machine") && container::detected().is_some()
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
        Task::Help => say_on_output(HELP),
        Task::Version => say_on_output(concat!("my_init ", env!("CARGO_PKG_VERSION"), "\n")),
        Task::Check(directories) => return check(directories),
        Task::WriteLogs => return write_logs(&options),
        Task::Logs(wanted) => return show_logs(&options, wanted),
        Task::Ask(question) => return ask(&options, question),
        Task::Plug => boot::plug::work(),
        Task::Kexec(request) => return start_kernel(&options, request),
        Task::Supervise => return supervise(options, started),
    }
    ExitCode::SUCCESS
}

/// An ordinary process that supervises: in a container, or for a test.
fn supervise(mut options: Options, started: clock::Millis) -> ExitCode {
    if options.services.is_empty() && std::process::id() == 1 {
        options.services = SERVICES.map(PathBuf::from).to_vec();
    }
    if options.services.is_empty() {
        return fail(USAGE, &"not PID 1, so give --services DIR (or see --help)");
    }
    let group = match options.group.as_deref().map(my_init::group::number).transpose() {
        Ok(group) => group,
        Err(error) => return fail(USAGE, &format!("--control-group: {error}")),
    };
    let state = options.state.unwrap_or_else(|| options.services[0].clone());
    if !options.services.contains(&state) {
        options.services.push(state.clone());
    }
    // Children of services that lose their parent come to us, as they would to PID 1.
    let _ = rustix::process::set_child_subreaper(rustix::process::Pid::from_raw(1));
    let (conf, told) = conf::begin(&options.services[0]);
    if options.handover.is_none() {
        told.iter().for_each(|line| say_on_error(line));
    }
    let mut line = CommandLine::parse("");
    line.complete(&conf);
    let deadline = options.deadline.map(|seconds| clock::Millis::from(seconds) * 1000);
    let open_files = match &options.handover {
        None => boot::open_files::raise(),
        Some(handover) => handover.open_files,
    };
    let setup = Setup {
        services: options.services,
        state: Some(state),
        group,
        socket: options.socket,
        settings: settings(started, deadline.unwrap_or(line.boot_deadline)),
        cgroups: None,
        open_files,
        machine: false,
        debug: options.debug,
        taken_over: options.handover.is_some(),
        logs: options.logs,
        log_level: options.log_level.or(line.log_level).unwrap_or(syslog::INFO),
        line,
        syslog: options.syslog,
    };
    let beginning = Beginning {
        handover: options.handover,
        open_files,
        machine: false,
    };
    // One that cannot begin is told; what fails later is tried again, because services run.
    let retry = |code: u8, begun: bool| begun && goal(code).is_none();
    let kept = keep(&beginning, |kept| work(&setup, kept), retry);
    match children::end_all() {
        0 => {}
        count => say_on_error(&format!("{count} processes that services left behind were killed")),
    }
    match kept {
        Ok(code) if goal(code).is_some() => ExitCode::SUCCESS,
        Ok(code) => ExitCode::from(code),
        Err(error) => fail(BUG, &error),
    }
}

fn fail(code: u8, error: &dyn std::fmt::Display) -> ExitCode {
    say_on_error(error);
    ExitCode::from(code)
}

/// For a text of which somebody may want only the beginning, which is no reason to panic.
fn say_on_output(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// For a message that nobody may be there to read, which is no reason to panic.
fn say_on_error(message: &dyn std::fmt::Display) {
    let _ = writeln!(std::io::stderr(), "my_init: {message}");
}

fn check(directories: &[PathBuf]) -> ExitCode {
    if let Some(directory) = directories.iter().find(|directory| !directory.is_dir()) {
        return fail(NOT_FOUND, &format!("{} is not a directory", directory.display()));
    }
    let services::Files {
        files, mut problems, ..
    } = services::read(directories);
    let files: Vec<(&str, &str)> = files
        .iter()
        .map(|(name, text)| (name.as_str(), text.as_str()))
        .collect();
    problems.extend(mos_service::check(&files, &[]));
    problems.extend(directories.iter().flat_map(|directory| conf::read(directory).1));
    let text: String = problems.iter().map(|problem| format!("{problem}\n")).collect();
    say_on_output(&text);
    match problems
        .iter()
        .any(|problem| problem.severity == mos_toml::Severity::Error)
    {
        true => ExitCode::from(PROBLEM),
        false => ExitCode::SUCCESS,
    }
}

fn start_kernel(options: &Options, request: &kexec::Request) -> ExitCode {
    if let Err(error) = kexec::load(request) {
        return fail(REFUSED, &error);
    }
    let question = Question {
        verb: "kexec".to_owned(),
        ..Question::default()
    };
    ask(options, &question)
}

fn ask(options: &Options, question: &Question) -> ExitCode {
    match client::run(&options.socket, question, options.json, &mut std::io::stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => complain(options, &error),
    }
}

fn write_logs(options: &Options) -> ExitCode {
    match writer::run(options.logs.files) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(BUG, &error.to_string()),
    }
}

fn show_logs(options: &Options, wanted: &Wanted) -> ExitCode {
    let wanted = Wanted {
        terminal: std::io::stdout().is_terminal(),
        ..wanted.clone()
    };
    match show(&options.socket, &wanted, &mut std::io::stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => complain(options, &error),
    }
}

fn complain(options: &Options, error: &AskError) -> ExitCode {
    match error {
        AskError::Offline(error) => {
            let socket = options.socket.display();
            fail(
                NOT_FOUND,
                &format!("nobody answers on {socket}: {error}; is my_init running there?"),
            )
        }
        AskError::File(name, error) => fail(NOT_FOUND, &format!("{name}: {error}")),
        AskError::Refused(-32000, message) => fail(NOT_FOUND, message),
        AskError::Refused(-32602, message) => fail(USAGE, message),
        AskError::Refused(_, message) => fail(REFUSED, message),
    }
}
