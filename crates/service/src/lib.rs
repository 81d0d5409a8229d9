//! The service file (`NAME.service.toml`): model, checks, dependency graph and start order.
//!
//! ```toml
//! [service]                        # or [target], which has no process
//! name = "web"                     # default: the file's name
//! exec = "/var/cache/bin/web --port 8080"
//! shell = false                    # default: only when the line uses what a shell understands
//! oneshot = false                  # runs to its end; exit 0 satisfies `requires`
//! notify = false                   # ready when it sends READY=1 to $NOTIFY_SOCKET
//! ready_fd = 3                     # ready when it writes a newline to this descriptor
//! dir = "/"                        # working directory
//! env = { MODE = "fast" }          # added to the inherited environment
//! user = "www-data"                # name or number; `group` is the user's unless given
//! groups = ["video"]               # supplementary groups
//! umask = "0022"
//! nice = 0                         # -20 (first) to 19
//! oom_score_adjust = 0             # -1000 (never killed for memory) to 1000 (first)
//! tty = "/dev/tty2"                # its input, output and controlling terminal
//! status = "start"                 # start | stop | ignore: whether it is started without being asked
//! ports = [8080]                   # TCP: it does not start while somebody else listens there
//! process_filters = ["web"]        # nor while a program of exactly this name runs
//! kill_others = false              # true: whoever it is, is killed
//! class = "user"                   # system: never given up on
//! critical = false                 # true: there is no `ready` without it
//!
//! [dependencies]
//! requires = ["mosnet"]            # must run (a oneshot: have ended well); failing it fails this; also with what
//!                                  # follows: { name = "db", on_restart = "restart" } (on_stop, on_failure: keep | restart | stop)
//! after = ["state"]                # must have settled, well or badly; unknown names are ignored
//! wants = ["metrics"]              # noted, never waited for
//! conflicts = ["apache"]           # not while that one is active
//!
//! [conditions]                     # all of them, at each start, or it is skipped, which is no failure
//! path_exists = ["/dev/kvm"]       # path_not_exists, directory_not_empty
//! kernel_argument = ["runmode=dev"] # no_kernel_argument
//!
//! [lifecycle]
//! restart = "on-failure"           # always | on-failure | never; a oneshot: never
//! restart_delay_ms = 1000          # before the second restart in a row; the first is immediate; doubles
//! restart_delay_max_ms = 300000    # the doubling's cap
//! restart_jitter_percent = 10      # each delay is up to this much shorter
//! max_restarts = 10                # in a row; 0: no limit (class system: always)
//! stability_period_ms = 30000      # a run this long starts the counting anew
//! start_timeout_ms = 90000         # until ready; 0: no limit (the default for notify, ready_fd and oneshot)
//! stop_signal = "SIGTERM"
//! stop_timeout_ms = 10000          # then SIGKILL
//!
//! [health]
//! type = "http"                    # tcp | http | exec
//! target = "127.0.0.1:8080/health" # host:port, host:port/path, unix:/socket, unix:/socket:/path; exec: a command
//! interval_ms = 10000
//! jitter_percent = 10              # each wait is up to this much shorter
//! timeout_ms = 5000
//! retries = 3                      # failures in a row that make it unhealthy
//! successes = 1                    # good answers in a row that make it healthy again
//! action = "restart"               # restart | mark | none, when it is unhealthy
//! start_period_ms = 0              # before the first probe
//! expect_status = 200              # http only
//!
//! [security]
//! capabilities = ["net_bind_service"] # these and no others; default: those of its user
//! no_new_privileges = true         # what it executes gains nothing by set-user-ID
//! private_tmp = true               # a /tmp of its own
//! read_only_root = true            # all read-only but /dev, /proc, /sys, /run, /tmp, /var
//!
//! [limits]                         # for each process: setrlimit(2)
//! open_files = 65536               # processes, cpu_seconds
//! core = "unlimited"               # file_size, data, stack, locked_memory, address_space, message_queues: "64 MiB"
//!
//! [resources]                      # for all its processes together: control group
//! memory_max = "256 MiB"           # memory_high, swap_max
//! tasks_max = 100
//! cpu_percent = 50                 # of one processor
//! cpu_weight = 100                 # io_weight
//!
//! [socket]                         # open before the service runs, handed over from descriptor 3 on
//! listen = ["0.0.0.0:80", "udp:0.0.0.0:53", "/run/web.sock"]
//! names = ["http", "dns", "admin"] # LISTEN_FDNAMES
//! start = "connection"             # or "boot"
//! mode = "666"                     # user, group, backlog
//!
//! [timer]                          # for a oneshot: when it is started
//! every = "15 min"
//! after_boot = "1 min"
//! calendar = "mon-fri 03:00"       # hourly, hourly :15, daily 03:00, monthly 1 03:00; in UTC
//! jitter = "5 min"
//!
//! [logging]
//! buffer_bytes = 65536             # kept in memory
//! file = "/var/log/web.log"        # and on disk, see file_bytes and file_count
//! console = false                  # also to the console, as `NAME: text`
//! ```
//!
//! [`Routes`] say where on a node the files of a component go, its service file among them.
//!
//! Pure: nothing here reads a file or a clock. [`check`] is for builds (every problem is one), [`load`] for a node
//! (what is wrong with one service leaves the others alone).

mod account;
mod backoff;
mod check;
mod command;
mod compare;
mod condition;
mod graph;
mod group;
mod guards;
mod health;
mod jitter;
mod limits;
mod model;
mod parse;
mod rare;
mod route;
mod security;
mod signal;
mod socket;
mod template;
mod timer;
pub mod yaml;

pub use account::Account;
pub use check::{Loaded, check, load};
pub use command::{Command, CommandError};
pub use condition::{Argument, Condition};
pub use graph::Graph;
pub use group::OnFailure;
pub use guards::Guards;
pub use health::{Address, Health, Probe, Unhealthy};
pub use jitter::jittered;
pub use limits::{Limits, Resources, UNLIMITED};
pub use model::{
    Class, Dependencies, Dependency, Follow, Kind, Lifecycle, LogFile, Logging, Reaction, Restart, Service, Status,
};
pub use parse::{Parsed, fnv1a, is_service_file, parse, stem};
pub use rare::{Rare, Silent};
pub use route::{MAX_ROUTES, PLACES, ROUTES, Routes, is_executable};
pub use security::{Capability, Security};
pub use signal::{Signal, SignalError};
pub use socket::{Listen, Proxy, Sockets};
pub use template::{Template, split_instance};
pub use timer::{Calendar, Schedule};
pub use yaml::{Conf, Stage, is_yaml, to_toml};
