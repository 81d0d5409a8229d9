//! Which modules an image needs, and in which order they are loaded. Decides only; writes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::kernel::{Kernel, KernelError};
use crate::lists::normal;
use crate::selection::{Module, Reason, Selection};

/// A name that is neither a module of this kernel nor built into it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Absent {
    /// The name as it was asked for.
    pub name: String,
    /// The module whose name is most like it.
    pub nearest: Option<String>,
}

/// Why modules could not be selected.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SelectError {
    /// Names that the kernel does not have; all of them at once.
    #[error("kernel {version} has no module {}", list(.absent))]
    Absent {
        /// The kernel's version.
        version: String,
        /// The names.
        absent: Vec<Absent>,
    },
    /// A module that another one needs is not in the package.
    #[error("module {module} needs {dependency}, which the kernel package does not have")]
    Broken {
        /// Which module.
        module: String,
        /// What it needs.
        dependency: String,
    },
    /// Modules that need each other.
    #[error("modules need each other: {}", .0.join(" -> "))]
    Cycle(Vec<String>),
    /// A module could not be read.
    #[error(transparent)]
    Kernel(#[from] KernelError),
}

impl fmt::Display for Absent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.nearest {
            Some(nearest) => write!(f, "`{}` (did you mean `{nearest}`?)", self.name),
            None => write!(f, "`{}`", self.name),
        }
    }
}

fn list(absent: &[Absent]) -> String {
    absent.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

impl Kernel<'_> {
    /// Selects these modules and all that they need, in the order in which to load them: what a module depends on
    /// comes before it, and so do its soft dependencies marked `pre`; those marked `post` come after. Names that are
    /// built in are listed apart. Soft dependencies that the kernel does not have are listed too and do no harm.
    ///
    /// # Errors
    /// See [`SelectError`].
    pub fn select(&self, names: &[impl AsRef<str>]) -> Result<Selection, SelectError> {
        let mut selector = Selector {
            kernel: self,
            selection: Selection::new(self),
            done: BTreeSet::new(),
            soft: BTreeMap::new(),
        };
        let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
        selector.check(&names)?;
        for name in names {
            if self.is_builtin(name) {
                selector.selection.builtin.insert(normal(name));
            } else {
                selector.load(&normal(name), Reason::Asked)?;
            }
        }
        Ok(selector.selection)
    }
}

struct Selector<'k, 't> {
    kernel: &'k Kernel<'t>,
    selection: Selection,
    done: BTreeSet<String>,
    /// What soft dependencies were found to mean.
    soft: BTreeMap<String, Vec<String>>,
}

/// What is still to do, last first: an own stack, since chains of soft dependencies may be long and go in circles.
enum Step {
    Visit(String, Reason),
    Load(String, Reason),
}

impl Selector<'_, '_> {
    fn check(&self, names: &[&str]) -> Result<(), SelectError> {
        let known = |name: &&&str| self.kernel.is_builtin(name) || self.kernel.has_module(&normal(name));
        let absent: Vec<Absent> = names
            .iter()
            .filter(|name| !known(name))
            .map(|name| Absent {
                name: (*name).to_owned(),
                nearest: self.nearest(name),
            })
            .collect();
        if absent.is_empty() {
            return Ok(());
        }
        let version = self.kernel.version().to_owned();
        Err(SelectError::Absent { version, absent })
    }

    fn nearest(&self, name: &str) -> Option<String> {
        let names = self.kernel.module_names().chain(self.kernel.builtin_names());
        mos_toml::nearest(&normal(name), names).map(str::to_owned)
    }

    /// Puts a module and what it needs into the selection, dependencies first.
    fn load(&mut self, name: &str, reason: Reason) -> Result<(), SelectError> {
        let mut steps = vec![Step::Visit(name.to_owned(), reason)];
        while let Some(step) = steps.pop() {
            match step {
                Step::Visit(name, reason) => {
                    if self.done.insert(name.clone()) {
                        self.visit(name, reason, &mut steps)?;
                    }
                }
                Step::Load(name, reason) => self.add(&name, reason)?,
            }
        }
        Ok(())
    }

