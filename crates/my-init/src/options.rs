//! The command line of `my_init`.

use std::path::PathBuf;

use serde_json::{Map, Value};

use crate::boot::plug;
use crate::client::xinet;
use crate::kexec::Request;
use crate::logs::show::Wanted;
use crate::logs::{Limits, limits, syslog, writer};
use crate::upgrade::{self, Handover};
use crate::user;

/// Where the control socket is on a node.
pub const SOCKET: &str = "/run/my_init.sock";
/// Where the service files are on a node, the most important first: those of the signed image, and those of the
/// generation that `mos-node fetch` has verified since this boot. It links them there; what lies on the state disk
/// itself is never read, because nobody has verified it when my_init starts or reloads.
pub const SERVICES: [&str; 2] = ["/etc/my_init/services", "/run/mos/current/services"];

/// Where services are kept on a node that are added while it runs. A reboot empties it: what lies on a disk is not
/// verified, so no service is ever read from there.
pub const STATE: &str = "/run/my_init/services";

/// What `--help` prints.
pub const HELP: &str = "\
my_init: PID 1 and supervisor of a node

As PID 1 it takes no arguments that concern people. Otherwise:

  my_init [--container] [--services DIR]... [--socket PATH]   supervise services here
  my_init --user [--services DIR]...    supervise one's own services, from $XDG_CONFIG_HOME/my_init/services, with a socket in
                                        $XDG_RUNTIME_DIR; with any verb: ask that one
  my_init check DIR...                  check service files; exit 1 when something is wrong

Ask a running my_init:
  my_init list                          every service and its state
  my_init status NAME                   everything about one service
  my_init why NAME                      what it waits for, or why it failed
  my_init logs [NAME...] [-n LINES] [--since WHEN] [-f] [-t]
                                        what services printed: the last 100 lines, or what came since
                                        WHEN (5m, 02:15, 2026-11-22T02:15:29; UTC); -f goes on, -t shows times
  my_init tree                          beneath each service what it waits for
  my_init events [NAME...]              what happens, while it happens
  my_init top [--once]                  what services use of processor and memory
  my_init blame [--svg FILE]            services by the time they took to become ready; as a picture of the boot
  my_init timers                        services that are started at certain times, the next first
  my_init console                       the node at a glance, for a terminal or a serial line
  my_init start [--tree] NAME           --tree: with what it requires
  my_init stop [--only] NAME            first those that require it; --only: without them, unless their files say so
  my_init restart [--tree] NAME         --tree: with those that require it; --dry-run with either: only tell who is concerned
  my_init kill NAME [SIGNAL]            send SIGTERM, or another signal
  my_init reload [--dry-run]            read the service files again, apply the difference; --dry-run: only tell it
  my_init add FILE                      add the service of this file, or replace one that was added
  my_init xinet list|status [NAME]      proxies before services, and how many are connected
  my_init xinet register NAME --listen ADDRESS... --backend ADDRESS --service NAME [--connect-timeout S] [--idle-timeout S] [--single-connection]
                                        add a proxy, which starts the service with the first connection
  my_init xinet unregister NAME         remove a proxy that was added
  my_init get|remove NAME               what the file of a service says; remove one that was added
  my_init upgrade [PROGRAM]             another my_init takes over (default: the file this one was started from)
  my_init poweroff|reboot|halt          stop every service, then the machine; in a container, my_init ends
  my_init kexec KERNEL [--initrd FILE] [--append WORDS]   start another kernel, or a whole image, without the firmware

  --socket PATH     the control socket (default $MY_INIT_SOCKET, $ZINIT_SOCKET, /run/my_init.sock)
  --json            print what the server answered
  --deadline S      supervising: name what is not ready after S seconds (default 30)
  --log-level LEVEL supervising: print own messages up to this level (default info)
  --syslog PATH     supervising: take messages here as /dev/log does
  --log-memory SIZE supervising: what all logs may take of memory (default 64M)
  --log-files SIZE  supervising: what all files of logs may take (default 256M)
  --state DIR       supervising: where added services are kept (default: the first directory; on a node /run/my_init/services)
  --control-group G supervising: members of this group, too, may change things (on a node: my_init.group=G)
  --debug           supervising: print every action
  --container       as PID 1: do nothing to the machine, and exit when going down; found out by itself from the variable
                    `container`, /run/.containerenv, /.dockerenv, and a PID namespace
  --machine         as PID 1: never take this for a container
  --help, --version

