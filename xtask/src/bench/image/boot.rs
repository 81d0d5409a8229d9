//! How soon an image runs, in virtual seconds: QEMU counts instructions, one a nanosecond, whatever else the machine does.

use std::fs;
use std::path::PathBuf;

use mos_boot::{Compression, initramfs, uki};
use mos_tree::{Tree, cpio};

use super::stage::{RELEASE, Stage, System};
use super::{goal, row};
use crate::bench::clocked::Qemu;
use crate::bench::{CLOUD_KERNEL, Row};

/// What the init that reads the kernel's log prints before each line.
const LOG: &str = "log: ";
/// When the kernel began and ended unpacking, and when it was done (`init/initramfs.c`, `init/main.c`).
const UNPACKING: &str = "Trying to unpack rootfs image as initramfs";
const UNPACKED: &str = "Freeing initrd memory";
/// The first word of my_init on the console, with the time: with this argument, that it starts a service.
const MY_INIT: &str = "my_init: [";
const COMMAND_LINE: &str = "console=ttyS0 quiet my_init.debug";
/// The same of a shell in its place.
const SHELL: &str = "shell: [";
const SHELL_INIT: &str =
    "#!/bin/sh\nmount -t proc none /proc\nread -r up rest </proc/uptime\necho \"shell: [$up]\"\nexec sleep 9999\n";

pub(super) fn rows(stage: &Stage) -> Result<Vec<Row>, String> {
    let mut rows = unpacking(stage)?;
    rows.extend(hand_over(stage)?);
    Ok(rows)
}

/// How long the kernel decompresses the initramfs of a server.
fn unpacking(stage: &Stage) -> Result<Vec<Row>, String> {
    stage.own(&["image-closure", "root", "facts"])?;
    stage.own(&["image-make", "root", "facts", "plain.zst", "1"])?;
    let packed = fs::read(stage.folder().join("plain.zst")).map_err(|error| error.to_string())?;
    let mut tree = read_initramfs(&packed)?;
    let script = format!(
        "#!/bin/sh\nmount -t proc none /proc\nmount -t devtmpfs none /dev\ndmesg | sed 's/^/{LOG}/'\necho {LOG}end\nexec sleep 9999\n"
    );
    set_init(&mut tree, &script)?;
    let kernel = stage.root().join(format!("boot/vmlinuz-{}", stage.version));
    let mut times = Vec::new();
    for compression in [Compression::Xz, Compression::Zstd(RELEASE)] {
        let path = stage.folder().join("boot.initramfs");
        let content = initramfs(&tree, compression).map_err(|error| error.to_string())?;
        fs::write(&path, content).map_err(|error| error.to_string())?;
        let lines = Qemu::start("q35", &kernel, &path, "console=ttyS0 quiet")?.until(&format!("{LOG}end"))?;
        let at = |text: &str| {
            let line = lines.iter().find(|line| line.contains(text));
            line.and_then(|line| stamp(line))
                .ok_or(format!("the kernel's log has no `{text}`"))
        };
        times.push(at(UNPACKED)? - at(UNPACKING)?);
    }
    let (xz, zstd) = (times[0], times[1]);
    Ok(vec![
        goal("decompression at boot, zstd -22, virtual / 1.2 s", 1200.0, zstd, "ms"),
        row("decompression at boot, zstd -22 / xz, virtual", (xz, zstd), "ms", 0.3),
    ])
}

/// How soon my_init starts its first service: with Debian's cloud kernel against a shell in its place, and with the kernel of
/// `examples/minimal`.
fn hand_over(stage: &Stage) -> Result<Vec<Row>, String> {
    let system = System::new(CLOUD_KERNEL, &["virtio_net", "virtio_blk"], RELEASE, "")?;
    let debian = Parts::new(stage, "debian", &system.built()?)?;
    let mut tree = read_initramfs(&fs::read(&debian.initrd).map_err(|error| error.to_string())?)?;
    set_init(&mut tree, SHELL_INIT)?;
    let initrd = stage.folder().join("shell.initrd");
    let content = initramfs(&tree, Compression::Zstd(RELEASE)).map_err(|error| error.to_string())?;
    fs::write(&initrd, content).map_err(|error| error.to_string())?;
    let shell = Parts {
        kernel: debian.kernel.clone(),
        initrd,
    };
    let name = "Debian's cloud kernel to my_init's first service / to a shell";
    let times = (shell.first("q35", SHELL)?, debian.first("q35", MY_INIT)?);
    let mut rows = vec![row(name, times, "ms", 1.25)];
    if let Some(system) = System::example("minimal")? {
        let minimal = Parts::new(stage, "minimal", &system.built()?)?;
        let name = "kernel from source to my_init's first service, q35 / 0.9 s";
        rows.push(goal(name, 900.0, minimal.first("q35", MY_INIT)?, "ms"));
        let name = "kernel from source to my_init's first service, microvm / 0.6 s";
        rows.push(goal(name, 600.0, minimal.first("microvm", MY_INIT)?, "ms"));
    }
    Ok(rows)
}

/// Kernel and initramfs of an EFI file, as files.
struct Parts {
    kernel: PathBuf,
    initrd: PathBuf,
}

impl Parts {
    fn new(stage: &Stage, name: &str, efi: &[u8]) -> Result<Self, String> {
        let sections = uki::extract(efi).map_err(|error| error.to_string())?;
        let put = |section: &str| -> Result<PathBuf, String> {
            let content = sections
                .get(section)
                .ok_or(format!("the EFI file has no section {section}"))?;
            let path = stage.folder().join(format!("{name}{section}"));
            fs::write(&path, content).map_err(|error| error.to_string())?;
            Ok(path)
        };
        Ok(Self {
            kernel: put(".linux")?,
            initrd: put(".initrd")?,
        })
    }

    /// Milliseconds until the first line with this text.
    fn first(&self, machine: &str, text: &str) -> Result<f64, String> {
        let lines = Qemu::start(machine, &self.kernel, &self.initrd, COMMAND_LINE)?.until(text)?;
        let line = lines.last().and_then(|line| stamp(line));
        line.ok_or(format!("the line with `{text}` has no time"))
    }
}

/// The tree in an initramfs that is compressed with zstd.
pub(super) fn read_initramfs(packed: &[u8]) -> Result<Tree, String> {
    let plain = zstd::decode_all(packed).map_err(|error| error.to_string())?;
    cpio::read(&plain).map_err(|error| error.to_string())
}

/// Puts a script in the place of init.
fn set_init(tree: &mut Tree, script: &str) -> Result<(), String> {
    tree.remove("init").map_err(|error| error.to_string())?;
    let set = tree.insert_file("init", 0o755, script);
    set.map(drop).map_err(|error| error.to_string())
}

/// Milliseconds of `[   1.234]` or `[    1.234567]` in a line.
fn stamp(line: &str) -> Option<f64> {
    let (_, rest) = line.split_once('[')?;
    let seconds: f64 = rest.split_once(']')?.0.trim().parse().ok()?;
    Some(seconds * 1000.0)
}
