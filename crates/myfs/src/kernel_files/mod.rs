//! `myfs kernel-files`: the service that puts all modules and firmware of a release over those of the image.
//!
//! * **Nothing is hidden that cannot be replaced.** An flist is mounted once something of it was read from its store;
//!   until then the files of the image stay in sight. So a store that is away delays no boot and takes nothing away.
//! * **What is mounted is left alone**, whoever did it. What was mounted here and is gone is mounted again; what a dead
//!   process left is replaced.
//! * **Ready** (`READY=1`, as in `sd_notify`(3)) after the first try, when devices were looked at with what it brought.
//!   Later tries go on in the background, and devices are looked at again after each that brings something.
//!
//! * **A release with other flists** is noticed within seconds: the service ends, and its supervisor starts it anew.
//!
//! The threads that answer the kernel are this process's own. It therefore touches nothing below its mounts itself: a
//! process that is killed while it waits for its own answer never ends. Devices are looked at by a child.

mod plan;

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode};
use std::time::{Duration, Instant};

use mos_mount::{How, MountOptions, Mounted, TRIES};
use mos_sys::signals::Signals;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::run::{END, Failure, io_error, patience, source};
use plan::{FLISTS, Facts, Part, Plan, is_source, mounted_at};

/// Where content is kept, below the root.
const CACHE: &str = "var/cache/mos/kernel-files";
/// Bytes of whole files that are kept, and of parts of blobs: a node without a disk has them in memory.
const CACHE_BYTES: u64 = 256 << 20;
/// How long a read of a module or firmware waits for the store.
const WAIT: Duration = Duration::from_secs(30);
/// Between two tries of a mount: the first wait, which doubles up to the second.
const RETRY: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(60));
/// How often it is looked whether everything is still mounted.
const LOOK: Duration = Duration::from_secs(5);
/// How long the first look at the devices may hold up those who wait for this service.
const DISCOVERY: Duration = Duration::from_secs(30);
/// How often it is looked whether the devices have been looked at.
const BEAT: Duration = Duration::from_millis(50);

/// Runs until a signal ends it; `root` is `/` but in tests.
pub(crate) fn run(root: &Path) -> ExitCode {
    match serve(root) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("myfs: {error}");
            error.code().into()
        }
    }
}

fn serve(root: &Path) -> Result<(), Failure> {
    mos_sys::memory::give_back();
    // Before there are threads, so that all of them leave the signals alone.
    let signals = Signals::new(&END).map_err(io_error(root))?;
    let plan = Plan::new(&facts(root)?);
    let files = files(&plan);
    plan.notes.iter().for_each(|note| println!("{note}"));
    let mut service = Service::new(root, plan);
    loop {
        service.advance(Instant::now());
        let until = service.next(Instant::now());
        if waited_for_signal(&signals, until).map_err(io_error(root))? {
            return service.end();
        }
        if self::files(&Plan::new(&facts(root)?)) != files {
            println!("the release has other flists: these are taken away, the service starts anew");
            return service.end();
        }
    }
}

/// Which files a plan is about. A new generation has other ones, also under the same names; one that was only linked
/// again is the same.
fn files(plan: &Plan) -> Vec<(PathBuf, Option<(u64, u64)>)> {
    let file = |part: &Part| {
        let found = fs::metadata(&part.flist).ok();
        (part.flist.clone(), found.map(|file| (file.dev(), file.ino())))
    };
    plan.parts.iter().map(file).collect()
}

fn facts(root: &Path) -> Result<Facts, Failure> {
    let text = |path: &str| fs::read_to_string(root.join(path)).unwrap_or_default();
    let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let flists = fs::read_dir(root.join(FLISTS)).into_iter().flatten().flatten();
    Ok(Facts {
        root: std::path::absolute(root).map_err(io_error(root))?,
        kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
        command_line: text("proc/cmdline"),
        settings: text("etc/mos/node.toml"),
        flists: flists
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect(),
        store: set("FLIST_STORE"),
        modules: set("MODULES_FLIST"),
        firmware: set("FIRMWARE_FLIST"),
    })
}

