//! Real machines: a kernel with a busybox initramfs, started directly and through UEFI firmware.
//!
//! Needs QEMU, a static busybox (busybox-static) and a kernel image: `$MOS_TEST_KERNEL` or the newest in `/boot`. With
//! firmware also ovmf, objcopy (binutils) and a UEFI stub: `$MOS_TEST_STUB` or that of systemd-boot-efi. Says so and
//! passes where something is missing.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on shall stop")]

use mos_vm::{Boot, Machine, Output, Timeline, Vm, VmError, tools};
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A translated kernel on a busy machine; an idle one needs 3 s, with firmware 9 s.
const PATIENCE: Duration = Duration::from_secs(120);
const BUSYBOX: &str = "/usr/bin/busybox";
const STUB: &str = "/usr/lib/systemd/boot/efi/linuxx64.efi.stub";

/// PID 1: says what my_init would, waits for a moment when told so, and switches off.
const INIT: &str = "#!/busybox sh
/busybox echo 'my_init: [   1.250] hello'
/busybox echo 'my_init: [   2.851] timeline start=1250 services=1300 network=1310 fetch=1400 ready=1450'
/busybox mkdir /proc
/busybox mount -t proc proc /proc
case \"$(/busybox cat /proc/cmdline)\" in *linger*) /busybox sleep 600 ;; esac
/busybox poweroff -f
";

fn newest_kernel() -> Option<PathBuf> {
    if let Some(path) = env::var_os("MOS_TEST_KERNEL") {
        return Some(path.into());
    }
    let entries = fs::read_dir("/boot")
        .ok()?
        .filter_map(Result::ok)
        .map(|entry| entry.path());
    entries
        .filter(|path| path.to_string_lossy().contains("/vmlinuz-"))
        .max()
}

/// The kernel, or why there can be no test.
fn requirements() -> Result<PathBuf, String> {
    tools::program(tools::QEMU).map_err(|error| error.to_string())?;
    if !Path::new(BUSYBOX).exists() {
        return Err("no busybox; install busybox-static".to_owned());
    }
    newest_kernel().ok_or_else(|| "no kernel; set MOS_TEST_KERNEL".to_owned())
}

/// One member of a cpio archive (newc).
fn member(archive: &mut Vec<u8>, name: &str, mode: u32, content: &[u8]) {
    let (length, name_length) = (content.len(), name.len() + 1);
    let header = format!(
        "070701{:08x}{mode:08x}{:08x}{:08x}{:08x}{:08x}{length:08x}{:08x}{:08x}{:08x}{:08x}{name_length:08x}{:08x}{name}\0",
        0, 0, 0, 1, 0, 0, 0, 0, 0, 0
    );
    archive.extend(header.as_bytes());
    archive.resize(archive.len().next_multiple_of(4), 0);
    archive.extend(content);
    archive.resize(archive.len().next_multiple_of(4), 0);
}

fn initramfs(directory: &Path) -> PathBuf {
    let mut archive = Vec::new();
    member(&mut archive, "init", 0o100_755, INIT.as_bytes());
    member(&mut archive, "busybox", 0o100_755, &fs::read(BUSYBOX).unwrap());
    member(&mut archive, "TRAILER!!!", 0, b"");
    let path = directory.join("initramfs");
    fs::write(&path, archive).unwrap();
    path
}

fn direct(kernel: PathBuf, directory: &Path, command_line: &str) -> Machine {
    Machine::new(Boot::Direct {
        kernel,
        initrd: Some(initramfs(directory)),
        command_line: command_line.into(),
    })
}

