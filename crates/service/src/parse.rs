//! A service file's text to a [`Service`].

use mos_toml::{Document, Item, Problem, Problems, Table};

use crate::health::{http_target, tcp_target};
use crate::{
    Account, Class, Command, Dependencies, Dependency, Health, Kind, Lifecycle, Limits, Logging, Probe, Resources,
    Restart, Security, Service, Status,
};

/// Milliseconds in a day: the longest time a file may give.
const DAY_MS: i64 = 24 * 60 * 60 * 1000;
/// The longest name, in bytes: it becomes part of a socket's path, which holds 108.
const NAME_MAX: usize = 64;
/// Limits of `logging.buffer_bytes`.
const BUFFER_BYTES: std::ops::RangeInclusive<i64> = 1024..=16 * 1024 * 1024;

/// What a service file holds.
#[derive(Debug)]
pub struct Parsed {
    /// The service; `None` when the file cannot be used. A file with unknown keys can.
    pub service: Option<Service>,
    /// Everything that is wrong with it, in order of place.
    pub problems: Vec<Problem>,
}

/// True for the names of service files: `*.toml`, so also `*.service.toml`; not hidden ones.
pub fn is_service_file(name: &str) -> bool {
    name.ends_with(".toml") && !name.starts_with('.')
}

/// Reads one service file. `file` is named in messages, and its stem is the name of a service that has none.
pub fn parse(file: &str, text: &str) -> Parsed {
    let document = match Document::parse(file, text) {
        Ok(document) => document,
        Err(problem) => {
            return Parsed {
                service: None,
                problems: vec![problem],
            };
        }
    };
    let problems = Problems::default();
    let mut service = read(file, document.root(&problems), &problems);
    if let Some(service) = &mut service {
        service.source = fnv1a(text.as_bytes());
    }
    Parsed {
        service,
        problems: problems.into_sorted(),
    }
}

/// FNV-1a with 64 bits (RFC 9923): the same in every version of this program, unlike the standard library's hash.
pub fn fnv1a(bytes: &[u8]) -> u64 {
    let mix = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, mix)
}

impl Service {
    /// A service of which only the name is known, because its file is gone: enough to end it.
    pub fn forgotten(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            ..blank("")
        }
    }
}

fn stem(file: &str) -> &str {
    let name = file.rsplit('/').next().unwrap_or(file);
    let name = name.strip_suffix(".toml").unwrap_or(name);
    name.strip_suffix(".service").unwrap_or(name)
}

/// Reads all sections first and asks for left-over keys last: those alone do not make a file useless on a node that is
/// older than the file.
fn read(file: &str, root: Table<'_>, problems: &Problems) -> Option<Service> {
    let mut tables = Vec::new();
    let service = match (root.table("service"), root.table("target")) {
        (Some(table), None) => read_service(file, &root, table, &mut tables),
        (None, Some(table)) => read_target(file, &root, table, &mut tables),
        (Some(_), Some(target)) => {
            target.report(Problem::error(
                Some(target.position()),
                "a file holds a [service] or a [target], not both",
            ));
            None
        }
        (None, None) => {
            if !root.has("service") && !root.has("target") {
                root.report(Problem::error(
                    Some(root.position()),
                    "missing section [service] or [target]",
                ));
            }
            None
        }
    };
    let usable = !problems.any_error();
    tables.into_iter().for_each(Table::finish);
    root.finish();
    service.filter(|_| usable)
}

fn read_target<'d>(file: &str, root: &Table<'d>, table: Table<'d>, tables: &mut Vec<Table<'d>>) -> Option<Service> {
    let service = Service {
        kind: Kind::Target,
        name: name(file, &table),
        critical: table.boolean("critical").unwrap_or(false),
        dependencies: dependencies(root, tables),
        ..blank(file)
    };
    tables.push(table);
    Some(service)
}

