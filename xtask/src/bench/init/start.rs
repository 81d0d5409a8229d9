//! How soon oneshots have run, against the spawn floor.

use super::rig::Run;
use super::stage::Stage;
use super::supervisors::Kind;
use super::work::{Manner, Service, chains, fan, independent};
use super::{known, median, row};
use crate::bench::Row;

/// A group of oneshots.
struct Shape {
    name: &'static str,
    services: Vec<Service>,
    /// x the floor.
    goal: f64,
    rounds: usize,
    peers: &'static [Kind],
    /// What dinit took, x the floor, where there is none (2026-11, this rig on another machine of two processors).
    recorded: f64,
}

pub(super) fn rows(stage: &Stage) -> Result<Vec<Row>, String> {
    let shapes = [
        Shape {
            name: "1,000 independent oneshots",
            services: independent(1000, Manner::Once),
            goal: 1.00,
            rounds: 5,
            peers: &[Kind::Dinit, Kind::Zinit],
            recorded: 1.03,
        },
        Shape {
            name: "100 oneshots in 4 chains of 25",
            services: chains(4, 25),
            goal: 1.35,
            rounds: 15,
            peers: &[Kind::Dinit, Kind::Zinit],
            recorded: 1.61,
        },
        Shape {
            name: "10,000 oneshots, 9,999 of which need the first",
            services: fan(10_000),
            goal: 1.10,
            rounds: 3,
            // zinit hangs (from 258 on).
            peers: &[Kind::Dinit],
            recorded: 2.93,
        },
    ];
    let mut rows = Vec::new();
    for shape in shapes {
        rows.extend(shape.rows(stage)?);
    }
    Ok(rows)
}

impl Shape {
    fn rows(&self, stage: &Stage) -> Result<Vec<Row>, String> {
        let peers = stage.present(self.peers);
        let count = self.services.len();
        let mut floors = Vec::new();
        let mut times = vec![Vec::new(); peers.len() + 1];
        for _ in 0..self.rounds {
            floors.push(Run::floor(stage, count)?.time(count)?);
            for (kind, times) in [Kind::Ours].iter().chain(&peers).zip(&mut times) {
                let time = Run::supervise(stage, *kind, &self.services)?.time(count)?;
                println!(
                    "{}: {}: {time:.0} ms, floor {:.0} ms",
                    self.name,
                    kind.name(),
                    floors.last().unwrap_or(&0.0)
                );
                times.push(time);
            }
        }
        let floor = median(&mut floors);
        let mut times = times.iter_mut().map(|times| median(times));
        let ours = times.next().unwrap_or(f64::NAN);
        let mut rows = vec![row(
            format!("{} / spawn floor", self.name),
            floor,
            ours,
            "ms",
            self.goal,
        )];
        rows.extend(
            peers
                .iter()
                .zip(times)
                .map(|(kind, time)| known(format!("  {}", kind.name()), floor, time, "ms")),
        );
        if !peers.contains(&Kind::Dinit) {
            rows.push(known("  dinit, recorded elsewhere", 1.0, self.recorded, "x"));
        }
        Ok(rows)
    }
}
