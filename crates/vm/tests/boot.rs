//! Real machines: a kernel with a busybox initramfs, started directly and through UEFI firmware.
//!
//! Needs QEMU, OVMF and packages through the host's apt (kernel, UEFI stub, busybox). Says so and passes where a tool is
//! missing.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on shall stop")]

use mos_architecture::Architecture;
use mos_boot::pcr::{self, Bank};
use mos_boot::secure_boot::{self, Enrolment, Guid, Identity, Signed};
use mos_boot::uki::{UkiParts, uki};
use mos_kernel::Kernel;
use mos_packages::{Apt, LockedPackage, PackageError, deb};
use mos_tree::{Kind, Tree};
use mos_vm::{Boot, Machine, Output, Timeline, Vm, VmError, tools};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A translated kernel on a busy machine; an idle one needs 3 s, with firmware 9 s.
const PATIENCE: Duration = Duration::from_secs(120);
const KERNEL: &str = "linux-image-6.12-cloud-amd64";
const STUB: &str = "usr/lib/systemd/boot/efi/linuxx64.efi.stub";

/// PID 1: says what my_init would and what the TPM measured, waits for a moment when told so, and switches off.
const INIT: &str = "#!/busybox sh
/busybox echo 'my_init: [   1.250] hello'
/busybox echo 'my_init: [   2.851] timeline start=1250 services=1300 network=1310 fetch=1400 ready=1450'
/busybox mkdir /proc
/busybox mount -t proc proc /proc
/busybox mount -t sysfs sys /sys
/busybox echo \"register: $(/busybox cat /sys/class/tpm/tpm0/pcr-sha256/11 2>/dev/null)\"
case \"$(/busybox cat /proc/cmdline)\" in *listen*) echo 'say something'; read line; echo \"heard $line\" ;; *linger*) /busybox sleep 600 ;; esac
/busybox poweroff -f
";

/// What machines are made of.
struct Parts {
    kernel: Vec<u8>,
    busybox: Vec<u8>,
    stub: Vec<u8>,
}

/// The parts, or why there can be no test.
fn parts() -> Result<Parts, String> {
    tools::program(tools::qemu(Architecture::X86_64)).map_err(|error| error.to_string())?;
    let apt = Apt::new(Path::new(env!("CARGO_TARGET_TMPDIR")).join("apt"), Architecture::X86_64);
    let kernel = match apt.resolve_kernel(KERNEL, &mut |_| {}) {
        Err(error @ PackageError::NoApt { .. }) => return Err(error.to_string()),
        other => package(&apt, &other.unwrap()),
    };
    let found = apt
        .resolve(&["busybox-static", "systemd-boot-efi"], false, &mut |_| {})
        .unwrap();
    let busybox = package(&apt, &found[0]);
    Ok(Parts {
        kernel: Kernel::open(&kernel).unwrap().image().read().unwrap(),
        busybox: ["bin/busybox", "usr/bin/busybox"]
            .into_iter()
            .find_map(|path| file(&busybox, path))
            .unwrap(),
        stub: file(&package(&apt, &found[1]), STUB).unwrap(),
    })
}

fn package(apt: &Apt, locked: &LockedPackage) -> Tree {
    let fetched = apt.fetch(locked, &mut |_| {}).unwrap();
    deb::read(&fetched.path).unwrap().tree
}

fn file(tree: &Tree, path: &str) -> Option<Vec<u8>> {
    match &tree.get(path)?.kind {
        Kind::File(content) => Some(content.read().unwrap()),
        _ => None,
    }
}

fn archive(parts: &Parts) -> Vec<u8> {
    let mut tree = mos_boot::root::base_tree().unwrap();
    tree.insert_file("init", 0o755, INIT).unwrap();
    tree.insert_file("busybox", 0o755, parts.busybox.clone()).unwrap();
    mos_boot::initramfs(&tree, mos_boot::Compression::None).unwrap()
}