#[derive(Clone, Default)]
struct Echo(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Echo {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn direct_boot_tells_its_timeline_and_ends() {
    let kernel = match requirements() {
        Ok(kernel) => kernel,
        Err(reason) => return eprintln!("SKIPPED: {reason}"),
    };
    let directory = tempfile::tempdir().unwrap();
    let machine = direct(kernel, directory.path(), "console=ttyS0 quiet panic=-1");
    let echo = Echo::default();
    let log = directory.path().join("console.log");
    let output = Output {
        echo: Some(Box::new(echo.clone())),
        log: Some(log.clone()),
        interactive: false,
    };
    let mut vm = Vm::start(&machine, output).unwrap();
    let line = vm.wait_for("] timeline ", PATIENCE).unwrap();
    assert!(line.at > Duration::from_millis(100), "{line:?}");
    assert!(vm.wait_exit(PATIENCE).unwrap().success());
    let timeline = Timeline::parse(&vm.console()).unwrap();
    eprintln!("{timeline}");
    assert_eq!(timeline.phases()[1].duration(), 1250);
    assert_eq!(fs::read(&log).unwrap(), *echo.0.lock().unwrap());

    let error = vm.wait_for("never", Duration::from_secs(1)).unwrap_err();
    assert!(matches!(error, VmError::Ended { .. }), "{error}");
}

#[test]
fn what_does_not_come_is_told_with_the_console_and_the_power_can_be_cut() {
    let kernel = match requirements() {
        Ok(kernel) => kernel,
        Err(reason) => return eprintln!("SKIPPED: {reason}"),
    };
    let directory = tempfile::tempdir().unwrap();
    let machine = direct(kernel, directory.path(), "console=ttyS0 quiet panic=-1 linger");
    let mut vm = Vm::start(&machine, Output::default()).unwrap();
    vm.wait_for("] timeline ", PATIENCE).unwrap();
    let error = vm
        .wait_for("network up", Duration::from_millis(300))
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("`network up` did not appear on the console within 0.3 s\nthe last "),
        "{error}"
    );
    assert!(error.contains("my_init: [   1.250] hello"), "{error}");
    vm.powerdown().unwrap();
    vm.ctrl_alt_del().unwrap();
    let process = PathBuf::from(format!("/proc/{}", vm.id()));
    assert!(process.exists());
    assert!(!vm.kill().unwrap().success());
    assert!(!process.exists());
}

#[test]
fn a_dropped_machine_is_gone() {
    let kernel = match requirements() {
        Ok(kernel) => kernel,
        Err(reason) => return eprintln!("SKIPPED: {reason}"),
    };
    let directory = tempfile::tempdir().unwrap();
    let machine = direct(kernel, directory.path(), "console=ttyS0 quiet linger");
    let vm = Vm::start(&machine, Output::default()).unwrap();
    let process = PathBuf::from(format!("/proc/{}", vm.id()));
    assert!(process.exists());
    drop(vm);
    assert!(!process.exists());
}

#[test]
fn qemus_own_complaint_is_shown() {
    if let Err(reason) = requirements() {
        return eprintln!("SKIPPED: {reason}");
    }
    let mut machine = Machine::new(Boot::Direct {
        kernel: "/nowhere/vmlinuz".into(),
        initrd: None,
        command_line: "quiet".into(),
    });
    machine.network = false;
    let mut vm = Vm::start(&machine, Output::default()).unwrap();
    let error = vm.wait_for("anything", PATIENCE).unwrap_err().to_string();
    assert!(
        error.contains("QEMU said: ") && error.contains("/nowhere/vmlinuz"),
        "{error}"
    );
}

/// Adds the sections that a unified kernel image consists of to a UEFI stub.
fn unified_image(kernel: &Path, stub: &Path, directory: &Path) -> PathBuf {
    let command_line = directory.join("cmdline");
    fs::write(&command_line, "console=ttyS0 quiet panic=-1").unwrap();
    let initrd = initramfs(directory);
    let image = directory.join("image.efi");
    let mut objcopy = Command::new("objcopy");
    for (name, path, address) in [
        (".cmdline", command_line.as_path(), "0x30000"),
        (".initrd", &initrd, "0x40000"),
        (".linux", kernel, "0x2000000"),
    ] {
        objcopy.arg("--add-section").arg(format!("{name}={}", path.display()));
        objcopy.arg("--change-section-vma").arg(format!("{name}={address}"));
    }
    assert!(objcopy.arg(stub).arg(&image).status().unwrap().success());
    image
}

#[test]
fn firmware_boots_a_unified_kernel_image() {
    let stub = env::var_os("MOS_TEST_STUB").map_or_else(|| PathBuf::from(STUB), PathBuf::from);
    let kernel = match (requirements(), tools::firmware()) {
        (Err(reason), _) => return eprintln!("SKIPPED: {reason}"),
        (_, Err(error)) => return eprintln!("SKIPPED: {error}"),
        _ if !stub.exists() => return eprintln!("SKIPPED: no UEFI stub; install systemd-boot-efi"),
        (Ok(kernel), Ok(_)) => kernel,
    };
    let directory = tempfile::tempdir().unwrap();
    let image = unified_image(&kernel, &stub, directory.path());
    let mut vm = Vm::start(&Machine::new(Boot::Firmware { image }), Output::default()).unwrap();
    vm.wait_for("my_init: [", PATIENCE).unwrap();
    assert!(vm.wait_exit(PATIENCE).unwrap().success());
    let timeline = Timeline::parse(&vm.console()).unwrap();
    eprintln!("{timeline}");
    assert!(timeline.phases()[0].duration() > 500, "firmware takes its time");
}
