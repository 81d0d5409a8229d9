//! Starting processes.

use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use mos_service::{Command, Service};
use mos_sys::spawn::Spawn;

use super::slot::Slot;
use super::{Driver, Id, Owner};
use crate::services::{PATH, c_string, program, stamp};

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
            .filter(|(name, _)| name != "NOTIFY_SOCKET")
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
    fn of(&self, service: &Service, notify: Option<&Path>) -> Vec<CString> {
        let own = &service.environment;
        let inherited = self
            .variables
            .iter()
            .filter(|(name, _)| !own.iter().any(|(other, _)| other == name));
        let variables = inherited
            .chain(own)
            .map(|(name, value)| c_string(&format!("{name}={value}")));
        let notify = notify.map(|path| c_string(&format!("NOTIFY_SOCKET={}", path.display())));
        variables.chain(notify).collect()
    }
}

impl Driver {
    pub(super) fn spawn(&mut self, id: Id) {
        let Some(service) = self.supervisor.begin_spawn(id).cloned() else {
            return;
        };
        match self.try_spawn(id, &service) {
            Ok(pid) => {
                self.children.insert(pid, Owner::Service(id));
                let stamp = stamp(&service, self.environment.path());
                self.supervisor.spawned(id, pid, stamp, self.now());
            }
            Err(error) => self.supervisor.spawn_failed(id, error, self.now()),
        }
    }

    fn try_spawn(&mut self, id: Id, service: &Service) -> Result<u32, String> {
        let command = service.command.as_ref().ok_or("it has no command")?;
        let notify = service.notify.then(|| self.notify_directory().join(&service.name));
        let leaf = self.cgroup_leaf(&service.name);
        let slot = self
            .slots
            .entry(id)
            .or_insert_with(|| Slot::new(service.logging.buffer_bytes));
        slot.ring.set_capacity(service.logging.buffer_bytes);
        let output = slot
            .open_pipe(&self.epoll, id)
            .map_err(|error| format!("log pipe: {error}"))?;
        if let Some(path) = &notify {
            let opened = make_notify(slot, &self.epoll, id, path, service);
            opened.map_err(|error| format!("notify socket {}: {error}", path.display()))?;
        }
        slot.cgroup.clone_from(&leaf);
        self.execute(service, command, &output, notify.as_deref())
    }

    /// Starts a command as the service does: same user, directory, environment and control group.
    pub(super) fn execute(
        &self,
        service: &Service,
        command: &Command,
        output: &OwnedFd,
        notify: Option<&Path>,
    ) -> Result<u32, String> {
        let own_path = service.environment.iter().find(|(name, _)| name == "PATH");
        let path = own_path.map_or(self.environment.path(), |(_, path)| path.as_str());
        let file = program(command, path);
        let arguments: Vec<CString> = command.argv().iter().map(|word| c_string(word)).collect();
        let environment = self.environment.of(service, notify);
        let cgroup = self.cgroup_leaf(&service.name).and_then(|leaf| File::open(leaf).ok());
        let user = service
            .user
            .or(service.group.map(|_| rustix::process::getuid().as_raw()));
        let what = Spawn {
            program: &c_string(&file.to_string_lossy()),
            arguments: &arguments,
            environment: &environment,
            directory: &c_string(&service.directory),
            input: self.null.as_fd(),
            output: output.as_fd(),
            identity: user.zip(service.group),
            open_files: self.setup.open_files,
            cgroup: cgroup.as_ref().map(|leaf| leaf.as_fd()),
            terminal: false,
        };
        mos_sys::spawn::spawn(&what).map_err(|error| match error.step {
            "execute" => format!("{}: {}", file.display(), error.source),
            "working directory" => format!("{}: {}", service.directory, error.source),
            _ => error.to_string(),
        })
    }

    /// The directory of a service's control group, made when it is not there; `None` without cgroup v2.
    fn cgroup_leaf(&self, name: &str) -> Option<PathBuf> {
        let leaf = self.setup.cgroups.as_ref()?.join(name);
        match fs::create_dir(&leaf) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => None,
            _ => Some(leaf),
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

fn make_notify(slot: &mut Slot, epoll: &OwnedFd, id: Id, path: &Path, service: &Service) -> io::Result<()> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    slot.open_notify(epoll, id, path.to_owned())?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    match service.user {
        Some(user) => std::os::unix::fs::chown(path, Some(user), service.group),
        None => Ok(()),
    }
}
