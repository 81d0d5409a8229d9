//! How large images are: the initramfs of a server against one made by hand with the same modules, and a whole node.

use std::fs;
use std::path::Path;

use super::make::by_hand;
use super::stage::{KERNEL, SERVER, Stage, System};
use super::{goal, row};
use crate::bench::Row;

const MEGABYTE: f64 = 1e6;
/// The level of releases.
const RELEASE: u8 = 22;

pub(super) fn rows(stage: &Stage) -> Result<Vec<Row>, String> {
    stage.own(&["image-closure", "root", "facts"])?;
    let made = |name: &str, compress: &str, level: &str| -> Result<(f64, f64), String> {
        let (theirs, ours) = (stage.folder().join(name), format!("{name}-ours"));
        by_hand(stage, compress, &theirs)?;
        stage.own(&["image-make", "root", "facts", &ours, level])?;
        Ok((megabytes(&theirs)?, megabytes(&stage.folder().join(ours))?))
    };
    let xz = made("server.xz", "xz -9e -T1 --check=crc32", "xz")?;
    let zstd = made("server.zst", "zstd -q --ultra -22", "22")?;
    let system = System::new(KERNEL, &SERVER, RELEASE, "")?;
    system.mos(&["image", "build", "--env", "dev"])?;
    let node = megabytes(&system.repository().join("dist/vmlinuz.efi"))?;
    Ok(vec![
        row("initramfs of a server, xz / by hand", xz, "MB", 1.02),
        row("initramfs of a server, zstd -22 / by hand", zstd, "MB", 1.02),
        row("zstd -22 / xz, both ours", (xz.1, zstd.1), "MB", 1.08),
        goal("whole node for servers, one EFI file / 16 MB", 16.0, node, "MB"),
    ])
}

pub(super) fn megabytes(path: &Path) -> Result<f64, String> {
    let metadata = fs::metadata(path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(metadata.len() as f64 / MEGABYTE)
}