Exit codes: 0 fine, 1 the check found a problem, 2 usage, 4 not found or no my_init there, 5 refused, 70 a bug.
";

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Task {
    /// Supervise services.
    Supervise,
    /// Check the files of these directories.
    Check(Vec<PathBuf>),
    /// Ask a running my_init.
    Ask(Question),
    /// Load another kernel, and ask a running my_init to start it.
    Kexec(Request),
    /// Be the process that writes logs to files.
    WriteLogs,
    /// Show what services printed.
    Logs(Wanted),
    /// Bring devices up to what the kernel says: for my_init itself.
    Plug,
    /// Print [`HELP`].
    Help,
    /// Print the version.
    Version,
}

/// What a running my_init is asked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Question {
    /// The verb.
    pub verb: String,
    /// The words behind it, the service first for verbs that concern one.
    pub words: Vec<String>,
    /// `reload`, `stop`, `restart` with `--dry-run`: only tell.
    pub dry_run: bool,
    /// `start --tree`: what it requires, too; `restart --tree`: what requires it.
    pub tree: bool,
    /// `stop --only`: without what requires it.
    pub only: bool,
    /// `top --once`: not again and again.
    pub once: bool,
    /// `blame --svg FILE`: a picture.
    pub svg: Option<PathBuf>,
    /// `xinet register`: what its options say of the proxy.
    pub proxy: Map<String, Value>,
}

impl Question {
    /// The service or file that it is about; empty for verbs that are about none.
    pub fn name(&self) -> &str {
        self.words.first().map_or("", String::as_str)
    }
}

/// The command line, understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// What is to be done.
    pub task: Task,
    /// Directories of service files.
    pub services: Vec<PathBuf>,
    /// The directory for services that are added while we run; the first of the others when absent.
    pub state: Option<PathBuf>,
    /// The group, by name or number, whose members may change things.
    pub group: Option<String>,
    /// The control socket.
    pub socket: PathBuf,
    /// Supervise, or ask, for one user of a workstation.
    pub user: bool,
    /// Print JSON.
    pub json: bool,
    /// The boot deadline in seconds.
    pub deadline: Option<u32>,
    /// Print every action.
    pub debug: bool,
    /// What all logs together may take.
    pub logs: Limits,
    /// Up to which level our own messages are printed.
    pub log_level: Option<u32>,
    /// Where programs say something to us as to `/dev/log`.
    pub syslog: Option<PathBuf>,
    /// What another my_init hands over.
    pub handover: Option<Handover>,
}

/// Every verb.
pub fn verbs() -> impl Iterator<Item = &'static str> {
    VERBS.iter().map(|(name, _, _)| *name).chain(["check", "logs"])
}

/// Verbs with the number of words that follow: least and most.
const VERBS: [(&str, usize, usize); 23] = [
    ("list", 0, 0),
    ("status", 1, 1),
    ("why", 1, 1),
    ("tree", 0, 0),
    ("events", 0, 1000),
    ("top", 0, 0),
    ("console", 0, 0),
    ("blame", 0, 0),
    ("timers", 0, 0),
    ("get", 1, 1),
    ("add", 1, 1),
    ("remove", 1, 1),
    ("kill", 1, 2),
    ("start", 1, 1),
    ("stop", 1, 1),
    ("restart", 1, 1),
    ("reload", 0, 0),
    ("upgrade", 0, 1),
    ("poweroff", 0, 0),
    ("reboot", 0, 0),
    ("halt", 0, 0),
    ("kexec", 1, 1),
    ("xinet", 1, 2),
];