fn read_service<'d>(file: &str, root: &Table<'d>, table: Table<'d>, tables: &mut Vec<Table<'d>>) -> Option<Service> {
    let kind = if table.boolean("oneshot").unwrap_or(false) {
        Kind::Oneshot
    } else {
        Kind::Process
    };
    let class = table
        .choice("class", &[("user", Class::User), ("system", Class::System)])
        .unwrap_or_default();
    let notify = table.boolean("notify").unwrap_or(false);
    if notify && kind == Kind::Oneshot {
        table.complain(
            "notify",
            "a oneshot is ready when it has ended, so `notify` has no meaning",
        );
    }
    let service = Service {
        kind,
        name: name(file, &table),
        command: exec(&table),
        notify,
        directory: directory(&table),
        environment: environment(&table),
        user: Account::read(&table, "user"),
        group: Account::read(&table, "group"),
        groups: Account::read_list(&table, "groups"),
        umask: umask(&table),
        nice: small(&table, "nice", -20..=19),
        oom_score_adjust: small(&table, "oom_score_adjust", -1000..=1000),
        tty: tty(&table),
        security: crate::security::security(root, tables),
        limits: crate::limits::limits(root, tables),
        resources: crate::limits::resources(root, tables),
        status: status(&table),
        class,
        critical: table.boolean("critical").unwrap_or(false),
        dependencies: dependencies(root, tables),
        lifecycle: lifecycle(root, tables, kind, class, notify),
        health: health(root, tables),
        logging: logging(root, tables),
        ..blank(file)
    };
    if kind == Kind::Oneshot && service.health.is_some() {
        root.complain(
            "health",
            "a oneshot is ready when it has ended, so [health] has no meaning",
        );
    }
    tables.push(table);
    Some(service)
}

fn blank(file: &str) -> Service {
    Service {
        name: String::new(),
        file: file.to_owned(),
        source: 0,
        kind: Kind::Process,
        command: None,
        notify: false,
        directory: "/".to_owned(),
        environment: Vec::new(),
        user: None,
        group: None,
        groups: Vec::new(),
        umask: None,
        nice: None,
        oom_score_adjust: None,
        tty: None,
        security: Security::default(),
        limits: Limits::default(),
        resources: Resources::default(),
        status: Status::Start,
        class: Class::User,
        critical: false,
        dependencies: Dependencies::default(),
        lifecycle: Lifecycle::default(),
        health: None,
        logging: Logging::default(),
    }
}

fn name(file: &str, table: &Table<'_>) -> String {
    let name = table.string("name").unwrap_or_else(|| stem(file).to_owned());
    let plain = name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    if !plain || name.is_empty() || name.starts_with('.') || name.len() > NAME_MAX {
        table.complain(
            "name",
            format!("`{name}` is not a service name: 1 to {NAME_MAX} letters, digits, `-`, `_` and `.`, not starting with `.`"),
        );
    }
    name
}

fn exec(table: &Table<'_>) -> Option<Command> {
    let shell = table.boolean("shell");
    let exec = table.required_string("exec")?;
    command(table, &exec, shell)
}

fn command(table: &Table<'_>, line: &Item<String>, shell: Option<bool>) -> Option<Command> {
    match Command::parse(&line.value, shell) {
        Ok(command) => Some(command),
        Err(error) => {
            table.report(Problem::error(Some(line.position.clone()), error.to_string()));
            None
        }
    }
}

fn directory(table: &Table<'_>) -> String {
    let directory = table.string("dir").unwrap_or_else(|| "/".to_owned());
    if !directory.starts_with('/') || directory.contains('\0') {
        table.complain("dir", format!("`dir` is `{directory}`, expected an absolute path"));
    }
    directory
}

fn environment(table: &Table<'_>) -> Vec<(String, String)> {
    let Some(env) = table.table("env") else {
        return Vec::new();
    };
    let mut environment = Vec::new();
    for (name, item) in env.strings() {
        if name.is_empty() || name.contains(['=', '\0']) || item.value.contains('\0') {
            let message = format!("`{name}` cannot be an environment variable");
            table.report(Problem::error(Some(item.position), message));
        } else {
            environment.push((name.to_owned(), item.value));
        }
    }
    environment
}