    /// Plans one module: soft `pre`, dependencies, itself, soft `post`.
    fn visit(&mut self, name: String, reason: Reason, steps: &mut Vec<Step>) -> Result<(), SelectError> {
        let info = self.kernel.load(&name)?.info;
        let mut planned = Vec::new();
        for soft in &info.before {
            for module in self.meaning(soft)? {
                planned.push(Step::Visit(module, Reason::SoftBefore(name.clone())));
            }
        }
        for dependency in self.dependencies(&name)? {
            planned.push(Step::Visit(dependency, Reason::NeededBy(name.clone())));
        }
        planned.push(Step::Load(name.clone(), reason));
        for soft in &info.after {
            for module in self.meaning(soft)? {
                planned.push(Step::Visit(module, Reason::SoftAfter(name.clone())));
            }
        }
        steps.extend(planned.into_iter().rev());
        Ok(())
    }

    fn add(&mut self, name: &str, reason: Reason) -> Result<(), SelectError> {
        let loaded = self.kernel.load(name)?;
        let dependencies = self.closure(name)?;
        // Soft dependencies may go in a circle, which puts a module before one that it needs: bring those first.
        for dependency in &dependencies {
            if !self.selection.contains(dependency) {
                self.done.insert(dependency.clone());
                self.add(dependency, Reason::NeededBy(name.to_owned()))?;
            }
        }
        if !self.selection.contains(name) {
            self.selection.modules.push(Module {
                name: name.to_owned(),
                path: loaded.path,
                reason,
                dependencies,
                info: loaded.info,
                content: loaded.content,
            });
        }
        Ok(())
    }

    /// All that must be loaded before a module, in an order in which that works.
    fn closure(&self, name: &str) -> Result<Vec<String>, SelectError> {
        let mut order = Vec::new();
        self.descend(name, &mut Vec::new(), &mut order)?;
        order.pop();
        Ok(order)
    }

    /// Appends what `name` needs, then itself. As deep as the longest chain of dependencies without repetition.
    fn descend(&self, name: &str, chain: &mut Vec<String>, order: &mut Vec<String>) -> Result<(), SelectError> {
        if order.iter().any(|known| known == name) {
            return Ok(());
        }
        chain.push(name.to_owned());
        if chain[..chain.len() - 1].iter().any(|above| above == name) {
            return Err(SelectError::Cycle(chain.clone()));
        }
        for dependency in self.dependencies(name)? {
            self.descend(&dependency, chain, order)?;
        }
        chain.pop();
        order.push(name.to_owned());
        Ok(())
    }

    /// What a module names as its dependencies, without what is built in.
    fn dependencies(&self, name: &str) -> Result<Vec<String>, SelectError> {
        let mut found = Vec::new();
        for dependency in self.kernel.load(name)?.info.depends {
            if self.kernel.has_module(&dependency) {
                found.push(dependency);
            } else if !self.kernel.is_builtin(&dependency) {
                let module = name.to_owned();
                return Err(SelectError::Broken { module, dependency });
            }
        }
        Ok(found)
    }

    /// The modules that a soft dependency means, looked up as `modprobe` does: by name, by alias, built in.
    fn meaning(&mut self, soft: &str) -> Result<Vec<String>, SelectError> {
        if let Some(known) = self.soft.get(soft) {
            return Ok(known.clone());
        }
        let name = normal(soft);
        let modules = if self.kernel.has_module(&name) {
            vec![name]
        } else if self.kernel.is_builtin(&name) {
            Vec::new()
        } else {
            let aliased = self.kernel.aliased(soft)?;
            if aliased.is_empty() && !self.kernel.has_builtin_alias(soft) {
                self.selection.missing_soft.insert(soft.to_owned());
            }
            aliased
        };
        self.soft.insert(soft.to_owned(), modules.clone());
        Ok(modules)
    }
}
