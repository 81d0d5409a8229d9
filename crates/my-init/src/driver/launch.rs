//! Starting processes.

use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use mos_service::{Command, Service};
use mos_sys::spawn::Spawn;
use rustix::fs::{Gid, Mode, OFlags, Uid};

use super::conditions::Prepared;
use super::guards::Way;
use super::limit_hits::Counts;
use super::slot::Slot;
use super::{Driver, Id, Owner, skip};
use crate::boot::groups;
use crate::services::{PATH, c_string, program, stamp};

/// What a process is started as. It is told so in its environment, where also we can see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Role {
    /// The service of this name.
    Service(String),
    /// A probe of a service's health.
    Probe,
    /// The shell on this terminal.
    Operator(String),
    /// The process that writes logs to files.
    LogWriter,
}

impl Role {
    const SERVICE: &str = "MY_INIT_SERVICE";
    const PROBE: &str = "MY_INIT_PROBE";
    const OPERATOR: &str = "MY_INIT_OPERATOR";
    const LOG_WRITER: &str = "MY_INIT_LOG_WRITER";
    const ALL: [&str; 4] = [Self::SERVICE, Self::PROBE, Self::OPERATOR, Self::LOG_WRITER];

    /// As `NAME=value`.
    pub(super) fn variable(&self) -> CString {
        c_string(&match self {
            Self::Service(name) => format!("{}={name}", Self::SERVICE),
            Self::Probe => format!("{}=1", Self::PROBE),
            Self::Operator(terminal) => format!("{}={terminal}", Self::OPERATOR),
            Self::LogWriter => format!("{}=1", Self::LOG_WRITER),
        })
    }

    pub(super) fn from_variable(variable: &str) -> Option<Self> {
        let (name, value) = variable.split_once('=')?;
        match name {
            Self::SERVICE => Some(Self::Service(value.to_owned())),
            Self::PROBE => Some(Self::Probe),
            Self::OPERATOR => Some(Self::Operator(value.to_owned())),
            Self::LOG_WRITER => Some(Self::LogWriter),
            _ => None,
        }
    }
}

/// What every service's environment begins with: our own.
#[derive(Debug)]
pub(super) struct Environment {
    variables: Vec<(String, String)>,
    path: String,
}

impl Environment {
    /// Ours, without what concerns only us, and with a `PATH` in any case.
    pub(super) fn inherited() -> Self {
        let mut variables: Vec<(String, String)> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .filter(|(name, _)| {
                name != "NOTIFY_SOCKET" && !name.starts_with("LISTEN_") && !Role::ALL.contains(&name.as_str())
            })
            .collect();
        let path = variables
            .iter()
            .find(|(name, _)| name == "PATH")
            .map(|(_, path)| path.clone());
        if path.is_none() {
            variables.push(("PATH".to_owned(), PATH.to_owned()));
        }
        Self {
            variables,
            path: path.unwrap_or_else(|| PATH.to_owned()),
        }
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// For a service: its own variables replace inherited ones of the same name.
    fn of(&self, service: &Service, role: &Role, more: &[CString]) -> Vec<CString> {
        let own = &service.environment;
        let inherited = self
            .variables
            .iter()
            .filter(|(name, _)| !own.iter().any(|(other, _)| other == name));
        let variables = inherited
            .chain(own)
            .map(|(name, value)| c_string(&format!("{name}={value}")));
        let more = more.iter().cloned();
        variables.chain(more).chain([role.variable()]).collect()
    }
}

/// Where the descriptors of sockets begin (`SD_LISTEN_FDS_START`, sd_listen_fds(3)).
const FIRST_SOCKET: RawFd = 3;

impl Driver {
    pub(super) fn spawn(&mut self, id: Id) {
        let Some(service) = self.supervisor.begin_spawn(id).cloned() else {
            return;
        };
        if let Some(condition) = skip::unmet(&service.conditions) {
            self.supervisor.skipped(id, condition, self.now());
            return self.note_changes();
        }
        match self.way(id, &service) {
            Way::Free => {}
            Way::Clearing => return,
            Way::Held(error) => {
                self.supervisor.spawn_failed(id, error, self.now());
                return self.note_changes();
            }
        }
        if let Err(error) = self.open_sockets(id, &service) {
            self.supervisor.spawn_failed(id, error, self.now());
            return self.note_changes();
        }
        if service.sockets.is_some() && !self.supervisor.bound(id, self.now()) {
            if let Err(error) = self.watch_sockets(id) {
                self.supervisor.spawn_failed(id, error, self.now());
            }
            return self.note_changes();
        }
        match self.try_spawn(id, &service) {
            Ok((pid, start)) => self.started(id, pid, start),
            Err(error) => self.supervisor.spawn_failed(id, error, self.now()),
        }
        self.note_changes();
        // From here on it is known by its own note.
        self.starting.done();
    }

