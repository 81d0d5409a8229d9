//! Every method, once: from this table come validation, `rpc.discover`, and `docs/protocol.md`.

use super::codes::{
    ALREADY_RUNNING, CYCLE, EXISTS, MISSING_DEPENDENCY, NOT_FOUND, NOT_PERMITTED, NOT_PERSISTED, NOT_RUNNING,
    UNSAFE_REMOVAL, VALIDATION,
};

/// A method.
#[derive(Debug)]
pub struct Method {
    /// Its name on the wire.
    pub name: &'static str,
    /// What answers it.
    pub call: Call,
    /// In the order in which a caller may give them without names.
    pub parameters: &'static [Parameter],
    /// The type of the result, and what it holds.
    pub result: (Kind, &'static str),
    /// It changes something, so that not everybody may call it.
    pub writes: bool,
    /// What it may be refused with, besides bad parameters and a lack of permission.
    pub errors: &'static [i64],
    /// What it does, in a sentence; for one that is refused, why and what to do instead.
    pub text: &'static str,
}

/// A parameter of a method.
#[derive(Debug)]
pub struct Parameter {
    /// Its name.
    pub name: &'static str,
    /// Its type.
    pub kind: Kind,
    /// It must be given.
    pub required: bool,
    /// What it is.
    pub text: &'static str,
}

/// A type of JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A string.
    Text,
    /// An integer, 0 or more.
    Number,
    /// `true` or `false`.
    Truth,
    /// A list of strings.
    Texts,
    /// A list of objects.
    Objects,
    /// An object.
    Object,
    /// A service: an object as its TOML file would be, or the text of that file.
    Service,
}

/// What is asked for; the parameters are beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is the method that names it in the table")]
pub enum Call {
    Discover,
    Ping,
    Reload,
    Upgrade,
    Poweroff,
    Reboot,
    Halt,
    Kexec,
    List,
    ListFull,
    Status,
    StatusFull,
    Stats,
    Children,
    ProcessTree,
    DebugState,
    Tree,
    Subscribe,
    IsRunning,
    Start,
    Stop,
    Restart,
    Kill,
    Why,
    Timers,
    Define,
    Undefine,
    Definition,
    Tail,
    LogLines,
    Filter,
    Follow,
    SetProxy,
    DropProxy,
    ListProxies,
    ProxyStatus,
    ProxyStatusAll,
    /// The text says why it is not here.
    Refused,
}

const fn required(name: &'static str, kind: Kind, text: &'static str) -> Parameter {
    Parameter {
        name,
        kind,
        required: true,
        text,
    }
}

const fn optional(name: &'static str, kind: Kind, text: &'static str) -> Parameter {
    Parameter {
        name,
        kind,
        required: false,
        text,
    }
}

