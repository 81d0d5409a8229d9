//! Sockets that are open before their service runs, and stay open while it does not.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::Path;

use mos_service::{Listen, Service, Sockets};
use mos_sys::fork::Leftovers;
use rustix::event::epoll::{self, EventFlags};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};

use super::conditions::look_up_owner;
use super::legacy::key;
use super::{Driver, Id, Token, data, unwatch};
use crate::note::Note;
use crate::services::c_string;

/// A socket, and where it listens as its service file says.
#[derive(Debug)]
pub(super) struct Bound {
    listen: String,
    pub(super) file: OwnedFd,
}

impl Driver {
    /// Opens those sockets of a service that are not open, and closes those that it has no more.
    pub(super) fn open_sockets(&mut self, id: Id, service: &Service) -> Result<(), String> {
        self.unwatch_sockets(id);
        let mut old = self.sockets.remove(&id).unwrap_or_default();
        let mut bound = Vec::new();
        let mut failed = None;
        if let Some(sockets) = &service.sockets {
            for listen in &sockets.listen {
                let name = listen.to_string();
                if let Some(place) = old.iter().position(|one| one.listen == name) {
                    bound.push(old.swap_remove(place));
                    continue;
                }
                match open(listen, sockets) {
                    Ok(file) => bound.push(Bound { listen: name, file }),
                    Err(error) => {
                        failed.get_or_insert(format!("{name}: {error}"));
                    }
                }
            }
        }
        self.retire_sockets(id, old);
        if !bound.is_empty() {
            self.sockets.insert(id, bound);
        }
        failed.map_or(Ok(()), Err)
    }

    /// Waits for whoever connects.
    pub(super) fn watch_sockets(&self, id: Id) -> Result<(), String> {
        for socket in self.sockets.get(&id).into_iter().flatten() {
            epoll::add(&self.epoll, &socket.file, data(Token::Socket(id)), EventFlags::IN)
                .map_err(|error| format!("{}: {}", socket.listen, io::Error::from(error)))?;
        }
        Ok(())
    }

    /// The service itself waits for them now, or nobody does.
    pub(super) fn unwatch_sockets(&self, id: Id) {
        for socket in self.sockets.get(&id).into_iter().flatten() {
            unwatch(&self.epoll, &socket.file);
        }
    }

    /// Somebody has connected: nothing is taken from the socket, that is for the service.
    pub(super) fn connection(&mut self, id: Id) {
        self.unwatch_sockets(id);
        self.supervisor.connected(id, self.now());
    }

    pub(super) fn close_sockets(&mut self, id: Id) {
        self.unwatch_sockets(id);
        let old = self.sockets.remove(&id).unwrap_or_default();
        self.retire_sockets(id, old);
    }

    /// They are closed when they are noted no longer, see [`super::slot::Slot::retire`].
    fn retire_sockets(&mut self, id: Id, old: Vec<Bound>) {
        for socket in old {
            if socket.listen.starts_with('/') {
                let _ = fs::remove_file(&socket.listen);
            }
            self.retired.push(socket.file);
        }
        self.supervisor.touch(id);
    }

    /// What tells a service about its sockets (sd_listen_fds(3)), besides `LISTEN_PID`.
    pub(super) fn socket_variables(&self, id: Id, service: &Service) -> Vec<CString> {
        let Some(bound) = self.sockets.get(&id) else {
            return Vec::new();
        };
        let named = service.sockets.as_ref().map_or(&[][..], |sockets| &*sockets.names);
        let names: Vec<&str> = match named {
            [] => bound.iter().map(|_| &*service.name).collect(),
            names => names.iter().map(String::as_str).collect(),
        };
        let variables = [
            format!("LISTEN_FDS={}", bound.len()),
            format!("LISTEN_FDNAMES={}", names.join(":")),
        ];
        variables.iter().map(|text| c_string(text)).collect()
    }

    /// What a successor needs to have the same.
    pub(super) fn remember_sockets(&self, id: Id, note: &mut Note) {
        for socket in self.sockets.get(&id).into_iter().flatten() {
            let mut part = Note::default();
            part.add_text(1, &socket.listen);
            part.add_file(2, Some(socket.file.as_raw_fd()));
            note.add_part(key::SOCKET, &part);
        }
    }

    /// Takes over what the last supervisor had open for a service.
    pub(super) fn take_over_sockets(&mut self, id: Id, memory: &Note, leftovers: &mut Leftovers) {
        let sockets = memory.parts(key::SOCKET).filter_map(|socket| {
            let file = leftovers.take(socket.small(2)?)?;
            let listen = socket.text(1);
            Some(Bound { listen, file })
        });
        let sockets: Vec<Bound> = sockets.collect();
        let Some(unit) = self.supervisor.unit(id) else { return };
        let listening = *unit.state() == crate::supervisor::State::Listening;
        let complete = unit.service().sockets.as_ref().map_or(0, |wanted| wanted.listen.len()) == sockets.len();
        if !sockets.is_empty() {
            self.sockets.insert(id, sockets);
        }
        if listening && (!complete || self.watch_sockets(id).is_err()) {
            self.supervisor.listen_anew(id, self.now());
        }
    }
}

fn open(listen: &Listen, sockets: &Sockets) -> Result<OwnedFd, String> {
    let told = |error: rustix::io::Errno| io::Error::from(error).to_string();
    match listen {
        Listen::Tcp(address) => {
            let file = socket(family(address), SocketType::STREAM).map_err(told)?;
            sockopt::set_socket_reuseaddr(&file, true).map_err(told)?;
            rustix::net::bind(&file, address).map_err(told)?;
            rustix::net::listen(&file, sockets.backlog).map_err(told)?;
            Ok(file)
        }
        Listen::Udp(address) => {
            let file = socket(family(address), SocketType::DGRAM).map_err(told)?;
            rustix::net::bind(&file, address).map_err(told)?;
            Ok(file)
        }
        Listen::Unix(path) => open_unix(Path::new(path), sockets),
    }
}

fn socket(family: AddressFamily, kind: SocketType) -> rustix::io::Result<OwnedFd> {
    rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, None)
}

/// One that a service that is no more has left there is replaced; another file is not.
fn open_unix(path: &Path, sockets: &Sockets) -> Result<OwnedFd, String> {
    let owner = look_up_owner(sockets.user.as_ref(), sockets.group.as_ref())?;
    let opened = || -> io::Result<OwnedFd> {
        if fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket()) {
            fs::remove_file(path)?;
        }
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)?;
        }
        let file = socket(AddressFamily::UNIX, SocketType::STREAM)?;
        // The file is made with the permissions of the socket: nobody gets in before its owner is right.
        rustix::fs::fchmod(&file, rustix::fs::Mode::from_raw_mode(0o600))?;
        rustix::net::bind(&file, &SocketAddrUnix::new(path)?)?;
        std::os::unix::fs::chown(path, owner.0, owner.1)?;
        fs::set_permissions(path, fs::Permissions::from_mode(sockets.mode))?;
        rustix::net::listen(&file, sockets.backlog)?;
        Ok(file)
    };
    opened().map_err(|error| error.to_string())
}

fn family(address: &std::net::SocketAddr) -> AddressFamily {
    match address.is_ipv4() {
        true => AddressFamily::INET,
        false => AddressFamily::INET6,
    }
}
