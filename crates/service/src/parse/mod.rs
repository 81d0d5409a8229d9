//! A service file's text to a [`Service`].

mod conditions;
mod dependencies;
mod group;
mod guards;
mod health;
mod lifecycle;
mod logging;
mod proxy;
mod readiness;
mod socket;
#[cfg(test)]
mod tests;
mod timer;

use mos_toml::{Document, Item, Problem, Problems, Table};

use crate::{
    Account, Class, Command, Dependencies, Dependency, Health, Kind, Lifecycle, LogFile, Logging, OnFailure, Probe,
    Rare, Restart, Service, Status,
};

/// Milliseconds in a day: the longest time a file may give.
const DAY_MS: i64 = 24 * 60 * 60 * 1000;
/// The longest name, in bytes: it becomes part of a socket's path, which holds 108.
const NAME_MAX: usize = 64;

/// What a service file holds.
#[derive(Debug)]
pub struct Parsed {
    /// The service; `None` when the file cannot be used. A file with unknown keys can.
    pub service: Option<Service>,
    /// Everything that is wrong with it, in order of place.
    pub problems: Vec<Problem>,
}

/// True for the names of service files: `*.toml`, so also `*.service.toml`, and the `*.yaml` of zinit 0.2; not hidden
/// ones.
pub fn is_service_file(name: &str) -> bool {
    (name.ends_with(".toml") || crate::is_yaml(name)) && !name.starts_with('.')
}

/// Reads one service file. `file` is named in messages, and its stem is the name of a service that has none. Of a
/// template it reads an instance for a trial.
pub fn parse(file: &str, text: &str) -> Parsed {
    if let Some(template) = crate::Template::of(file, text) {
        return template.sample();
    }
    let document = match crate::is_yaml(file) {
        true => crate::to_toml(file, text).and_then(|text| Document::parse(file, text)),
        false => Document::parse(file, text),
    };
    let mut parsed = parse_as(file, document, None);
    if let Some(service) = &mut parsed.service {
        service.source = fnv1a(text.as_bytes());
    }
    parsed
}

/// Reads a service file as that of the instance of this name, if one is given.
pub(crate) fn parse_as(file: &str, document: Result<Document, Problem>, instance: Option<&str>) -> Parsed {
    let document = match document {
        Ok(document) => document,
        Err(problem) => {
            return Parsed {
                service: None,
                problems: vec![problem],
            };
        }
    };
    let problems = Problems::default();
    let origin = Origin { file, instance };
    let service = read(&origin, document.root(&problems), &problems);
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

/// Where a service comes from.
struct Origin<'o> {
    file: &'o str,
    /// Its name, for an instance of a template.
    instance: Option<&'o str>,
}

/// The name of the service that a file of this name holds, unless it says otherwise.
pub fn stem(file: &str) -> &str {
    let name = file.rsplit('/').next().unwrap_or(file);
    let name = [".toml", ".yaml", ".yml"]
        .into_iter()
        .find_map(|end| name.strip_suffix(end))
        .unwrap_or(name);
    name.strip_suffix(".service").unwrap_or(name)
}

/// Reads all sections first and asks for left-over keys last: those alone do not make a file useless on a node that is
/// older than the file.
fn read(file: &Origin<'_>, root: Table<'_>, problems: &Problems) -> Option<Service> {
    let mut tables = Vec::new();
    let kinds = ["service", "target", "group", "proxy"].map(|kind| root.table(kind));
    let service = match kinds {
        [Some(table), None, None, None] => read_service(file, &root, table, &mut tables),
        [None, None, None, Some(table)] => proxy::read_proxy(file, &root, table, &mut tables),
        [None, None, Some(table), None] => group::read_group(file, table, &mut tables),
        [None, Some(table), None, None] => read_target(file, &root, table, &mut tables),
        [None, None, None, None] => {
            let named = ["service", "target", "group", "proxy"];
            if !named.into_iter().any(|kind| root.has(kind)) {
                root.report(Problem::error(
                    Some(root.position()),
                    "missing section [service], [target], [group] or [proxy]",
                ));
            }
            None
        }
        [_, target, group, proxy] => {
            if let Some(other) = target.or(group).or(proxy) {
                let message = "a file holds a [service], a [target], a [group] or a [proxy], and nothing else of these";
                other.report(Problem::error(Some(other.position()), message));
            }
            None
        }
    };
    let usable = !problems.any_error();
    tables.into_iter().for_each(Table::finish);
    root.finish();
    service.filter(|_| usable)
}

