//! The search: choose a provider for what is needed, take on what that one needs, go back where nothing is left.
//!
//! Every choice has a level. Where nothing fits, the levels of those choices are known that are in the way; the search
//! goes back to the last of them and skips all choices in between, which have nothing to do with it (conflict-directed
//! backjumping, Prosser 1993). World has level 0.
//!
//! Needs are only ever added at the end and marked when they are met; a choice that is taken back cuts them off where it
//! began, and opens those again that were met since.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::universe::{Id, Provider, Universe};
use crate::Dependency;

/// So many choices may be taken back. A real world takes back a handful.
const BACKTRACKS_MAX: usize = 4_000;

/// Who needs or forbids something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum By {
    /// The user.
    World,
    /// A package that was chosen.
    Package(Id),
}

/// Something that has to be provided.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Need<'u> {
    pub(crate) dependency: &'u Dependency,
    pub(crate) by: By,
    level: usize,
}

/// What stands in the way of a provider.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Obstacle<'u> {
    /// A chosen package has one of its names.
    Name(&'u str, Id),
    /// Somebody forbids it.
    Forbidden(&'u Dependency, By),
    /// It forbids a chosen package.
    Forbids(&'u Dependency, Id),
    /// It needs another version than the one that was chosen.
    Needs(&'u Dependency, Id),
    /// Somebody needs another version of it.
    Unfit(&'u Dependency, By),
}

/// The last place where nothing fitted.
#[derive(Debug, Clone)]
pub(crate) struct DeadEnd<'u> {
    pub(crate) need: Need<'u>,
    pub(crate) obstacles: Vec<(Id, Obstacle<'u>)>,
    /// The search was given up.
    pub(crate) exhausted: bool,
}

#[derive(Debug, Clone, Copy)]
enum Choice {
    Take(Id),
    /// Perhaps a package that comes in for another reason provides it.
    Wait,
}

#[derive(Debug)]
struct Frame {
    choices: Vec<Choice>,
    next: usize,
    taken: Option<Choice>,
    /// Levels that are to blame when no choice is left.
    blame: BTreeSet<usize>,
    /// The need that it is about: its place.
    need: Option<usize>,
    /// How long the lists of the search were before it.
    before: Lengths,
}

/// Lengths of the lists that only grow until a choice is taken back.
#[derive(Debug, Clone, Copy)]
struct Lengths {
    needs: usize,
    closed: usize,
    waiting: usize,
}

/// The state of the search.
#[derive(Debug)]
pub(crate) struct Search<'u, 's> {
    universe: &'s Universe<'u>,
    chosen: BTreeMap<Id, usize>,
    /// Chosen providers of each name.
    held: HashMap<&'u str, Vec<Provider<'u>>>,
    forbidden: HashMap<&'u str, Vec<(&'u Dependency, By, usize)>>,
    needs: Vec<Need<'u>>,
    /// Places of needs, by the name that is needed.
    needed: HashMap<&'u str, Vec<usize>>,
    /// Places of needs that are neither met nor waiting.
    open: BTreeSet<usize>,
    /// Places of those that were open once, in the order in which they were closed.
    closed: Vec<usize>,
    /// Needs of virtual names that only packages can meet which are never chosen on their own.
    waiting: Vec<Need<'u>>,
    frames: Vec<Frame>,
    backtracks: usize,
    last: Option<DeadEnd<'u>>,
}

enum Step {
    Done,
    Branch(Frame),
    Dead(BTreeSet<usize>),
}

impl<'u, 's> Search<'u, 's> {
    pub(crate) fn new(universe: &'s Universe<'u>, world: impl Iterator<Item = &'u Dependency>) -> Self {
        let mut search = Self {
            universe,
            chosen: BTreeMap::new(),
            held: HashMap::new(),
            forbidden: HashMap::new(),
            needs: Vec::new(),
            needed: HashMap::new(),
            open: BTreeSet::new(),
            closed: Vec::new(),
            waiting: Vec::new(),
            frames: Vec::new(),
            backtracks: 0,
            last: None,
        };
        for dependency in world {
            search.require(dependency, By::World, 0);
        }
        search
    }

    /// Finds packages that meet all needs.
    pub(crate) fn solve(mut self) -> Result<BTreeSet<Id>, Option<DeadEnd<'u>>> {
        if !self.run(0) {
            return Err(self.last);
        }
        self.add_automatic();
        Ok(self.chosen.into_keys().collect())
    }

    fn run(&mut self, floor: usize) -> bool {
        loop {
            match self.step() {
                Step::Done => return true,
                Step::Branch(frame) => {
                    self.frames.push(frame);
                    self.take_next();
                }
                Step::Dead(blame) => {
                    self.backtracks += 1;
                    if self.backtracks > BACKTRACKS_MAX {
                        self.last.iter_mut().for_each(|last| last.exhausted = true);
                        while self.frames.len() > floor {
                            self.undo();
                        }
                        return false;
                    }
                    if !self.go_back(blame, floor) {
                        return false;
                    }
                }
            }
        }
    }

    /// Packages that are to be installed when others are. One that does not fit stays out.
    fn add_automatic(&mut self) {
        let mut refused = BTreeSet::new();
        while let Some(id) = self.next_automatic(&refused) {
            let floor = self.frames.len();
            self.backtracks = 0;
            let package = self.universe.package(id);
            let provider = Provider {
                id,
                version: Some(&package.version),
            };
            let fits = self.obstacle(provider).is_none();
            if fits {
                self.frames.push(Frame {
                    choices: vec![Choice::Take(id)],
                    next: 0,
                    taken: None,
                    blame: BTreeSet::new(),
                    need: None,
                    before: self.lengths(),
                });
                self.take_next();
            }
            if !fits || !self.run(floor) {
                refused.insert(id);
            }
        }
    }

    fn next_automatic(&self, refused: &BTreeSet<Id>) -> Option<Id> {
        let waits = |id: &&Id| !self.chosen.contains_key(id) && !refused.contains(id);
        let called = |id: &&Id| {
            self.universe
                .package(**id)
                .install_if
                .iter()
                .all(|one| self.is_met(one))
        };
        let mut best: Option<Id> = None;
        for id in self.universe.automatic.iter().filter(waits).filter(called) {
            let of_name = |id: Id| Provider {
                id,
                version: Some(&self.universe.package(id).version),
            };
            best = match best {
                None => Some(*id),
                Some(known) if self.universe.package(known).name != self.universe.package(*id).name => break,
                Some(known) if self.universe.prefer(of_name(*id), of_name(known)).is_lt() => Some(*id),
                other => other,
            };
        }
        best
    }

    /// True when the chosen packages, as they are, meet a need or respect a conflict.
    fn is_met(&self, dependency: &Dependency) -> bool {
        let mut held = self.held(&dependency.name).iter();
        held.any(|provider| self.universe.means(dependency, *provider)) != dependency.conflict
    }

    fn held(&self, name: &str) -> &[Provider<'u>] {
        self.held.get(name).map(Vec::as_slice).unwrap_or_default()
    }

    fn level(&self, by: By) -> usize {
        match by {
            By::World => 0,
            By::Package(id) => self.chosen.get(&id).copied().unwrap_or(0),
        }
    }

    /// Looks at what is needed: the first need with one way to meet it, otherwise the first of all.
    fn step(&mut self) -> Step {
        let mut first = None;
        for at in self.open.iter().copied() {
            match self.count(self.needs[at]) {
                0 => return self.dead(at),
                1 => {
                    first = Some(at);
                    break;
                }
                _ => first = first.or(Some(at)),
            }
        }
        match first {
            Some(at) => Step::Branch(self.frame(at)),
            None => self.check_waiting(),
        }
    }

    fn dead(&mut self, at: usize) -> Step {
        let need = self.needs[at];
        let (_, obstacles) = self.ways(need);
        let blame = self.blame(need, &obstacles);
        self.last = Some(DeadEnd {
            need,
            obstacles,
            exhausted: false,
        });
        Step::Dead(blame)
    }

    fn frame(&self, at: usize) -> Frame {
        let need = self.needs[at];
        let (choices, obstacles) = self.ways(need);
        Frame {
            choices,
            next: 0,
            taken: None,
            blame: self.blame(need, &obstacles),
            need: Some(at),
            before: self.lengths(),
        }
    }

    fn lengths(&self) -> Lengths {
        Lengths {
            needs: self.needs.len(),
            closed: self.closed.len(),
            waiting: self.waiting.len(),
        }
    }

    /// How many ways there are to meet a need; two stand for any more.
    fn count(&self, need: Need<'u>) -> usize {
        let (mut wait, mut count) = (0, 0);
        for provider in self.universe.usable(need.dependency) {
            match self.universe.is_automatic(provider) {
                false => wait = 1,
                true if self.obstacle(provider).is_none() => count += 1,
                true => {}
            }
            if wait + count > 1 {
                break;
            }
        }
        wait + count
    }

    /// All has been chosen that is chosen on its own: what waited must be met now.
    fn check_waiting(&mut self) -> Step {
        let unmet = self.waiting.iter().find(|need| !self.is_met(need.dependency)).copied();
        match unmet {
            None => Step::Done,
            Some(need) => {
                self.last = Some(DeadEnd {
                    need,
                    obstacles: Vec::new(),
                    exhausted: false,
                });
                // Any other choice could have brought in a provider.
                Step::Dead((1..=self.frames.len()).collect())
            }
        }
    }

    /// How a need can be met, best first, and what is in the way of the others.
    fn ways(&self, need: Need<'u>) -> (Vec<Choice>, Vec<(Id, Obstacle<'u>)>) {
        let (mut fit, mut obstacles, mut wait) = (Vec::<Provider<'u>>::new(), Vec::new(), false);
        for provider in self.universe.usable(need.dependency) {
            if !self.universe.is_automatic(provider) {
                wait = true;
                continue;
            }
            match self.obstacle(provider) {
                Some(obstacle) => obstacles.push((provider.id, obstacle)),
                None => {
                    let place = fit
                        .iter()
                        .position(|known| self.universe.prefer(provider, *known).is_lt());
                    fit.insert(place.unwrap_or(fit.len()), provider);
                }
            }
        }
        let mut choices: Vec<Choice> = fit.into_iter().map(|provider| Choice::Take(provider.id)).collect();
        if wait {
            choices.push(Choice::Wait);
        }
        (choices, obstacles)
    }

    fn obstacle(&self, provider: Provider<'u>) -> Option<Obstacle<'u>> {
        let id = provider.id;
        for (name, version) in self.universe.names(id) {
            let own = Provider { id, version };
            let rival = self
                .held(name)
                .iter()
                .find(|held| held.id != id && (held.version.is_some() || version.is_some()));
            if let Some(rival) = rival {
                return Some(Obstacle::Name(name, rival.id));
            }
            let forbidden = self.forbidden.get(name).map(Vec::as_slice).unwrap_or_default();
            if let Some((dependency, by, _)) = forbidden.iter().find(|(one, ..)| self.universe.means(one, own)) {
                return Some(Obstacle::Forbidden(dependency, *by));
            }
        }
        for dependency in &self.universe.package(id).depends {
            let held = self.held(&dependency.name);
            let meant = held.iter().find(|held| self.universe.means(dependency, **held));
            match (dependency.conflict, meant) {
                (true, Some(held)) => return Some(Obstacle::Forbids(dependency, held.id)),
                (false, None) => {
                    // Only one package at a time has a name with a version.
                    if let Some(held) = held.iter().find(|held| held.version.is_some()) {
                        return Some(Obstacle::Needs(dependency, held.id));
                    }
                }
                _ => {}
            }
        }
        self.unfit(id)
    }

    /// A need that is still open, and that could not be met any more.
    fn unfit(&self, id: Id) -> Option<Obstacle<'u>> {
        let mut versioned = self.universe.names(id).filter(|(_, version)| version.is_some());
        let unfit = versioned.find_map(|(name, _)| {
            let own = self.universe.names(id).filter(|(other, _)| *other == name);
            let own: Vec<_> = own.map(|(_, version)| Provider { id, version }).collect();
            let needs = self.needed.get(name).map(Vec::as_slice).unwrap_or_default();
            let mut open = needs
                .iter()
                .filter(|at| self.open.contains(at))
                .map(|at| self.needs[*at]);
            open.find(|need| {
                !own.iter()
                    .any(|provider| self.universe.means(need.dependency, *provider))
            })
        });
        unfit.map(|need| Obstacle::Unfit(need.dependency, need.by))
    }

    fn blame(&self, need: Need<'u>, obstacles: &[(Id, Obstacle<'u>)]) -> BTreeSet<usize> {
        let mut levels: BTreeSet<usize> = obstacles
            .iter()
            .map(|(_, obstacle)| match obstacle {
                Obstacle::Name(_, id) | Obstacle::Forbids(_, id) | Obstacle::Needs(_, id) => {
                    self.level(By::Package(*id))
                }
                Obstacle::Forbidden(_, by) | Obstacle::Unfit(_, by) => self.level(*by),
            })
            .collect();
        levels.insert(need.level);
        levels.remove(&0);
        levels
    }

    fn take_next(&mut self) -> bool {
        let level = self.frames.len();
        let Some(frame) = self.frames.last_mut() else {
            return false;
        };
        let Some(choice) = frame.choices.get(frame.next).copied() else {
            return false;
        };
        frame.next += 1;
        frame.taken = Some(choice);
        match choice {
            Choice::Take(id) => self.choose(id, level),
            Choice::Wait => {
                if let Some(at) = frame.need {
                    self.waiting.push(self.needs[at]);
                    self.close(at);
                }
            }
        }
        true
    }

    /// Takes the last choice back; its frame stays for the next one.
    fn take_back(&mut self) {
        let Some(frame) = self.frames.last_mut() else { return };
        let (before, taken) = (frame.before, frame.taken.take());
        self.open.extend(self.closed.drain(before.closed..));
        self.open.split_off(&before.needs);
        for need in self.needs.drain(before.needs..) {
            // They were added in this order: of each name, the last ones go.
            self.needed.entry(&need.dependency.name).or_default().pop();
        }
        self.waiting.truncate(before.waiting);
        if let Some(Choice::Take(id)) = taken {
            self.drop_choice(id);
        }
    }

    /// A need that is met, or left to wait.
    fn close(&mut self, at: usize) {
        if self.open.remove(&at) {
            self.closed.push(at);
        }
    }

    fn undo(&mut self) {
        self.take_back();
        self.frames.pop();
    }

    fn go_back(&mut self, mut blame: BTreeSet<usize>, floor: usize) -> bool {
        while self.frames.len() > floor {
            let level = self.frames.len();
            self.take_back();
            if blame.remove(&level)
                && let Some(frame) = self.frames.last_mut()
            {
                frame.blame.extend(blame.iter().copied().filter(|one| *one < level));
                if self.take_next() {
                    return true;
                }
                blame = self.frames.last().map(|frame| frame.blame.clone()).unwrap_or_default();
            }
            self.frames.pop();
        }
        false
    }

    fn choose(&mut self, id: Id, level: usize) {
        self.chosen.insert(id, level);
        for (name, version) in self.universe.names(id) {
            let provider = Provider { id, version };
            self.held.entry(name).or_default().push(provider);
            let needs = self.needed.get(name).map(Vec::as_slice).unwrap_or_default();
            let meant = |at: &usize| self.universe.means(self.needs[*at].dependency, provider);
            for at in needs.iter().copied().filter(meant).collect::<Vec<_>>() {
                self.close(at);
            }
        }
        for dependency in &self.universe.package(id).depends {
            self.require(dependency, By::Package(id), level);
        }
    }

    fn drop_choice(&mut self, id: Id) {
        self.chosen.remove(&id);
        for (name, _) in self.universe.names(id) {
            self.held.entry(name).or_default().retain(|held| held.id != id);
        }
        for dependency in self.universe.package(id).depends.iter().filter(|one| one.conflict) {
            let forbidden = self.forbidden.entry(&dependency.name).or_default();
            forbidden.retain(|(_, by, _)| *by != By::Package(id));
        }
    }

    fn require(&mut self, dependency: &'u Dependency, by: By, level: usize) {
        if dependency.conflict {
            let forbidden = self.forbidden.entry(&dependency.name).or_default();
            forbidden.push((dependency, by, level));
        } else {
            let at = self.needs.len();
            self.needs.push(Need { dependency, by, level });
            self.needed.entry(&dependency.name).or_default().push(at);
            if !self.is_met(dependency) {
                self.open.insert(at);
            }
        }
    }
}
