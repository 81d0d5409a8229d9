//! The rig on this machine: a supervisor in process and mount namespaces of its own, and the stamps of its services.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::LIMIT;
use super::stage::{LIBRARIES, Stage};
use super::supervisors::{Kind, Place};
use super::work::Service;

/// Between two looks at the stamps.
const LOOK: Duration = Duration::from_millis(1);

/// A stamp: who, and when, in nanoseconds of CLOCK_MONOTONIC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) number: u32,
    pub(super) time: u64,
}

/// Bytes of one.
const STAMP: u64 = 16;

impl Stamp {
    fn parse(bytes: [u8; STAMP as usize]) -> Self {
        let [a, b, c, d, _, _, _, _, time @ ..] = bytes;
        Self {
            number: u32::from_le_bytes([a, b, c, d]),
            time: u64::from_le_bytes(time),
        }
    }
}

/// What runs; killed with everything below it when dropped.
pub(super) struct Run {
    directory: tempfile::TempDir,
    service: PathBuf,
    child: Child,
    /// When it was started.
    begin: u64,
}

/// Nanoseconds of CLOCK_MONOTONIC.
pub(super) fn now() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()
}

impl Run {
    /// A supervisor with these services.
    pub(super) fn supervise(stage: &Stage, kind: Kind, services: &[Service]) -> Result<Self, String> {
        let program = stage
            .program(kind)
            .ok_or_else(|| format!("{} is not here", kind.name()))?;
        Self::start(stage, |place| {
            fs::create_dir(place.services).map_err(|error| error.to_string())?;
            place.write(kind, services)?;
            Ok(place.command(kind, &program))
        })
    }

    /// The spawn floor: so many oneshots, one after the other.
    pub(super) fn floor(stage: &Stage, count: usize) -> Result<Self, String> {
        Self::start(stage, |place| {
            let mut command = Command::new(place.service);
            command.arg("floor").arg(place.stamps).arg(count.to_string());
            Ok(command)
        })
    }

