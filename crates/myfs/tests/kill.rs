//! Daemons and stores that end at any moment under load: readers get right bytes or an error in time, what was kept
//! is right, and the next daemon, or the store when it is back, goes on from there.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use common::{FILES, Setting, alone, bytes, name, within};
use mos_flist::ObjectDigest;
use mos_serve::Server;
use rustix::process::Signal;

/// What the mounts of these tests are told by `--wait`, in seconds.
const WAIT: &str = "1";
/// What one file may take: two reads, the second of which waits, and the machine is busy.
const BOUND: Duration = Duration::from_secs(4);
/// When a store that fell silent is asked again at the latest (10 s), and some time for a busy machine.
const RECOVERY: Duration = Duration::from_secs(15);
/// Readers at the same time.
const READERS: usize = 8;

/// What readers met.
#[derive(Debug, Default)]
struct Met {
    right: usize,
    /// Error numbers.
    errors: Vec<i32>,
    longest: Duration,
}

/// Readers that go on until they are told to stop, each in an order of its own.
struct Readers {
    stop: Arc<AtomicBool>,
    met: Arc<Mutex<Met>>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Readers {
    fn start(setting: &Setting) -> Self {
        let (stop, met) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Met::default())));
        let threads = (0..READERS).map(|reader| {
            let (stop, met, place) = (stop.clone(), met.clone(), setting.path("place"));
            thread::spawn(move || {
                let mut seed = reader * 5;
                while !stop.load(Ordering::Relaxed) {
                    seed = (seed + 7) % FILES;
                    read_one(&place.join(name(seed)), seed, &met);
                }
            })
        });
        let threads = threads.collect();
        Self { stop, met, threads }
    }

    /// What they met so far; counts from zero again.
    fn met(&self) -> Met {
        std::mem::take(&mut *self.met.lock().unwrap())
    }

    /// Stops them; a reader that hangs is not waited for, since it would never come.
    fn stop(self) -> Met {
        self.stop.store(true, Ordering::Relaxed);
        let done = || self.threads.iter().all(thread::JoinHandle::is_finished);
        within(2 * BOUND, "the end of all readers", done);
        let met = self.met();
        self.threads.into_iter().for_each(|thread| thread.join().unwrap());
        met
    }
}

fn read_one(path: &Path, seed: usize, met: &Mutex<Met>) {
    let start = Instant::now();
    let read = fs::read(path);
    let took = start.elapsed();
    let mut met = met.lock().unwrap();
    met.longest = met.longest.max(took);
    match read {
        Ok(found) if found == bytes(seed) => met.right += 1,
        Ok(_) => panic!("{}: wrong bytes", path.display()),
        Err(error) => {
            met.errors.push(error.raw_os_error().unwrap());
            drop(met);
            // Who reads a dead mount is told so at once.
            thread::sleep(Duration::from_millis(2));
        }
    }
}

/// A process that maps every file and compares it with what it should be: 0 when all are, 3 when one is not, 4 after an
/// error; a page that does not come kills it by SIGBUS.
const MAP: &str = "
import mmap, sys
place, right = sys.argv[1:3]
for name in sys.argv[3:]:
    try:
        with open(place + '/' + name, 'rb') as file:
            found = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)[:]
    except (OSError, ValueError):
        sys.exit(4)
    if found != open(right + '/' + name, 'rb').read():
        sys.exit(3)
";
/// signal(7).
const SIGBUS: i32 = 7;

/// Maps all files, beginning at another one each time; `None` where there is no python3.
fn map(setting: &Setting, first: usize) -> Option<Child> {
    let right = setting.path("right");
    if !right.exists() {
        for seed in 0..FILES {
            fs::create_dir_all(right.join(name(seed)).parent().unwrap()).unwrap();
            fs::write(right.join(name(seed)), bytes(seed)).unwrap();
        }
    }
    let mut command = Command::new("python3");
    command.args(["-c", MAP]).args([setting.path("place"), right]);
    command.args((0..FILES).map(|seed| name((first + seed) % FILES)));
    command.stderr(Stdio::null()).spawn().ok()
}

/// Waits for a process that maps; true when all that it saw was right.
fn mapped(mut child: Child, limit: Duration) -> bool {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            let fault = status.signal() == Some(SIGBUS) || status.code() == Some(4);
            assert!(fault || status.success(), "a process that maps files: {status}");
            return status.success();
        }
        assert!(start.elapsed() < limit, "a process that maps files hangs");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Numbers without a pattern, other ones in each run: told, so that a failure can be repeated.
struct Random(u64);

impl Random {
    fn new() -> Self {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let seed = now.as_nanos() as u64 | 1;
        println!("random numbers from {seed}");
        Self(seed)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 20) % limit
    }

    fn sleep(&mut self, milliseconds: u64) {
        thread::sleep(Duration::from_millis(self.below(milliseconds)));
    }
}

