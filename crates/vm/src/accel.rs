//! What executes the guest's instructions: KVM when it really runs guests here, else QEMU's own translator (TCG).
//!
//! That `/dev/kvm` exists and opens proves nothing: in clouds and containers there are hosts on which a guest never
//! gets anywhere. So a program of a few bytes is started, which says "I ran" by ending QEMU. Even in software that takes a
//! tenth of a second. The verdict is kept until the host reboots. A guest with another processor than the host's is always
//! translated.

use crate::error::VmError;
use crate::tools;
use mos_architecture::Architecture;
use std::env;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What executes the guest's instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accelerator {
    /// The processor itself.
    Kvm,
    /// QEMU's translator: works everywhere, and is much slower.
    Tcg,
}

impl Accelerator {
    /// The value of QEMU's `-accel`.
    pub fn argument(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg,thread=multi",
        }
    }

    /// The value of QEMU's `-cpu`: all that the accelerator can do. Signing pointers as real processors do is half of the
    /// work of an emulated Arm; QEMU has a quicker way of its own.
    pub fn processor(self, architecture: Architecture) -> &'static str {
        match (self, architecture) {
            (Self::Kvm, _) => "host",
            (Self::Tcg, Architecture::X86_64) => "max",
            (Self::Tcg, Architecture::Aarch64) => "max,pauth-impdef=on",
        }
    }
}

/// Which accelerator to use, and why. `Display` gives a line for the user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The one to use.
    pub accelerator: Accelerator,
    /// Why.
    pub reason: String,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.accelerator {
            Accelerator::Kvm => write!(f, "running with KVM ({})", self.reason),
            Accelerator::Tcg => write!(f, "running in software, without KVM ({})", self.reason),
        }
    }
}

/// How long a boot sector may take.
const LIMIT: Duration = Duration::from_secs(3);
const POLL: Duration = Duration::from_millis(10);
/// Where QEMU's `isa-debug-exit` device listens.
const EXIT_PORT: u8 = 0xf4;
/// What the boot sector writes there; QEMU then exits with twice that plus one.
const EXIT_VALUE: u8 = 0x10;
const EXIT_CODE: i32 = EXIT_VALUE as i32 * 2 + 1;
/// `mov al, EXIT_VALUE; out EXIT_PORT, al; hlt; jmp -3`.
const CODE: [u8; 7] = [0xb0, EXIT_VALUE, 0xe6, EXIT_PORT, 0xf4, 0xeb, 0xfd];
const SECTOR: usize = 512;
/// `mov w0, PSCI SYSTEM_OFF; hvc #0; b .` (Arm DEN 0022, "Power State Coordination Interface").
const POWER_OFF: [u32; 4] = [0x52b0_8000, 0x7280_0100, 0xd400_0002, 0x1400_0000];
/// Bytes of the disk with the boot sector: the firmware passes over one of a single sector.
const DISK: usize = 1 << 20;
const BOOT_SIGNATURE: [u8; 2] = [0x55, 0xaa];

/// Finds out what to use for guests of an architecture; asks the cache first.
///
/// # Errors
/// When QEMU is missing or the probe's files cannot be written.
pub fn probe(architecture: Architecture) -> Result<Verdict, VmError> {
    if architecture != Architecture::HOST {
        return Ok(Verdict {
            accelerator: Accelerator::Tcg,
            reason: format!("its processor is {architecture}, and this one {}", Architecture::HOST),
        });
    }
    probe_with_cache(cache_file().as_deref())
}

fn probe_with_cache(cache: Option<&Path>) -> Result<Verdict, VmError> {
    let tcg = |reason: String| Verdict {
        accelerator: Accelerator::Tcg,
        reason,
    };
    if let Err(error) = OpenOptions::new().read(true).write(true).open("/dev/kvm") {
        // Not worth a cache, and may change any moment: a group, a module.
        return Ok(tcg(match error.kind() {
            io::ErrorKind::NotFound => "there is no /dev/kvm".to_owned(),
            io::ErrorKind::PermissionDenied => "no permission for /dev/kvm; join the group kvm".to_owned(),
            _ => format!("/dev/kvm: {error}"),
        }));
    }
    if let Some(known) = cache.and_then(|path| fs::read_to_string(path).ok()) {
        return Ok(from_cache(&known));
    }
    let verdict = match runs_guest(Architecture::HOST, Accelerator::Kvm)? {
        Ok(took) => Verdict {
            accelerator: Accelerator::Kvm,
            reason: format!("a test guest ran in {} ms", took.as_millis()),
        },
        Err(reason) => tcg(format!("/dev/kvm opens, but {reason}")),
    };
    if let Some(path) = cache {
        // Without a cache the next run probes again.
        let _ = write_cache(path, &verdict);
    }
    Ok(verdict)
}

/// What QEMU is to run, and how it ends when it ran.
struct Guest {
    /// Machine, devices, and where the program is from.
    arguments: &'static [&'static str],
    /// The content of the file `program`.
    program: Vec<u8>,
    exit_code: i32,
}

impl Guest {
    fn of(architecture: Architecture) -> Self {
        match architecture {
            Architecture::X86_64 => Self {
                arguments: &[
                    "-machine",
                    "q35",
                    "-device",
                    "isa-debug-exit,iobase=0xf4,iosize=1",
                    "-drive",
                    "format=raw,file=program",
                ],
                program: boot_disk(),
                exit_code: EXIT_CODE,
            },
            // In place of firmware, which begins at address 0.
            Architecture::Aarch64 => Self {
                arguments: &["-machine", "virt,gic-version=max", "-bios", "program"],
                program: POWER_OFF.iter().flat_map(|word| word.to_le_bytes()).collect(),
                exit_code: 0,
            },
        }
    }
}

