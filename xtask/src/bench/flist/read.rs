//! Reading a mounted tree from a store on this disk.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::super::{Row, median};
use super::mounted::{Mounted, Stage, Way, drop_caches};
use super::row;
use super::work::{Place, files, places, read, read_places, start, stat_all};

/// Runs of each way; fewer than of other rows, because there are up to five ways.
const RUNS: usize = 3;

/// What is read.
struct Content {
    all: Vec<PathBuf>,
    start: Vec<PathBuf>,
    places: Vec<Place>,
}

/// What is done with a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Load {
    /// The mounting counts, too.
    MountAndWalk,
    Walk,
    Start,
    All,
    Random,
}

impl Load {
    fn name(self) -> &'static str {
        match self {
            Self::MountAndWalk => "mount, walk and stat",
            Self::Walk => "walk and stat",
            Self::Start => "start of 300 files",
            Self::All => "read all",
            Self::Random => "random 4 KiB",
        }
    }

    /// How often it is measured: what is over soon is disturbed more easily.
    fn runs(self) -> usize {
        match self {
            Self::Start => 9,
            Self::MountAndWalk | Self::Walk => 5,
            Self::All | Self::Random => RUNS,
        }
    }

    fn run(self, mounted: &Mounted, content: &Content) -> Result<(), String> {
        let tree = &mounted.directory;
        match self {
            Self::MountAndWalk | Self::Walk => stat_all(tree),
            Self::Start => read(tree, &content.start),
            Self::All => read(tree, &content.all),
            Self::Random => read_places(tree, &content.places),
        }
    }
}

/// A row: our way with a workload against one other, or the best of several that are there.
struct Against<'l> {
    name: &'static str,
    ours: Way,
    peers: &'l [Way],
    goal: f64,
    load: Load,
}

pub(super) fn rows(stage: &Stage<'_>) -> Result<Vec<Row>, String> {
    if let Err(error) = drop_caches() {
        println!("SKIPPED: reading from a mount: {error}; only root can empty the caches");
        return Ok(Vec::new());
    }
    let listed = files(&stage.corpus.old)?;
    let content = Content {
        start: start(&listed),
        places: places(&listed),
        all: listed.into_iter().map(|file| file.0).collect(),
    };
    let mut rows = vec![memory(stage, &content)?];
    rows.extend(cold_caches(stage, &content)?);
    rows.extend(again(stage, &content)?);
    Ok(rows)
}

fn cold_caches(stage: &Stage<'_>, content: &Content) -> Result<Vec<Row>, String> {
    let fuse = stage.present(&Way::FUSE_PEERS);
    // Where nydusd is missing, the best of the others stands in for it; the source for composefs.
    let is_nydusd = |way: &Way| matches!(way, Way::Nydusd5 | Way::Nydusd6);
    let nydusd: Vec<Way> = match fuse.iter().any(is_nydusd) {
        true => fuse.iter().copied().filter(is_nydusd).collect(),
        false => fuse.clone(),
    };
    let composefs = match stage.present(&[Way::Composefs]) {
        none if none.is_empty() => vec![Way::Source],
        composefs => composefs,
    };
    let against = |name, ours, load, peers, goal| {
        let row = Against {
            name,
            ours,
            peers,
            goal,
            load,
        };
        compare(stage, content, &row)
    };
    let source: &[Way] = &[Way::Source];
    let rows = [
        against(
            "FUSE: mount, walk and stat, cold / best peer",
            Way::Fuse,
            Load::MountAndWalk,
            &fuse[..],
            1.0,
        )?,
        against(
            "FUSE: start of 300 files, cold / best peer",
            Way::Fuse,
            Load::Start,
            &fuse,
            1.0,
        )?,
        against("FUSE: read all, cold / nydusd", Way::Fuse, Load::All, &nydusd, 1.0)?,
        against(
            "FUSE: 2,000 random 4 KiB, cold / nydusd",
            Way::Fuse,
            Load::Random,
            &nydusd,
            1.0,
        )?,
        against(
            "kernel: walk and stat, cold / source bind",
            Way::Kernel,
            Load::Walk,
            source,
            1.1,
        )?,
        against(
            "kernel: start of 300 files, cold / composefs",
            Way::Kernel,
            Load::Start,
            &composefs,
            1.0,
        )?,
        against(
            "kernel: read all, cold / source bind",
            Way::Kernel,
            Load::All,
            source,
            1.05,
        )?,
        against(
            "kernel: 2,000 random 4 KiB, cold / composefs",
            Way::Kernel,
            Load::Random,
            &composefs,
            1.1,
        )?,
    ];
    Ok(rows.into_iter().flatten().collect())
}