/// Waits for a signal to end, but not longer than this.
fn waited_for_signal(signals: &Signals, wait: Duration) -> io::Result<bool> {
    let wait = Timespec::try_from(wait).map_err(io::Error::other)?;
    match poll(&mut [PollFd::new(signals, PollFlags::IN)], Some(&wait)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(signals.next()?.is_some()),
        Err(error) => Err(error.into()),
    }
}

/// An flist on its way to its place.
struct Place {
    part: Part,
    state: State,
}

enum State {
    /// Not there; tried again at this time, and after that this much later.
    Waiting { at: Instant, pause: Duration },
    /// There. Without a mount of ours when it was there before.
    Mounted { ours: Option<Mounted> },
}

struct Service {
    root: PathBuf,
    store: String,
    places: Vec<Place>,
    /// A look at the devices that goes on.
    discovery: Option<Child>,
    /// Something was mounted since the last look began.
    undiscovered: bool,
    /// When those who wait for the service are let go at the latest; `None` when they were.
    ready_by: Option<Instant>,
}

impl Service {
    fn new(root: &Path, plan: Plan) -> Self {
        let now = Instant::now();
        let place = |part| Place {
            part,
            state: State::Waiting {
                at: now,
                pause: RETRY.0,
            },
        };
        Self {
            root: root.to_owned(),
            store: plan.store,
            places: plan.parts.into_iter().map(place).collect(),
            discovery: None,
            undiscovered: false,
            ready_by: Some(now + DISCOVERY),
        }
    }

    /// Everything that can be done now.
    fn advance(&mut self, now: Instant) {
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        for place in &mut self.places {
            place.look(&table, now);
            if place.is_due(now) {
                self.undiscovered |= place.attempt(&self.root, &self.store, &table);
            }
        }
        self.discover();
        let waiting = self.discovery.is_some() && self.ready_by.is_some_and(|by| now < by);
        if !waiting && self.ready_by.take().is_some() {
            tell_ready();
        }
    }

    /// Ends the look at the devices that is done, and begins the next one when there is something new.
    fn discover(&mut self) {
        if let Some(child) = &mut self.discovery
            && !matches!(child.try_wait(), Ok(None))
        {
            self.discovery = None;
        }
        if self.discovery.is_none() && std::mem::take(&mut self.undiscovered) {
            let child = std::env::current_exe().and_then(|program| {
                let mut command = Command::new(program);
                command.arg("discover").arg("--root").arg(&self.root).spawn()
            });
            match child {
                Ok(child) => self.discovery = Some(child),
                Err(error) => eprintln!("myfs: devices are not looked at again: {error}"),
            }
        }
    }

    /// How long nothing is to be done.
    fn next(&self, now: Instant) -> Duration {
        if self.discovery.is_some() {
            return BEAT;
        }
        let due = self.places.iter().filter_map(|place| match place.state {
            State::Waiting { at, .. } => Some(at.saturating_duration_since(now)),
            State::Mounted { .. } => None,
        });
        due.min().unwrap_or(LOOK).min(LOOK)
    }

    /// Takes away what is ours, all of it whatever one has against it.
    fn end(self) -> Result<(), Failure> {
        let ended = self.places.into_iter().map(|place| match place.state {
            State::Mounted { ours: Some(mounted) } => mounted.unmount().map(drop),
            State::Mounted { ours: None } | State::Waiting { .. } => Ok(()),
        });
        let ended: Vec<_> = ended.collect();
        Ok(ended.into_iter().collect::<Result<(), _>>()?)
    }
}

