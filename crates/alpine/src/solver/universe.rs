//! Everything that could be installed, and what is clear about it before any choice is made.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use crate::dependency::Provided;
use crate::{Dependency, Package, version};

/// A package that could be installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// What it is.
    pub package: Package,
    /// Places of the repositories that have it, first to last.
    pub repositories: Vec<usize>,
    /// It is installed already.
    pub installed: bool,
}

impl Candidate {
    /// A package that no repository has yet, and that is not installed.
    pub fn new(package: Package) -> Self {
        Self {
            package,
            repositories: Vec::new(),
            installed: false,
        }
    }
}

/// Index of a candidate.
pub(crate) type Id = usize;

/// A package under one of its names.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Provider<'u> {
    pub(crate) id: Id,
    /// `None` for a virtual name.
    pub(crate) version: Option<&'u str>,
}

/// Why a package is out of the question, whatever else is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flaw<'u> {
    /// Only repositories with a tag have it, and nobody asked for that tag.
    Tagged,
    /// It needs a later program to install it.
    Unsupported(char),
    /// It conflicts with itself.
    Itself(&'u Dependency),
    /// Nothing that could be installed provides what it needs.
    Needs(&'u Dependency),
}

/// The candidates, by what they provide.
#[derive(Debug)]
pub(crate) struct Universe<'u> {
    pub(crate) candidates: &'u [Candidate],
    /// Tag of each repository.
    tags: &'u [Option<String>],
    providers: HashMap<&'u str, Vec<Provider<'u>>>,
    flaws: HashMap<Id, Flaw<'u>>,
    /// Tags that a package may come from, as far as there are any.
    allowed: HashMap<Id, BTreeSet<&'u str>>,
    /// Tags that were asked for by the names that a package provides.
    wished: HashMap<Id, &'u str>,
    /// Candidates that may come in on their own.
    pub(crate) automatic: Vec<Id>,
}

impl<'u> Universe<'u> {
    pub(crate) fn new(candidates: &'u [Candidate], tags: &'u [Option<String>], world: &'u [Dependency]) -> Self {
        let mut universe = Self {
            candidates,
            tags,
            providers: HashMap::new(),
            flaws: HashMap::new(),
            allowed: HashMap::new(),
            wished: HashMap::new(),
            automatic: Vec::new(),
        };
        for id in 0..candidates.len() {
            for (name, version) in universe.names(id) {
                let providers = universe.providers.entry(name).or_default();
                // A package that provides its own name does so once.
                if !providers.iter().any(|known| known.id == id && known.version == version) {
                    providers.push(Provider { id, version });
                }
            }
        }
        universe.pass_on_tags(world);
        let reachable = universe.reachable(world);
        universe.find_flaws(&reachable);
        universe.automatic = reachable
            .into_iter()
            .filter(|id| !universe.package(*id).install_if.is_empty() && universe.flaw(*id).is_none())
            .collect();
        universe
            .automatic
            .sort_by_key(|id| (&candidates[*id].package.name, *id));
        universe
    }