/// The row, and all times printed, because a row shows only two of them. No row when no peer is there.
fn compare(stage: &Stage<'_>, content: &Content, wanted: &Against<'_>) -> Result<Option<Row>, String> {
    let load = wanted.load;
    let ways: Vec<Way> = [wanted.ours].iter().chain(wanted.peers).copied().collect();
    let times = alternately(load.runs(), &ways, |way| cold(stage, content, way, load));
    let shown = ways.iter().zip(&times).map(|(way, time)| match time {
        Ok(time) => format!("{} {time:.0} ms", way.name()),
        Err(why) => format!("{} failed ({why})", way.name()),
    });
    println!("{}: {}", load.name(), shown.collect::<Vec<_>>().join(", "));
    let ours = times[0].clone()?;
    match times[1..].iter().flatten().copied().reduce(f64::min) {
        Some(best) => Ok(Some(row(wanted.name, (best, ours), "ms", wanted.goal))),
        None => {
            println!("{}: no peer", wanted.name);
            Ok(None)
        }
    }
}

/// Everything once more, while it is in the page cache.
fn again(stage: &Stage<'_>, content: &Content) -> Result<Vec<Row>, String> {
    let mut rows = Vec::new();
    for (name, way) in [
        ("FUSE: read all again / source bind", Way::Fuse),
        ("kernel: read all again / source bind", Way::Kernel),
    ] {
        let warm = |way| {
            let mounted = stage.mount(way)?;
            read(&mounted.directory, &content.all)?;
            let begin = Instant::now();
            read(&mounted.directory, &content.all)?;
            Ok(begin.elapsed())
        };
        let times = alternately(RUNS, &[Way::Source, way], warm);
        let [source, ours] = [times[0].clone()?, times[1].clone()?];
        // At 0.95 of the rate at least.
        rows.push(row(name, (source, ours), "ms", 1.0 / 0.95));
    }
    Ok(rows)
}

/// The peak of the daemon over all workloads.
fn memory(stage: &Stage<'_>, content: &Content) -> Result<Row, String> {
    let mounted = stage.mount(Way::Fuse)?;
    stat_all(&mounted.directory)?;
    read_places(&mounted.directory, &content.places)?;
    read(&mounted.directory, &content.all)?;
    Ok(row(
        "FUSE: peak memory of the daemon / 24 MB",
        (24.0, mounted.memory()? as f64 / 1e6),
        "MB",
        1.0,
    ))
}

fn cold(stage: &Stage<'_>, content: &Content, way: Way, load: Load) -> Result<Duration, String> {
    drop_caches()?;
    let mut begin = Instant::now();
    let mounted = stage.mount(way)?;
    if load != Load::MountAndWalk {
        drop_caches()?;
        begin = Instant::now();
    }
    load.run(&mounted, content)?;
    Ok(begin.elapsed())
}

/// The median of each of several ways that take turns, in milliseconds, or why one failed: it is not tried again.
fn alternately(
    runs: usize,
    ways: &[Way],
    mut once: impl FnMut(Way) -> Result<Duration, String>,
) -> Vec<Result<f64, String>> {
    let mut times: Vec<Result<Vec<Duration>, String>> = vec![Ok(Vec::new()); ways.len()];
    for _ in 0..runs {
        for (way, times) in ways.iter().zip(&mut times) {
            let Ok(done) = times else { continue };
            match once(*way) {
                Ok(time) => done.push(time),
                Err(why) => *times = Err(why),
            }
        }
    }
    times.into_iter().map(|times| times.map(median)).collect()
}
