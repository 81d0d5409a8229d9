//! A small system of its own for each test: config repository, channel, boot image, machine.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mos_serve::Server;
use mos_vm::{Boot, Disk, Machine, Vm, disk};

/// A boot under software emulation on a busy machine, with room to spare.
pub(crate) const BOOT: Duration = Duration::from_secs(150);
const DISK: u64 = 64 << 20;

/// What a test's component is: a shell script and its service file.
pub(crate) struct Script {
    pub(crate) name: &'static str,
    pub(crate) script: &'static str,
    pub(crate) service: &'static str,
}

/// A config repository with a channel.
pub(crate) struct System {
    directory: tempfile::TempDir,
}

impl System {
    /// A system whose only components are these, built and published.
    pub(crate) fn new(components: &[Script]) -> Self {
        let system = Self {
            directory: tempfile::tempdir().unwrap(),
        };
        system.mos(&["new", "--name", "test", &system.text("repository")]);
        for folder in ["components", "services"] {
            for entry in fs::read_dir(system.repository().join(folder)).unwrap() {
                let path = entry.unwrap().path();
                let name = path.file_name().unwrap().to_string_lossy().into_owned();
                if folder == "components" || name.starts_with("web") || name.starts_with("node-metrics") {
                    fs::remove_file(path).unwrap();
                }
            }
        }
        let mut environment = "channel = \"http://10.0.2.2:8480\"\n".to_owned();
        for component in components {
            system.add(component);
            environment.push_str(&format!("[components.{}]\n", component.name));
        }
        for name in ["dev", "production"] {
            fs::remove_file(system.repository().join(format!("environments/{name}.toml"))).unwrap();
        }
        system.write("environments/dev.toml", &environment);
        system.mos(&["keys", "new", "--env", "dev"]);
        system
    }

    /// Writes or replaces a component.
    pub(crate) fn add(&self, component: &Script) {
        let Script { name, script, service } = component;
        self.write(&format!("programs/{name}/{name}"), script);
        self.write(&format!("services/{name}.service.toml"), service);
        self.write(
            &format!("components/{name}.toml"),
            &format!(
                "description = \"a test\"\n[source]\nkind = \"path\"\npath = \"programs/{name}\"\n[build]\nkind = \"none\"\n\
                 [install]\nbinaries = [\"{name}\"]\nservice = \"services/{name}.service.toml\"\n"
            ),
        );
    }

    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.repository().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub(crate) fn repository(&self) -> PathBuf {
        self.directory.path().join("repository")
    }

    /// The channel's folder.
    pub(crate) fn channel(&self) -> PathBuf {
        self.directory.path().join("channel")
    }

    fn text(&self, name: &str) -> String {
        self.directory.path().join(name).to_str().unwrap().to_owned()
    }

    /// Runs `mos` in the repository; it must succeed.
    pub(crate) fn mos(&self, arguments: &[&str]) -> Output {
        self.mos_at(arguments, None)
    }

    fn mos_at(&self, arguments: &[&str], epoch: Option<i64>) -> Output {
        let repository = self.repository();
        let folder = if repository.is_dir() {
            repository.as_path()
        } else {
            self.directory.path()
        };
        let mut command = mos(folder);
        command.args(arguments);
        if let Some(epoch) = epoch {
            command.env("SOURCE_DATE_EPOCH", epoch.to_string());
        }
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "mos {arguments:?} failed:\n{said}");
        output
    }

    /// Publishes a release, now.
    pub(crate) fn publish(&self) {
        self.mos(&["release", "publish", "--env", "dev", "--to", &self.text("channel")]);
    }

    /// Publishes a release that was made at this time (seconds since 1970).
    pub(crate) fn publish_at(&self, epoch: i64) {
        self.mos_at(
            &["release", "publish", "--env", "dev", "--to", &self.text("channel")],
            Some(epoch),
        );
    }

    /// Serves the channel on a free port, until it is dropped.
    pub(crate) fn serve(&self) -> Server {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Server::bind(any, &self.channel(), Arc::new(|_| {})).unwrap()
    }

    /// A disk for the node's state.
    pub(crate) fn disk(&self) -> Disk {
        disk::data(&self.directory.path().join("state.raw"), DISK, false).unwrap()
    }

    /// Boots the image as it was published, with the channel at a port of this host.
    pub(crate) fn boot(&self, port: u16, disks: Vec<Disk>) -> Vm {
        self.mos(&["image", "build", "--env", "dev", "--output-dir", &self.text("image")]);
        let efi = fs::read(self.directory.path().join("image/vmlinuz.efi")).unwrap();
        let sections = mos_boot::uki::extract(&efi).unwrap();
        let put = |section: &str| {
            let path = self.directory.path().join(section.trim_start_matches('.'));
            fs::write(&path, sections[section]).unwrap();
            path
        };
        let command_line = String::from_utf8_lossy(sections[".cmdline"]);
        let command_line = command_line.trim_end_matches(['\0', '\n']);
        let mut machine = Machine::new(Boot::Direct {
            kernel: put(".linux"),
            initrd: Some(put(".initrd")),
            command_line: format!("{command_line} mos.channel=http://10.0.2.2:{port}").into(),
        });
        machine.memory = 512;
        machine.disks = disks;
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

/// The program under test, with the cache that all tests share.
pub(crate) fn mos(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mos"));
    command
        .current_dir(folder)
        .env("MOS_CACHE", cache())
        .env_remove("MOS_CONFIG")
        .env_remove("SOURCE_DATE_EPOCH");
    command.env("MOS_NODE_PROGRAMS", node_programs());
    command
}

fn cache() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("mos-cache")
}

/// `make build` puts them into `dist/node`.
fn node_programs() -> PathBuf {
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../dist/node");
    let folder = std::env::var_os("MOS_NODE_PROGRAMS").map_or_else(default, PathBuf::from);
    assert!(
        folder.join("my_init").is_file(),
        "{} has no my_init: run `make build` first",
        folder.display()
    );
    folder.canonicalize().unwrap()
}

/// A port on which nobody listens.
pub(crate) fn dead_port() -> u16 {
    std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// Waits until the console has said all of these, in any order.
pub(crate) fn wait_all(vm: &Vm, patterns: &[&str]) {
    let end = Instant::now() + BOOT;
    loop {
        let said = console(vm);
        let Some(missing) = patterns.iter().find(|pattern| !said.contains(**pattern)) else {
            return;
        };
        assert!(
            Instant::now() < end,
            "`{missing}` did not appear on the console:\n{said}"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The console so far, as text.
pub(crate) fn console(vm: &Vm) -> String {
    vm.console().iter().map(|line| format!("{}\n", line.text)).collect()
}
