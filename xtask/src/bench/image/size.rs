//! How large images are: the initramfs of a server against one made by hand with the same modules, and a whole node.

use std::fs;
use std::path::Path;

use mos_boot::{Compression, initramfs, uki};

use super::boot::read_initramfs;
use super::make::by_hand;
use super::stage::{KERNEL, RELEASE, SERVER, Stage, System};
use super::{goal, row};
use crate::bench::CLOUD_KERNEL;
use crate::bench::{INFORMATION, Row};

const MEGABYTE: f64 = 1e6;

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
    Ok(vec![
        row("initramfs of a server, xz / by hand", xz, "MB", 1.02),
        row("initramfs of a server, zstd -22 / by hand", zstd, "MB", 1.02),
        row("zstd -22 / xz, both ours", (xz.1, zstd.1), "MB", 1.08),
    ])
}

/// Whole nodes, as one EFI file each: with kernels from source, and with Debian's.
pub(super) fn nodes(_: &Stage) -> Result<Vec<Row>, String> {
    let packaged = |kernel: &str, modules: &[&str]| System::new(kernel, modules, RELEASE, "")?.built();
    let generic = packaged(KERNEL, &SERVER)?;
    let cloud = packaged(CLOUD_KERNEL, &["virtio_net", "virtio_blk"])?;
    let mut rows = Vec::new();
    if let Some(system) = System::example("server")? {
        let efi = system.built()?;
        let name = "whole node for servers, kernel from source / 16 MB";
        rows.push(goal(name, 16.0, of(efi.len()), "MB"));
        rows.push(against_xz(&efi)?);
    }
    if let Some(system) = System::example("minimal")? {
        let size = of(system.built()?.len());
        let name = "whole node for virtual machines, kernel from source / 7 MB";
        rows.push(goal(name, 7.0, size, "MB"));
    }
    let name = "whole node for clouds, Debian's cloud kernel / 16 MB";
    rows.push(goal(name, 16.0, of(cloud.len()), "MB"));
    // That kernel alone has 12 MB.
    let name = "whole node for servers, Debian's generic kernel / 16 MB";
    rows.push(row(name, (16.0, of(generic.len())), "MB", INFORMATION));
    Ok(rows)
}

/// What zstd costs in place of xz, of the initramfs of a node whose kernel is compiled, with modules without type information.
fn against_xz(efi: &[u8]) -> Result<Row, String> {
    let sections = uki::extract(efi).map_err(|error| error.to_string())?;
    let zstd = sections.get(".initrd").ok_or("the EFI file has no section .initrd")?;
    let tree = read_initramfs(zstd)?;
    let xz = initramfs(&tree, Compression::Xz).map_err(|error| error.to_string())?;
    let name = "zstd -22 / xz, kernel from source";
    Ok(row(name, (of(xz.len()), of(zstd.len())), "MB", 1.08))
}

fn of(bytes: usize) -> f64 {
    bytes as f64 / MEGABYTE
}

pub(super) fn megabytes(path: &Path) -> Result<f64, String> {
    let metadata = fs::metadata(path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(metadata.len() as f64 / MEGABYTE)
}
