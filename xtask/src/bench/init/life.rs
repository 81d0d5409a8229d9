//! What happens to services that run: one is killed, nothing happens, all are stopped, the supervisor itself is killed.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::rig::{Run, field, now, send};
use super::stage::Stage;
use super::supervisors::Kind;
use super::work::{Manner, independent};
use super::{LIMIT, goal, known, median};
use crate::bench::Row;

/// A service that has run so long has not failed at once, for supervisors that make a difference.
const SETTLE: Duration = Duration::from_secs(2);
/// Services that are killed, once each.
const KILLED: u32 = 15;
/// In milliseconds.
pub(super) const RESTART_GOAL: f64 = 2.0;
/// Of dinit, where there is none (2026-11).
const RESTART_RECORDED: f64 = 4.0;
const IDLE: Duration = Duration::from_secs(60);
const STOP_GOAL: f64 = 1000.0;
const CRASH_GOAL: f64 = 50.0;

/// From kill -9 of a service to its next stamp.
pub(super) fn restart(stage: &Stage) -> Result<Vec<Row>, String> {
    let name = "restart after kill -9, the first of a service / 2 ms";
    let mut rows = vec![goal(name, RESTART_GOAL, restart_of(stage, Kind::Ours)?, "ms")];
    let peers = stage.present(&Kind::PEERS);
    for kind in &peers {
        match restart_of(stage, *kind) {
            Ok(time) => rows.push(known(format!("  {}", kind.name()), RESTART_GOAL, time, "ms")),
            Err(why) => println!("{}, restart: {why}", kind.name()),
        }
    }
    if !peers.contains(&Kind::Dinit) {
        rows.push(restart_recorded());
    }
    Ok(rows)
}

/// What dinit took where it was measured.
pub(super) fn restart_recorded() -> Row {
    known("  dinit, recorded elsewhere", RESTART_GOAL, RESTART_RECORDED, "ms")
}

fn restart_of(stage: &Stage, kind: Kind) -> Result<f64, String> {
    let count = KILLED as usize;
    let run = Run::supervise(stage, kind, &independent(count, Manner::Stay))?;
    run.wait(count)?;
    sleep(SETTLE);
    let services = run.services();
    let mut times = Vec::new();
    for number in 0..KILLED {
        let pid = services.get(&number).and_then(|pids| pids.first());
        let pid = *pid.ok_or_else(|| format!("service {number} does not run"))?;
        let (before, begin) = (run.count(), now());
        send(pid, Signal::KILL)?;
        run.wait(before + 1)?;
        let stamp = run.stamp(before)?;
        if stamp.number != number {
            return Err(format!("{number} was killed, and {} came back", stamp.number));
        }
        times.push(stamp.time.saturating_sub(begin) as f64 / 1e6);
    }
    Ok(median(&mut times))
}

/// How often supervisors with 100 services, to which nothing happens, wake up in a minute. All at the same time.
pub(super) fn idle(stage: &Stage) -> Result<Vec<Row>, String> {
    let kinds = stage.present(&[&[Kind::Ours], &Kind::PEERS[..]].concat());
    let mut runs = Vec::new();
    for kind in kinds {
        let run = Run::supervise(stage, kind, &independent(100, Manner::Stay))?;
        match run.wait(100) {
            Ok(()) => runs.push((kind, run)),
            Err(why) => println!("{}, 100 services: {why}", kind.name()),
        }
    }
    sleep(SETTLE * 3);
    let before: Vec<u64> = runs.iter().map(|(_, run)| switches(run)).collect();
    sleep(IDLE);
    let rows = runs.iter().zip(before).map(|((kind, run), before)| {
        let times = switches(run).saturating_sub(before) as f64;
        match kind {
            Kind::Ours => goal("wake-ups in 60 s, 100 services / 0", 0.0, times, "x"),
            peer => known(format!("  {}", peer.name()), 0.0, times, "x"),
        }
    });
    Ok(rows.collect())
}

