//! A network between a client and a server on this machine: each direction of talk waits, and what comes back is paced.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// From a request to the first byte of its answer, on top of what the server needs; and for a new connection once more.
pub(super) const LATENCY: Duration = Duration::from_millis(20);
/// Bytes a second that come back, over all connections: 100 Mbit/s.
pub(super) const RATE: u64 = 12_500_000;
/// Bytes that are passed on at a time.
const PIECE: usize = 16 << 10;

/// The network; ends when dropped.
pub(super) struct Link {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    server: SocketAddr,
    ending: AtomicBool,
    /// Bytes that came back.
    passed: AtomicU64,
    /// When the line is free again.
    free: Mutex<Instant>,
}

impl Link {
    /// A network in front of a server.
    pub(super) fn to(server: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            server,
            ending: AtomicBool::new(false),
            passed: AtomicU64::new(0),
            free: Mutex::new(Instant::now()),
        });
        let link = Self {
            address,
            shared: Arc::clone(&shared),
        };
        thread::spawn(move || accept(&listener, &shared));
        Ok(link)
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Bytes that came back so far.
    pub(super) fn passed(&self) -> u64 {
        self.shared.passed.load(Ordering::Relaxed)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.shared.ending.store(true, Ordering::SeqCst);
        // Wakes the listener; when that fails it is gone already.
        let _ = TcpStream::connect(self.address);
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    while let Ok((client, _)) = listener.accept() {
        if shared.ending.load(Ordering::SeqCst) {
            return;
        }
        let shared = Arc::clone(shared);
        // A client or a server that goes away ends its connection and nothing else.
        thread::spawn(move || serve(&shared, &client));
    }
}

fn serve(shared: &Arc<Shared>, client: &TcpStream) -> io::Result<()> {
    thread::sleep(LATENCY);
    let server = TcpStream::connect(shared.server)?;
    for stream in [client, &server] {
        stream.set_nodelay(true)?;
    }
    let (asking, asked) = (client.try_clone()?, server.try_clone()?);
    thread::spawn(move || {
        let _ = requests(&asking, &asked);
        let _ = asked.shutdown(Shutdown::Write);
    });
    let _ = answers(shared, &server, client);
    client.shutdown(Shutdown::Both)
}

/// What the client says arrives late. A client that waits for its answer waits once for each request.
fn requests(mut client: &TcpStream, mut server: &TcpStream) -> io::Result<()> {
    let mut piece = vec![0; PIECE];
    loop {
        let read = client.read(&mut piece)?;
        if read == 0 {
            return Ok(());
        }
        thread::sleep(LATENCY);
        server.write_all(&piece[..read])?;
    }
}

/// What the server says comes at the line's rate.
fn answers(shared: &Shared, mut server: &TcpStream, mut client: &TcpStream) -> io::Result<()> {
    let mut piece = vec![0; PIECE];
    loop {
        let read = server.read(&mut piece)?;
        if read == 0 {
            return Ok(());
        }
        shared.pace(read as u64);
        client.write_all(&piece[..read])?;
    }
}

impl Shared {
    /// Waits until the line has taken this many bytes more.
    fn pace(&self, bytes: u64) {
        self.passed.fetch_add(bytes, Ordering::Relaxed);
        let until = {
            let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
            *free = (*free).max(Instant::now()) + Duration::from_nanos(bytes * 1_000_000_000 / RATE);
            *free
        };
        thread::sleep(until.saturating_duration_since(Instant::now()));
    }
}
