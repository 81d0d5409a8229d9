//! What `my_init` does as process 1 of a machine that needs a real kernel: devices, control groups, and every way to end.
//!
//! The images are made here, of `my_init`, BusyBox, modules and the files of a test, so that nothing else of a node takes
//! time. A test asks the machine through a shell and through the control socket, both behind TCP ports.
//!
//! | file | concern |
//! |---|---|
//! | `consoles` | shells on the consoles, and who gets one |
//! | `devices` | what is set up before services, and devices that come and go |
//! | `ends` | watchdog, kexec, halt |
//! | `groups` | limits of services, and what they use |
//! | `installed` | a root on a disk |

mod consoles;
mod devices;
mod ends;
mod groups;
mod installed;

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use mos_architecture::Architecture;
use mos_boot::{Compression, initramfs, root};
use mos_kernel::Kernel;
use mos_packages::{Apt, deb};
use mos_tree::Tree;
use mos_vm::{Boot, Disk, Forward, Machine, Output, Vm, disk};
use serde_json::{Value, json};

use crate::support::{cache, node_programs, run};
use crate::system::{Patience, console};

/// A kernel for virtual machines with all that is asked for here.
const KERNEL: &str = "linux-image-6.12-cloud-amd64";
/// In the image; none of them is loaded by name.
const MODULES: [&str; 9] = [
    "virtio_pci",
    "virtio_net",
    "virtio_blk",
    "ext4",
    "i6300esb",
    "button",
    "evdev",
    "dummy",
    "squashfs",
];
/// Where the machine gives a shell, and the control socket.
const SHELL_PORT: u16 = 7000;
const CONTROL_PORT: u16 = 7001;
/// How long one answer is waited for before it is asked again.
const ANSWER: Duration = Duration::from_secs(60);
/// Between two questions.
const PAUSE: Duration = Duration::from_millis(200);

/// Gives the shell. That there is a network card says that its module was loaded for it.
const SHELL: &str =
    "#!/bin/sh\nip addr add 10.0.2.15/24 dev eth0\nip link set eth0 up\nexec nc -ll -p 7000 -e /bin/sh\n";
const SHELL_SERVICE: &str = "[service]\nexec = \"/test/shell\"\n";
const GATE: &str =
    "[proxy]\nservice = \"behind\"\nbackend = \"/run/my_init.sock\"\n[socket]\nlisten = [\"0.0.0.0:7001\"]\n";
const BEHIND: &str = "[service]\nexec = \"sleep 100000\"\nstatus = \"stop\"\n";

/// What a machine boots.
struct Image {
    files: Tree,
    folder: tempfile::TempDir,
}

impl Image {
    /// BusyBox, `my_init`, modules, a way in.
    fn new() -> Self {
        let mut files = root::base_tree().unwrap();
        for (path, program) in [
            ("bin/busybox", PathBuf::from("/bin/busybox")),
            ("sbin/my_init", node_programs().join("my_init")),
        ] {
            files.insert_file(path, 0o755, fs::read(program).unwrap()).unwrap();
        }
        assert!(root::link_busybox(&mut files).unwrap() > 100);
        let modprobe = ["sbin/modprobe", "usr/sbin/modprobe"];
        let modprobe = modprobe.into_iter().find(|path| files.get(path).is_some()).unwrap();
        files.remove(modprobe).unwrap();
        files.insert_symlink("init", "sbin/my_init").unwrap();
        let mut image = Self {
            files,
            folder: tempfile::tempdir().unwrap(),
        };
        image.file("test/shell", SHELL);
        image.service("shell", SHELL_SERVICE);
        image
    }

    /// Adds a file, which can be executed when it begins like a script.
    fn file(&mut self, path: &str, text: &str) {
        let mode = if text.starts_with("#!") { 0o755 } else { 0o644 };
        self.files.insert_file(path, mode, text).unwrap();
    }

    /// Adds a service.
    fn service(&mut self, name: &str, text: &str) {
        self.file(&format!("etc/my_init/services/{name}.service.toml"), text);
    }

    /// Adds the port behind which the control socket is.
    fn gate(&mut self) {
        self.service("gate", GATE);
        self.service("behind", BEHIND);
    }

