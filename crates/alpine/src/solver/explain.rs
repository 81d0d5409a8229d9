//! Why something cannot be installed, in words.

use std::collections::BTreeSet;

use super::search::{By, DeadEnd, Obstacle};
use super::universe::{Flaw, Id, Universe};
use crate::Dependency;

/// So many packages are followed from what is wanted to what is missing.
const DEPTH_MAX: usize = 6;
/// So many packages are named where there are more.
const NAMES_MAX: usize = 5;

/// Why nothing can meet a need. `None` when something could, as far as it alone is concerned.
pub(crate) fn missing(universe: &Universe<'_>, need: &Dependency) -> Option<String> {
    match universe.usable(need).next() {
        Some(_) => None,
        None => Some(why_missing(universe, need, DEPTH_MAX)),
    }
}

fn why_missing(universe: &Universe<'_>, need: &Dependency, depth: usize) -> String {
    let providers = universe.providers(&need.name);
    if providers.is_empty() {
        let nearest = mos_toml::nearest(&need.name, universe.all_names());
        let hint = nearest
            .map(|name| format!("; did you mean `{name}`?"))
            .unwrap_or_default();
        return format!("no repository has `{}`{hint}", need.name);
    }
    let meant: Vec<_> = providers.iter().filter(|one| universe.means(need, **one)).collect();
    let Some(best) = meant.iter().copied().copied().min_by(|a, b| universe.prefer(*a, *b)) else {
        let shown = |id: Id, version: Option<&str>| match version {
            Some(version) if universe.package(id).name == need.name => version.to_owned(),
            Some(version) => format!("{version} (of {})", universe.package(id).full_name()),
            None => format!("one without a version (of {})", universe.package(id).full_name()),
        };
        let there = providers.iter().map(|one| shown(one.id, one.version));
        return format!("`{need}` is not there, only {}", list(there));
    };
    let name = universe.package(best.id).full_name();
    match universe.flaw(best.id) {
        Some(Flaw::Tagged) => {
            let tags = universe.tags_of(best.id);
            let tag = tags.first().copied().unwrap_or_default();
            let package = &universe.package(best.id).name;
            format!("only repositories with the tag @{tag} have {name}: if that is meant, write `{package}@{tag}`")
        }
        Some(Flaw::Unsupported(field)) => {
            format!("{name} has the field `{field}:`, which this program does not know: it may not install the package")
        }
        Some(Flaw::Itself(conflict)) => format!("{name} conflicts with itself: `{conflict}`"),
        Some(Flaw::Needs(need)) if depth == 0 => format!("{name} needs `{need}`, which cannot be installed"),
        Some(Flaw::Needs(need)) => format!("{name} needs `{need}`: {}", why_missing(universe, need, depth - 1)),
        None => format!("{name} could be installed"),
    }
}

/// Where the search ended.
pub(crate) fn dead_end(universe: &Universe<'_>, end: &DeadEnd<'_>) -> String {
    let need = end.need.dependency;
    let start = format!("{} `{need}`", needs(universe, end.need.by));
    if end.exhausted {
        return format!("no set of packages was found that fits; it was given up where {start}");
    }
    if end.obstacles.is_empty() {
        let names = universe.usable(need).map(|one| universe.package(one.id).name.clone());
        let names: BTreeSet<String> = names.map(|name| format!("`{name}`")).collect();
        return format!(
            "{start}, which several packages may stand for: add one of {}",
            list(names.into_iter())
        );
    }
    let shown = end.obstacles.iter().map(|(id, obstacle)| {
        format!(
            "{} is out: {}",
            universe.package(*id).full_name(),
            obstacle_text(universe, *id, obstacle)
        )
    });
    format!("{start}, but {}", list(shown))
}

fn obstacle_text(universe: &Universe<'_>, id: Id, obstacle: &Obstacle<'_>) -> String {
    let full = |id: &Id| universe.package(*id).full_name();
    match obstacle {
        Obstacle::Name(name, other) if universe.package(*other).name == universe.package(id).name => {
            format!("{} was chosen for `{name}`", full(other))
        }
        Obstacle::Name(name, other) => format!("{} provides `{name}` as well", full(other)),
        Obstacle::Forbidden(dependency, By::World) => format!("`{dependency}` is wanted"),
        Obstacle::Forbidden(dependency, By::Package(by)) => format!("{} has `{dependency}`", full(by)),
        Obstacle::Forbids(dependency, other) => format!("it has `{dependency}`, and {} is needed", full(other)),
        Obstacle::Needs(dependency, other) => format!("it needs `{dependency}`, and {} is needed", full(other)),
        Obstacle::Unfit(dependency, by) => format!("{} `{dependency}`", needs(universe, *by)),
    }
}

fn needs(universe: &Universe<'_>, by: By) -> String {
    match by {
        By::World => "there is wanted".to_owned(),
        By::Package(id) => format!("{} needs", universe.package(id).full_name()),
    }
}

fn list(items: impl Iterator<Item = String>) -> String {
    let items: Vec<String> = items.collect();
    let more = items.len().saturating_sub(NAMES_MAX);
    let mut text = items[..items.len() - more].join(", ");
    if more > 0 {
        text.push_str(&format!(" and {more} more"));
    }
    text
}