    fn start(stage: &Stage, prepare: impl FnOnce(&Place<'_>) -> Result<Command, String>) -> Result<Self, String> {
        let directory = tempfile::tempdir_in(stage.folder()).map_err(|error| error.to_string())?;
        let at = |name: &str| directory.path().join(name);
        let service = stage.service();
        let (stamps, services, socket) = (at("stamps"), at("services"), at("socket"));
        File::create(&stamps).map_err(|error| error.to_string())?;
        let what = prepare(&Place {
            service: &service,
            stamps: &stamps,
            services: &services,
            socket: &socket,
            total: None,
        })?;
        let output = || File::create(at("output")).map_err(|error| error.to_string());
        let mut command = Command::new("unshare");
        command.args(["-pf", "--mount-proc", "--kill-child"]);
        // s6 has the paths of its programs compiled in.
        let over = format!(
            "mount -t overlay -o lowerdir={}/usr/bin:/usr/bin none /usr/bin; exec \"$@\"",
            stage.root().display()
        );
        command.args(["sh", "-ec", &over, "sh"]);
        command.arg(what.get_program()).args(what.get_args());
        command.envs(what.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.env("LD_LIBRARY_PATH", stage.root().join(LIBRARIES));
        command.stdin(Stdio::null()).stdout(output()?).stderr(output()?);
        let begin = now();
        let child = command.spawn().map_err(|error| format!("unshare: {error}"))?;
        Ok(Self {
            directory,
            service,
            child,
            begin,
        })
    }

    fn stamps_file(&self) -> PathBuf {
        self.directory.path().join("stamps")
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.directory.path().join("socket")
    }

    /// How many stamps there are.
    pub(super) fn count(&self) -> usize {
        let length = fs::metadata(self.stamps_file()).map_or(0, |metadata| metadata.len());
        usize::try_from(length / STAMP).unwrap_or(0)
    }

    /// Waits until there are so many stamps.
    pub(super) fn wait(&self, count: usize) -> Result<(), String> {
        let end = Instant::now() + LIMIT;
        while self.count() < count {
            if Instant::now() > end {
                let mut said = String::new();
                let _ = File::open(self.directory.path().join("output"))
                    .and_then(|mut file| file.read_to_string(&mut said));
                let said = said.lines().next_back().unwrap_or_default();
                return Err(format!(
                    "{} of {count} services ran in {} s; it said: {said}",
                    self.count(),
                    LIMIT.as_secs()
                ));
            }
            sleep(LOOK);
        }
        Ok(())
    }

    /// Waits until so many services have stamped: milliseconds from the start to the last stamp.
    pub(super) fn time(&self, count: usize) -> Result<f64, String> {
        self.wait(count)?;
        let last = self.stamp(count - 1)?;
        Ok(last.time.saturating_sub(self.begin) as f64 / 1e6)
    }

    /// One of the stamps, in the order in which they came.
    pub(super) fn stamp(&self, index: usize) -> Result<Stamp, String> {
        let mut bytes = [0; STAMP as usize];
        let file = File::open(self.stamps_file());
        let read = file.and_then(|file| file.read_exact_at(&mut bytes, index as u64 * STAMP));
        read.map_err(|error| format!("stamp {index}: {error}"))?;
        Ok(Stamp::parse(bytes))
    }

    /// All processes of the supervisor itself: those that do not run the service's program.
    pub(super) fn supervisors(&self) -> Vec<u32> {
        self.processes(|program| program != self.service)
    }

    /// All processes of services, by the number of the service.
    pub(super) fn services(&self) -> BTreeMap<u32, Vec<u32>> {
        let mut all: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for pid in self.processes(|program| program == self.service) {
            let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let number = words.split(|byte| *byte == 0).nth(3);
            let number = number.and_then(|word| std::str::from_utf8(word).ok()?.parse().ok());
            if let Some(number) = number {
                all.entry(number).or_default().push(pid);
            }
        }
        all
    }

    /// The processes below `unshare` whose program is one of these.
    fn processes(&self, wanted: impl Fn(&Path) -> bool) -> Vec<u32> {
        let parents = parents();
        let root = self.child.id();
        let below = |pid: u32| {
            std::iter::successors(parents.get(&pid), |parent| parents.get(parent)).any(|parent| *parent == root)
        };
        let program = |pid: u32| fs::read_link(format!("/proc/{pid}/exe"));
        let ours = parents.keys().copied().filter(|pid| below(*pid));
        ours.filter(|pid| program(*pid).is_ok_and(|program| wanted(&program)))
            .collect()
    }

    /// The first process of the namespace.
    pub(super) fn init(&self) -> Result<u32, String> {
        let own = self.child.id();
        let parents = parents();
        let child = parents.iter().find(|(_, parent)| **parent == own);
        child
            .map(|(pid, _)| *pid)
            .ok_or_else(|| "the supervisor is gone".to_owned())
    }

    /// Milliseconds until it has ended by itself.
    pub(super) fn ended(&mut self) -> Result<f64, String> {
        let begin = Instant::now();
        while begin.elapsed() < LIMIT {
            if self.child.try_wait().map_err(|error| error.to_string())?.is_some() {
                return Ok(begin.elapsed().as_secs_f64() * 1e3);
            }
            sleep(LOOK);
        }
        Err(format!("it did not end in {} s", LIMIT.as_secs()))
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        // `unshare` takes the first process of the namespace with it, and that everybody else.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a signal.
pub(super) fn send(pid: u32, signal: rustix::process::Signal) -> Result<(), String> {
    let number = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    let number = number.ok_or_else(|| format!("no process {pid}"))?;
    rustix::process::kill_process(number, signal).map_err(|error| format!("process {pid}: {error}"))
}

/// Every process's parent.
fn parents() -> BTreeMap<u32, u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid: u32| Some((pid, parent(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?)))
        .collect()
}

/// The fourth field of `/proc/PID/stat`; the second, a name in brackets, may have anything in it.
fn parent(stat: &str) -> Option<u32> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(1)?.parse().ok()
}

/// The sum, over all processes of the supervisor, of a number in kilobytes in a file such as `/proc/PID/status`; in
/// megabytes.
pub(super) fn megabytes(run: &Run, file: &str, name: &str) -> f64 {
    let of = |pid: u32| field(Path::new(&format!("/proc/{pid}/{file}")), name);
    let kilobytes: u64 = run.supervisors().into_iter().map(of).sum();
    kilobytes as f64 * 1024.0 / 1e6
}

/// A number in kilobytes or without unit, of a file such as `/proc/PID/status`.
pub(super) fn field(file: &Path, name: &str) -> u64 {
    let text = fs::read_to_string(file).unwrap_or_default();
    value(&text, name).unwrap_or(0)
}

fn value(text: &str, name: &str) -> Option<u64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_has_the_layout_of_service_c() {
        let mut bytes = [0; 16];
        (bytes[0], bytes[4], bytes[8], bytes[9]) = (7, 1, 2, 1);
        assert_eq!(Stamp::parse(bytes), Stamp { number: 7, time: 258 });
    }

    #[test]
    fn what_proc_says_is_understood() {
        assert_eq!(parent("12 (a) b) S 7 12 12"), Some(7));
        let text = "Name:\tx\nVmRSS:\t  1234 kB\nvoluntary_ctxt_switches:\t5\n";
        assert_eq!(value(text, "VmRSS"), Some(1234));
        assert_eq!(value(text, "voluntary_ctxt_switches"), Some(5));
        assert_eq!(value(text, "Vm"), None);
    }
}
