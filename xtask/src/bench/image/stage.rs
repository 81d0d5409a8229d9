//! What the benches of boot images start from: Debian's generic kernel and BusyBox, unpacked; the modules that a server
//! wants; and systems to build with `dist/bin/mos`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use mos_architecture::Architecture;
use mos_packages::{Apt, Progress, deb};
use mos_tree::{Kind, directory};

use crate::build;

/// 4,230 modules.
pub(super) const KERNEL: &str = "linux-image-6.12-amd64";
const BUSYBOX: &str = "busybox-static";

/// The level of releases.
pub(super) const RELEASE: u8 = 22;

/// Network cards, disks and file systems of servers and of virtual machines.
pub(super) const SERVER: [&str; 24] = [
    "virtio_pci",
    "virtio_net",
    "virtio_blk",
    "virtio_scsi",
    "e1000e",
    "igb",
    "igc",
    "ixgbe",
    "i40e",
    "ice",
    "tg3",
    "bnxt_en",
    "r8169",
    "ahci",
    "nvme",
    "sd_mod",
    "usb_storage",
    "xhci_pci",
    "ext4",
    "xfs",
    "btrfs",
    "vfat",
    "overlay",
    "squashfs",
];

pub(super) struct Stage {
    directory: tempfile::TempDir,
    /// Of the kernel.
    pub(super) version: String,
}

impl Stage {
    pub(super) fn make() -> Result<Self, String> {
        let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
        let apt = Apt::new(build::cache()?.join("apt"), Architecture::X86_64);
        let quiet = &mut |_: Progress<'_>| {};
        let failed = |error: mos_packages::PackageError| error.to_string();
        let kernel = apt.resolve_kernel(KERNEL, quiet).map_err(failed)?;
        let busybox = apt.resolve(&[BUSYBOX], false, quiet).map_err(failed)?;
        let root = directory.path().join("root");
        let mut version = None;
        for package in busybox.iter().chain([&kernel]) {
            let path = apt.fetch(package, quiet).map_err(failed)?.path;
            let tree = deb::read(&path).map_err(|error| error.to_string())?.tree;
            if let Some(Kind::Directory(names)) = tree.get("lib/modules").map(|inode| &inode.kind) {
                version = names.keys().next().map(ToString::to_string);
            }
            directory::write(&tree, &root, directory::Options::default()).map_err(|error| error.to_string())?;
        }
        let version = version.ok_or_else(|| format!("{KERNEL} has no lib/modules"))?;
        let stage = Self { directory, version };
        // The peers need `modules.dep`, which the package does not have.
        stage.shell("/sbin/depmod -b \"$ROOT\" \"$VERSION\"", Path::new("/dev/null"))?;
        Ok(stage)
    }

    pub(super) fn folder(&self) -> &Path {
        self.directory.path()
    }

    /// The packages, unpacked.
    pub(super) fn root(&self) -> PathBuf {
        self.folder().join("root")
    }

    /// Runs a shell script with `$ROOT`, `$VERSION`, `$MODULES` (the server's), `$OUT` and a `$WORK` of its own.
    pub(super) fn shell(&self, script: &str, output: &Path) -> Result<Duration, String> {
        let work = tempfile::tempdir_in(self.folder()).map_err(|error| error.to_string())?;
        let mut command = Command::new("sh");
        command.args(["-ec", script]);
        command.env("ROOT", self.root()).env("VERSION", &self.version);
        command.env("MODULES", SERVER.join(" "));
        command.env("OUT", output).env("WORK", work.path());
        self.timed(&mut command)
    }

    /// The same, with the kernel package at `/lib/modules` and `/boot`.
    pub(super) fn shell_with_kernel(&self, script: &str, output: &Path) -> Result<Duration, String> {
        let script = format!(
            "mkdir $WORK/over; mount -t tmpfs none $WORK/over; mkdir $WORK/over/upper $WORK/over/work\n\
             mount -t overlay -o lowerdir=/usr/lib,upperdir=$WORK/over/upper,workdir=$WORK/over/work none /usr/lib\n\
             mkdir -p /usr/lib/modules; mount --bind $ROOT/lib/modules /usr/lib/modules; mount --bind $ROOT/boot /boot\n\
             {script}"
        );
        self.shell(&format!("unshare -m sh -ec '{script}'"), output)
    }

    /// This program again.
    pub(super) fn own(&self, arguments: &[&str]) -> Result<Duration, String> {
        let program = std::env::current_exe().map_err(|error| error.to_string())?;
        let mut command = Command::new(program);
        self.timed(command.args(arguments).current_dir(self.folder()))
    }