fn read_target<'d>(
    file: &Origin<'_>,
    root: &Table<'d>,
    table: Table<'d>,
    tables: &mut Vec<Table<'d>>,
) -> Option<Service> {
    let service = Service {
        kind: Kind::Target,
        name: name(file, &table),
        critical: table.boolean("critical").unwrap_or(false),
        dependencies: dependencies::dependencies(root, tables, Kind::Target).into(),
        ..blank(file.file)
    };
    tables.push(table);
    Some(service)
}

fn read_service<'d>(
    file: &Origin<'_>,
    root: &Table<'d>,
    table: Table<'d>,
    tables: &mut Vec<Table<'d>>,
) -> Option<Service> {
    let kind = if table.boolean("oneshot").unwrap_or(false) {
        Kind::Oneshot
    } else {
        Kind::Process
    };
    let class = table
        .choice("class", &[("user", Class::User), ("system", Class::System)])
        .unwrap_or_default();
    let (notify, ready_fd) = readiness::readiness(&table, kind);
    let patient = notify || ready_fd.is_some() || kind == Kind::Oneshot;
    let service = Service {
        kind,
        name: name(file, &table),
        command: exec(&table),
        notify,
        ready_fd,
        directory: directory(&table),
        environment: environment(&table),
        user: Account::read(&table, "user"),
        group: Account::read(&table, "group"),
        groups: Account::read_list(&table, "groups"),
        umask: umask(&table),
        nice: small(&table, "nice", -20..=19),
        oom_score_adjust: small(&table, "oom_score_adjust", -1000..=1000),
        tty: tty(&table),
        security: crate::security::security(root, tables).into(),
        limits: crate::limits::limits(root, tables).into(),
        resources: crate::limits::resources(root, tables).into(),
        sockets: socket::sockets(root, tables, kind),
        schedule: timer::schedule(root, tables, kind),
        status: status(&table),
        class,
        critical: table.boolean("critical").unwrap_or(false),
        dependencies: dependencies::dependencies(root, tables, kind).into(),
        guards: guards::guards(&table).into(),
        conditions: conditions::conditions(root, tables),
        lifecycle: lifecycle::lifecycle(root, tables, kind, class, patient),
        health: health::health(root, tables).map(Box::new),
        logging: logging::logging(root, tables),
        ..blank(file.file)
    };
    if kind == Kind::Oneshot && service.health.is_some() {
        root.complain(
            "health",
            "a oneshot is ready when it has ended, so [health] has no meaning",
        );
    }
    let handed = service.sockets.as_ref().map_or(0, |sockets| sockets.listen.len());
    let last = socket::FIRST + i32::try_from(handed).unwrap_or(0);
    if service.ready_fd.is_some_and(|number| handed > 0 && number < last) {
        table.complain(
            "ready_fd",
            "the descriptors of [socket] begin with 3, and `ready_fd` is one of them",
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
        ready_fd: None,
        directory: "/".to_owned(),
        environment: Vec::new(),
        user: None,
        group: None,
        groups: Vec::new(),
        umask: None,
        nice: None,
        oom_score_adjust: None,
        tty: None,
        security: Rare::default(),
        limits: Rare::default(),
        resources: Rare::default(),
        sockets: None,
        proxy: None,
        schedule: None,
        status: Status::Start,
        on_failure: OnFailure::Restart,
        class: Class::User,
        critical: false,
        dependencies: Rare::default(),
        guards: Rare::default(),
        conditions: Vec::new(),
        lifecycle: Lifecycle::default(),
        health: None,
        logging: Logging::default(),
    }
}

fn name(origin: &Origin<'_>, table: &Table<'_>) -> String {
    let given = table.string("name");
    if let (Some(name), Some(instance)) = (&given, origin.instance)
        && name != instance
    {
        table.complain(
            "name",
            format!("a template's instances are named by whoever wants them, not `{name}`"),
        );
    }
    let standard = || origin.instance.unwrap_or_else(|| stem(origin.file)).to_owned();
    let name = given.unwrap_or_else(standard);
    // One `@` at most, with something on both sides: the name of an instance.
    let whole = crate::split_instance(&name).map_or_else(
        || name.clone(),
        |(stem, argument)| format!("{}{argument}", &stem[..stem.len() - 1]),
    );
    let plain = whole
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

fn milliseconds(table: &Table<'_>, key: &'static str, least: i64, default: u64) -> u64 {
    let number = table.integer(key, least..=DAY_MS);
    number.and_then(|number| u64::try_from(number).ok()).unwrap_or(default)
}

fn jitter(table: &Table<'_>, key: &'static str) -> u32 {
    small(table, key, 0..=100).map_or(crate::jitter::STANDARD_PERCENT, i32::unsigned_abs)
}

fn count(table: &Table<'_>, key: &'static str, least: i64, default: u32) -> u32 {
    let number = table.integer(key, least..=i64::from(i32::MAX));
    number.and_then(|number| u32::try_from(number).ok()).unwrap_or(default)
}
