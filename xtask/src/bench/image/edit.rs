//! The edit loop: `mos image build` of a server's image after one of its files changed, and after nothing did.

use std::time::Duration;

use super::goal;
use super::stage::{KERNEL, SERVER, Stage, System};
use crate::bench::{RUNS, Row, median, timed};

/// The level of development environments.
const EDITING: u8 = 3;

pub(super) fn rows(_: &Stage) -> Result<Vec<Row>, String> {
    let system = System::new(KERNEL, &SERVER, EDITING, "")?;
    let build = || -> Result<Duration, String> { timed(|| system.mos(&["image", "build", "--env", "dev"]).map(drop)) };
    build()?;
    let (mut changed, mut same) = (Vec::new(), Vec::new());
    for run in 0..RUNS {
        let text = format!("run {run} {}\n", std::process::id());
        system.write("image/files/etc/motd", &text)?;
        changed.push(build()?);
        same.push(build()?);
    }
    let (changed, same) = (median(changed), median(same));
    Ok(vec![
        goal("one file changed to bootable image / 500 ms", 500.0, changed, "ms"),
        goal("nothing changed / 100 ms", 100.0, same, "ms"),
    ])
}
