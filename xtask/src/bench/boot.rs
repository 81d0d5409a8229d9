//! Booting: how soon the kernel hands over to my_init, against the same kernel with nothing but a shell.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use mos_boot::{Compression, initramfs, root, uki};
use mos_tree::{Kind, Tree, cpio};
use mos_vm::{Boot, Machine, Output, Vm};

use super::{Row, alternate};

const LIMIT: Duration = Duration::from_secs(120);
/// What the least possible init prints.
const MARKER: &str = "userspace is here";

pub(super) fn rows() -> Result<Vec<Row>, String> {
    let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
    let image = Image::build(directory.path())?;
    let shell = image.with_shell()?;
    let node = image.with_initramfs(image.initramfs.clone())?;
    let (peer, ours) = alternate(|| until(&shell, MARKER), || until(&node, "my_init: ["))?;
    Ok(vec![Row {
        name: "power-on to my_init's first line / to a bare shell".into(),
        peer,
        ours,
        unit: "ms",
        goal: 1.25,
    }])
}

/// The quickstart's boot image, taken apart.
struct Image {
    directory: PathBuf,
    kernel: PathBuf,
    initramfs: Vec<u8>,
}

impl Image {
    fn build(directory: &Path) -> Result<Self, String> {
        let program = std::env::current_dir()
            .map_err(|error| error.to_string())?
            .join("dist/bin/mos");
        let mos = |arguments: &[&str], folder: &Path| {
            let status = Command::new(&program)
                .arg("--quiet")
                .args(arguments)
                .current_dir(folder)
                .output();
            let done = status.is_ok_and(|output| output.status.success());
            if done {
                Ok(())
            } else {
                Err(format!("mos {arguments:?} failed; run `make build` first"))
            }
        };
        let repository = directory.join("bench");
        mos(&["new", "bench"], directory)?;
        mos(&["keys", "new", "--env", "dev"], &repository)?;
        mos(&["image", "build", "--env", "dev"], &repository)?;
        let efi = fs::read(repository.join("dist/vmlinuz.efi")).map_err(|error| error.to_string())?;
        let sections = uki::extract(&efi).map_err(|error| error.to_string())?;
        let kernel = directory.join("vmlinuz");
        fs::write(&kernel, sections[".linux"]).map_err(|error| error.to_string())?;
        Ok(Self {
            directory: directory.to_owned(),
            kernel,
            initramfs: sections[".initrd"].to_vec(),
        })
    }

    fn with_initramfs(&self, content: Vec<u8>) -> Result<Machine, String> {
        let path = self.directory.join(format!("initramfs-{}", content.len()));
        fs::write(&path, content).map_err(|error| error.to_string())?;
        Ok(Machine::new(Boot::Direct {
            kernel: self.kernel.clone(),
            initrd: Some(path),
            command_line: "console=ttyS0 quiet".into(),
        }))
    }

    /// The same kernel with BusyBox out of the same image, and a script that prints one line.
    fn with_shell(&self) -> Result<Machine, String> {
        let archive = zstd::decode_all(self.initramfs.as_slice()).map_err(|error| error.to_string())?;
        let node = cpio::read(&archive).map_err(|error| error.to_string())?;
        let busybox = ["bin/busybox", "usr/bin/busybox"]
            .into_iter()
            .find_map(|path| content(&node, path));
        let mut tree = root::base_tree().map_err(|error| error.to_string())?;
        let put = |tree: &mut Tree, path: &str, content: mos_tree::Content| {
            tree.insert_file(path, 0o755, content)
                .map(drop)
                .map_err(|error| error.to_string())
        };
        put(&mut tree, "bin/sh", busybox.ok_or("the image has no busybox")?)?;
        put(
            &mut tree,
            "init",
            format!("#!/bin/sh\necho {MARKER}\nwhile :; do sleep 1000; done\n")
                .as_str()
                .into(),
        )?;
        let content = initramfs(&tree, Compression::Zstd(3)).map_err(|error| error.to_string())?;
        self.with_initramfs(content)
    }
}

fn content(tree: &Tree, path: &str) -> Option<mos_tree::Content> {
    match &tree.get(path)?.kind {
        Kind::File(content) => Some(content.clone()),
        _ => None,
    }
}

/// From QEMU's start to a line on the console, by the host's clock.
fn until(machine: &Machine, pattern: &str) -> Result<Duration, String> {
    let mut vm = Vm::start(machine, Output::default()).map_err(|error| error.to_string())?;
    vm.wait_for(pattern, LIMIT)
        .map(|line| line.at)
        .map_err(|error| error.to_string())
}