    /// The kernel, and the initial file system with the modules before it.
    fn parts(&self) -> (PathBuf, PathBuf) {
        let base = base();
        let path = self.folder.path().join("initrd");
        let mut archive = fs::read(base.join("modules")).unwrap();
        archive.extend(initramfs(&self.files, Compression::None).unwrap());
        fs::write(&path, archive).unwrap();
        (base.join("linux"), path)
    }

    /// Starts a machine.
    fn boot(&self, line: &str, equip: impl FnOnce(&mut Machine)) -> Vm {
        let (kernel, initrd) = self.parts();
        let mut machine = Machine::new(Boot::Direct {
            kernel,
            initrd: Some(initrd),
            command_line: format!("console=ttyS0 quiet panic=-1 {line}").into(),
        });
        machine.memory = 512;
        machine.forwards = [SHELL_PORT, CONTROL_PORT]
            .map(|guest| Forward { host: 0, guest })
            .to_vec();
        equip(&mut machine);
        Vm::start(&machine, Output::default()).unwrap()
    }

    /// A disk (ext4) with this label that holds this tree.
    fn disk(&self, label: &str, content: &Tree) -> Disk {
        let folder = self.folder.path().join(label);
        for entry in content.walk().filter(|entry| !entry.path.is_empty()) {
            place(&folder.join(String::from_utf8_lossy(&entry.path).as_ref()), entry.inode);
        }
        let disk = disk::empty(
            &self.folder.path().join(format!("{label}.raw")),
            mos_vm::DiskFormat::Raw,
            64 << 20,
            true,
        )
        .unwrap();
        let mut make = Command::new("mke2fs");
        run(make
            .args(["-q", "-F", "-t", "ext4", "-E", "root_owner=0:0", "-L", label, "-d"])
            .arg(&folder)
            .arg(&disk.path));
        disk
    }
}

/// Puts what a tree has at a path into a folder.
fn place(path: &Path, inode: &mos_tree::Inode) {
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    match &inode.kind {
        mos_tree::Kind::Directory(_) => fs::create_dir_all(path).unwrap(),
        mos_tree::Kind::Symlink(to) => symlink(String::from_utf8_lossy(to).as_ref(), path).unwrap(),
        mos_tree::Kind::File(content) => {
            fs::write(path, content.read().unwrap()).unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(inode.metadata.mode)).unwrap();
        }
        // Devices: the kernel's own file system has them.
        _ => {}
    }
}

/// The kernel and an archive of the modules, kept for all tests: unpacking the package takes as long as a boot.
fn base() -> PathBuf {
    let apt = Apt::new(cache().join("apt"), Architecture::X86_64);
    let locked = apt.resolve_kernel(KERNEL, &mut |_| {}).unwrap();
    let kept = cache().join(format!("pid1-{}-{}", locked.version, MODULES.join("-")));
    if !kept.exists() {
        let tree = deb::read(&apt.fetch(&locked, &mut |_| {}).unwrap().path).unwrap().tree;
        let kernel = Kernel::open(&tree).unwrap();
        let modules = kernel.select(&MODULES).unwrap().tree().unwrap();
        let made = tempfile::tempdir_in(cache()).unwrap();
        fs::write(made.path().join("linux"), kernel.image().read().unwrap()).unwrap();
        fs::write(
            made.path().join("modules"),
            initramfs(&modules, Compression::None).unwrap(),
        )
        .unwrap();
        // Another test may have been quicker.
        let _ = fs::rename(made.path(), &kept);
    }
    kept
}

/// The host's port that leads to one of the machine.
fn port(vm: &Vm, guest: u16) -> u16 {
    vm.forwards()
        .iter()
        .find(|forward| forward.guest == guest)
        .unwrap()
        .host
}

/// Connects, asks and reads, as far as that goes.
fn converse(port: u16, question: &str, answer: impl FnOnce(TcpStream) -> std::io::Result<String>) -> Option<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()?;
    stream.set_read_timeout(Some(ANSWER)).ok()?;
    stream.write_all(question.as_bytes()).ok()?;
    answer(stream).ok()
}