impl Options {
    /// Reads the arguments after the program's name.
    ///
    /// # Errors
    /// What is wrong, in a sentence.
    pub fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Self, String> {
        let mut options = Self {
            task: Task::Supervise,
            services: Vec::new(),
            state: None,
            group: None,
            socket: socket(),
            user: false,
            json: false,
            deadline: None,
            debug: false,
            logs: Limits::default(),
            log_level: None,
            syslog: None,
            handover: None,
        };
        let (mut words, mut initrd, mut append) = (Vec::new(), None, None);
        let (mut wanted, mut asked) = (Wanted::default(), Question::default());
        let mut given = None;
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value"));
            match argument.as_str() {
                "--help" | "-h" => options.task = Task::Help,
                "--version" | "-V" => options.task = Task::Version,
                plug::OPTION => options.task = Task::Plug,
                "--json" => options.json = true,
                // Looked for before all words were understood: the kernel hands PID 1 what means nothing to us.
                "--container" | "--machine" => {}
                "--dry-run" => asked.dry_run = true,
                "--tree" => asked.tree = true,
                "--only" => asked.only = true,
                "--once" => asked.once = true,
                "--svg" => asked.svg = Some(PathBuf::from(value()?)),
                option if xinet::takes(option) => xinet::take(&mut asked.proxy, option, value)?,
                "--initrd" => initrd = Some(PathBuf::from(value()?)),
                "--append" => append = Some(value()?),
                "--lines" | "-n" => wanted.lines = Some(lines(&value()?)?),
                "--since" => wanted.since = Some(value()?),
                "--follow" | "-f" => wanted.follow = true,
                "--times" | "-t" => wanted.times = true,
                "--debug" => options.debug = true,
                "--socket" => given = Some(PathBuf::from(value()?)),
                "--user" => options.user = true,
                "--state" => options.state = Some(PathBuf::from(value()?)),
                "--control-group" => options.group = Some(value()?),
                "--services" => options.services.push(PathBuf::from(value()?)),
                upgrade::OPTION => options.handover = Some(Handover::parse(&value()?)?),
                writer::OPTION => options.task = Task::WriteLogs,
                "--log-level" => options.log_level = Some(syslog::read_level(&value()?)?),
                "--syslog" => options.syslog = Some(PathBuf::from(value()?)),
                "--log-memory" => options.logs.memory = limits::size(&value()?)?,
                "--log-files" => options.logs.files = limits::size(&value()?)?,
                "--deadline" => options.deadline = Some(seconds(&value()?)?),
                option if option.starts_with('-') => return Err(format!("unknown option {option}")),
                _ => words.push(argument),
            }
        }
        let variable = |name: &str| std::env::var(name).ok();
        options.socket = match given {
            Some(socket) => socket,
            None if options.user => user::socket(variable)?,
            None => options.socket,
        };
        if options.task == Task::Supervise {
            options.task = match words.first().is_some_and(|verb| verb == "logs") {
                true => Task::Logs(Wanted {
                    names: words.split_off(1),
                    json: options.json,
                    ..wanted
                }),
                false => task(words)?,
            };
        }
        place(asked, &mut options.task)?;
        if options.task == Task::Supervise && options.user && options.services.is_empty() {
            options.services.push(user::services(variable)?);
        }
        if let Task::Kexec(request) = &mut options.task {
            (request.initrd, request.append) = (initrd, append);
        } else if initrd.is_some() || append.is_some() {
            return Err("--initrd and --append are for kexec".to_owned());
        }
        Ok(options)
    }
}

/// The socket unless somebody says otherwise: `MY_INIT_SOCKET`, or the variable of zinit (which itself ignores it, D7).
fn socket() -> PathBuf {
    let given = ["MY_INIT_SOCKET", "ZINIT_SOCKET"]
        .into_iter()
        .find_map(std::env::var_os);
    given.map_or_else(|| PathBuf::from(SOCKET), PathBuf::from)
}

