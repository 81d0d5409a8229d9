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

/// A workload: what is done with a mount, and whether mounting counts.
struct Load<'l> {
    name: &'l str,
    with_mount: bool,
    run: &'l dyn Fn(&Mounted) -> Result<(), String>,
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
    let peers = Way::peers();
    let mut rows = fuse(stage, &content, &peers)?;
    rows.extend(kernel(stage, &content)?);
    rows.extend(again(stage, &content)?);
    Ok(rows)
}

/// Ours by FUSE against the best of the others by FUSE.
fn fuse(stage: &Stage<'_>, content: &Content, peers: &[Way]) -> Result<Vec<Row>, String> {
    let loads = [
        (
            "FUSE: mount, walk and stat, cold / best peer",
            Load {
                name: "mount, walk and stat",
                with_mount: true,
                run: &|mounted| stat_all(&mounted.directory),
            },
        ),
        (
            "FUSE: start of 300 files, cold / best peer",
            Load {
                name: "start of 300 files",
                with_mount: false,
                run: &|mounted| read(&mounted.directory, &content.start),
            },
        ),
        (
            "FUSE: read all, cold / best peer",
            Load {
                name: "read all",
                with_mount: false,
                run: &|mounted| read(&mounted.directory, &content.all),
            },
        ),
        (
            "FUSE: 2,000 random 4 KiB, cold / best peer",
            Load {
                name: "random 4 KiB",
                with_mount: false,
                run: &|mounted| read_places(&mounted.directory, &content.places),
            },
        ),
    ];
    let ways: Vec<Way> = [Way::Fuse].iter().chain(peers).copied().collect();
    let mut rows = vec![memory(stage, content)?];
    for (name, load) in loads {
        let times = all(stage, &ways, &load)?;
        match times[1..].iter().copied().reduce(f64::min) {
            Some(best) => rows.push(row(name, (best, times[0]), "ms", 1.0)),
            None => println!("no FUSE peer: nothing to compare `{}` with", load.name),
        }
    }
    Ok(rows)
}

/// Ours by the kernel against the directory itself.
fn kernel(stage: &Stage<'_>, content: &Content) -> Result<Vec<Row>, String> {
    let loads: [(&'static str, f64, Load<'_>); 3] = [
        (
            "kernel: walk and stat, cold / source bind",
            1.1,
            Load {
                name: "walk and stat",
                with_mount: false,
                run: &|mounted| stat_all(&mounted.directory),
            },
        ),
        (
            "kernel: start of 300 files, cold / source bind",
            1.1,
            Load {
                name: "start of 300 files",
                with_mount: false,
                run: &|mounted| read(&mounted.directory, &content.start),
            },
        ),
        (
            "kernel: read all, cold / source bind",
            1.05,
            Load {
                name: "read all",
                with_mount: false,
                run: &|mounted| read(&mounted.directory, &content.all),
            },
        ),
    ];
    let mut rows = Vec::new();
    for (name, goal, load) in loads {
        let times = all(stage, &[Way::Source, Way::Kernel], &load)?;
        rows.push(row(name, (times[0], times[1]), "ms", goal));
    }
    Ok(rows)
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
        let times = alternately(&[Way::Source, way], warm)?;
        // At 0.95 of the rate at least.
        rows.push(row(name, (times[0], times[1]), "ms", 1.0 / 0.95));
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

/// The medians of a workload with cold caches, in milliseconds, of several ways; printed, because a row shows only two.
fn all(stage: &Stage<'_>, ways: &[Way], load: &Load<'_>) -> Result<Vec<f64>, String> {
    let times = alternately(ways, |way| cold(stage, way, load))?;
    let shown = ways
        .iter()
        .zip(&times)
        .map(|(way, time)| format!("{} {time:.0} ms", way.name()));
    println!("{}: {}", load.name, shown.collect::<Vec<_>>().join(", "));
    Ok(times)
}

fn cold(stage: &Stage<'_>, way: Way, load: &Load<'_>) -> Result<Duration, String> {
    drop_caches()?;
    let mut begin = Instant::now();
    let mounted = stage.mount(way)?;
    if !load.with_mount {
        drop_caches()?;
        begin = Instant::now();
    }
    (load.run)(&mounted)?;
    Ok(begin.elapsed())
}

/// The medians of several ways that take turns.
fn alternately(ways: &[Way], mut once: impl FnMut(Way) -> Result<Duration, String>) -> Result<Vec<f64>, String> {
    let mut times = vec![Vec::new(); ways.len()];
    for _ in 0..RUNS {
        for (way, times) in ways.iter().zip(&mut times) {
            times.push(once(*way)?);
        }
    }
    Ok(times.into_iter().map(median).collect())
}
