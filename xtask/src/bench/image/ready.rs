//! A signed image under firmware that insists on signatures, with a TPM: from power-on to `ready`, by the host's clock.

use std::fs;

use super::stage::{RELEASE, Stage, System};
use super::{goal, row};
use crate::bench::CLOUD_KERNEL;
use crate::bench::{INFORMATION, Row};

/// Runs; the median counts.
const RUNS: usize = 3;
/// Lines of the environment.
const SIGNED: &str = "[image]\nsecure_boot = \"keys/secure-boot/db\"\n";
/// In milliseconds.
const GOAL: f64 = 10_000.0;

/// The firmware checks and measures every byte in software, so the smaller node is the sooner one.
pub(super) fn rows(_: &Stage) -> Result<Vec<Row>, String> {
    let debian = System::new(CLOUD_KERNEL, &["virtio_net", "virtio_blk"], RELEASE, SIGNED)?;
    let name = "Secure Boot and TPM, Debian's cloud kernel, power-on to ready / 10 s";
    let mut rows = vec![row(name, (GOAL, median(&debian)?), "ms", INFORMATION)];
    if let Some(minimal) = System::example("minimal")? {
        let environment = minimal.repository().join("environments/dev.toml");
        let text = fs::read_to_string(environment).map_err(|error| error.to_string())?;
        minimal.write("environments/dev.toml", &format!("{text}\n{SIGNED}"))?;
        let name = "Secure Boot and TPM, kernel from source, power-on to ready / 10 s";
        rows.push(goal(name, GOAL, median(&minimal)?, "ms"));
    }
    Ok(rows)
}

fn median(system: &System) -> Result<f64, String> {
    system.mos(&["keys", "new", "--secure-boot"])?;
    let options = ["--secure-boot", "--tpm", "--reset", "--until", "ready"];
    let mut times = Vec::new();
    for _ in 0..RUNS {
        let said = system.mos(&[&["run", "--env", "dev"], &options[..]].concat())?;
        times.push(total(&said).ok_or_else(|| format!("no timeline in {said}"))?);
    }
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() / 2])
}

/// The time to `ready`, in milliseconds.
fn total(said: &str) -> Option<f64> {
    let line = said.lines().rfind(|line| line.trim_start().starts_with("total"))?;
    line.split_whitespace().find_map(|word| word.parse().ok())
}
