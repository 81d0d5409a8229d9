//! How large programs are.

use std::fs;

use super::stage::Stage;
use super::supervisors::Kind;
use super::{goal, known};
use crate::bench::Row;

/// In megabytes.
const GOAL: f64 = 1.2;

/// Ours is PID 1, supervisor and client in one, static and stripped; those of peers are one part, and dynamic.
pub(super) fn rows(stage: &Stage) -> Result<Vec<Row>, String> {
    let size = |kind: Kind| -> Option<f64> {
        let metadata = fs::metadata(stage.program(kind)?).ok()?;
        Some(metadata.len() as f64 / 1e6)
    };
    let ours = size(Kind::Ours).ok_or("my_init is not there")?;
    let mut rows = vec![goal(
        "PID 1, supervisor and client in one static program / 1.2 MB",
        GOAL,
        ours,
        "MB",
    )];
    for kind in Kind::PEERS {
        if let Some(size) = size(kind) {
            rows.push(known(
                format!("  {}, {}", kind.name(), kind.program()),
                GOAL,
                size,
                "MB",
            ));
        }
    }
    Ok(rows)
}
