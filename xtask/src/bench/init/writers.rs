//! Services that write to their logs as fast as they can: nobody waits for ever, and memory is bounded.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use super::rig::{Run, megabytes};
use super::stage::Stage;
use super::supervisors::Kind;
use super::work::{Manner, independent};
use super::{goal, known};
use crate::bench::Row;

const SERVICES: usize = 2000;
/// Each writes so much, in lines of 128 bytes: four times what a pipe holds, and what is kept.
const BYTES: u32 = 256 * 1024;
/// What may be kept of each: `buffer_bytes` (65,536) and what has not been given back yet (16 KiB and a page).
const KEPT: f64 = (64.0 + 16.0 + 4.0) * 1024.0;

pub(super) fn rows(stage: &Stage) -> Result<Vec<Row>, String> {
    let run = Run::supervise(stage, Kind::Ours, &independent(SERVICES, Manner::Chat(BYTES)))?;
    let time = run.time(SERVICES);
    let (done, memory) = (run.count(), kept(&run));
    let waiting = (SERVICES - done.min(SERVICES)) as f64;
    let limit = SERVICES as f64 * KEPT / 1e6;
    let written = SERVICES as f64 * f64::from(BYTES) / 1e6;
    let mut rows = vec![
        goal(
            "2,000 services write 262,144 bytes each: how many wait for ever / 0",
            0.0,
            waiting,
            "x",
        ),
        goal("  logs that are kept / their bound", limit, memory, "MB"),
    ];
    rows.push(known(
        "  resident memory beside / 1 kB per service",
        2.0,
        megabytes(&run, "status", "VmRSS"),
        "MB",
    ));
    if let Ok(time) = time {
        rows.push(known(
            "  all was taken at, per second / written",
            written,
            written / time * 1e3,
            "MB",
        ));
    }
    Ok(rows)
}

/// Megabytes of files in memory that the supervisor has open.
fn kept(run: &Run) -> f64 {
    let Some(pid) = run.supervisors().into_iter().next() else {
        return f64::NAN;
    };
    let files = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let logs = files
        .filter(|file| fs::read_link(file.path()).is_ok_and(|path| path.to_string_lossy().starts_with("/memfd:log")));
    let blocks: u64 = logs
        .filter_map(|file| Some(fs::metadata(file.path()).ok()?.blocks()))
        .sum();
    blocks as f64 * 512.0 / 1e6
}