/// A file mode creation mask in octal, as everybody writes it (umask(2)).
fn umask(table: &Table<'_>) -> Option<u32> {
    let text = table.string_item("umask")?;
    let mask = u32::from_str_radix(&text.value, 8).ok().filter(|mask| *mask <= 0o777);
    if mask.is_none() {
        let problem = Problem::error(Some(text.position), format!("`{}` is not a umask", text.value));
        table.report(problem.with_hint("three octal digits, such as \"022\""));
    }
    mask
}

fn small(table: &Table<'_>, key: &'static str, range: std::ops::RangeInclusive<i64>) -> Option<i32> {
    table.integer(key, range).and_then(|number| i32::try_from(number).ok())
}

fn tty(table: &Table<'_>) -> Option<String> {
    let tty = table.string("tty")?;
    if !tty.starts_with("/dev/") || tty.contains('\0') {
        table.complain(
            "tty",
            format!("`tty` is `{tty}`, expected a terminal such as /dev/tty2"),
        );
    }
    Some(tty)
}

fn status(table: &Table<'_>) -> Status {
    let choices = [
        ("start", Status::Start),
        ("stop", Status::Stop),
        ("ignore", Status::Ignore),
    ];
    table.choice("status", &choices).unwrap_or_default()
}

fn dependencies<'d>(root: &Table<'d>, tables: &mut Vec<Table<'d>>) -> Dependencies {
    let Some(table) = root.table("dependencies") else {
        return Dependencies::default();
    };
    let dependencies = Dependencies {
        requires: names(&table, "requires"),
        after: names(&table, "after"),
        wants: names(&table, "wants"),
        conflicts: names(&table, "conflicts"),
    };
    tables.push(table);
    dependencies
}

fn names(table: &Table<'_>, key: &'static str) -> Vec<Dependency> {
    let place = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    let items = table.string_list(key).into_iter();
    items
        .map(|item| Dependency {
            name: item.value,
            line: place(item.position.line),
            column: place(item.position.column),
        })
        .collect()
}

fn milliseconds(table: &Table<'_>, key: &'static str, least: i64, default: u64) -> u64 {
    let number = table.integer(key, least..=DAY_MS);
    number.and_then(|number| u64::try_from(number).ok()).unwrap_or(default)
}

fn count(table: &Table<'_>, key: &'static str, least: i64, default: u32) -> u32 {
    let number = table.integer(key, least..=i64::from(i32::MAX));
    number.and_then(|number| u32::try_from(number).ok()).unwrap_or(default)
}

fn lifecycle<'d>(root: &Table<'d>, tables: &mut Vec<Table<'d>>, kind: Kind, class: Class, notify: bool) -> Lifecycle {
    let patient = notify || kind == Kind::Oneshot;
    let standard = Lifecycle {
        restart: if kind == Kind::Oneshot {
            Restart::Never
        } else {
            Restart::OnFailure
        },
        max_restarts: crate::backoff::default_max_restarts(class),
        start_timeout_ms: if patient {
            0
        } else {
            Lifecycle::default().start_timeout_ms
        },
        ..Lifecycle::default()
    };
    let Some(table) = root.table("lifecycle") else {
        return standard;
    };
    let choices = [
        ("always", Restart::Always),
        ("on-failure", Restart::OnFailure),
        ("never", Restart::Never),
    ];
    let restart = table.choice("restart", &choices).unwrap_or(standard.restart);
    if kind == Kind::Oneshot && restart == Restart::Always {
        table.complain(
            "restart",
            "a oneshot that ended well is done, so it cannot restart `always`",
        );
    }
    let lifecycle = Lifecycle {
        restart,
        restart_delay_ms: milliseconds(&table, "restart_delay_ms", 0, standard.restart_delay_ms),
        restart_delay_max_ms: milliseconds(&table, "restart_delay_max_ms", 0, standard.restart_delay_max_ms),
        max_restarts: count(&table, "max_restarts", 0, standard.max_restarts),
        stability_period_ms: milliseconds(&table, "stability_period_ms", 0, standard.stability_period_ms),
        start_timeout_ms: milliseconds(&table, "start_timeout_ms", 0, standard.start_timeout_ms),
        stop_signal: stop_signal(&table),
        stop_timeout_ms: milliseconds(&table, "stop_timeout_ms", 0, standard.stop_timeout_ms),
    };
    tables.push(table);
    lifecycle
}