/// The files of a shelf of objects that have a name, and those that are unfinished.
fn objects(setting: &Setting) -> (Vec<PathBuf>, Vec<PathBuf>) {
    let shelves = fs::read_dir(setting.path("cache/objects"))
        .into_iter()
        .flatten()
        .flatten();
    let files = shelves.flat_map(|shelf| fs::read_dir(shelf.path()).unwrap().flatten());
    files
        .map(|entry| entry.path())
        .partition(|path| !path.file_name().unwrap().to_string_lossy().starts_with('.'))
}

/// How many whole files are kept. Each is what its name says.
fn check_objects(setting: &Setting) -> usize {
    let (named, _) = objects(setting);
    for path in &named {
        let found = ObjectDigest::of_reader(&mut fs::File::open(path).unwrap()).unwrap();
        assert_eq!(
            found.to_string(),
            path.file_name().unwrap().to_string_lossy(),
            "a wrong object"
        );
    }
    named.len()
}

fn serve(setting: &Setting, address: SocketAddr) -> Server {
    Server::bind(address, &setting.path("store"), Arc::new(|_| {})).unwrap()
}

fn anywhere() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

fn kill(setting: &Setting) {
    setting.signal(Signal::KILL);
}

#[test]
fn a_daemon_killed_under_load_leaves_errors_and_a_cache_that_is_right() {
    if !alone() {
        return;
    }
    let (setting, mut random) = (Setting::new(), Random::new());
    let server = serve(&setting, anywhere());
    let cache = setting.cache();
    let readers = Readers::start(&setting);
    let mut kept = 0;
    for round in 0..8 {
        setting.mount(&server.url(), &["--how", "fuse", "--cache", &cache, "--wait", WAIT]);
        let mapping = map(&setting, round * 5);
        random.sleep(400);
        kill(&setting);
        mapping.map(|child| mapped(child, 2 * BOUND));
        // What is asked for now was never answered: neither waits nor comes.
        let error = fs::metadata(setting.path("place/never-asked-for")).unwrap_err();
        assert!(matches!(error.raw_os_error(), Some(103 | 107)), "{error}");
        let now = check_objects(&setting);
        assert!(now >= kept, "{now} objects, and {kept} before");
        kept = now;
    }
    let met = readers.stop();
    // EIO, ENOTCONN, ECONNABORTED; ENOENT between two mounts.
    let known = |number: &i32| matches!(number, 2 | 5 | 103 | 107);
    assert!(met.errors.iter().all(known), "{:?}", met.errors);
    assert!(
        met.right > 0 && !met.errors.is_empty(),
        "{} files, {} errors",
        met.right,
        met.errors.len()
    );
    assert!(met.longest < BOUND, "{:?}", met.longest);
    setting.mount(&server.url(), &["--how", "fuse", "--cache", &cache]);
    (0..FILES).for_each(|seed| setting.check(seed));
    assert!(setting.unmount().status.success());
    drop(server);
    // All of it was kept, by whichever daemon.
    setting.mount(
        "http://127.0.0.1:9",
        &["--how", "fuse", "--cache", &cache, "--wait", WAIT],
    );
    (0..FILES).for_each(|seed| setting.check(seed));
    assert!(mapped(map(&setting, 0).unwrap(), BOUND));
}

#[test]
fn a_program_killed_while_it_writes_objects_leaves_none_that_is_wrong() {
    if !alone() {
        return;
    }
    let (setting, mut random) = (Setting::new(), Random::new());
    let cache = setting.cache();
    let list = setting.path("list");
    fs::write(&list, (0..FILES).map(|seed| name(seed) + "\n").collect::<String>()).unwrap();
    let list = list.display().to_string();
    let mut kept = 0;
    for round in 0..12 {
        // In the background of a mount, and before there is one.
        let more: &[&str] = match round % 2 {
            0 => &["--how", "fuse", "--prefetch", &list],
            _ => &["--how", "kernel", "--prefetch-all"],
        };
        let mut command = Command::new(env!("CARGO_BIN_EXE_myfs"));
        command.arg("mount").args([setting.path("x.fl"), setting.path("place")]);
        command.args(["--store", &setting.url(), "--cache", &cache]).args(more);
        let mut program = command.stderr(Stdio::null()).spawn().unwrap();
        thread::sleep(Duration::from_millis(20));
        random.sleep(200);
        // Over already, perhaps.
        let _ = program.kill();
        let status = program.wait().unwrap();
        assert!(status.success() || status.signal() == Some(9), "{status}");
        let now = check_objects(&setting);
        assert!(now >= kept, "{now} objects, and {kept} before");
        kept = now;
        let _ = setting.unmount();
    }
    let (_, unfinished) = objects(&setting);
    let long_ago = SystemTime::now() - Duration::from_secs(7200);
    for path in &unfinished {
        fs::File::open(path).unwrap().set_modified(long_ago).unwrap();
    }
    setting.mount(
        &setting.url(),
        &["--how", "kernel", "--cache", &cache, "--prefetch-all"],
    );
    assert_eq!(objects(&setting).1, Vec::<PathBuf>::new(), "old unfinished files");
    assert_eq!(check_objects(&setting), FILES);
    (0..FILES).for_each(|seed| setting.check(seed));
}

