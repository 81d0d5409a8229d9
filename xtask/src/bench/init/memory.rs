//! Resident memory of the supervisor and all its helpers.

use std::thread::sleep;
use std::time::Duration;

use super::rig::{Run, megabytes};
use super::stage::Stage;
use super::supervisors::Kind;
use super::work::{Manner, independent};
use super::{goal, known};
use crate::bench::Row;

const SERVICES: usize = 1000;
/// In megabytes.
const GOAL: f64 = 4.0;
/// Of dinit, where there is none (2026-11).
const RECORDED: f64 = 5.45;
/// For what is done after the last start.
const SETTLE: Duration = Duration::from_secs(2);

pub(super) fn rows(stage: &Stage) -> Result<Vec<Row>, String> {
    let (ours, own) = measure(stage, Kind::Ours)?;
    let mut rows = vec![
        goal("resident memory with 1,000 services / 4 MB", GOAL, ours, "MB"),
        known("  what is shared counted once", GOAL, own, "MB"),
    ];
    let peers = stage.present(&Kind::PEERS);
    for kind in &peers {
        match measure(stage, *kind) {
            Ok((resident, _)) => rows.push(known(format!("  {}", kind.name()), GOAL, resident, "MB")),
            Err(why) => println!("{}, 1,000 services: {why}", kind.name()),
        }
    }
    if !peers.contains(&Kind::Dinit) {
        rows.push(known("  dinit, recorded elsewhere", GOAL, RECORDED, "MB"));
    }
    Ok(rows)
}

/// Megabytes: RSS, PSS.
fn measure(stage: &Stage, kind: Kind) -> Result<(f64, f64), String> {
    let run = Run::supervise(stage, kind, &independent(SERVICES, Manner::Stay))?;
    run.wait(SERVICES)?;
    sleep(SETTLE);
    Ok((
        megabytes(&run, "status", "VmRSS"),
        megabytes(&run, "smaps_rollup", "Pss"),
    ))
}
