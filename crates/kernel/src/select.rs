//! Which modules an image needs, and in which order they are loaded: the closure over what they name, and over what
//! their companions name. Writes nothing.

use std::collections::BTreeMap;

use crate::closure::Closure;
use crate::facts::Facts;
use crate::kernel::{Kernel, KernelError, Loaded};
use crate::lists::normal;
use crate::modinfo::ModuleInfo;
use crate::parallel;
use crate::selection::{Module, Reason, Selection};

/// A name that is neither a module of this kernel nor built into it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Absent {
    /// The name as it was asked for, or kept out.
    pub name: String,
    /// The module whose name is most like it.
    pub nearest: Option<String>,
}

/// Why modules could not be selected.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SelectError {
    /// Names that the kernel does not have; all of them at once.
    #[error("{}", lines(.version, .absent))]
    Absent {
        /// The kernel's version.
        version: String,
        /// The names.
        absent: Vec<Absent>,
    },
    /// Modules, and what each of them needs that is not in the package; all of them at once.
    #[error("{}, which the kernel package does not have", needs(.0))]
    Broken(Vec<(String, String)>),
    /// Modules that need each other.
    #[error("modules need each other: {}", .0.join(" -> "))]
    Cycle(Vec<String>),
    /// A module could not be read.
    #[error(transparent)]
    Kernel(#[from] KernelError),
}

/// A line for each, which begins with what it is about.
fn lines(version: &str, absent: &[Absent]) -> String {
    let one = |Absent { name, nearest }: &Absent| {
        let problem = match name.strip_prefix(OUT) {
            Some(_) => "keeps nothing out: it has no such module",
            None => "it has no such module",
        };
        let near = nearest.as_ref().map(|nearest| format!("; did you mean `{nearest}`?"));
        format!(
            "module `{name}`: kernel {version}: {problem}{}",
            near.unwrap_or_default()
        )
    };
    absent.iter().map(one).collect::<Vec<_>>().join("\n")
}

fn needs(broken: &[(String, String)]) -> String {
    let one = |(module, dependency): &(String, String)| format!("module {module} needs {dependency}");
    broken.iter().map(one).collect::<Vec<_>>().join(", ")
}