/// Whether a guest runs: the time it took, or why not.
///
/// # Errors
/// When QEMU is missing or the boot sector cannot be written.
pub fn runs_guest(architecture: Architecture, accelerator: Accelerator) -> Result<Result<Duration, String>, VmError> {
    let qemu = tools::program(tools::qemu(architecture))?;
    let directory = tempfile::tempdir().map_err(VmError::io(env::temp_dir()))?;
    let program = directory.path().join("program");
    let guest = Guest::of(architecture);
    fs::write(&program, &guest.program).map_err(VmError::io(&program))?;
    let said = directory.path().join("stderr");
    let mut command = Command::new(&qemu);
    command
        .args(guest.arguments)
        .args(["-m", "128", "-nodefaults", "-no-reboot", "-display", "none"])
        .args([
            "-accel",
            accelerator.argument(),
            "-cpu",
            accelerator.processor(architecture),
        ])
        .current_dir(directory.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(File::create(&said).map_err(VmError::io(&said))?);
    let begin = Instant::now();
    let mut child = mos_sys::child::die_with_parent(&mut command)
        .spawn()
        .map_err(|source| VmError::Start {
            program: qemu.display().to_string(),
            source,
        })?;
    loop {
        if let Some(status) = child.try_wait().map_err(VmError::io(&qemu))? {
            return Ok(match status.code() {
                Some(code) if code == guest.exit_code => Ok(begin.elapsed()),
                _ => Err(format!("QEMU gave up ({status}){}", last_line(&said))),
            });
        }
        if begin.elapsed() > LIMIT {
            child.kill().and_then(|()| child.wait()).map_err(VmError::io(&qemu))?;
            return Ok(Err(format!("a test guest did nothing for {} s", LIMIT.as_secs())));
        }
        std::thread::sleep(POLL);
    }
}

fn boot_disk() -> Vec<u8> {
    let mut disk = vec![0; DISK];
    disk[..CODE.len()].copy_from_slice(&CODE);
    disk[SECTOR - BOOT_SIGNATURE.len()..SECTOR].copy_from_slice(&BOOT_SIGNATURE);
    disk
}

fn last_line(path: &Path) -> String {
    let text = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    text.lines().last().map(|line| format!(": {line}")).unwrap_or_default()
}

/// One file per boot of the host; `None` when there is no place for it.
fn cache_file() -> Option<PathBuf> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let directory = match env::var_os("XDG_CACHE_HOME").filter(|path| !path.is_empty()) {
        Some(path) => PathBuf::from(path),
        None => PathBuf::from(env::var_os("HOME")?).join(".cache"),
    };
    Some(directory.join("mos").join(format!("kvm-{}", boot.trim())))
}

/// The first word is the accelerator, the rest the reason.
fn from_cache(text: &str) -> Verdict {
    let (name, reason) = text.trim_end().split_once(' ').unwrap_or((text, ""));
    Verdict {
        accelerator: if name == "kvm" {
            Accelerator::Kvm
        } else {
            Accelerator::Tcg
        },
        reason: reason.to_owned(),
    }
}

fn to_cache(verdict: &Verdict) -> String {
    let name = match verdict.accelerator {
        Accelerator::Kvm => "kvm",
        Accelerator::Tcg => "tcg",
    };
    format!("{name} {}\n", verdict.reason)
}

fn write_cache(path: &Path, verdict: &Verdict) -> io::Result<()> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    mos_sys::durable::write(path, to_cache(verdict).as_bytes(), 0o644)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cache_keeps_the_verdict() {
        for accelerator in [Accelerator::Kvm, Accelerator::Tcg] {
            let verdict = Verdict {
                accelerator,
                reason: "a test guest ran in 90 ms".to_owned(),
            };
            assert_eq!(from_cache(&to_cache(&verdict)), verdict);
        }
    }

    #[test]
    fn the_user_is_told_which_and_why() {
        let verdict = Verdict {
            accelerator: Accelerator::Tcg,
            reason: "there is no /dev/kvm".to_owned(),
        };
        assert_eq!(
            verdict.to_string(),
            "running in software, without KVM (there is no /dev/kvm)"
        );
    }

    #[test]
    fn the_programs_run_in_software() {
        for (_, architecture) in Architecture::ALL {
            match runs_guest(architecture, Accelerator::Tcg) {
                Err(VmError::Missing { what, .. }) => eprintln!("SKIPPED: {what} is missing"),
                other => assert_eq!(
                    other.unwrap().err(),
                    None,
                    "{architecture}: the program itself is sound"
                ),
            }
        }
    }

    #[test]
    fn another_processor_is_translated() {
        let other = Architecture::HOST.other();
        let verdict = probe(other).unwrap();
        assert_eq!(verdict.accelerator, Accelerator::Tcg);
        assert!(
            verdict.reason.starts_with(&format!("its processor is {other}")),
            "{verdict}"
        );
    }

    #[test]
    fn kvm_is_chosen_only_when_a_guest_ran_and_the_cache_agrees() {
        let directory = tempfile::tempdir().unwrap();
        let cache = directory.path().join("mos/kvm");
        let verdict = match probe_with_cache(Some(&cache)) {
            Err(VmError::Missing { what, .. }) => return eprintln!("SKIPPED: {what} is missing"),
            other => other.unwrap(),
        };
        eprintln!("{verdict}");
        let opens = OpenOptions::new().read(true).write(true).open("/dev/kvm").is_ok();
        let runs = opens && runs_guest(Architecture::HOST, Accelerator::Kvm).unwrap().is_ok();
        assert_eq!(verdict.accelerator == Accelerator::Kvm, runs, "{verdict}");
        assert_eq!(cache.exists(), opens);
        assert_eq!(probe_with_cache(Some(&cache)).unwrap(), verdict);
    }
}
