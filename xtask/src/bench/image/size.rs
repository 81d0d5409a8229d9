//! How large images are: the initramfs of a server against one made by hand with the same modules, and a whole node.

use std::fs;
use std::path::Path;

use super::make::by_hand;
use mos_boot::uki;

use super::stage::{CLOUD_KERNEL, KERNEL, SERVER, Stage, System};
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
    Ok(vec![
        row("initramfs of a server, xz / by hand", xz, "MB", 1.02),
        row("initramfs of a server, zstd -22 / by hand", zstd, "MB", 1.02),
        row("zstd -22 / xz, both ours", (xz.1, zstd.1), "MB", 1.08),
    ])
}

/// Whole nodes, as one EFI file each.
pub(super) fn nodes(_: &Stage) -> Result<Vec<Row>, String> {
    let built = |kernel: &str, modules: &[&str]| -> Result<Vec<u8>, String> {
        let system = System::new(kernel, modules, RELEASE, "")?;
        system.mos(&["image", "build", "--env", "dev"])?;
        fs::read(system.repository().join("dist/vmlinuz.efi")).map_err(|error| error.to_string())
    };
    let of = |bytes: usize| bytes as f64 / MEGABYTE;
    let server = of(built(KERNEL, &SERVER)?.len());
    let cloud = built(CLOUD_KERNEL, &["virtio_net", "virtio_blk"])?;
    let mut rows = vec![
        goal("whole node for servers, generic kernel / 16 MB", 16.0, server, "MB"),
        goal(
            "whole node for clouds, cloud kernel / 16 MB",
            16.0,
            of(cloud.len()),
            "MB",
        ),
    ];
    match std::env::var_os("MOS_BENCH_KERNEL") {
        None => println!("whole node with a built kernel: left out: MOS_BENCH_KERNEL names none"),
        Some(path) => {
            let packaged = uki::extract(&cloud).map_err(|error| error.to_string())?[".linux"].len();
            let own = fs::metadata(path).map_err(|error| error.to_string())?.len() as usize;
            let size = of(cloud.len() - packaged + own);
            rows.push(goal(
                "whole node for virtual machines, built kernel / 7 MB",
                7.0,
                size,
                "MB",
            ));
        }
    }
    Ok(rows)
}

pub(super) fn megabytes(path: &Path) -> Result<f64, String> {
    let metadata = fs::metadata(path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(metadata.len() as f64 / MEGABYTE)
}
