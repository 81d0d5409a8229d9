//! Boot images: how long they take, how large they are, how soon they run, against what else makes or starts them. One
//! file per group of rows; [`stage`] has what all of them start from.
//!
//! Where the peer of a row is a number, such as `/ 400 ms`, that is the goal itself.
//!
//! Our side of the first groups is this program again (`xtask image-…`), so that its start counts as that of the peers does;
//! it must be built with `--release`. The others use `dist/bin/mos` and `dist/node` as they are shipped.
//!
//! The peers that `scripts/peers.sh image` installs run in a mount namespace of their own, where the unpacked kernel
//! package lies at `/lib/modules`: that takes root. A peer that is absent or fails is named, its row left out.
//!
//! `MOS_BENCH_ROWS=make|closure|edit|size|node|boot|ready|twice` takes only this group. Groups `node` and `boot` compile the
//! kernels of `examples/minimal` and `examples/server` the first time, 13 and 20 minutes of a processor, and keep them in the
//! cache; `MOS_BENCH_KERNELS=no` leaves out the rows about them.

mod boot;
mod closure;
mod edit;
mod make;
mod ready;
mod size;
mod stage;
mod twice;

pub(crate) use closure::closure_once;
pub(crate) use make::make_once;

use super::{Group, Row, of_groups};
use stage::Stage;

const GROUPS: [Group<Stage>; 8] = [
    ("make", make::rows),
    ("closure", closure::rows),
    ("edit", edit::rows),
    ("size", size::rows),
    ("node", size::nodes),
    ("boot", boot::rows),
    ("ready", ready::rows),
    ("twice", twice::rows),
];

pub(super) fn rows() -> Result<Vec<Row>, String> {
    if cfg!(debug_assertions) {
        return Err("a debug build says nothing; use `cargo run --release -p xtask -- bench image`".to_owned());
    }
    of_groups(&GROUPS, Stage::make)
}

/// A row whose peer is the goal itself.
fn goal(name: &'static str, goal: f64, ours: f64, unit: &'static str) -> Row {
    row(name, (goal, ours), unit, 1.0)
}

fn row(name: &'static str, (peer, ours): (f64, f64), unit: &'static str, goal: f64) -> Row {
    Row {
        name: name.into(),
        peer,
        ours,
        unit,
        goal,
    }
}