/// Every time that a thread of the supervisor was taken from a processor: it had been given one.
fn switches(run: &Run) -> u64 {
    let threads = run.supervisors().into_iter().flat_map(threads);
    threads
        .map(|file| field(&file, "voluntary_ctxt_switches") + field(&file, "nonvoluntary_ctxt_switches"))
        .sum()
}

/// What the kernel says about each thread of a process.
fn threads(pid: u32) -> Vec<PathBuf> {
    let entries = fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten()
        .flatten();
    entries.map(|entry| entry.path().join("status")).collect()
}

/// From SIGTERM until everything has ended, 1,000 services that end at once when asked.
pub(super) fn stop(stage: &Stage) -> Result<Vec<Row>, String> {
    let mut rows = vec![goal(
        "stop of 1,000 services / 1 s",
        STOP_GOAL,
        stop_of(stage, Kind::Ours)?,
        "ms",
    )];
    for kind in stage.present(&[Kind::Dinit]) {
        rows.push(known(
            format!("  {}", kind.name()),
            STOP_GOAL,
            stop_of(stage, kind)?,
            "ms",
        ));
    }
    // 0.106 s each, one after the other (2026-11); it is killed long before.
    rows.push(known("  zinit 0.3.9, recorded elsewhere", STOP_GOAL, 106_000.0, "ms"));
    Ok(rows)
}

fn stop_of(stage: &Stage, kind: Kind) -> Result<f64, String> {
    let mut times = Vec::new();
    for _ in 0..3 {
        let mut run = Run::supervise(stage, kind, &independent(1000, Manner::Stay))?;
        run.wait(1000)?;
        sleep(SETTLE);
        send(run.init()?, Signal::TERM)?;
        times.push(run.ended()?);
    }
    Ok(median(&mut times))
}

/// From kill -9 of the supervisor until its successor has answered that all 100 services run; none has been started anew.
pub(super) fn crash(stage: &Stage) -> Result<Vec<Row>, String> {
    const SERVICES: usize = 100;
    let run = Run::supervise(stage, Kind::Ours, &independent(SERVICES, Manner::Stay))?;
    run.wait(SERVICES)?;
    until_all_run(&run.socket(), SERVICES)?;
    let mut times = Vec::new();
    for _ in 0..9 {
        let keeper = run.init()?;
        let supervisor = run.supervisors().into_iter().find(|pid| *pid != keeper);
        let begin = Instant::now();
        send(
            supervisor.ok_or("there is no supervisor beside the keeper")?,
            Signal::KILL,
        )?;
        until_all_run(&run.socket(), SERVICES)?;
        times.push(begin.elapsed().as_secs_f64() * 1e3);
    }
    let twice = run.services().values().filter(|pids| pids.len() != 1).count() + run.count() - SERVICES;
    Ok(vec![
        goal(
            "supervisor killed to full control / 50 ms",
            CRASH_GOAL,
            median(&mut times),
            "ms",
        ),
        goal("  services started twice, of 100, 9 times / 0", 0.0, twice as f64, "x"),
        // It starts what ran a second time, after a pause of a second (2026-11).
        known("  zinit 0.3.9, recorded elsewhere", CRASH_GOAL, 1000.0, "ms"),
    ])
}

/// Asks until there is an answer in which so many services run.
fn until_all_run(socket: &Path, count: usize) -> Result<(), String> {
    let begin = Instant::now();
    while begin.elapsed() < LIMIT {
        let running = list(socket).map(|answer| answer.matches("\"running\"").count());
        if running.is_ok_and(|running| running == count) {
            return Ok(());
        }
        sleep(Duration::from_millis(1));
    }
    Err(format!("{count} services do not run after {} s", LIMIT.as_secs()))
}

fn list(socket: &Path) -> std::io::Result<String> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.write_all(b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"service.list_full\"}\n")?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer)?;
    Ok(answer)
}
