//! From what is wanted to an exact set of packages.
//!
//! What counts as a solution is what apk's own documents say (apk-world(5), apk-package(5)):
//!
//! * every need of the world and of a package that is in is met, and no conflict is violated;
//! * two packages may have one name only when both provide it without a version (a virtual name);
//! * a virtual name draws in only packages with a `provider_priority`; others count when something else names them;
//! * a repository with a tag counts only for what is wanted with that tag, and for what that needs;
//! * nothing is in that nobody needs, but packages whose `install_if` is met, where they fit.
//!
//! Where there is a choice, the order of [`universe::Universe::prefer`] decides. apk never takes a choice back; this
//! solver does, so it finds solutions where apk gives up. The same input gives the same output.

mod explain;
mod order;
mod search;
mod universe;

use std::collections::BTreeSet;

use crate::{Dependency, Package};
use search::Search;
use universe::Universe;

pub use universe::Candidate;

/// A line of what is wanted that cannot be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsatisfied {
    /// As it was written.
    pub line: String,
    /// Why, and what to do where that is known.
    pub reason: String,
}

/// Finds the packages that meet `world`: their places in `candidates`, in an order in which they can be installed, needs
/// first. `tags` holds the tag of each repository.
///
/// # Errors
/// Every line that cannot be satisfied.
pub fn solve(
    candidates: &[Candidate],
    tags: &[Option<String>],
    world: &[Dependency],
) -> Result<Vec<usize>, Vec<Unsatisfied>> {
    let universe = Universe::new(candidates, tags, world);
    let wanted = world.iter().filter(|one| !one.conflict);
    let missing: Vec<Unsatisfied> = wanted
        .filter_map(|one| Some(unsatisfied(one, explain::missing(&universe, one)?)))
        .collect();
    match Search::new(&universe, world.iter()).solve() {
        Ok(chosen) if missing.is_empty() => Ok(order::install_order(&universe, world, &chosen)),
        _ => Err(culprits(&universe, world, missing)),
    }
}

fn unsatisfied(line: &Dependency, reason: String) -> Unsatisfied {
    Unsatisfied {
        line: line.to_string(),
        reason,
    }
}

/// Adds line by line, and leaves out those that do not fit with the ones before.
fn culprits(universe: &Universe<'_>, world: &[Dependency], mut found: Vec<Unsatisfied>) -> Vec<Unsatisfied> {
    let mut out: BTreeSet<usize> = BTreeSet::new();
    for (place, line) in world.iter().enumerate() {
        if found.iter().any(|known| known.line == line.to_string()) {
            out.insert(place);
        }
    }
    for end in 0..world.len() {
        if out.contains(&end) {
            continue;
        }
        let lines = world[..=end]
            .iter()
            .enumerate()
            .filter(|(place, _)| !out.contains(place));
        if let Err(dead_end) = Search::new(universe, lines.map(|(_, line)| line)).solve() {
            let reason = dead_end
                .map(|end| explain::dead_end(universe, &end))
                .unwrap_or_default();
            found.push(unsatisfied(&world[end], reason));
            out.insert(end);
        }
    }
    found
}

/// The order in which these packages, all of them, can be installed: their places.
pub(crate) fn install_order(packages: Vec<Package>, world: &[Dependency]) -> Vec<usize> {
    let candidates: Vec<Candidate> = packages
        .into_iter()
        .map(|package| Candidate {
            package,
            repositories: Vec::new(),
            installed: true,
        })
        .collect();
    let universe = Universe::new(&candidates, &[], world);
    order::install_order(&universe, world, &(0..candidates.len()).collect())
}