impl Kernel<'_> {
    /// Selects these modules and all that they need, in the order in which to load them: what a module depends on
    /// comes before it, and so do its soft dependencies marked `pre`; those marked `post` come after; then what the kernel
    /// will ask for because of them (PHY drivers, SCSI disks, algorithms, character sets). A name may be an alias, such as
    /// `fs-ext4` or `pci:v00008086d…`. Names that are built in are listed apart. Soft dependencies that the kernel does
    /// not have are listed too and do no harm. `!NAME` keeps a companion out, `!mdio:` all with an alias of that class; what
    /// a module depends on is never kept out.
    ///
    /// # Errors
    /// See [`SelectError`].
    pub fn select(&self, names: &[impl AsRef<str>]) -> Result<Selection, SelectError> {
        let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
        let mut corrected = None;
        loop {
            let facts = corrected.as_ref().unwrap_or(self.facts()?);
            match self.attempt(facts, &names)? {
                Attempt::Done(selection) => return Ok(selection),
                // Every round makes the facts of at least one more module exact, so this ends.
                Attempt::Wrong(corrections) => corrected = Some(facts.corrected(&corrections)),
            }
        }
    }

    /// What the modules with these names need, by [`Kernel::facts`] alone, in the order in which to load them. Without
    /// companions, for which the modules themselves are read.
    ///
    /// # Errors
    /// See [`SelectError`].
    pub fn closure(&self, names: &[impl AsRef<str>]) -> Result<Vec<Planned>, SelectError> {
        let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
        let mut closure = Closure::new(self, self.facts()?);
        self.ask(&mut closure, &names)?;
        closure.check()?;
        let planned = |(name, reason): &(&str, Reason)| Planned {
            name: (*name).to_owned(),
            reason: reason.clone(),
            dependencies: closure.below(name).iter().map(ToString::to_string).collect(),
        };
        Ok(closure.order().iter().map(planned).collect())
    }

    fn attempt(&self, facts: &Facts, names: &[&str]) -> Result<Attempt, SelectError> {
        let mut closure = Closure::new(self, facts);
        self.ask(&mut closure, names)?;
        let mut loaded: BTreeMap<&str, Loaded> = BTreeMap::new();
        loop {
            closure.check()?;
            let order = closure.order().iter().map(|(name, _)| *name);
            let fresh: Vec<&str> = order.filter(|name| !loaded.contains_key(name)).collect();
            if fresh.is_empty() {
                return Ok(Attempt::Done(self.selection(&closure, names, loaded)));
            }
            let read = parallel::map(&fresh, |_, name| self.load(name))?;
            let wrong = corrections(facts, &fresh, &read);
            if !wrong.is_empty() {
                return Ok(Attempt::Wrong(wrong));
            }
            for (name, module) in fresh.iter().zip(read) {
                for (companion, reason) in module.wants.answers(name, facts, self) {
                    let out = kept_out(names).any(|word| facts.answers_to(&companion, word));
                    if let Some((companion, _)) = facts.get(&companion).filter(|_| !out) {
                        closure.add(companion, reason)?;
                    }
                }
                loaded.insert(name, module);
            }
        }
    }

    /// Puts what was asked for into the closure.
    fn ask<'k>(&'k self, closure: &mut Closure<'k, '_>, names: &[&str]) -> Result<(), SelectError> {
        let facts = closure.facts();
        let unknown = asked_for(names).filter(|name| closure.named(name).is_none());
        let all = || facts.iter().map(|(module, _)| module);
        let is_idle = |word: &str| !all().any(|module| facts.answers_to(module, word));
        let idle = names
            .iter()
            .copied()
            .filter(|name| name.strip_prefix(OUT).is_some_and(is_idle));
        let absent: Vec<&str> = unknown.chain(idle).collect();
        if !absent.is_empty() {
            return Err(self.absent(&absent));
        }
        for name in asked_for(names) {
            for module in closure.named(name).unwrap_or_default() {
                let by_name = module == normal(name);
                let reason = if by_name {
                    Reason::Asked
                } else {
                    Reason::AskedAs((*name).to_owned())
                };
                closure.add(module, reason)?;
            }
        }
        Ok(())
    }

    fn absent(&self, names: &[&str]) -> SelectError {
        let nearest = |name: &str| {
            let candidates = self.module_names().chain(self.builtin_names());
            mos_toml::nearest(&normal(name.trim_start_matches(OUT)), candidates).map(str::to_owned)
        };
        let absent = |name: &&str| Absent {
            name: (*name).to_owned(),
            nearest: nearest(name),
        };
        SelectError::Absent {
            version: self.version().to_owned(),
            absent: names.iter().map(absent).collect(),
        }
    }

    fn selection<'k>(
        &self,
        closure: &Closure<'k, '_>,
        asked: &[&str],
        mut loaded: BTreeMap<&'k str, Loaded>,
    ) -> Selection {
        let mut selection = Selection::new(self);
        selection.missing_soft = closure.missing_soft().clone();
        let builtin = asked_for(asked).filter(|name| closure.named(name).is_some_and(|modules| modules.is_empty()));
        selection.builtin = builtin.map(normal).collect();
        for (name, reason) in closure.order() {
            // All of the order were read, or the attempt would not be done.
            let Some(module) = loaded.remove(name) else { continue };
            selection.modules.push(Module {
                name: (*name).to_owned(),
                path: module.path,
                reason: reason.clone(),
                dependencies: closure.below(name).iter().map(ToString::to_string).collect(),
                info: module.info,
                content: module.content,
            });
        }
        selection
    }
}

/// A module of a closure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// With `_` for `-`.
    pub name: String,
    /// Why it is here.
    pub reason: Reason,
    /// All modules that must be loaded before it, in a working order.
    pub dependencies: Vec<String>,
}

/// How a word begins that keeps companions out.
pub(crate) const OUT: char = '!';

fn asked_for<'n>(names: &[&'n str]) -> impl Iterator<Item = &'n str> {
    names.iter().copied().filter(|name| !name.starts_with(OUT))
}

/// The words that keep companions out, without their mark.
fn kept_out<'n>(names: &[&'n str]) -> impl Iterator<Item = &'n str> {
    names.iter().filter_map(|name| name.strip_prefix(OUT))
}

/// What came of selecting by some facts.
enum Attempt {
    Done(Selection),
    /// Kept modules say something else than the facts.
    Wrong(Vec<(String, ModuleInfo)>),
}

fn corrections(facts: &Facts, names: &[&str], read: &[Loaded]) -> Vec<(String, ModuleInfo)> {
    let pairs = names.iter().zip(read);
    let wrong = pairs.filter(|(name, module)| facts.info(name) != Some(&module.info));
    wrong
        .map(|(name, module)| ((*name).to_owned(), module.info.clone()))
        .collect()
}