    pub(crate) fn package(&self, id: Id) -> &'u Package {
        &self.candidates[id].package
    }

    /// Its own name, and those that it provides.
    pub(crate) fn names(&self, id: Id) -> impl Iterator<Item = (&'u str, Option<&'u str>)> + use<'u> {
        let package = &self.candidates[id].package;
        let own = (package.name.as_str(), Some(package.version.as_str()));
        let more = package
            .provides
            .iter()
            .map(|provided| (provided.name.as_str(), provided.version()));
        std::iter::once(own).chain(more)
    }

    /// All packages with this name, also those with flaws.
    pub(crate) fn providers(&self, name: &str) -> &[Provider<'u>] {
        self.providers.get(name).map(Vec::as_slice).unwrap_or_default()
    }

    /// All names that anything provides, sorted.
    pub(crate) fn all_names(&self) -> Vec<&'u str> {
        let mut names: Vec<&str> = self.providers.keys().copied().collect();
        names.sort_unstable();
        names
    }

    pub(crate) fn flaw(&self, id: Id) -> Option<Flaw<'u>> {
        self.flaws.get(&id).copied()
    }

    /// True when a dependency means this provider of its name.
    pub(crate) fn means(&self, dependency: &Dependency, provider: Provider<'_>) -> bool {
        dependency.means(Provided {
            version: provider.version,
            checksum: &self.package(provider.id).checksum,
        })
    }

    /// A virtual name stands for one of several packages. None is chosen on its own unless it says how much it wants to.
    pub(crate) fn is_automatic(&self, provider: Provider<'_>) -> bool {
        provider.version.is_some() || self.package(provider.id).provider_priority > 0
    }

    /// Which of two providers of one name comes first: from the repositories that were asked for, installed already,
    /// newest, by priority, by repository, by place in the index.
    pub(crate) fn prefer(&self, a: Provider<'_>, b: Provider<'_>) -> Ordering {
        let newer = |a: &str, b: &str| version::compare(b, a);
        let (ours, theirs) = (&self.candidates[a.id], &self.candidates[b.id]);
        let by_name = match (a.version, b.version) {
            (Some(a), Some(b)) => newer(a, b),
            _ => Ordering::Equal,
        };
        let by_package = match ours.package.name == theirs.package.name {
            true => newer(&ours.package.version, &theirs.package.version),
            false => Ordering::Equal,
        };
        let first = |candidate: &Candidate| candidate.repositories.first().copied().unwrap_or(usize::MAX);
        self.is_preferred(b.id)
            .cmp(&self.is_preferred(a.id))
            .then(theirs.installed.cmp(&ours.installed))
            .then(by_name)
            .then(by_package)
            .then(theirs.package.provider_priority.cmp(&ours.package.provider_priority))
            .then(first(ours).cmp(&first(theirs)))
            .then(a.id.cmp(&b.id))
    }

    fn is_preferred(&self, id: Id) -> bool {
        match self.wished.get(&id) {
            Some(tag) => self.has_tag(id, tag),
            None => self.is_untagged(id),
        }
    }

    fn has_tag(&self, id: Id, tag: &str) -> bool {
        let mut repositories = self.candidates[id].repositories.iter();
        repositories.any(|place| self.tags.get(*place).is_some_and(|found| found.as_deref() == Some(tag)))
    }

    fn is_untagged(&self, id: Id) -> bool {
        let mut repositories = self.candidates[id].repositories.iter();
        repositories.any(|place| self.tags.get(*place).is_some_and(Option::is_none))
    }

    /// Tags of the repositories that have a package.
    pub(crate) fn tags_of(&self, id: Id) -> Vec<&'u str> {
        let repositories = self.candidates[id].repositories.iter();
        repositories
            .filter_map(|place| self.tags.get(*place)?.as_deref())
            .collect()
    }

    /// What is wanted with a tag may come from there, and so may what it needs.
    fn pass_on_tags(&mut self, world: &'u [Dependency]) {
        let mut queue: VecDeque<(Id, &'u str)> = VecDeque::new();
        for dependency in world {
            let Some(tag) = dependency.tag.as_deref() else { continue };
            for provider in self.providers(&dependency.name).to_vec() {
                self.wished.insert(provider.id, tag);
                queue.push_back((provider.id, tag));
            }
        }
        if queue.is_empty() {
            return;
        }
        let by_trigger = self.by_trigger();
        while let Some((id, tag)) = queue.pop_front() {
            if !self.allowed.entry(id).or_default().insert(tag) {
                continue;
            }
            for dependency in self.package(id).depends.iter().filter(|one| !one.conflict) {
                queue.extend(
                    self.providers(&dependency.name)
                        .iter()
                        .map(|provider| (provider.id, tag)),
                );
            }
            let names = self.names(id).filter_map(|(name, _)| by_trigger.get(name));
            queue.extend(names.flatten().map(|id| (*id, tag)));
        }
    }

    /// Packages that come in on their own, by the names that they wait for.
    fn by_trigger(&self) -> BTreeMap<&'u str, Vec<Id>> {
        let mut found: BTreeMap<&str, Vec<Id>> = BTreeMap::new();
        for (id, candidate) in self.candidates.iter().enumerate() {
            for dependency in &candidate.package.install_if {
                found.entry(&dependency.name).or_default().push(id);
            }
        }
        found
    }

    /// All that could come to be installed.
    fn reachable(&self, world: &'u [Dependency]) -> BTreeSet<Id> {
        let by_trigger = self.by_trigger();
        let mut found = BTreeSet::new();
        let mut names: Vec<&str> = world
            .iter()
            .filter(|one| !one.conflict)
            .map(|one| one.name.as_str())
            .collect();
        let mut seen: BTreeSet<&str> = names.iter().copied().collect();
        while let Some(name) = names.pop() {
            let triggered = by_trigger.get(name).into_iter().flatten().copied();
            for id in self.providers(name).iter().map(|provider| provider.id).chain(triggered) {
                if !found.insert(id) {
                    continue;
                }
                let needs = self.package(id).depends.iter().filter(|one| !one.conflict);
                let needs = needs.map(|one| one.name.as_str());
                names.extend(
                    needs
                        .chain(self.names(id).map(|(name, _)| name))
                        .filter(|name| seen.insert(name)),
                );
            }
        }
        found
    }

    /// A package without what it needs cannot be installed, and so neither can what needs it.
    fn find_flaws(&mut self, reachable: &BTreeSet<Id>) {
        let mut needed_by: HashMap<&str, Vec<Id>> = HashMap::new();
        let mut queue: VecDeque<Id> = VecDeque::new();
        for id in reachable.iter().copied() {
            for dependency in self.package(id).depends.iter().filter(|one| !one.conflict) {
                needed_by.entry(&dependency.name).or_default().push(id);
            }
            if let Some(flaw) = self.own_flaw(id) {
                self.flaws.insert(id, flaw);
            }
            queue.push_back(id);
        }
        while let Some(id) = queue.pop_front() {
            if !self.flaws.contains_key(&id) {
                let Some(missing) = self.missing(id) else { continue };
                self.flaws.insert(id, Flaw::Needs(missing));
            }
            let users = self.names(id).filter_map(|(name, _)| needed_by.get(name)).flatten();
            queue.extend(
                users
                    .copied()
                    .filter(|user| !self.flaws.contains_key(user))
                    .collect::<BTreeSet<_>>(),
            );
        }
    }

    fn own_flaw(&self, id: Id) -> Option<Flaw<'u>> {
        let package = self.package(id);
        if let Some(field) = package.unsupported {
            return Some(Flaw::Unsupported(field));
        }
        let allowed = self.allowed.get(&id);
        let by_tag = || allowed.is_some_and(|tags| tags.iter().any(|tag| self.has_tag(id, tag)));
        if !self.candidates[id].installed && !self.is_untagged(id) && !by_tag() {
            return Some(Flaw::Tagged);
        }
        let is_own = |dependency: &Dependency| {
            let mut own = self
                .providers(&dependency.name)
                .iter()
                .filter(|provider| provider.id == id);
            own.any(|provider| self.means(dependency, *provider))
        };
        let mut conflicts = package.depends.iter().filter(|one| one.conflict);
        conflicts.find(|one| is_own(one)).map(Flaw::Itself)
    }

    /// The first of a package's needs that nothing can meet.
    fn missing(&self, id: Id) -> Option<&'u Dependency> {
        let mut needs = self.package(id).depends.iter().filter(|one| !one.conflict);
        needs.find(|need| self.usable(need).next().is_none())
    }

    /// Providers without flaws that a dependency means.
    pub(crate) fn usable(&self, dependency: &Dependency) -> impl Iterator<Item = Provider<'u>> {
        let providers = self.providers(&dependency.name).iter().copied();
        providers.filter(|provider| !self.flaws.contains_key(&provider.id) && self.means(dependency, *provider))
    }
}