fn stop_signal(table: &Table<'_>) -> crate::Signal {
    let Some(word) = table.string_item("stop_signal") else {
        return crate::Signal::TERM;
    };
    word.value.parse().unwrap_or_else(|error: crate::SignalError| {
        table.report(Problem::error(Some(word.position), error.to_string()));
        crate::Signal::TERM
    })
}

fn health<'d>(root: &Table<'d>, tables: &mut Vec<Table<'d>>) -> Option<Health> {
    let table = root.table("health")?;
    let health = probe(&table).map(|probe| Health {
        probe,
        interval_ms: milliseconds(&table, "interval_ms", 100, 10_000),
        timeout_ms: milliseconds(&table, "timeout_ms", 1, 5000),
        retries: count(&table, "retries", 1, 3),
        start_period_ms: milliseconds(&table, "start_period_ms", 0, 0),
    });
    tables.push(table);
    health
}

#[derive(Clone, Copy)]
enum ProbeKind {
    Tcp,
    Http,
    Exec,
}

fn probe(table: &Table<'_>) -> Option<Probe> {
    table.required_string("type")?;
    let choices = [
        ("tcp", ProbeKind::Tcp),
        ("http", ProbeKind::Http),
        ("exec", ProbeKind::Exec),
    ];
    let kind = table.choice("type", &choices)?;
    let target = table.required_string("target")?;
    let expected = table.integer("expect_status", 100..=599);
    let status = expected.and_then(|status| u16::try_from(status).ok()).unwrap_or(200);
    if expected.is_some() && !matches!(kind, ProbeKind::Http) {
        table.complain("expect_status", "`expect_status` is for type = \"http\"");
    }
    let probe = match kind {
        ProbeKind::Tcp => tcp_target(&target.value).map(Probe::Tcp),
        ProbeKind::Http => http_target(&target.value).map(|(address, path)| Probe::Http { address, path, status }),
        ProbeKind::Exec => return command(table, &target, None).map(Probe::Exec),
    };
    if probe.is_none() {
        let problem = Problem::error(Some(target.position), format!("`{}` is not an address", target.value));
        let example = if matches!(kind, ProbeKind::Tcp) {
            "127.0.0.1:8080"
        } else {
            "127.0.0.1:8080/health"
        };
        table.report(problem.with_hint(format!("give an IP address and a port, as `{example}`")));
    }
    probe
}