fn direct(parts: &Parts, directory: &Path, command_line: &str) -> Machine {
    let put = |name: &str, bytes: &[u8]| {
        let path = directory.join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    Machine::new(Boot::Direct {
        kernel: put("vmlinuz", &parts.kernel),
        initrd: Some(put("initramfs", &archive(parts))),
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
    let parts = match parts() {
        Ok(parts) => parts,
        Err(reason) => return eprintln!("SKIPPED: {reason}"),
    };
    let directory = tempfile::tempdir().unwrap();
    let machine = direct(&parts, directory.path(), "console=ttyS0 quiet panic=-1");
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
    let parts = match parts() {
        Ok(parts) => parts,
        Err(reason) => return eprintln!("SKIPPED: {reason}"),
    };
    let directory = tempfile::tempdir().unwrap();
    let machine = direct(&parts, directory.path(), "console=ttyS0 quiet panic=-1 linger");
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
    let parts = match parts() {
        Ok(parts) => parts,
        Err(reason) => return eprintln!("SKIPPED: {reason}"),
    };
    let directory = tempfile::tempdir().unwrap();
    let machine = direct(&parts, directory.path(), "console=ttyS0 quiet linger");
    let vm = Vm::start(&machine, Output::default()).unwrap();
    let process = PathBuf::from(format!("/proc/{}", vm.id()));
    assert!(process.exists());
    drop(vm);
    assert!(!process.exists());
}

#[test]
fn what_is_typed_is_heard_and_what_must_not_be_said_is_noticed() {
    let parts = match parts() {
        Ok(parts) => parts,
        Err(reason) => return eprintln!("SKIPPED: {reason}"),
    };
    let directory = tempfile::tempdir().unwrap();
    let mut machine = direct(&parts, directory.path(), "console=ttyS0 quiet panic=-1 listen");
    machine.processors = 2;
    let mut vm = Vm::start(&machine, Output::default()).unwrap();
    vm.fail_on(vec!["heard nonsense".into()]);
    vm.wait_for("say something", PATIENCE).unwrap();
    vm.check_console().unwrap();
    vm.send("nonsense\n").unwrap();
    let error = vm.wait_exit(PATIENCE).unwrap_err();
    let VmError::Unwanted { line, .. } = error else {
        panic!("{error}")
    };
    assert_eq!(line, "heard nonsense");
}

#[test]
fn qemus_own_complaint_is_shown() {
    if let Err(error) = tools::program(tools::qemu(Architecture::X86_64)) {
        return eprintln!("SKIPPED: {error}");
    }
    let mut machine = Machine::new(Boot::Direct {
        kernel: "/nowhere/vmlinuz".into(),
        initrd: None,
        command_line: "quiet".into(),
    });
    machine.network = mos_vm::Network::None;
    let mut vm = Vm::start(&machine, Output::default()).unwrap();
    let error = vm.wait_for("anything", PATIENCE).unwrap_err().to_string();
    assert!(
        error.contains("QEMU said: ") && error.contains("/nowhere/vmlinuz"),
        "{error}"
    );
}

#[test]
fn firmware_boots_a_unified_kernel_image() {
    let parts = match (parts(), tools::firmware(Architecture::X86_64)) {
        (Err(reason), _) => return eprintln!("SKIPPED: {reason}"),
        (_, Err(error)) => return eprintln!("SKIPPED: {error}"),
        (Ok(parts), Ok(_)) => parts,
    };
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("image.efi");
    fs::write(&image, unified(&parts)).unwrap();
    let mut vm = Vm::start(&Machine::new(Boot::Firmware { image }), Output::default()).unwrap();
    vm.wait_for("my_init: [", PATIENCE).unwrap();
    assert!(vm.wait_exit(PATIENCE).unwrap().success());
    let timeline = Timeline::parse(&vm.console()).unwrap();
    eprintln!("{timeline}");
    assert!(timeline.phases()[0].duration() > 500, "firmware takes its time");
}

fn unified(parts: &Parts) -> Vec<u8> {
    let sections = UkiParts {
        linux: &parts.kernel,
        initrd: &archive(parts),
        cmdline: "console=ttyS0 quiet panic=-1",
        osrelease: "ID=test\n",
        uname: "test",
    };
    uki(&parts.stub, &sections).unwrap()
}

/// A bench with Secure Boot: an image, whom the firmware trusts, and the firmware's variables.
struct Secure {
    image: Vec<u8>,
    database: Identity,
    variables: PathBuf,
    directory: tempfile::TempDir,
}

impl Secure {
    fn new() -> Result<Self, String> {
        let firmware = tools::secure_firmware().map_err(|error| error.to_string())?;
        let generate = |name| Identity::generate(name).map_err(|error| error.to_string());
        let (platform, database) = (generate("PK")?.0, generate("db")?.0);
        let image = unified(&parts()?);
        let keys = Enrolment {
            owner: Guid::of_project("test"),
            platform: platform.certificate(),
            exchange: platform.certificate(),
            database: &[database.certificate()],
        };
        let directory = tempfile::tempdir().unwrap();
        let variables = directory.path().join("variables");
        let template = fs::read(firmware.variables).unwrap();
        fs::write(&variables, secure_boot::enrol(&template, &keys).unwrap()).unwrap();
        Ok(Self {
            image,
            database,
            variables,
            directory,
        })
    }

    fn start(&self, image: &[u8], tpm: bool) -> Vm {
        let path = self.directory.path().join("image.efi");
        fs::write(&path, image).unwrap();
        let mut machine = Machine::new(Boot::Firmware { image: path });
        machine.network = mos_vm::Network::None;
        machine.secure_boot = Some(self.variables.clone());
        machine.tpm = tpm.then(|| self.directory.path().join("tpm"));
        Vm::start(&machine, Output::default()).unwrap()
    }
}

fn signed(image: &[u8], identity: &Identity) -> Vec<u8> {
    match secure_boot::sign(image, identity).unwrap() {
        Signed::Now(bytes) => bytes,
        Signed::Already => panic!("it was signed before"),
    }
}

#[test]
fn secure_boot_starts_what_our_key_signed_and_the_tpm_measures_what_was_predicted() {
    let bench = match (Secure::new(), tools::program(tools::SWTPM)) {
        (Err(reason), _) => return eprintln!("SKIPPED: {reason}"),
        (_, Err(error)) => return eprintln!("SKIPPED: {error}"),
        (Ok(bench), Ok(_)) => bench,
    };
    let image = signed(&bench.image, &bench.database);
    let predicted: String = pcr::predict(&image, Bank::Sha256, "")
        .unwrap()
        .iter()
        .map(|byte| format!("{byte:02X}"))
        .collect();
    let mut vm = bench.start(&image, true);
    let line = vm.wait_for("register: ", PATIENCE).unwrap();
    assert_eq!(line.text.trim_end(), format!("register: {predicted}"));
    assert!(vm.wait_exit(PATIENCE).unwrap().success());
}

#[test]
fn secure_boot_refuses_a_flipped_byte_a_foreign_key_and_no_signature() {
    let bench = match Secure::new() {
        Ok(bench) => bench,
        Err(reason) => return eprintln!("SKIPPED: {reason}"),
    };
    let (foreign, _) = Identity::generate("foreign").unwrap();
    let mut flipped = signed(&bench.image, &bench.database);
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    for image in [flipped, signed(&bench.image, &foreign), bench.image.clone()] {
        let mut vm = bench.start(&image, false);
        vm.wait_for("Access Denied", PATIENCE).unwrap();
        assert!(!vm.console().iter().any(|line| line.text.contains("my_init")));
        vm.kill().unwrap();
    }
}
