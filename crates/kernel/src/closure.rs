//! The closure of modules over what they need, from [`Facts`] alone. Decides only; reads nothing.

use std::collections::{BTreeSet, HashMap, HashSet};

use crate::facts::Facts;
use crate::kernel::Kernel;
use crate::lists::normal;
use crate::select::SelectError;
use crate::selection::Reason;

/// Modules in the order in which to load them, and why each.
#[derive(Debug)]
pub(crate) struct Closure<'k, 't> {
    kernel: &'k Kernel<'t>,
    facts: &'k Facts,
    order: Vec<(&'k str, Reason)>,
    placed: HashSet<&'k str>,
    visited: HashSet<&'k str>,
    /// By name, all that must be loaded before, in a working order.
    below: HashMap<&'k str, Vec<&'k str>>,
    /// What soft dependencies were found to mean.
    soft: HashMap<&'k str, Vec<&'k str>>,
    missing_soft: BTreeSet<String>,
    /// Modules and dependencies that are nowhere.
    broken: BTreeSet<(String, String)>,
}

/// What is still to do, last first: an own stack, since chains of soft dependencies may be long and go in circles.
enum Step<'k> {
    Visit(&'k str, Reason),
    Place(&'k str, Reason),
}

impl<'k, 't> Closure<'k, 't> {
    pub(crate) fn new(kernel: &'k Kernel<'t>, facts: &'k Facts) -> Self {
        Self {
            kernel,
            facts,
            order: Vec::new(),
            placed: HashSet::new(),
            visited: HashSet::new(),
            below: HashMap::new(),
            soft: HashMap::new(),
            missing_soft: BTreeSet::new(),
            broken: BTreeSet::new(),
        }
    }

    pub(crate) fn facts(&self) -> &'k Facts {
        self.facts
    }

    /// The modules, in the order in which to load them.
    pub(crate) fn order(&self) -> &[(&'k str, Reason)] {
        &self.order
    }

    /// All that must be loaded before a module of this closure, in a working order.
    pub(crate) fn below(&self, name: &str) -> &[&'k str] {
        self.below.get(name).map(Vec::as_slice).unwrap_or_default()
    }

    /// Soft dependencies that this kernel has in no form.
    pub(crate) fn missing_soft(&self) -> &BTreeSet<String> {
        &self.missing_soft
    }

    /// # Errors
    /// [`SelectError::Broken`] with every dependency that is nowhere.
    pub(crate) fn check(&self) -> Result<(), SelectError> {
        match self.broken.is_empty() {
            true => Ok(()),
            false => Err(SelectError::Broken(self.broken.iter().cloned().collect())),
        }
    }

    /// Puts a module and what it needs into the closure, dependencies first.
    ///
    /// # Errors
    /// [`SelectError::Cycle`].
    pub(crate) fn add(&mut self, name: &'k str, reason: Reason) -> Result<(), SelectError> {
        let mut steps = vec![Step::Visit(name, reason)];
        while let Some(step) = steps.pop() {
            match step {
                Step::Visit(name, reason) => {
                    if self.visited.insert(name) {
                        self.visit(name, reason, &mut steps);
                    }
                }
                Step::Place(name, reason) => self.place(name, reason)?,
            }
        }
        Ok(())
    }

    /// Plans one module: soft `pre`, dependencies, itself, soft `post`.
    fn visit(&mut self, name: &'k str, reason: Reason, steps: &mut Vec<Step<'k>>) {
        let Some(info) = self.facts.info(name) else { return };
        let by = || name.to_owned();
        let mut planned = Vec::new();
        for soft in &info.before {
            let modules = self.meaning(soft).into_iter();
            planned.extend(modules.map(|module| Step::Visit(module, Reason::SoftBefore(by()))));
        }
        let needed = self.dependencies(name).into_iter();
        planned.extend(needed.map(|module| Step::Visit(module, Reason::NeededBy(by()))));
        planned.push(Step::Place(name, reason));
        for soft in &info.after {
            let modules = self.meaning(soft).into_iter();
            planned.extend(modules.map(|module| Step::Visit(module, Reason::SoftAfter(by()))));
        }
        steps.extend(planned.into_iter().rev());
    }

    fn place(&mut self, name: &'k str, reason: Reason) -> Result<(), SelectError> {
        let mut below = Vec::new();
        self.descend(name, &mut Vec::new(), &mut below)?;
        below.pop();
        // Soft dependencies may go in a circle, which puts a module before one that it needs: bring those first.
        for dependency in &below {
            if !self.placed.contains(dependency) {
                self.visited.insert(dependency);
                self.place(dependency, Reason::NeededBy(name.to_owned()))?;
            }
        }
        self.below.insert(name, below);
        if self.placed.insert(name) {
            self.order.push((name, reason));
        }
        Ok(())
    }

    /// Appends what `name` needs, then itself. As deep as the longest chain of dependencies without repetition.
    fn descend(
        &mut self,
        name: &'k str,
        chain: &mut Vec<&'k str>,
        below: &mut Vec<&'k str>,
    ) -> Result<(), SelectError> {
        if below.contains(&name) {
            return Ok(());
        }
        if let Some(known) = self.below.get(name) {
            for module in known.iter().chain([&name]) {
                if !below.contains(module) {
                    below.push(module);
                }
            }
            return Ok(());
        }
        let circle = chain.contains(&name);
        chain.push(name);
        if circle {
            return Err(SelectError::Cycle(chain.iter().map(ToString::to_string).collect()));
        }
        for dependency in self.dependencies(name) {
            self.descend(dependency, chain, below)?;
        }
        chain.pop();
        below.push(name);
        Ok(())
    }

    /// What a module names as its dependencies, without what is built in.
    fn dependencies(&mut self, name: &str) -> Vec<&'k str> {
        let Some(info) = self.facts.info(name) else {
            return Vec::new();
        };
        let mut found = Vec::new();
        for dependency in &info.depends {
            if self.facts.contains(dependency) {
                found.push(dependency.as_str());
            } else if !self.kernel.is_builtin(dependency) {
                self.broken.insert((name.to_owned(), dependency.clone()));
            }
        }
        found
    }

    /// The modules that a soft dependency means, looked up as `modprobe` does: by name, by alias, built in. What is built in
    /// may have the name that modules have as an alias, as the functions of `crc32` and those that are quicker do.
    fn meaning(&mut self, soft: &'k str) -> Vec<&'k str> {
        if let Some(known) = self.soft.get(soft) {
            return known.clone();
        }
        let modules = match self.named(soft) {
            Some(modules) => modules,
            None => {
                self.missing_soft.insert(soft.to_owned());
                Vec::new()
            }
        };
        self.soft.insert(soft, modules.clone());
        modules
    }

    /// The modules that a name or alias means, none when it is built in; `None` when the kernel has it in no form.
    pub(crate) fn named(&self, asked: &str) -> Option<Vec<&'k str>> {
        if let Some((name, _)) = self.facts.get(&normal(asked)) {
            return Some(vec![name]);
        }
        let aliased = self.facts.aliased(asked);
        let known = !aliased.is_empty() || self.kernel.is_builtin(asked) || self.kernel.has_builtin_alias(asked);
        known.then_some(aliased)
    }
}
