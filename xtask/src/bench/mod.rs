//! `cargo xtask bench [NAME]`: what SPECIFICATION.md promises, measured side by side in one run.
//!
//! Each row compares with a peer: another way to do the same, on the same machine, in the same run, alternating with
//! ours. Medians are shown, and their ratio is what counts: the machine is shared and noisy.

mod boot;
mod build;
mod clocked;
mod flist;
mod image;
mod init;

pub(crate) use flist::pack_once;
pub(crate) use image::{closure_once, make_once};

use std::borrow::Cow;
use std::time::{Duration, Instant};

/// Runs of each side; the median counts.
const RUNS: usize = 5;

/// Debian's kernel for virtual machines: small, and with all that one needs.
const CLOUD_KERNEL: &str = "linux-image-6.12-cloud-amd64";

/// A benchmark: its rows, or why it could not run.
type Bench = fn() -> Result<Vec<Row>, String>;

/// One comparison.
pub(crate) struct Row {
    name: Cow<'static, str>,
    peer: f64,
    ours: f64,
    unit: &'static str,
    /// The ratio that must not be exceeded; [`INFORMATION`] where nothing was promised.
    goal: f64,
}

/// The goal of a row that is worth knowing and promises nothing.
const INFORMATION: f64 = f64::INFINITY;

impl Row {
    fn holds(&self) -> bool {
        self.ratio() <= self.goal
    }

    /// Nothing at all is no part of anything, also of nothing.
    fn ratio(&self) -> f64 {
        if self.ours == 0.0 { 0.0 } else { self.ours / self.peer }
    }
}

/// Rows that belong together, by the name that `MOS_BENCH_ROWS` knows them by; what all groups start from is made once.
type Group<S> = (&'static str, fn(&S) -> Result<Vec<Row>, String>);

/// The rows of the groups that are wanted: all, or the one that `MOS_BENCH_ROWS` names.
fn of_groups<S>(groups: &[Group<S>], stage: impl FnOnce() -> Result<S, String>) -> Result<Vec<Row>, String> {
    let wanted = std::env::var("MOS_BENCH_ROWS").ok();
    let is_wanted = |name: &str| wanted.as_deref().is_none_or(|wanted| wanted == name);
    let mut groups = groups.iter().filter(|(name, _)| is_wanted(name)).peekable();
    if groups.peek().is_none() {
        return Ok(Vec::new());
    }
    let stage = stage()?;
    let mut rows = Vec::new();
    for (_, group) in groups {
        rows.extend(group(&stage)?);
    }
    Ok(rows)
}

/// Runs one benchmark or all; an error when a row falls short.
pub(crate) fn run(name: Option<&str>) -> Result<String, String> {
    let all: [(&str, Bench); 5] = [
        ("build", build::rows),
        ("boot", boot::rows),
        ("image", image::rows),
        ("flist", flist::rows),
        ("init", init::rows),
    ];
    if let Some(name) = name
        && !all.iter().any(|(known, _)| *known == name)
    {
        return Err(format!(
            "no benchmark `{name}`; there are: build, boot, image, flist, init"
        ));
    }
    println!("{:<60} {:>12} {:>12} {:>7} {:>7}", "", "peer", "ours", "ratio", "goal");
    let (mut count, mut short) = (0, 0);
    for (_, rows) in all.iter().filter(|(known, _)| name.is_none_or(|name| name == *known)) {
        for row in rows()? {
            print(&row);
            count += 1;
            short += usize::from(!row.holds());
        }
    }
    match short {
        _ if count == 0 => Err("bench: no rows: MOS_BENCH_ROWS names no group".to_owned()),
        0 => Ok("bench: every row holds".to_owned()),
        count => Err(format!("bench: {count} rows fall short")),
    }
}

fn print(row: &Row) {
    let (goal, verdict) = match row.goal {
        INFORMATION => (String::new(), "for information"),
        goal if row.holds() => (format!("{goal:.2}"), "holds"),
        goal => (format!("{goal:.2}"), "falls short"),
    };
    // Megabytes of images and programs are few, as are milliseconds of a restart, and a hundredth of them counts.
    let fine = matches!((row.unit, row.peer < 10.0), ("MB", _) | ("ms", true));
    let value = |number: f64| match number < 100.0 && fine {
        true => format!("{number:.2} {}", row.unit),
        false => format!("{number:.0} {}", row.unit),
    };
    let (peer, ours, ratio) = (value(row.peer), value(row.ours), row.ratio());
    println!(
        "{:<60} {peer:>12} {ours:>12} {ratio:>7.3} {goal:>7}  {verdict}",
        row.name
    );
}

/// The median of alternating runs of both sides, in milliseconds: peer, ours.
fn alternate(
    mut peer: impl FnMut() -> Result<Duration, String>,
    mut ours: impl FnMut() -> Result<Duration, String>,
) -> Result<(f64, f64), String> {
    let (mut peers, mut own) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        peers.push(peer()?);
        own.push(ours()?);
    }
    Ok((median(peers), median(own)))
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64() * 1000.0
}

/// How long a step takes.
fn timed(step: impl FnOnce() -> Result<(), String>) -> Result<Duration, String> {
    let begin = Instant::now();
    step()?;
    Ok(begin.elapsed())
}