    /// A service has a process.
    fn started(&mut self, id: Id, pid: u32, start: u64) {
        self.own(pid, Owner::Service(id), start);
        if let Some(slot) = self.slots.get_mut(&id) {
            slot.start = start;
        }
        let Some(service) = self.supervisor.unit(id).map(|unit| unit.service()) else {
            return;
        };
        let stamp = stamp(service, self.environment.path());
        self.supervisor.spawned(id, pid, stamp, self.now());
    }

    fn try_spawn(&mut self, id: Id, service: &Service) -> Result<(u32, u64), String> {
        let command = service.command.as_ref().ok_or("its service file could not be read")?;
        // A proxy says how many are connected.
        let notify = (service.notify || service.proxy.is_some()).then(|| self.notify_directory().join(&service.name));
        let (leaf, fresh) = match self.make_group(&service.name) {
            Some((leaf, fresh)) => (Some(leaf), fresh),
            None => (None, false),
        };
        if let Some(leaf) = leaf.as_ref().filter(|_| !fresh) {
            // What an earlier description limited. A file that is not there limits nothing.
            for (file, value) in service.resources.unlimited() {
                let _ = fs::write(leaf.join(file), value);
            }
        }
        self.limit_group(service, leaf.as_deref());
        let logs_to_come = self.logs_to_come() + usize::from(!self.slots.contains_key(&id));
        let slot = self
            .slots
            .entry(id)
            .or_insert_with(|| Box::new(Slot::new(service.logging.buffer_bytes)));
        slot.log.set_capacity(service.logging.buffer_bytes);
        let output = match &service.tty {
            Some(tty) => open_tty(tty).map_err(|error| format!("{tty}: {error}"))?,
            None => slot
                .open_pipe(&self.epoll, id, logs_to_come)
                .map_err(|error| format!("log pipe: {error}"))?,
        };
        let owner = Prepared::of(service, None)?.owner();
        if let Some((user, group)) = owner.filter(|_| service.tty.is_none()) {
            // So that it may open /dev/stdout and /dev/stderr, which are its own. Without that it can still write to them.
            let _ = rustix::fs::fchown(&output, Some(Uid::from_raw(user)), Some(Gid::from_raw(group)));
        }
        if let Some(path) = &notify {
            let opened = make_notify(slot, &self.epoll, id, path, owner);
            opened.map_err(|error| format!("notify socket {}: {error}", path.display()))?;
        }
        let ready = match service.ready_fd {
            Some(number) => Some((
                slot.open_ready(&self.epoll, id)
                    .map_err(|error| format!("ready_fd: {error}"))?,
                number,
            )),
            None => None,
        };
        // One that has just been made has counted nothing.
        let counted = leaf.as_deref().filter(|_| !fresh);
        slot.counts = counted.map(Counts::of).unwrap_or_default();
        slot.cgroup.clone_from(&leaf);
        self.tell_writer(id);
        let start = self.note_start(id);
        let role = Role::Service(service.name.clone());
        let mut handed: Vec<_> = ready.iter().map(|(pipe, number)| (pipe.as_fd(), *number)).collect();
        let sockets = self.sockets.get(&id).into_iter().flatten();
        handed.extend(
            (FIRST_SOCKET..)
                .zip(sockets)
                .map(|(number, socket)| (socket.file.as_fd(), number)),
        );
        let mut more = self.socket_variables(id, service);
        more.extend(notify.map(|path| c_string(&format!("NOTIFY_SOCKET={}", path.display()))));
        let pid = self.execute(service, command, output.as_fd(), &handed, &role, &more)?;
        Ok((pid, start))
    }