fn logging<'d>(root: &Table<'d>, tables: &mut Vec<Table<'d>>) -> Logging {
    let standard = Logging::default();
    let Some(table) = root.table("logging") else {
        return standard;
    };
    let bytes = table.integer("buffer_bytes", BUFFER_BYTES);
    let logging = Logging {
        buffer_bytes: bytes
            .and_then(|bytes| usize::try_from(bytes).ok())
            .unwrap_or(standard.buffer_bytes),
        console: table.boolean("console").unwrap_or(standard.console),
    };
    tables.push(table);
    logging
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FULL: &str = r#"
[service]
name = "web"
exec = "/bin/web --port 80"
dir = "/srv"
notify = true
env = { B = "2", A = "1" }
user = 1000
group = "www-data"
groups = ["video", "44"]
umask = "0027"
nice = -5
oom_score_adjust = 300
tty = "/dev/tty2"
status = "ignore"
class = "system"
critical = true
[dependencies]
requires = ["net"]
after = ["state", "net"]
wants = ["metrics"]
conflicts = ["apache"]
[lifecycle]
restart = "always"
restart_delay_ms = 5
restart_delay_max_ms = 50
max_restarts = 3
stability_period_ms = 7
start_timeout_ms = 11
stop_signal = "SIGINT"
stop_timeout_ms = 13
[health]
type = "http"
target = "127.0.0.1:80/health"
interval_ms = 100
timeout_ms = 200
retries = 2
start_period_ms = 1
expect_status = 204
[security]
capabilities = ["CAP_NET_BIND_SERVICE", "chown"]
no_new_privileges = true
private_tmp = true
read_only_root = true
[limits]
open_files = 64
core = "unlimited"
stack = "8 MiB"
[resources]
memory_max = "64 MiB"
tasks_max = 9
cpu_percent = 150
[logging]
buffer_bytes = 4096
console = true
"#;

    fn service(text: &str) -> Service {
        let parsed = parse("a/web.service.toml", text);
        assert_eq!(parsed.problems, []);
        parsed.service.expect("a service")
    }

    fn problems(text: &str) -> Vec<String> {
        let parsed = parse("web.service.toml", text);
        assert!(!parsed.problems.is_empty(), "no problem found");
        parsed.problems.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_key_is_read() {
        let web = service(FULL);
        assert_eq!((web.name.as_str(), web.file.as_str()), ("web", "a/web.service.toml"));
        assert_eq!(
            web.command.as_ref().expect("a command").argv(),
            ["/bin/web", "--port", "80"]
        );
        assert_eq!(web.environment, [("A".into(), "1".into()), ("B".into(), "2".into())]);
        assert_eq!(
            (web.user, web.group, web.directory.as_str()),
            (Some(Account::Id(1000)), Some(Account::Name("www-data".into())), "/srv")
        );
        assert_eq!(
            (web.status, web.class, web.critical, web.notify),
            (Status::Ignore, Class::System, true, true)
        );
        assert_eq!(web.dependencies.after[1].name, "net");
        assert_eq!(
            (web.dependencies.after[1].line, web.dependencies.after[1].column),
            (20, 19)
        );
        assert_eq!(web.groups, [Account::Name("video".into()), Account::Id(44)]);
        assert_eq!(
            (web.umask, web.nice, web.oom_score_adjust),
            (Some(0o027), Some(-5), Some(300))
        );
        assert_eq!(web.tty.as_deref(), Some("/dev/tty2"));
        let capabilities = web.security.capabilities.clone().expect("capabilities");
        assert_eq!(capabilities, [crate::Capability(0), crate::Capability(10)]);
        assert!(web.security.no_new_privileges && web.security.private_tmp && web.security.read_only_root);
        assert_eq!(web.limits.0, [(3, 8 << 20), (4, crate::UNLIMITED), (7, 64)]);
        assert_eq!(
            web.resources.files(),
            [
                ("memory.max", "67108864".to_owned()),
                ("pids.max", "9".to_owned()),
                ("cpu.max", "150000 100000".to_owned())
            ]
        );
        assert_eq!(web.lifecycle.restart, Restart::Always);
        assert_eq!((web.lifecycle.max_restarts, web.lifecycle.start_timeout_ms), (3, 11));
        assert_eq!(web.lifecycle.stop_signal, crate::Signal(2));
        let health = web.health.expect("health");
        assert_eq!(health.probe.to_string(), "http 127.0.0.1:80/health");
        assert_eq!(
            (
                health.interval_ms,
                health.timeout_ms,
                health.retries,
                health.start_period_ms
            ),
            (100, 200, 2, 1)
        );
        assert_eq!(
            web.logging,
            Logging {
                buffer_bytes: 4096,
                console: true
            }
        );
    }

    #[test]
    fn defaults_depend_on_kind_and_class() {
        let plain = service("[service]\nexec = \"web\"\n");
        assert_eq!((plain.name.as_str(), plain.lifecycle), ("web", Lifecycle::default()));
        let oneshot = service("[service]\nexec = \"web\"\noneshot = true\n");
        assert_eq!(
            (oneshot.lifecycle.restart, oneshot.lifecycle.start_timeout_ms),
            (Restart::Never, 0)
        );
        let system = service("[service]\nexec = \"web\"\nclass = \"system\"\n");
        assert_eq!(system.lifecycle.max_restarts, 0);
    }

    #[test]
    fn targets_have_only_names_and_dependencies() {
        let target = service("[target]\nname = \"ready\"\n[dependencies]\nrequires = [\"web\"]\n");
        assert_eq!((target.kind, target.command), (Kind::Target, None));
        assert_eq!(
            problems("[target]\nexec = \"x\"\n[health]\n")[0],
            "error: web.service.toml:2:1: unknown key `exec` in [target]\n  hint: valid keys: name, critical"
        );
    }

    #[test]
    fn unknown_keys_are_reported_but_the_service_is_usable() {
        let parsed = parse(
            "web.toml",
            "[service]\nexec = \"x\"\n[lifecycle]\nrestrat = \"always\"\n",
        );
        assert!(parsed.service.is_some());
        assert_eq!(
            parsed.problems[0].to_string(),
            "error: web.toml:4:1: unknown key `restrat` in [lifecycle]\n  hint: did you mean `restart`?"
        );
    }

    #[test]
    fn wrong_values_say_where_and_what_to_do() {
        for (text, message) in [
            ("", "error: web.service.toml:1:1: missing section [service] or [target]"),
            (
                "[service]\n",
                "error: web.service.toml:1:1: missing key `exec` in [service]",
            ),
            (
                "[service]\nexec = \"a 'b\"\n",
                "error: web.service.toml:2:8: the quote ' is never closed",
            ),
            (
                "[service]\nexec = \"a\"\nname = \"a/b\"\n",
                "error: web.service.toml:3:8: `a/b` is not a service name: 1 to 64 letters, digits, `-`, `_` and `.`, not starting with `.`",
            ),
            (
                "[service]\nexec = \"a\"\n[lifecycle]\nstop_signal = \"SIGTREM\"\n",
                "error: web.service.toml:4:15: `SIGTREM` is not a signal, did you mean `SIGTERM`?",
            ),
            (
                "[service]\nexec = \"a\"\n[health]\ntype = \"tcp\"\ntarget = \"web:80\"\n",
                "error: web.service.toml:5:10: `web:80` is not an address\n  hint: give an IP address and a port, as `127.0.0.1:8080`",
            ),
            (
                "[service]\nexec = \"a\"\noneshot = true\n[lifecycle]\nrestart = \"always\"\n",
                "error: web.service.toml:5:11: a oneshot that ended well is done, so it cannot restart `always`",
            ),
            (
                "[service]\nexec = \"a\"\numask = \"888\"\n",
                "error: web.service.toml:3:9: `888` is not a umask\n  hint: three octal digits, such as \"022\"",
            ),
            (
                "[service]\nexec = \"a\"\nuser = \"a:b\"\n",
                "error: web.service.toml:3:8: `a:b` is neither a name nor a number of a user",
            ),
            (
                "[service]\nexec = \"a\"\n[security]\ncapabilities = [\"net-bind-servise\"]\n",
                "error: web.service.toml:4:17: `net-bind-servise` is not a capability\n  hint: did you mean `net_bind_service`?",
            ),
            (
                "[service]\nexec = \"a\"\n[limits]\nopen_files = \"many\"\n",
                "error: web.service.toml:4:14: `open_files` is a whole number or \"unlimited\"",
            ),
            (
                "[service]\nexec = \"a\"\n[resources]\nmemory_max = \"1 MB\"\nmemory_high = \"2 MB\"\n",
                "error: web.service.toml:5:15: `memory_high` is more than `memory_max`, so it would never be reached",
            ),
            (
                "[service]\nexec = \"a\"\ndir = \"srv\"\n",
                "error: web.service.toml:3:7: `dir` is `srv`, expected an absolute path",
            ),
        ] {
            assert_eq!(problems(text)[0], message);
            assert!(parse("web.service.toml", text).service.is_none());
        }
    }

    #[test]
    fn file_names() {
        assert!(is_service_file("web.toml") && is_service_file("web.service.toml"));
        assert!(!is_service_file("web.conf") && !is_service_file(".web.toml"));
    }

    #[test]
    fn moving_a_file_does_not_change_its_service() {
        let here = service(FULL);
        let there = parse("b/web.toml", FULL).service.expect("a service");
        assert!(here.same(&there));
        assert!(!here.same(&Service {
            critical: false,
            ..there
        }));
    }

    proptest! {
        #[test]
        fn any_text_is_answered(text in "\\PC{0,200}") {
            let parsed = parse("x.toml", &text);
            prop_assert!(parsed.service.is_some() || !parsed.problems.is_empty());
        }
    }
}
