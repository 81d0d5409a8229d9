//! The order in which packages are installed: what a package needs comes before it, as apk does it.

use std::collections::{BTreeSet, HashMap};

use super::universe::{Id, Universe};
use crate::Dependency;

struct Order<'u, 's> {
    universe: &'s Universe<'u>,
    chosen: &'s BTreeSet<Id>,
    /// Those that come in on their own.
    automatic: Vec<Id>,
    /// Their places in that list, by the names that they wait for; under an empty name those that wait for none.
    waiting: HashMap<&'u str, Vec<usize>>,
    started: BTreeSet<Id>,
    done: BTreeSet<Id>,
    order: Vec<Id>,
}

enum Task {
    Start(Id),
    Finish(Id),
}

pub(crate) fn install_order(universe: &Universe<'_>, world: &[Dependency], chosen: &BTreeSet<Id>) -> Vec<Id> {
    let automatic = universe.automatic.iter().copied();
    let automatic: Vec<Id> = automatic.filter(|id| chosen.contains(id)).collect();
    let mut order = Order {
        universe,
        chosen,
        waiting: waiting(universe, &automatic),
        automatic,
        started: BTreeSet::new(),
        done: BTreeSet::new(),
        order: Vec::new(),
    };
    let mut lines: Vec<&Dependency> = world.iter().filter(|one| !one.conflict).collect();
    lines.sort_by_key(|line| &line.name);
    for line in lines {
        order.providers(line).into_iter().for_each(|id| order.add(id));
    }
    chosen.iter().for_each(|id| order.add(*id));
    order.order
}

fn waiting<'u>(universe: &Universe<'u>, automatic: &[Id]) -> HashMap<&'u str, Vec<usize>> {
    let mut waiting: HashMap<&str, Vec<usize>> = HashMap::new();
    for (place, id) in automatic.iter().enumerate() {
        let needs = universe.package(*id).install_if.iter().filter(|one| !one.conflict);
        let names: BTreeSet<&str> = needs.map(|one| one.name.as_str()).collect();
        for name in if names.is_empty() { BTreeSet::from([""]) } else { names } {
            waiting.entry(name).or_default().push(place);
        }
    }
    waiting
}

impl Order<'_, '_> {
    fn providers(&self, need: &Dependency) -> Vec<Id> {
        let providers = self.universe.providers(&need.name).iter();
        let meant = providers.filter(|provider| self.universe.means(need, **provider));
        meant
            .map(|provider| provider.id)
            .filter(|id| self.chosen.contains(id))
            .collect()
    }

    /// Adds a package after those that it needs. Packages that need each other come in the order in which they are met.
    fn add(&mut self, id: Id) {
        let mut tasks = vec![Task::Start(id)];
        while let Some(task) = tasks.pop() {
            match task {
                Task::Start(id) if !self.started.insert(id) => {}
                Task::Start(id) => {
                    tasks.push(Task::Finish(id));
                    let depends = self.universe.package(id).depends.iter();
                    let needs: Vec<Id> = depends
                        .filter(|one| !one.conflict)
                        .flat_map(|one| self.providers(one))
                        .collect();
                    tasks.extend(needs.into_iter().rev().map(Task::Start));
                }
                Task::Finish(id) => {
                    self.order.push(id);
                    self.done.insert(id);
                    tasks.extend(self.called(id).into_iter().rev().map(Task::Start));
                }
            }
        }
    }

    /// Packages that come in on their own, and whose time has come with this one.
    fn called(&self, done: Id) -> Vec<Id> {
        let is_there = |one: &Dependency| one.conflict || self.providers(one).iter().any(|id| self.done.contains(id));
        let ready = |id: &Id| !self.started.contains(id) && self.universe.package(*id).install_if.iter().all(is_there);
        let names = self.universe.names(done).map(|(name, _)| name).chain([""]);
        let places: BTreeSet<usize> = names
            .filter_map(|name| self.waiting.get(name))
            .flatten()
            .copied()
            .collect();
        places
            .into_iter()
            .map(|place| self.automatic[place])
            .filter(ready)
            .collect()
    }
}
