//! What only whole-node tests need of a system: its server, its disks, its machine.

use std::cell::Cell;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use mos_serve::Server;
use mos_vm::{Boot, Disk, Line, Machine, Vm, VmError, disk};

use crate::support::run;
pub(crate) use crate::support::{Script, System, mos};

/// A boot under software emulation on a busy machine, with room to spare.
pub(crate) const BOOT: Duration = Duration::from_secs(150);
/// Processor time after which a machine that was waited for that long has had its chance: a boot through firmware takes
/// about 15 s.
const WORK: Duration = Duration::from_secs(60);
/// The most by the clock; less than what ends a test (.config/nextest.toml).
const MOST: Duration = Duration::from_secs(480);
/// How often the machine's work is looked at.
const ROUND: Duration = Duration::from_secs(5);
/// From the end of a machine until its console was read to the end.
const LAST_WORDS: Duration = Duration::from_secs(2);
const DISK: u64 = 64 << 20;

impl System {
    /// Publishes a release that was made at this time (seconds since 1970).
    pub(crate) fn publish_at(&self, epoch: i64) {
        run(self.publish_command().env("SOURCE_DATE_EPOCH", epoch.to_string()));
    }

    /// Serves the channel on a free port, until it is dropped.
    pub(crate) fn serve(&self) -> Server {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Server::bind(any, &self.channel(), Arc::new(|_| {})).unwrap()
    }

    /// A disk for the node's state.
    pub(crate) fn disk(&self) -> Disk {
        disk::data(&self.folder().join("state.raw"), DISK, false).unwrap()
    }

    /// Boots the image as it was published, with the channel at a port of this host.
    pub(crate) fn boot(&self, port: u16, disks: Vec<Disk>) -> Vm {
        self.boot_with(port, "", |machine| machine.disks = disks)
    }

    /// The same with more arguments for the kernel, on a machine that has more.
    pub(crate) fn boot_with(&self, port: u16, arguments: &str, equip: impl FnOnce(&mut Machine)) -> Vm {
        self.boot_adding(&format!(" mos.channel=http://10.0.2.2:{port} {arguments}"), equip)
    }

    /// Boots the image with its own settings and nothing else.
    pub(crate) fn boot_as_built(&self) -> Vm {
        self.boot_adding("", |_| {})
    }

    fn boot_adding(&self, arguments: &str, equip: impl FnOnce(&mut Machine)) -> Vm {
        let output = self.folder().join("image");
        run(self
            .command(&["image", "build", "--env", "dev", "--output-dir"])
            .arg(&output));
        let efi = fs::read(output.join("vmlinuz.efi")).unwrap();
        let sections = mos_boot::uki::extract(&efi).unwrap();
        let put = |section: &str| {
            let path = self.folder().join(section.trim_start_matches('.'));
            fs::write(&path, sections[section]).unwrap();
            path
        };
        let command_line = String::from_utf8_lossy(sections[".cmdline"]);
        let command_line = command_line.trim_end_matches(['\0', '\n']);
        let mut machine = Machine::new(Boot::Direct {
            kernel: put(".linux"),
            initrd: Some(put(".initrd")),
            command_line: format!("{command_line}{arguments}").into(),
        });
        machine.memory = 512;
        equip(&mut machine);
        Vm::start(
            &machine,
            mos_vm::Output {
                echo: None,
                log: None,
                interactive: false,
            },
        )
        .unwrap()
    }
}

/// A port on which nobody listens, and nobody will: it lies below those from which the kernel takes the ports of other
/// tests' servers (`ip_local_port_range` begins at 32768), and each process looks in another place.
pub(crate) fn dead_port() -> u16 {
    static TAKEN: AtomicU16 = AtomicU16::new(0);
    let first = u16::try_from(std::process::id() % 1000).unwrap() * 10;
    loop {
        let port = 20_000 + (first + TAKEN.fetch_add(1, Ordering::Relaxed)) % 10_000;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}

/// How long a machine is waited for. On a busy host a boot takes as much processor time as ever and many times as long by
/// the clock: so the clock alone ends nothing before [`MOST`], and a machine that does nothing or turns in circles is
/// found out all the same.
pub(crate) struct Patience {
    machine: u32,
    begin: Instant,
    used: Duration,
    /// Since when there is known to be no machine.
    ended: Cell<Option<Instant>>,
}

impl Patience {
    pub(crate) fn new(vm: &Vm) -> Self {
        Self {
            machine: vm.id(),
            begin: Instant::now(),
            used: processor_time(vm.id()),
            ended: Cell::new(None),
        }
    }

    /// True also when there is no machine any more, and has not been for as long as its last words take.
    pub(crate) fn is_over(&self) -> bool {
        if has_ended(self.machine) {
            let since = self.ended.get().unwrap_or_else(Instant::now);
            self.ended.set(Some(since));
            return since.elapsed() >= LAST_WORDS;
        }
        let waited = self.begin.elapsed();
        let used = processor_time(self.machine).saturating_sub(self.used);
        waited >= MOST || waited >= BOOT && used >= WORK
    }
}

/// True for a process whose end has not been taken notice of yet: `Z` in /proc/PID/stat (proc_pid_stat(5)).
fn has_ended(process: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('Z'))
}

/// What a process has used of processors (proc_pid_stat(5): utime and stime, in hundredths of a second).
fn processor_time(process: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let fields = stat.rsplit_once(") ").map(|(_, rest)| rest.split(' ').skip(11).take(2));
    let ticks = fields
        .into_iter()
        .flatten()
        .filter_map(|field| field.parse::<u64>().ok());
    Duration::from_millis(ticks.sum::<u64>() * 10)
}

/// Waits for a line of the console with as much patience.
pub(crate) fn wait_for(vm: &mut Vm, pattern: &str) -> Line {
    let patience = Patience::new(vm);
    loop {
        match vm.wait_for(pattern, ROUND) {
            Err(VmError::Timeout { .. }) if !patience.is_over() => {}
            other => return other.unwrap(),
        }
    }
}

/// Waits until the console has said all of these, in any order.
pub(crate) fn wait_all(vm: &Vm, patterns: &[&str]) {
    let patience = Patience::new(vm);
    loop {
        let said = console(vm);
        let Some(missing) = patterns.iter().find(|pattern| !said.contains(**pattern)) else {
            return;
        };
        assert!(
            !patience.is_over(),
            "`{missing}` did not appear on the console:\n{said}"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Waits until the console has said one of these, whole: what comes from a serial line may be half a word at any moment.
pub(crate) fn wait_any<'p>(vm: &Vm, patterns: &[&'p str]) -> &'p str {
    let patience = Patience::new(vm);
    loop {
        let said = console(vm);
        if let Some(found) = patterns.iter().find(|pattern| said.contains(**pattern)) {
            return found;
        }
        assert!(
            !patience.is_over(),
            "none of {patterns:?} appeared on the console:\n{said}"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The console so far, as text.
pub(crate) fn console(vm: &Vm) -> String {
    vm.console().iter().map(|line| format!("{}\n", line.text)).collect()
}
