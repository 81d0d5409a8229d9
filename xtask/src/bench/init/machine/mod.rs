//! As the first process of a virtual machine, by QEMU's instruction clock: how soon all services have started, how soon one
//! that is killed runs again, and how much memory the supervisor and its helpers have. However busy this machine is, the
//! figures are the same, within a hundredth (those with threads: a twentieth).
//!
//! Every supervisor gets the same kernel and the same first process (`/init`, see `service.c`), which mounts what all of them
//! want and then becomes the supervisor; the clock of a boot runs from there to the last service's stamp. No modules are
//! loaded, and systemd has neither its journal nor its devices: a distribution's boot is far slower.

mod image;
mod inits;
mod told;

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::thread;

use super::life::{RESTART_GOAL, restart_recorded};
use super::stage::Stage;
use super::supervisors::Kind;
use super::work::{Manner, independent};
use super::{goal, known, row};
use crate::bench::Row;
use crate::bench::clocked::Qemu;
use image::Image;
use inits::Init;
use told::Told;

/// Services, goal (x dinit), and what BusyBox took, x dinit, where there is no dinit (2026-11, this rig elsewhere).
const BOOTS: [(usize, f64, f64); 2] = [(50, 0.60, 0.43), (500, 0.50, 0.37)];
/// Memory and restarts are measured with so many.
const FEW: usize = 50;
/// In megabytes.
const MEMORY_GOAL: f64 = 1.6;
/// Without the kernel's tests of its own ciphers, which run beside the first process for some 70 ms.
const COMMAND_LINE: &str = "console=ttyS0 quiet loglevel=3 panic=-1 cryptomgr.notests";
/// Machines that run at a time. Their clocks do not notice.
const AT_A_TIME: usize = 2;
/// The first process that all have in common, and ours in its place.
const COMMON: &str = "/init";

/// A boot: who, with how many services, what the kernel starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Boot {
    init: Init,
    services: usize,
    first: &'static str,
}

type Results = BTreeMap<Boot, Told>;

pub(super) fn rows(stage: &Stage) -> Result<Vec<Row>, String> {
    let image = Image::new(stage)?;
    let alone = Boot {
        init: Init::Told(Kind::Ours),
        services: FEW,
        first: inits::MY_INIT,
    };
    let boots = Init::all().into_iter().flat_map(|init| {
        let counts = BOOTS.iter().map(|(count, ..)| *count);
        counts
            .filter(move |count| init.manages(*count))
            .map(move |services| Boot {
                init,
                services,
                first: COMMON,
            })
    });
    let boots = boots.filter(|boot| image.has(boot.init)).chain([alone]).collect();
    let results = run_all(&image, boots);
    let mut rows = Vec::new();
    for (count, goal, busybox) in BOOTS {
        rows.extend(boot_rows(&results, count, goal, busybox)?);
    }
    rows.extend(alone_row(&results, alone));
    rows.extend(memory_rows(&results)?);
    rows.extend(restart_rows(&results)?);
    Ok(rows)
}