    fn timed(&self, command: &mut Command) -> Result<Duration, String> {
        let begin = Instant::now();
        let output = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .output()
            .map_err(|error| format!("{command:?}: {error}"))?;
        let time = begin.elapsed();
        if output.status.success() {
            return Ok(time);
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let last = said.trim().lines().next_back().unwrap_or_default();
        Err(format!("{}: {last}", output.status))
    }
}

/// A config repository of its own with a key: a small system without components.
pub(super) struct System {
    directory: tempfile::TempDir,
}

impl System {
    /// `modules` for `image/modules.conf`; `settings` are lines of the environment.
    pub(super) fn new(kernel: &str, modules: &[&str], level: u8, settings: &str) -> Result<Self, String> {
        let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
        let system = Self { directory };
        let repository = system.repository();
        let path = repository.display().to_string();
        system.run(Path::new("."), &["new", "--name", "bench", &path], &[])?;
        for folder in ["components", "services", "environments"] {
            for entry in fs::read_dir(repository.join(folder)).map_err(|error| error.to_string())? {
                let path = entry.map_err(|error| error.to_string())?.path();
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                if folder != "services" || name.starts_with("web") || name.starts_with("node-metrics") {
                    fs::remove_file(path).map_err(|error| error.to_string())?;
                }
            }
        }
        let project =
            format!("[project]\nname = \"bench\"\n[kernel]\npackage = \"{kernel}\"\n[image]\nlevel = {level}\n");
        system.write("mos.toml", &project)?;
        system.write("image/modules.conf", &modules.join("\n"))?;
        let environment = format!("channel = \"http://10.0.2.2:8480\"\n{settings}");
        system.write("environments/dev.toml", &environment)?;
        system.mos(&["keys", "new", "--env", "dev"])?;
        Ok(system)
    }

    /// A copy of an example, at the level of releases, whose kernel is compiled from source; nothing when those are left out.
    pub(super) fn example(name: &str) -> Result<Option<Self>, String> {
        if std::env::var_os("MOS_BENCH_KERNELS").is_some_and(|wanted| wanted == "no") {
            println!("examples/{name}: left out: MOS_BENCH_KERNELS is no");
            return Ok(None);
        }
        let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
        let system = Self { directory };
        let from = Path::new("examples").join(name);
        let mut tree = directory::read(&from, directory::Options::default()).map_err(|error| error.to_string())?;
        // What whoever tried the example left there.
        for made in ["dist", "keys", "mos.lock"] {
            if tree.get(made).is_some() {
                tree.remove(made).map_err(|error| error.to_string())?;
            }
        }
        directory::write(&tree, &system.repository(), directory::Options::default())
            .map_err(|error| error.to_string())?;
        let settings = system.repository().join("mos.toml");
        let text = fs::read_to_string(&settings).map_err(|error| error.to_string())?;
        system.write(
            "mos.toml",
            &text.replace("[image]", &format!("[image]\nlevel = {RELEASE}")),
        )?;
        system.mos(&["keys", "new", "--env", "dev"])?;
        Ok(Some(system))
    }

    /// Builds its image: the bytes of the EFI file.
    pub(super) fn built(&self) -> Result<Vec<u8>, String> {
        self.mos(&["image", "build", "--env", "dev"])?;
        fs::read(self.repository().join("dist/vmlinuz.efi")).map_err(|error| error.to_string())
    }

    pub(super) fn repository(&self) -> PathBuf {
        self.directory.path().join("repository")
    }

    pub(super) fn folder(&self) -> &Path {
        self.directory.path()
    }

    pub(super) fn write(&self, path: &str, text: &str) -> Result<(), String> {
        let path = self.repository().join(path);
        let folder = path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder)
            .and_then(|()| fs::write(&path, text))
            .map_err(|error| format!("{}: {error}", path.display()))
    }

    /// Runs `mos` in the repository; what it printed.
    pub(super) fn mos(&self, arguments: &[&str]) -> Result<String, String> {
        self.run(&self.repository(), arguments, &[])
    }

    pub(super) fn run(
        &self,
        folder: &Path,
        arguments: &[&str],
        environment: &[(&str, &Path)],
    ) -> Result<String, String> {
        let here = std::env::current_dir().map_err(|error| error.to_string())?;
        let program = here.join("dist/bin/mos");
        let mut command = Command::new(&program);
        command.arg("--quiet").args(arguments).current_dir(folder);
        let output = command
            .env("MOS_NODE_PROGRAMS", here.join("dist/node"))
            .envs(environment.iter().copied())
            .output()
            .map_err(|error| format!("{}: {error}; run `make build` first", program.display()))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(format!("mos {arguments:?} failed: {}", said.trim()))
    }
}