/// What commands print in the machine, and the exit code of the last. Asked again as long as nobody answers.
fn ask(vm: &Vm, commands: &str) -> (String, i32) {
    let patience = Patience::new(vm);
    let question = format!("exec 2>&1\n{commands}\necho \"=END= $?\"\n");
    loop {
        let answered = converse(port(vm, SHELL_PORT), &question, |mut stream| {
            stream.shutdown(Shutdown::Write)?;
            let mut text = String::new();
            stream.read_to_string(&mut text).map(|_| text)
        });
        if let Some((text, code)) = answered.as_deref().and_then(|text| text.rsplit_once("=END= ")) {
            return (text.to_owned(), code.trim().parse().unwrap());
        }
        assert!(!patience.is_over(), "no answer to `{commands}`:\n{}", console(vm));
        std::thread::sleep(PAUSE);
    }
}

/// Has commands run that are the end of whoever would answer; once, and without knowing what became of them.
fn order(vm: &Vm, commands: &str) {
    let patience = Patience::new(vm);
    let begun = |stream: TcpStream| {
        let mut reader = BufReader::new(stream.try_clone()?);
        let mut line = String::new();
        reader.read_line(&mut line)?;
        if line == "=GO=\n" {
            (&stream).write_all(format!("{commands}\n").as_bytes())?;
            stream.shutdown(Shutdown::Write)?;
            // It may be cut off.
            let _ = reader.read_to_string(&mut line);
        }
        Ok(line)
    };
    while !converse(port(vm, SHELL_PORT), "exec 2>&1; echo =GO=\n", begun).is_some_and(|line| line.starts_with("=GO="))
    {
        assert!(!patience.is_over(), "nobody takes `{commands}`:\n{}", console(vm));
        std::thread::sleep(PAUSE);
    }
}

/// Kills the supervisor, or stops it.
fn signal_supervisor(vm: &Vm, signal: &str) {
    let supervisor = call(vm, "system.ping", &json!({}))["pid"].as_u64().unwrap();
    order(vm, &format!("kill -{signal} {supervisor}"));
}

/// What commands print that have to succeed.
fn told(vm: &Vm, commands: &str) -> String {
    let (text, code) = ask(vm, commands);
    assert_eq!(code, 0, "{commands}:\n{text}\n{}", console(vm));
    text
}

/// Asks until the commands succeed.
fn until(vm: &Vm, commands: &str) -> String {
    let patience = Patience::new(vm);
    loop {
        let (text, code) = ask(vm, commands);
        if code == 0 {
            return text;
        }
        assert!(
            !patience.is_over(),
            "`{commands}` never succeeded:\n{text}\n{}",
            console(vm)
        );
        std::thread::sleep(PAUSE);
    }
}

/// What a method of the control socket answers.
fn call(vm: &Vm, method: &str, parameters: &Value) -> Value {
    let patience = Patience::new(vm);
    let question = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": parameters });
    loop {
        let answered = converse(port(vm, CONTROL_PORT), &format!("{question}\n"), |stream| {
            let mut line = String::new();
            BufReader::new(stream).read_line(&mut line).map(|_| line)
        });
        let answer: Option<Value> = answered.and_then(|line| serde_json::from_str(&line).ok());
        if let Some(mut answer) = answer {
            assert!(answer["error"].is_null(), "{method}: {answer}");
            return answer["result"].take();
        }
        assert!(!patience.is_over(), "no answer to {method}:\n{}", console(vm));
        std::thread::sleep(PAUSE);
    }
}

/// Waits until a service is in a state, and returns everything about it.
fn wait_for_state(vm: &Vm, name: &str, state: &str) -> Value {
    let patience = Patience::new(vm);
    loop {
        let status = call(vm, "service.status", &json!({ "name": name }));
        if status["state"] == state {
            return status;
        }
        assert!(!patience.is_over(), "{name} is not {state}: {status}\n{}", console(vm));
        std::thread::sleep(PAUSE);
    }
}

/// Waits until the machine has ended by itself.
fn wait_end(vm: &mut Vm) {
    let patience = Patience::new(vm);
    while !patience.is_over() {
        if vm.wait_exit(PAUSE).is_ok() {
            return;
        }
    }
    vm.wait_exit(PAUSE).unwrap();
}
