//! The server: a listener, a thread for each connection, and an orderly end.

use crate::connection::{self, Entry};
use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Connections served at the same time; more are told to come back.
const MAX_CONNECTIONS: usize = 256;
/// Pause after a failed accept, for example when file descriptors run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Told of each request.
pub type Logger = Arc<dyn Fn(&Entry) + Send + Sync>;

/// Why a server cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The directory cannot be opened.
    #[error("cannot serve {directory}: {source}")]
    Directory {
        /// The directory.
        directory: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The address cannot be used.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
}

/// A server that runs until it is dropped; requests in flight are then cut off.
pub struct Server {
    address: SocketAddr,
    state: Arc<State>,
    listener: Option<JoinHandle<()>>,
}

/// What the threads of a server share.
struct State {
    root: OwnedFd,
    log: Logger,
    ending: AtomicBool,
    connections: Mutex<Connections>,
    closed: Condvar,
}

#[derive(Default)]
struct Connections {
    next: u64,
    open: HashMap<u64, TcpStream>,
}

impl Server {
    /// Serves a directory at this address; port 0 takes a free one.
    ///
    /// # Errors
    /// [`ServeError`].
    pub fn bind(address: SocketAddr, directory: &Path, log: Logger) -> Result<Self, ServeError> {
        let root = open_directory(directory).map_err(|source| ServeError::Directory {
            directory: directory.into(),
            source,
        })?;
        let bind = |source| ServeError::Bind { address, source };
        let listener = TcpListener::bind(address).map_err(bind)?;
        let address = listener.local_addr().map_err(bind)?;
        let (ending, connections, closed) = Default::default();
        let state = Arc::new(State {
            root,
            log,
            ending,
            connections,
            closed,
        });
        let shared = Arc::clone(&state);
        let thread = spawn("serve", move || accept(&listener, &shared)).map_err(bind)?;
        Ok(Self {
            address,
            state,
            listener: Some(thread),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL of the directory.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.state.ending.store(true, Ordering::SeqCst);
        // The listener waits in accept; a connection wakes it up.
        let woken = TcpStream::connect(reachable(self.address)).is_ok();
        if let Some(listener) = self.listener.take().filter(|_| woken) {
            // A listener that panicked has ended, too.
            let _ = listener.join();
        }
        self.state.close_all();
    }
}

impl State {
    // No code panics while it holds the lock, so poison carries no news.
    fn connections(&self) -> MutexGuard<'_, Connections> {
        self.connections.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Registers a connection, unless there are too many.
    fn admit(&self, stream: &TcpStream) -> io::Result<Option<u64>> {
        let mut connections = self.connections();
        if connections.open.len() >= MAX_CONNECTIONS {
            return Ok(None);
        }
        let id = connections.next;
        connections.next += 1;
        connections.open.insert(id, stream.try_clone()?);
        Ok(Some(id))
    }

    fn forget(&self, id: u64) {
        self.connections().open.remove(&id);
        self.closed.notify_all();
    }

    /// Cuts off every connection and waits for their threads.
    fn close_all(&self) {
        let mut connections = self.connections();
        for stream in connections.open.values() {
            // One that is closed already needs no closing.
            let _ = stream.shutdown(Shutdown::Both);
        }
        while !connections.open.is_empty() {
            connections = self
                .closed
                .wait(connections)
                .unwrap_or_else(|poisoned| poisoned.into_inner());
        }
    }
}

fn accept(listener: &TcpListener, state: &Arc<State>) {
    loop {
        let accepted = listener.accept();
        if state.ending.load(Ordering::SeqCst) {
            return;
        }
        match accepted {
            Ok((stream, peer)) => hand_over(stream, peer, state),
            Err(_) => thread::sleep(ACCEPT_PAUSE),
        }
    }
}

/// Gives a connection its thread. One that cannot have any is closed: the client will try again.
fn hand_over(stream: TcpStream, peer: SocketAddr, state: &Arc<State>) {
    match state.admit(&stream) {
        Ok(Some(id)) => {
            let registration = Registration {
                state: Arc::clone(state),
                id,
            };
            // A failed spawn drops the closure, and with it the registration.
            let _ = spawn("serve-connection", move || {
                connection::serve(stream, peer, &registration.state.root, &registration.state.log);
            });
        }
        Ok(None) => connection::turn_away(stream, peer, &state.log),
        Err(_) => {}
    }
}

/// A registered connection; forgotten however its thread ends.
struct Registration {
    state: Arc<State>,
    id: u64,
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.state.forget(self.id);
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name(name.into()).spawn(run)
}

fn open_directory(path: &Path) -> io::Result<OwnedFd> {
    use rustix::fs::{Mode, OFlags};
    Ok(rustix::fs::open(
        path,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?)
}

/// An address at which a listener on all addresses can be reached from this machine.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}
