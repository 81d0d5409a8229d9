//! my_init against other supervisors. One file per group of rows; [`stage`] has the programs, [`work`] what they are given
//! to do, [`supervisors`] how each is told, [`rig`] runs one on this machine.
//!
//! Peers are measured in the same rounds. Where a row's peer is the spawn floor it is what it takes to start the same program
//! as often, one after the other, with posix_spawn(3) and wait(2), in the same round; where it is a number, such as `/ 1 s`,
//! that is the goal itself. Rows of peers promise nothing. What is absent is named, and where nobody measures it here the
//! ratio of an earlier run elsewhere is printed, marked as recorded.
//!
//! `scripts/peers.sh init` compiles zinit and horust from crates.io; s6, runit, finit and BusyBox come from packages, unpacked
//! aside; `DINIT=/path` is a dinit, `MY_INIT=/path` takes the place of `dist/node/my_init`. All of it takes root.
//!
//! `MOS_BENCH_ROWS=start|memory|machine|restart|idle|stop|crash|writers|size` takes only this group.

mod life;
mod machine;
mod memory;
mod rig;
mod size;
mod stage;
mod start;
mod supervisors;
mod work;
mod writers;

use std::borrow::Cow;
use std::time::Duration;

use super::{Group, INFORMATION, Row, of_groups};
use stage::Stage;
use supervisors::Kind;

/// How long anything may take, by the clock of this machine.
const LIMIT: Duration = Duration::from_secs(180);

const GROUPS: [Group<Stage>; 9] = [
    ("start", start::rows),
    ("memory", memory::rows),
    ("machine", machine::rows),
    ("restart", life::restart),
    ("idle", life::idle),
    ("stop", life::stop),
    ("crash", life::crash),
    ("writers", writers::rows),
    ("size", size::rows),
];

pub(super) fn rows() -> Result<Vec<Row>, String> {
    of_groups(&GROUPS, || {
        let stage = Stage::make()?;
        if stage.program(Kind::Ours).is_none() {
            return Err("dist/node/my_init is not there; run `make programs` first".to_owned());
        }
        stage.announce();
        Ok(stage)
    })
}

fn row(name: impl Into<Cow<'static, str>>, peer: f64, ours: f64, unit: &'static str, goal: f64) -> Row {
    Row {
        name: name.into(),
        peer,
        ours,
        unit,
        goal,
    }
}

/// A row whose peer is the goal itself.
fn goal(name: impl Into<Cow<'static, str>>, goal: f64, ours: f64, unit: &'static str) -> Row {
    row(name, goal, ours, unit, 1.0)
}

/// A row that promises nothing.
fn known(name: impl Into<Cow<'static, str>>, peer: f64, ours: f64, unit: &'static str) -> Row {
    row(name, peer, ours, unit, INFORMATION)
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