/// What stands in for a store.
#[derive(Clone, Copy, PartialEq)]
enum Impostor {
    /// Takes requests and says nothing, not even later.
    Silent,
    /// Answers with what is no HTTP.
    Noise,
    /// Answers as a store does, with other bytes.
    Liar,
}

/// An impostor at an address, until it is dropped. Connections that it keeps silent about stay open for good.
struct Posing {
    ending: Arc<AtomicBool>,
    address: SocketAddr,
    thread: Option<thread::JoinHandle<()>>,
}

impl Posing {
    fn start(kind: Impostor, address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let ending = Arc::new(AtomicBool::new(false));
        let end = ending.clone();
        let thread = thread::spawn(move || {
            while let Ok((client, _)) = listener.accept() {
                if end.load(Ordering::Relaxed) {
                    return;
                }
                match kind {
                    Impostor::Silent => std::mem::forget(client),
                    // A client that goes away is none of our business.
                    _ => drop(pose(kind, client)),
                }
            }
        });
        let thread = Some(thread);
        Self {
            ending,
            address,
            thread,
        }
    }
}

impl Drop for Posing {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::Relaxed);
        TcpStream::connect(self.address).unwrap();
        self.thread.take().unwrap().join().unwrap();
    }
}

fn pose(kind: Impostor, mut client: TcpStream) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    if kind == Impostor::Noise {
        return client.write_all(&bytes(1));
    }
    let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
    let range = head
        .lines()
        .find_map(|line| line.strip_prefix("range: bytes="))
        .unwrap();
    let (first, last) = range.split_once('-').unwrap();
    let length = last.parse::<usize>().unwrap() + 1 - first.parse::<usize>().unwrap();
    let answer = format!(
        "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {range}/99999999\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n"
    );
    client.write_all(answer.as_bytes())?;
    client.write_all(&vec![b'x'; length])
}

/// While readers are at work, a store ends and something else, or nothing, is at its address; then it is back.
fn store_goes_away(instead: Option<Impostor>, cached: bool) {
    let setting = Setting::new();
    let server = serve(&setting, anywhere());
    let (address, url, cache) = (server.address(), server.url(), setting.cache());
    let mut options = vec!["--how", "fuse", "--wait", WAIT];
    if cached {
        options.extend(["--cache", &cache]);
    }
    setting.mount(&url, &options);
    let readers = Readers::start(&setting);
    // In the middle of what they read, which takes longer.
    within(BOUND, "the first file", || readers.met.lock().unwrap().right > 0);
    drop(server);
    let posing = instead.map(|kind| Posing::start(kind, address));
    within(2 * BOUND, "errors", || {
        readers.met.lock().unwrap().errors.len() >= READERS
    });
    let mapping = map(&setting, 3);
    thread::sleep(Duration::from_secs(1));
    // Names and attributes need no store.
    let now = Instant::now();
    assert_eq!(
        fs::read_dir(setting.path("place/d0")).unwrap().count(),
        FILES.div_ceil(3)
    );
    assert!(now.elapsed() < Duration::from_secs(1), "{:?}", now.elapsed());
    let met = readers.met();
    assert!(met.errors.iter().all(|number| *number == 5), "EIO: {:?}", met.errors);
    assert!(met.longest < BOUND, "{:?}", met.longest);
    if let Some(child) = mapping {
        assert!(!mapped(child, BOUND), "all files were mapped while the store was away");
    }
    drop(posing);
    let _server = serve(&setting, address);
    let back = Instant::now();
    within(RECOVERY, "right bytes again", || {
        (0..FILES).all(|seed| fs::read(setting.file(seed)).is_ok())
    });
    println!(
        "right bytes {:?} after the store was back; a read took {:?} at most",
        back.elapsed(),
        met.longest
    );
    let met = readers.stop();
    assert!(met.right > 0 && met.longest < BOUND, "{met:?}");
    (0..FILES).for_each(|seed| setting.check(seed));
    check_objects(&setting);
}

#[test]
fn a_store_that_stops_is_an_error_in_time_and_reads_go_on_when_it_is_back() {
    if alone() {
        store_goes_away(None, false);
    }
}

#[test]
fn a_store_that_falls_silent_is_an_error_in_time_and_reads_go_on_when_it_is_back() {
    if alone() {
        store_goes_away(Some(Impostor::Silent), false);
    }
}

#[test]
fn a_store_that_talks_nonsense_is_an_error_in_time_and_reads_go_on_when_it_is_back() {
    if alone() {
        store_goes_away(Some(Impostor::Noise), true);
    }
}

#[test]
fn a_store_that_lies_is_an_error_and_its_lies_are_not_kept() {
    if alone() {
        store_goes_away(Some(Impostor::Liar), true);
    }
}