/// Several at a time, the longest first. One that fails is named.
fn run_all(image: &Image<'_>, mut boots: Vec<Boot>) -> Results {
    boots.sort_by_key(|boot| boot.services);
    let (queue, results) = (Mutex::new(boots), Mutex::new(Results::new()));
    let worker = || {
        loop {
            let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let Some(boot) = next else { return };
            match run(image, boot) {
                Ok(told) => drop(
                    results
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .insert(boot, told),
                ),
                Err(why) => println!("{} as PID 1, {} services: {why}", boot.init.name(), boot.services),
            }
        }
    };
    thread::scope(|scope| {
        for _ in 1..AT_A_TIME {
            scope.spawn(worker);
        }
        worker();
    });
    results.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn run(image: &Image<'_>, boot: Boot) -> Result<Told, String> {
    let initrd = image.initramfs(boot.init, &independent(boot.services, Manner::Stay))?;
    let line = format!("{COMMAND_LINE} rdinit={}", boot.first);
    let lines = Qemu::start("q35", image.kernel(), initrd.path(), &line)?.until(told::END)?;
    let told = Told::read(&lines)?;
    println!(
        "{} as PID 1 ({}), {} services: {:.1} ms, restart {} ms, {} processes with {:.2} MB, {:.2} MB shared counted once",
        boot.init.name(),
        match boot.first {
            COMMON => "after a common first process",
            _ => "at once, since the machine's clock began",
        },
        boot.services,
        told.boot(),
        told.restart.map_or("-".to_owned(), |time| format!("{time:.2}")),
        told.processes,
        told.resident,
        told.own,
    );
    Ok(told)
}

fn of(results: &Results, init: Init, services: usize) -> Option<&Told> {
    results.get(&Boot {
        init,
        services,
        first: COMMON,
    })
}

fn ours(results: &Results, services: usize) -> Result<&Told, String> {
    of(results, Init::Told(Kind::Ours), services).ok_or_else(|| format!("my_init did not start {services} services"))
}

/// Rows of everybody else.
fn others(
    results: &Results,
    services: usize,
    peer: f64,
    unit: &'static str,
    value: impl Fn(&Told) -> Option<f64>,
) -> Vec<Row> {
    let peers = Init::all().into_iter().filter(|init| *init != Init::Told(Kind::Ours));
    let values = peers.filter_map(|init| Some((init, value(of(results, init, services)?)?)));
    values
        .map(|(init, value)| known(format!("  {}", init.name()), peer, value, unit))
        .collect()
}

fn boot_rows(results: &Results, count: usize, goal: f64, busybox: f64) -> Result<Vec<Row>, String> {
    let time = |init: Init| of(results, init, count).map(Told::boot);
    let (name, peer) = match (time(Init::Told(Kind::Dinit)), time(Init::Busybox)) {
        (Some(dinit), _) => (format!("boot as PID 1, {count} services, virtual / dinit"), dinit),
        (None, Some(other)) => (
            format!(
                "boot as PID 1, {count} services, virtual / dinit, RECKONED: BusyBox's : {busybox}, recorded elsewhere"
            ),
            other / busybox,
        ),
        (None, None) => return Err("neither dinit nor BusyBox could be measured".to_owned()),
    };
    let mut rows = vec![row(name, peer, ours(results, count)?.boot(), "ms", goal)];
    rows.extend(others(results, count, peer, "ms", |told| Some(told.boot())));
    Ok(rows)
}

/// Ours in the place of the first process: it mounts everything itself.
fn alone_row(results: &Results, alone: Boot) -> Option<Row> {
    let (alone, common) = (results.get(&alone)?, of(results, alone.init, alone.services)?);
    Some(known(
        "  my_init from the kernel's hand-over / after a common first process",
        common.boot(),
        alone.end - common.begin,
        "ms",
    ))
}

fn memory_rows(results: &Results) -> Result<Vec<Row>, String> {
    let own = ours(results, FEW)?;
    let mut rows = vec![
        goal(
            "resident memory as PID 1, 50 services / 1.6 MB",
            MEMORY_GOAL,
            own.resident,
            "MB",
        ),
        known("  what is shared counted once", MEMORY_GOAL, own.own, "MB"),
    ];
    rows.extend(others(results, FEW, MEMORY_GOAL, "MB", |told| Some(told.resident)));
    Ok(rows)
}

fn restart_rows(results: &Results) -> Result<Vec<Row>, String> {
    let time = ours(results, FEW)?.restart.ok_or("my_init did not restart a service")?;
    let name = "restart after kill -9 as PID 1, virtual / 2 ms";
    let mut rows = vec![goal(name, RESTART_GOAL, time, "ms")];
    rows.extend(others(results, FEW, RESTART_GOAL, "ms", |told| told.restart));
    if of(results, Init::Told(Kind::Dinit), FEW).is_none() {
        rows.push(restart_recorded());
    }
    Ok(rows)
}