const fn reads(
    name: &'static str,
    call: Call,
    parameters: &'static [Parameter],
    result: (Kind, &'static str),
    errors: &'static [i64],
    text: &'static str,
) -> Method {
    Method {
        name,
        call,
        parameters,
        result,
        writes: false,
        errors,
        text,
    }
}

const fn writes(
    name: &'static str,
    call: Call,
    parameters: &'static [Parameter],
    result: (Kind, &'static str),
    errors: &'static [i64],
    text: &'static str,
) -> Method {
    Method {
        writes: true,
        ..reads(name, call, parameters, result, errors, text)
    }
}

const fn refused(name: &'static str, text: &'static str) -> Method {
    reads(name, Call::Refused, &[], (Kind::Object, "never"), &[], text)
}

const NAME: Parameter = required("name", Kind::Text, "the service");
const LINES: Parameter = optional("lines", Kind::Number, "at most this many; 100");
const OK: (Kind, &str) = (Kind::Object, "`{ok: true}`: it is on its way");
const AFTER: (Kind, &str) = (Kind::Object, "`{ok, name, state}` right after");
const ENDED: (Kind, &str) = (
    Kind::Object,
    "`{ok, name, state, stops, restarts, keeps, dry_run}` right after: who stops before it, who does and starts again with it, and who requires it and goes on without it",
);
const ENDS: &[Parameter] = &[
    NAME,
    optional(
        "tree",
        Kind::Truth,
        "with all that require it, directly or not, unless their files say otherwise; else with those whose files say so",
    ),
    optional("dry_run", Kind::Truth, "only tell who is concerned"),
];
const ONE: &[Parameter] = &[NAME];
const UNKNOWN: &[i64] = &[NOT_FOUND];
const STARTS: &[i64] = &[NOT_FOUND, ALREADY_RUNNING, NOT_RUNNING, CYCLE, MISSING_DEPENDENCY];

/// Every method, in the order of the documentation.
pub const METHODS: &[Method] = &[
    reads(
        "rpc.discover",
        Call::Discover,
        &[],
        (Kind::Object, "an OpenRPC document"),
        &[],
        "Describes every method.",
    ),
    reads(
        "system.ping",
        Call::Ping,
        &[],
        (Kind::Object, "`{version, pid}`"),
        &[],
        "Tells that somebody is there.",
    ),
    writes(
        "system.reload",
        Call::Reload,
        &[optional("dry_run", Kind::Truth, "only tell what would be done")],
        (
            Kind::Object,
            "`{added, changed, removed, restarted, why, kept, problems, dry_run}`: names; `why` says what is different about each that changed; `kept` are those whose files cannot be read now",
        ),
        &[],
        "Reads the service files again and applies the difference.",
    ),
    writes(
        "system.upgrade",
        Call::Upgrade,
        &[optional(
            "program",
            Kind::Text,
            "its file; the one that my_init was started from",
        )],
        OK,
        &[VALIDATION],
        "Has another program take over; services go on.",
    ),
    writes(
        "system.poweroff",
        Call::Poweroff,
        &[],
        OK,
        &[],
        "Stops every service, then the machine (in a container: ends).",
    ),
    writes(
        "system.shutdown",
        Call::Poweroff,
        &[],
        OK,
        &[],
        "The same as `system.poweroff`.",
    ),
    writes(
        "system.reboot",
        Call::Reboot,
        &[],
        OK,
        &[],
        "Stops every service, then starts the machine anew.",
    ),
    writes(
        "system.halt",
        Call::Halt,
        &[],
        OK,
        &[],
        "Stops every service, then the machine, with its power on.",
    ),
    writes(
        "system.kexec",
        Call::Kexec,
        &[],
        OK,
        &[],
        "Stops every service, then starts the kernel that was loaded (`my_init kexec`), without the firmware.",
    ),
    refused(
        "system.prepare_restart",
        "nothing has to be prepared: a supervisor that ends is followed by one that goes on; `system.upgrade` changes the program",
    ),
    reads(
        "service.list",
        Call::List,
        &[],
        (Kind::Texts, "names, sorted"),
        &[],
        "Names every service.",
    ),
    reads(
        "service.list_full",
        Call::ListFull,
        &[],
        (Kind::Objects, "what `service.status` returns, sorted by name"),
        &[],
        "Tells everything about every service.",
    ),
    reads(
        "service.status",
        Call::Status,
        ONE,
        (
            Kind::Object,
            "`{name, kind, state, reason, pid, waits_for, …}`; times in milliseconds since the kernel started; what is not known is absent",
        ),
        UNKNOWN,
        "Tells everything about one service.",
    ),
    reads(
        "service.status_full",
        Call::StatusFull,
        ONE,
        (
            Kind::Object,
            "the same, with `is_target`, `uptime_secs` and `dependencies`: a list of `{name, dep_type, state, satisfied}`",
        ),
        UNKNOWN,
        "Tells everything about one service and its relations.",
    ),
    reads(
        "service.stats",
        Call::Stats,
        ONE,
        (
            Kind::Object,
            "`{pid, memory_bytes, tasks, cpu_percent, cpu_ms}`; `cpu_percent`: of one processor since it was asked for last, at \
             least half a second before, or since the start of the service; `cpu_ms`: in all",
        ),
        UNKNOWN,
        "Tells what a service uses.",
    ),
    reads(
        "service.children",
        Call::Children,
        ONE,
        (Kind::Object, "`{children}`: a list of `{pid, name, memory_bytes}`"),
        UNKNOWN,
        "Names the processes that came from a service's process.",
    ),
    reads(
        "service.tree",
        Call::Tree,
        &[],
        (Kind::Object, "`{ascii}`: text"),
        &[],
        "Shows beneath each service what it waits for.",
    ),
    reads(
        "service.is_running",
        Call::IsRunning,
        ONE,
        (Kind::Truth, "whether the state is `running` or `degraded`"),
        UNKNOWN,
        "Tells whether a service is up.",
    ),
    reads(
        "service.why",
        Call::Why,
        ONE,
        (
            Kind::Object,
            "`{name, state, waits_for, lines}`: `lines` are for people",
        ),
        UNKNOWN,
        "Explains what a service waits for, or why it failed.",
    ),
    writes(
        "service.set",
        Call::Define,
        &[
            required(
                "config",
                Kind::Service,
                "the service, as an object of sections or as the text of a TOML file",
            ),
            optional("name", Kind::Text, "its name, for a text that has none"),
        ],
        (
            Kind::Object,
            "`{name, path, warnings}`: the file it is kept in, and what is odd about it",
        ),
        &[EXISTS, VALIDATION, NOT_PERSISTED],
        "Adds a service, or replaces one that was added: that one is restarted, no other.",
    ),
    reads(
        "service.get",
        Call::Definition,
        ONE,
        (Kind::Object, "an object of sections, as the file"),
        &[NOT_FOUND, VALIDATION, NOT_PERMITTED],
        "Tells what the file of a service says; of a file that not everybody may read only to those who may change it.",
    ),
    writes(
        "service.delete",
        Call::Undefine,
        ONE,
        OK,
        &[NOT_FOUND, UNSAFE_REMOVAL, NOT_PERSISTED],
        "Removes a service that was added, with its file; it is asked to end, which is not waited for.",
    ),
    writes(
        "service.remove",
        Call::Undefine,
        ONE,
        OK,
        &[NOT_FOUND, UNSAFE_REMOVAL, NOT_PERSISTED],
        "The same as `service.delete`.",
    ),
    reads(
        "service.timers",
        Call::Timers,
        &[],
        (
            Kind::Objects,
            "`{name, state, next_ms, next_in_ms, last_ms, skipped}`: milliseconds since 1970, and until then; the next first",
        ),
        &[],
        "Tells which services are started at which times.",
    ),
    writes(
        "service.start",
        Call::Start,
        &[NAME, optional("tree", Kind::Truth, "with what it requires")],
        AFTER,
        STARTS,
        "Starts a service, also one that is not started by itself.",
    ),
    writes(
        "service.stop",
        Call::Stop,
        ENDS,
        ENDED,
        &[NOT_FOUND, NOT_RUNNING],
        "Stops a service and keeps it down; before it those that stop with it, in order, in parallel where that can be.",
    ),
    writes(
        "service.restart",
        Call::Restart,
        ENDS,
        ENDED,
        &[NOT_FOUND, NOT_RUNNING, CYCLE, MISSING_DEPENDENCY],
        "Starts a service anew, whatever its state; those that go with it end before it, and start again when it is there.",
    ),
    writes(
        "service.kill",
        Call::Kill,
        &[NAME, optional("signal", Kind::Text, "its name or number; SIGTERM")],
        AFTER,
        &[NOT_FOUND, NOT_RUNNING, VALIDATION],
        "Sends a signal to the processes of a service.",
    ),
    reads(
        "logs.get",
        Call::LogLines,
        &[NAME, LINES],
        (Kind::Texts, "lines, oldest first"),
        UNKNOWN,
        "The last lines that a service printed.",
    ),
    reads(
        "logs.tail",
        Call::Tail,
        &[NAME, LINES],
        (Kind::Object, "`{lines, dropped}`: `dropped` counts bytes that are gone"),
        UNKNOWN,
        "The last lines that a service printed, and how much is no longer there.",
    ),
    reads(
        "logs.filter",
        Call::Filter,
        &[
            optional("name", Kind::Text, "the service"),
            optional("service", Kind::Text, "the same, as the ancestor calls it too"),
            optional("stream", Kind::Text, "not looked at: both outputs are one"),
            optional(
                "since",
                Kind::Number,
                "what came then or later, in milliseconds since 1970",
            ),
            optional("contains", Kind::Text, "what a line has to have in it"),
            optional("lines", Kind::Number, "at most this many, the last ones; all"),
        ],
        (
            Kind::Texts,
            "`TIME [stdout] TEXT`, oldest first, times in milliseconds since 1970",
        ),
        UNKNOWN,
        "The lines that a service printed, chosen by time and text.",
    ),
    reads(
        "logs.follow",
        Call::Follow,
        &[
            optional("names", Kind::Texts, "the services; all"),
            optional(
                "lines",
                Kind::Number,
                "at most this many of each that are there already; all",
            ),
            optional(
                "since",
                Kind::Number,
                "what came then or later and perhaps a little before, in milliseconds since the kernel started",
            ),
            optional("follow", Kind::Truth, "go on with what comes; false"),
        ],
        (
            Kind::Object,
            "`{ok: true}`; then notifications on the same connection: `logs.lines {name, log, next, missed?, lines: [[time, place, text, goes_on?], …], time?}`, where `log` and `place` tell every line of a service from every other one, `missed` counts bytes that were dropped because they were not read, and `time`, when it is there, says when all that had come was sent; and once `logs.caught_up {time}`",
        ),
        &[NOT_FOUND, VALIDATION],
        "Sends what services printed, a little at a time, as fast as it is read.",
    ),
    reads(
        "events.subscribe",
        Call::Subscribe,
        &[optional("names", Kind::Texts, "only these services; all")],
        (
            Kind::Object,
            "`{ok, time}`; then notifications on the same connection: `event` with `{time, kind, name, before, state, reason, pid}` (kinds `state`, `added`, `removed`, `ready`, `shutdown`), and `events.lost` with `{count}` for what a client that reads too slowly was not sent; one that reads nothing for a minute although much waits is cut off, as with `logs.follow`",
        ),
        &[VALIDATION],
        "Tells what happens, while it happens.",
    ),
    reads(
        "debug.state",
        Call::DebugState,
        &[],
        (Kind::Object, "`{output}`: text"),
        &[],
        "A line for each service.",
    ),
    reads(
        "debug.process_tree",
        Call::ProcessTree,
        ONE,
        (Kind::Object, "`{output}`: text"),
        UNKNOWN,
        "A line for each process of a service.",
    ),
    writes(
        "xinet.set",
        Call::SetProxy,
        &[required(
            "config",
            Kind::Object,
            "`{name, service, backend, listen, connect_timeout?, idle_timeout?, single_connection?}`: `listen` is an address or a list of them, the times are seconds; addresses are `127.0.0.1:80`, `unix:/path` or `/path`",
        )],
        (Kind::Object, "`{ok, name, path, warnings}`: the file it is kept in"),
        &[EXISTS, VALIDATION, NOT_PERSISTED],
        "Adds a proxy, or replaces one that was added: as `service.set` with `[proxy]` and `[socket]`.",
    ),
    writes(
        "xinet.delete",
        Call::DropProxy,
        ONE,
        OK,
        &[NOT_FOUND, UNSAFE_REMOVAL, NOT_PERSISTED],
        "Removes a proxy that was added.",
    ),
    reads(
        "xinet.list",
        Call::ListProxies,
        &[],
        (Kind::Texts, "names, sorted"),
        &[],
        "Names every proxy.",
    ),
    reads(
        "xinet.status",
        Call::ProxyStatus,
        ONE,
        (
            Kind::Object,
            "`{name, running, connections}`: `running` while its sockets are open",
        ),
        UNKNOWN,
        "Tells whether a proxy is there, and how many are connected.",
    ),
    reads(
        "xinet.status_all",
        Call::ProxyStatusAll,
        &[],
        (
            Kind::Objects,
            "`{name, listen, backend, service, running, active_connections, total_connections, bytes_to_backend, bytes_from_backend}`; connections and bytes are counted since its process began, as of the last connection that began or ended",
        ),
        &[],
        "Tells about every proxy.",
    ),
];

/// The method of a name.
pub fn find(name: &str) -> Option<&'static Method> {
    METHODS.iter().find(|method| method.name == name)
}