impl Place {
    /// Notices when somebody has taken the mount away.
    fn look(&mut self, table: &str, now: Instant) {
        let Part { what, place, .. } = &self.part;
        let gone = match &self.state {
            State::Waiting { .. } => false,
            State::Mounted { ours: Some(_) } => mounted_at(table, place).is_none(),
            State::Mounted { ours: None } => mounted_at(table, place).is_none() || !answers(place),
        };
        if gone {
            println!("{what}: no longer mounted at {}", place.display());
            self.state = State::Waiting {
                at: now,
                pause: RETRY.0,
            };
        }
    }

    fn is_due(&self, now: Instant) -> bool {
        matches!(self.state, State::Waiting { at, .. } if at <= now)
    }

    /// Tries to mount; true when something new is there.
    fn attempt(&mut self, root: &Path, store: &str, table: &str) -> bool {
        let State::Waiting { pause, .. } = self.state else {
            return false;
        };
        let Part { what, flist, place } = &self.part;
        match mount(&self.part, root, store, table) {
            Ok(ours) => {
                match &ours {
                    Some(mounted) => println!(
                        "{what}: {} is mounted at {} ({})",
                        flist.display(),
                        place.display(),
                        mounted.way()
                    ),
                    None => println!("{what}: mounted already at {}", place.display()),
                }
                self.state = State::Mounted { ours };
                true
            }
            Err(error) => {
                println!("{what}: those of the image: {error}; next try in {} s", pause.as_secs());
                self.state = State::Waiting {
                    at: Instant::now() + pause,
                    pause: (pause * 2).min(RETRY.1),
                };
                false
            }
        }
    }
}

/// Mounts, unless something that lives is mounted there.
fn mount(part: &Part, root: &Path, store: &str, table: &str) -> Result<Option<Mounted>, Failure> {
    let place = &part.place;
    match mounted_at(table, place) {
        None => fs::create_dir_all(place).map_err(io_error(place))?,
        Some(found) if !answers(place) => println!("{}: {found} is dead and will be replaced", part.what),
        Some(found) if is_source(found, &part.flist) || !found.starts_with("mos:") => return Ok(None),
        // That of an older release, which nobody but us has put there.
        Some(_) => drop(mos_mount::unmount(place)?),
    }
    let mut options = MountOptions {
        // EROFS and overlay may be modules themselves, and with passthrough the kernel reads files as fast.
        how: How::Fuse,
        cache: Some(root.join(CACHE)),
        cache_bytes: CACHE_BYTES,
        wait: WAIT,
        ..MountOptions::default()
    };
    // One try: whoever waits for this service shall not wait long for a store that is away.
    prove(&source(&part.flist, store, &mut options, &patience(1, root))?)?;
    let source = source(&part.flist, store, &mut options, &patience(TRIES, root))?;
    Ok(Some(mos_mount::mount(source, place, &options)?))
}

/// Whether whatever serves a mount answers. Names and files may still be known to the kernel when it does not; how full it
/// is has to be asked each time.
fn answers(place: &Path) -> bool {
    rustix::fs::statfs(place).is_ok()
}

/// Reads something of an flist that only its store has: the index of the modules, which everybody reads first, or else
/// the shortest file.
fn prove(source: &mos_mount::Source) -> Result<(), Failure> {
    let image = &source.image;
    let inline = |inode| source.flist.as_ref().is_some_and(|flist| flist.is_inline(inode));
    let files = image
        .entries()
        .filter(|entry| entry.size().is_some() && !inline(entry.inode));
    let proof = files.min_by_key(|entry| (entry.path != b"modules.dep", entry.size()));
    let read = proof.map(|entry| image.read_file(&entry, &mut io::sink()));
    read.unwrap_or(Ok(())).map_err(Failure::from)
}

/// Tells the supervisor, if there is one that wants to know, that whoever waits for us may start.
fn tell_ready() {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else {
        return;
    };
    let told = UnixDatagram::unbound().and_then(|socket| socket.send_to(b"READY=1", &path));
    if let Err(error) = told {
        eprintln!("myfs: {}: {error}", Path::new(&path).display());
    }
}