    /// Starts a command as the service does: same user, directory, environment and control group. The start has begun
    /// ([`mos_sys::shared_pid::SharedPid::begin`]).
    pub(super) fn execute(
        &self,
        service: &Service,
        command: &Command,
        output: BorrowedFd<'_>,
        descriptors: &[(BorrowedFd<'_>, RawFd)],
        role: &Role,
        more: &[CString],
    ) -> Result<u32, String> {
        let own_path = service.environment.iter().find(|(name, _)| name == "PATH");
        let path = own_path.map_or(self.environment.path(), |(_, path)| path.as_str());
        let file = program(command, path);
        let arguments: Vec<CString> = command.argv().iter().map(|word| c_string(word)).collect();
        let environment = self.environment.of(service, role, more);
        let cgroup = self.open_group(&service.name);
        let prepared = Prepared::of(service, self.setup.open_files)?;
        // A probe has no terminal: it would take it from the service.
        let terminal = service.tty.is_some() && matches!(role, Role::Service(_));
        let what = Spawn {
            program: &c_string(&file.to_string_lossy()),
            arguments: &arguments,
            environment: &environment,
            tells_pid: more
                .iter()
                .any(|variable| variable.as_bytes().starts_with(b"LISTEN_FDS=")),
            directory: &c_string(&service.directory),
            input: if terminal { output } else { self.pad.nothing() },
            output,
            pad: (!terminal).then_some(&self.pad),
            descriptors,
            conditions: prepared.conditions(service),
            cgroup: cgroup.as_ref().map(|leaf| leaf.as_fd()),
            terminal,
            sibling: Some(self.starting),
            // A node without PID 1 is no more; elsewhere nobody else would end them.
            dies_with_parent: !self.setup.machine,
        };
        // Until the program is executed we stand still.
        self.alarm.set(self.patience());
        let spawned = mos_sys::spawn::spawn(&what);
        self.alarm.stop();
        spawned.map_err(|error| match error.step {
            "execute" => format!("{}: {}", file.display(), error.source),
            "working directory" => format!("{}: {}", service.directory, error.source),
            _ => error.to_string(),
        })
    }

    /// The directory of a service's control group, made when it is not there; `None` without cgroup v2.
    pub(super) fn cgroup_leaf(&self, name: &str) -> Option<PathBuf> {
        self.make_group(name).map(|(leaf, _)| leaf)
    }

    /// The same, and whether it has just been made.
    fn make_group(&self, name: &str) -> Option<(PathBuf, bool)> {
        let leaf = self.setup.cgroups.as_ref()?.join(name);
        match fs::create_dir(&leaf) {
            Ok(()) => Some((leaf, true)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Some((leaf, false)),
            Err(_) => None,
        }
    }

    /// A service's control group, which mostly is there already.
    fn open_group(&self, name: &str) -> Option<File> {
        let leaf = self.setup.cgroups.as_ref()?.join(name);
        let there = File::open(&leaf).ok();
        there.or_else(|| File::open(self.cgroup_leaf(name)?).ok())
    }

    /// Sets the limits of a service's control group. A service whose limits cannot be set runs all the same, and that is said.
    fn limit_group(&mut self, service: &Service, leaf: Option<&Path>) {
        let files = service.resources.files();
        let Some(leaf) = leaf else {
            if !files.is_empty() {
                let name = &service.name;
                self.say(&format!(
                    "{name}: [resources] is without effect, because there are no control groups"
                ));
            }
            return;
        };
        for (file, value) in files {
            if let Err(error) = groups::set(leaf, file, &value) {
                self.say(&format!("{}: {file} cannot be set to {value}: {error}", service.name));
            }
        }
    }

    /// Ends whatever is in the service's control group (Linux 5.14).
    pub(super) fn kill_cgroup(&self, id: Id) {
        if let Some(leaf) = self.slots.get(&id).and_then(|slot| slot.cgroup.as_ref()) {
            let _ = fs::write(leaf.join("cgroup.kill"), "1");
        }
    }

    /// Beside the control socket: `my_init.sock` has its notify sockets in `my_init.notify/`.
    pub(super) fn notify_directory(&self) -> PathBuf {
        self.setup.socket.with_extension("notify")
    }
}

/// A terminal, without making it ours.
fn open_tty(path: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

fn make_notify(slot: &mut Slot, epoll: &OwnedFd, id: Id, path: &Path, owner: Option<(u32, u32)>) -> io::Result<()> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    slot.open_notify(epoll, id, path.to_owned())?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    match owner {
        Some((user, group)) => std::os::unix::fs::chown(path, Some(user), Some(group)),
        None => Ok(()),
    }
}