/// Gives what was asked besides to the verb that it is for.
fn place(asked: Question, task: &mut Task) -> Result<(), String> {
    let given: [(&str, &[&str], bool); 6] = [
        ("--listen and its like", &["xinet"], !asked.proxy.is_empty()),
        ("--dry-run", &["reload", "stop", "restart"], asked.dry_run),
        ("--tree", &["start", "restart"], asked.tree),
        ("--only", &["stop"], asked.only),
        ("--once", &["top"], asked.once),
        ("--svg", &["blame"], asked.svg.is_some()),
    ];
    let verb = match task {
        Task::Ask(question) => question.verb.as_str(),
        _ => "",
    };
    if let Some((option, meant, _)) = given.iter().find(|(_, meant, given)| *given && !meant.contains(&verb)) {
        return Err(format!("{option} is for {}", meant.join(", ")));
    }
    if let Task::Ask(question) = task {
        *question = Question {
            verb: std::mem::take(&mut question.verb),
            words: std::mem::take(&mut question.words),
            ..asked
        };
    }
    Ok(())
}

fn seconds(text: &str) -> Result<u32, String> {
    text.parse()
        .map_err(|_| format!("--deadline is `{text}`, expected whole seconds"))
}

fn lines(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("`{text}` is not a number of lines"))
}

fn task(words: Vec<String>) -> Result<Task, String> {
    let mut words = words.into_iter();
    let Some(verb) = words.next() else {
        return Ok(Task::Supervise);
    };
    let rest: Vec<String> = words.collect();
    if verb == "check" {
        return match rest.is_empty() {
            true => Err("check needs a directory".to_owned()),
            false => Ok(Task::Check(rest.into_iter().map(PathBuf::from).collect())),
        };
    }
    let Some((_, least, most)) = VERBS.iter().find(|(name, _, _)| *name == verb) else {
        let hint = mos_toml::nearest(&verb, verbs()).map_or(String::new(), |name| format!(", did you mean {name}?"));
        return Err(format!("unknown verb {verb}{hint}"));
    };
    if !(*least..=*most).contains(&rest.len()) {
        let count = match (least, most) {
            (0, 0) => "no argument".to_owned(),
            (1, 1) => "one argument".to_owned(),
            (least, most) => format!("{least} to {most} arguments"),
        };
        return Err(format!("{verb} takes {count}, see --help"));
    }
    let mut rest = rest.into_iter();
    let name = rest.next();
    if verb == "kexec" {
        let kernel = name.map(PathBuf::from).unwrap_or_default();
        return Ok(Task::Kexec(Request {
            kernel,
            initrd: None,
            append: None,
        }));
    }
    Ok(Task::Ask(Question {
        verb,
        words: name.into_iter().chain(rest).collect(),
        ..Question::default()
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, String> {
        Options::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn the_socket_is_honoured_wherever_it_stands() {
        // zinit 0.3.9 ignored it (D7).
        for line in ["--socket /x why web", "why --socket /x web", "why web --socket /x"] {
            let options = parse(line).unwrap();
            assert_eq!(options.socket, PathBuf::from("/x"));
            let question = Question {
                verb: "why".into(),
                words: vec!["web".into()],
                ..Question::default()
            };
            assert_eq!(options.task, Task::Ask(question));
        }
    }

    #[test]
    fn usage_errors_are_sentences() {
        for (line, message) in [
            ("lits", "unknown verb lits, did you mean list?"),
            ("why", "why takes one argument, see --help"),
            ("logs web -n many", "`many` is not a number of lines"),
            ("--socket", "--socket needs a value"),
            ("--colour", "unknown option --colour"),
            ("check", "check needs a directory"),
            ("list --once", "--once is for top"),
            ("list --append quiet", "--initrd and --append are for kexec"),
            ("kexec", "kexec takes one argument, see --help"),
            ("--deadline soon", "--deadline is `soon`, expected whole seconds"),
        ] {
            assert_eq!(parse(line), Err(message.to_owned()));
        }
        let request = Request {
            kernel: "/k".into(),
            initrd: Some("/i".into()),
            append: Some("quiet".into()),
        };
        let line = "kexec /k --initrd /i --append quiet";
        assert_eq!(parse(line).unwrap().task, Task::Kexec(request));
        assert_eq!(parse("--container").unwrap().task, Task::Supervise);
        let wanted = Wanted {
            names: vec!["web".into(), "db".into()],
            lines: Some(5),
            since: Some("5m".into()),
            follow: true,
            ..Wanted::default()
        };
        assert_eq!(
            parse("logs web -f db -n 5 --since 5m").unwrap().task,
            Task::Logs(wanted)
        );
    }
}
