//! The service file (`NAME.service.toml`): model, checks, dependency graph and start order.
//!
//! ```toml
//! [service]                        # or [target], which has no process
//! name = "web"                     # default: the file's name
//! exec = "/var/cache/bin/web --port 8080"
//! shell = false                    # default: only when the line uses what a shell understands
//! oneshot = false                  # runs to its end; exit 0 satisfies `requires`
//! notify = false                   # ready when it sends READY=1 to $NOTIFY_SOCKET
//! dir = "/"                        # working directory
//! env = { MODE = "fast" }          # added to the inherited environment
//! user = 1000                      # user id; `group` follows it unless given
//! status = "start"                 # start | stop | ignore: whether it is started without being asked
//! class = "user"                   # system: never given up on
//! critical = false                 # true: there is no `ready` without it
//!
//! [dependencies]
//! requires = ["mosnet"]            # must run (a oneshot: have ended well); failing it fails this
//! after = ["state"]                # must have settled, well or badly; unknown names are ignored
//! wants = ["metrics"]              # noted, never waited for
//! conflicts = ["apache"]           # not while that one is active
//!
//! [lifecycle]
//! restart = "on-failure"           # always | on-failure | never; a oneshot: never
//! restart_delay_ms = 1000          # before the second restart in a row; the first is immediate; doubles
//! restart_delay_max_ms = 300000    # the doubling's cap
//! max_restarts = 10                # in a row; 0: no limit (the default for class system)
//! stability_period_ms = 30000      # a run this long starts the counting anew
//! start_timeout_ms = 90000         # until ready; 0: no limit (the default for notify and oneshot)
//! stop_signal = "SIGTERM"
//! stop_timeout_ms = 10000          # then SIGKILL
//!
//! [health]
//! type = "http"                    # tcp | http | exec
//! target = "127.0.0.1:8080/health" # tcp: host:port; http: host:port/path; exec: a command
//! interval_ms = 10000
//! timeout_ms = 5000
//! retries = 3                      # failures in a row before a restart
//! start_period_ms = 0              # before the first probe
//! expect_status = 200              # http only
//!
//! [logging]
//! buffer_bytes = 65536             # kept in memory
//! console = false                  # also to the console, as `NAME: text`
//! ```
//!
//! [`Routes`] say where on a node the files of a component go, its service file among them.
//!
//! Pure: nothing here reads a file or a clock. [`check`] is for builds (every problem is one), [`load`] for a node
//! (what is wrong with one service leaves the others alone).

mod backoff;
mod check;
mod command;
mod graph;
mod health;
mod model;
mod parse;
mod route;
mod signal;

pub use check::{Loaded, check, load};
pub use command::{Command, CommandError};
pub use graph::Graph;
pub use health::{Health, Probe};
pub use model::{Class, Dependencies, Dependency, Kind, Lifecycle, Logging, Restart, Service, Status};
pub use parse::{Parsed, fnv1a, is_service_file, parse};
pub use route::{MAX_ROUTES, PLACES, ROUTES, Routes, is_executable};
pub use signal::{Signal, SignalError};
