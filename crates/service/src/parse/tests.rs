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
ports = [80, 443]
process_filters = ["web"]
kill_others = true
status = "ignore"
class = "system"
critical = true
[dependencies]
requires = ["net"]
after = ["state", "net"]
wants = ["metrics"]
conflicts = ["apache"]
[conditions]
path_exists = ["/dev/kvm", "/srv"]
path_not_exists = ["/a"]
directory_not_empty = ["/b"]
kernel_argument = ["debug"]
no_kernel_argument = ["runmode=dev"]
[lifecycle]
restart = "always"
restart_delay_ms = 5
restart_delay_max_ms = 50
restart_jitter_percent = 20
max_restarts = 0
stability_period_ms = 7
start_timeout_ms = 11
stop_signal = "SIGINT"
stop_timeout_ms = 13
[health]
type = "http"
target = "127.0.0.1:80/health"
interval_ms = 100
timeout_ms = 200
jitter_percent = 0
retries = 2
successes = 4
action = "mark"
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
file = "/var/log/web.log"
file_count = 2
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
    assert_eq!(
        (web.guards.ports.as_slice(), web.guards.process_filters.as_slice()),
        (&[80, 443][..], &["web".to_owned()][..])
    );
    assert!(web.guards.kill_others);
    assert_eq!(web.dependencies.after[1].name, "net");
    assert_eq!(
        (web.dependencies.after[1].line, web.dependencies.after[1].column),
        (23, 19)
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
    let unmet: Vec<String> = web.conditions.iter().map(crate::Condition::unmet).collect();
    assert_eq!(
        unmet,
        [
            "/dev/kvm does not exist",
            "/srv does not exist",
            "/a exists",
            "/b is no directory, or empty",
            "the kernel was started without debug",
            "the kernel was started with runmode=dev"
        ]
    );
    assert_eq!(web.lifecycle.restart, Restart::Always);
    assert_eq!(
        (web.lifecycle.restart_jitter_percent, web.lifecycle.start_timeout_ms),
        (20, 11)
    );
    assert_eq!(web.lifecycle.stop_signal, crate::Signal(2));
    let health = web.health.expect("health");
    assert_eq!(health.probe.to_string(), "http 127.0.0.1:80/health");
    assert_eq!(
        (health.jitter_percent, health.successes, health.action),
        (0, 4, crate::Unhealthy::Mark)
    );
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
            console: true,
            file: Some(Box::new(LogFile {
                path: "/var/log/web.log".to_owned(),
                bytes: 4 << 20,
                count: 2,
            })),
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
    let told = service("[service]\nexec = \"web\"\nready_fd = 4\n");
    assert_eq!((told.ready_fd, told.lifecycle.start_timeout_ms), (Some(4), 0));
    let system = service("[service]\nexec = \"web\"\nclass = \"system\"\n");
    assert_eq!(system.lifecycle.max_restarts, 0);
}

#[test]
fn a_limit_of_restarts_is_kept_unless_the_node_needs_the_service() {
    let text = |class: &str| format!("[service]\nexec = \"x\"\nclass = \"{class}\"\n[lifecycle]\nmax_restarts = 3\n");
    assert_eq!(service(&text("user")).lifecycle.max_restarts, 3);
    let parsed = parse("web.toml", &text("system"));
    assert_eq!(parsed.service.expect("a service").lifecycle.max_restarts, 0);
    assert_eq!(
        parsed.problems[0].to_string(),
        "warning: web.toml:5:16: a service of class `system` is never given up on, so this limit is not kept"
    );
}

#[test]
fn an_edge_may_say_what_follows() {
    let text = "[service]\nexec = \"x\"\n[dependencies]\nrequires = [\"a\", { name = \"b\", on_restart = \"restart\", on_failure = \"stop\" }]\n";
    let [a, b] = &service(text).dependencies.requires[..] else {
        panic!("two");
    };
    assert_eq!((a.name.as_str(), a.follow), ("a", crate::Follow::default()));
    let follow = crate::Follow {
        on_stop: crate::Reaction::Keep,
        on_failure: crate::Reaction::Stop,
        on_restart: crate::Reaction::Restart,
    };
    assert_eq!((b.name.as_str(), b.follow, b.column), ("b", follow, 27));
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
        (
            "",
            "error: web.service.toml:1:1: missing section [service], [target], [group] or [proxy]",
        ),
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
            "error: web.service.toml:5:10: `web:80` is not an address\n  hint: give an IP address and a port, as `127.0.0.1:8080`, or a socket, as `unix:/run/a.sock`",
        ),
        (
            "[service]\nexec = \"a\"\n[conditions]\npath_exists = [\"/a\", \"dev/kvm\"]\n",
            "error: web.service.toml:4:22: `dev/kvm` is not an absolute path",
        ),
        (
            "[service]\nexec = \"a\"\n[conditions]\nkernel_argument = [\"=1\"]\n",
            "error: web.service.toml:4:20: `=1` is not an argument of the kernel\n  hint: `name`, whatever its value, or `name=value`",
        ),
        (
            "[service]\nexec = \"a\"\n[dependencies]\nrequires = [\"b\", { on_stop = \"stop\" }]\n",
            "error: web.service.toml:4:18: missing key `name` in [dependencies.requires]",
        ),
        (
            "[service]\nexec = \"a\"\n[dependencies]\nrequires = [{ name = \"b\", on_stop = \"restrat\" }]\n",
            "error: web.service.toml:4:37: `restrat` is not a valid `on_stop`\n  hint: did you mean `restart`?",
        ),
        (
            "[target]\n[dependencies]\nrequires = [{ name = \"b\", on_stop = \"stop\" }]\n",
            "error: web.service.toml:3:37: a target runs when what it requires does, so `on_stop` has no meaning",
        ),
        (
            "[service]\nexec = \"a\"\nports = [80, 65536]\n",
            "error: web.service.toml:3:14: `ports` has 65536, expected 1 to 65535",
        ),
        (
            "[service]\nexec = \"a\"\nprocess_filters = [\"/bin/a\"]\n",
            "error: web.service.toml:3:20: `/bin/a` is not the name of a program\n  hint: the whole name of its file, without directories",
        ),
        (
            "[service]\nexec = \"a\"\nready_fd = 2\n",
            "error: web.service.toml:3:12: `ready_fd` is 2, expected 3 to 255",
        ),
        (
            "[service]\nexec = \"a\"\nready_fd = 3\nnotify = true\n",
            "error: web.service.toml:3:12: a service says that it is ready in one way: `notify` or `ready_fd`",
        ),
        (
            "[service]\nexec = \"a\"\noneshot = true\nready_fd = 3\n",
            "error: web.service.toml:4:12: a oneshot is ready when it has ended, so `ready_fd` has no meaning",
        ),
        (
            "[service]\nexec = \"a\"\n[health]\ntype = \"http\"\ntarget = \"unix:a.sock\"\naction = \"kill\"\n",
            "error: web.service.toml:5:10: `unix:a.sock` is not an address\n  hint: give an IP address and a port, as `127.0.0.1:8080/health`, or a socket, as `unix:/run/a.sock:/health`",
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

#[test]
fn a_log_file_has_an_absolute_path_without_detours() {
    for path in ["web.log", "/var/log/", "/var/../etc/x", "/", "//a"] {
        let text = format!("[service]\nexec = \"web\"\n[logging]\nfile = \"{path}\"\n");
        assert_eq!(
            problems(&text),
            [format!(
                "error: web.service.toml:4:8: `file` is `{path}`, expected the absolute path of a file"
            )]
        );
    }
}
