//! A signed image under firmware that insists on signatures, with a TPM: from power-on to `ready`, by the host's clock.

use super::goal;
use super::stage::{CLOUD_KERNEL, Stage, System};
use crate::bench::Row;

/// Runs; the median counts.
const RUNS: usize = 3;

pub(super) fn rows(_: &Stage) -> Result<Vec<Row>, String> {
    let settings = "[image]\nsecure_boot = \"keys/secure-boot/db\"\n";
    let system = System::new(CLOUD_KERNEL, &["virtio_net", "virtio_blk"], 22, settings)?;
    system.mos(&["keys", "new", "--secure-boot"])?;
    let mut times = Vec::new();
    for _ in 0..RUNS {
        let said = system.mos(&[
            "run",
            "--env",
            "dev",
            "--secure-boot",
            "--tpm",
            "--reset",
            "--until",
            "ready",
        ])?;
        times.push(total(&said).ok_or_else(|| format!("no timeline in {said}"))?);
    }
    times.sort_by(f64::total_cmp);
    let time = times[times.len() / 2];
    Ok(vec![goal(
        "Secure Boot and TPM, power-on to ready / 10 s",
        10_000.0,
        time,
        "ms",
    )])
}

/// The time to `ready`, in milliseconds.
fn total(said: &str) -> Option<f64> {
    let line = said.lines().rfind(|line| line.trim_start().starts_with("total"))?;
    line.split_whitespace().find_map(|word| word.parse().ok())
}
