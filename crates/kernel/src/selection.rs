//! The plan: which modules go into an image, why, and in which order they are loaded; and the tree made of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use mos_tree::{Content, Tree, TreeError};

use crate::kernel::Kernel;
use crate::lists;
use crate::modinfo::ModuleInfo;
use crate::select::OUT;

/// Why a module is in the selection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// Its name was asked for.
    Asked,
    /// This alias of it was asked for.
    AskedAs(String),
    /// This module depends on it.
    NeededBy(String),
    /// This module has it as a soft dependency, to be loaded before.
    SoftBefore(String),
    /// This module has it as a soft dependency, to be loaded after.
    SoftAfter(String),
    /// This network driver leaves its PHY to another driver.
    Phy {
        /// The network driver.
        by: String,
        /// Who made both, by a name in both; `None` when the PHY may be of any maker.
        maker: Option<String>,
    },
    /// This module makes SCSI hosts, which have disks.
    Disks(String),
    /// This module looks up an algorithm by name.
    Algorithm {
        /// The module.
        by: String,
        /// What it looks up.
        algorithm: String,
    },
    /// This module looks up character sets by name, and the kernel was configured with this one as a default.
    Charset(String),
}

impl Reason {
    /// The module because of which this one is here; `None` when it was asked for.
    pub fn because_of(&self) -> Option<&str> {
        match self {
            Self::Asked | Self::AskedAs(_) => None,
            Self::NeededBy(by)
            | Self::SoftBefore(by)
            | Self::SoftAfter(by)
            | Self::Phy { by, .. }
            | Self::Disks(by)
            | Self::Charset(by)
            | Self::Algorithm { by, .. } => Some(by),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Asked => f.write_str("asked for"),
            Self::AskedAs(alias) => write!(f, "asked for as {alias}"),
            Self::NeededBy(name) => write!(f, "needed by {name}"),
            Self::SoftBefore(name) => write!(f, "wanted before {name}"),
            Self::SoftAfter(name) => write!(f, "wanted after {name}"),
            Self::Phy { by, maker: Some(maker) } => write!(f, "a PHY driver for {by}, both of {maker}"),
            Self::Phy { by, maker: None } => write!(f, "a PHY driver for {by}, whose PHY may be of any maker"),
            Self::Disks(name) => write!(f, "drives the disks of {name}"),
            Self::Algorithm { by, algorithm } => write!(f, "has {algorithm} for {by}"),
            Self::Charset(name) => write!(f, "a default character set for {name}"),
        }
    }
}

/// One selected module.
#[derive(Debug, Clone)]
pub struct Module {
    /// With `_` for `-`.
    pub name: String,
    /// Below `lib/modules/VERSION`, uncompressed: `kernel/fs/ext4/ext4.ko`.
    pub path: String,
    /// Why it is here.
    pub reason: Reason,
    /// All modules that must be loaded before it, in a working order.
    pub dependencies: Vec<String>,
    /// What it says of itself.
    pub info: ModuleInfo,
    /// The plain module, signature included.
    pub content: Content,
}

/// The modules of an image.
#[derive(Debug, Clone)]
pub struct Selection {
    /// The kernel's version.
    pub version: String,
    /// In the order in which to load them.
    pub modules: Vec<Module>,
    /// Names that were asked for and are built into the kernel.
    pub builtin: BTreeSet<String>,
    /// Soft dependencies that this kernel has in no form.
    pub missing_soft: BTreeSet<String>,
    lists: BTreeMap<&'static str, Vec<u8>>,
}

impl Selection {
    pub(crate) fn new(kernel: &Kernel<'_>) -> Self {
        let copied = ["modules.builtin", "modules.builtin.modinfo", "modules.order"];
        Self {
            version: kernel.version().to_owned(),
            modules: Vec::new(),
            builtin: BTreeSet::new(),
            missing_soft: BTreeSet::new(),
            lists: copied.map(|name| (name, kernel.list(name).to_vec())).into(),
        }
    }

    /// Of modules that no kernel has.
    #[cfg(test)]
    pub(crate) fn of(version: &str, modules: Vec<Module>) -> Self {
        Self {
            version: version.to_owned(),
            modules,
            builtin: BTreeSet::new(),
            missing_soft: BTreeSet::new(),
            lists: BTreeMap::new(),
        }
    }

    fn contains(&self, name: &str) -> bool {
        self.modules.iter().any(|module| module.name == name)
    }

    /// What to load when the node starts, of what was asked for by these names: the modules that aliases stand for, and
    /// what drives the disks of SCSI hosts, which no name asks for. All other companions are for the kernel to ask for.
    pub fn to_load(&self, asked: &[impl AsRef<str>]) -> Vec<String> {
        let asked_as = |name: &str| -> Vec<String> {
            let aliased = self
                .modules
                .iter()
                .filter(|module| module.reason == Reason::AskedAs(name.to_owned()));
            aliased.map(|module| module.name.clone()).collect()
        };
        let builtin = String::from_utf8_lossy(&self.lists["modules.builtin"]);
        let known = |name: &str| {
            let name = lists::normal(name);
            self.contains(&name) || lists::names(&builtin).any(|builtin| builtin == name)
        };
        let resolve = |name: &str| match asked_as(name) {
            // An alias of what is built in: nothing is to be loaded for it.
            modules if modules.is_empty() && !known(name) => Vec::new(),
            modules if modules.is_empty() => vec![name.to_owned()],
            modules => modules,
        };
        let disks = self
            .modules
            .iter()
            .filter(|module| matches!(module.reason, Reason::Disks(_)));
        let asked = asked.iter().map(AsRef::as_ref).filter(|name| !name.starts_with(OUT));
        let names = asked.flat_map(resolve);
        names.chain(disks.map(|module| module.name.clone())).collect()
    }

    /// Why a module is here: itself and its reason, then the module that is the reason, and so on up to one that was asked
    /// for.
    pub fn why(&self, name: &str) -> Vec<(&str, &Reason)> {
        let mut chain: Vec<(&str, &Reason)> = Vec::new();
        let mut next = Some(name);
        while let Some(module) = next.and_then(|name| self.modules.iter().find(|module| module.name == name)) {
            if chain.iter().any(|(name, _)| *name == module.name) {
                break;
            }
            chain.push((&module.name, &module.reason));
            next = module.reason.because_of();
        }
        chain
    }

    /// `lib/modules/VERSION/` with the modules, uncompressed, and the lists that `modprobe` and my_init read:
    /// `modules.dep`, `modules.alias`, `modules.softdep`, `modules.order`, `modules.builtin`,
    /// `modules.builtin.modinfo`.
    ///
    /// # Errors
    /// When a path of the package has no place in a tree.
    pub fn tree(&self) -> Result<Tree, TreeError> {
        let mut tree = Tree::default();
        let directory = format!("lib/modules/{}", self.version);
        let mut put = |path: &str, content: Content| tree.insert_file(format!("{directory}/{path}"), 0o644, content);
        for module in &self.modules {
            put(&module.path, module.content.clone())?;
        }
        for name in ["modules.builtin", "modules.builtin.modinfo"] {
            put(name, self.lists[name].clone().into())?;
        }
        put("modules.order", self.order().as_str().into())?;
        put("modules.dep", self.dependencies().as_str().into())?;
        put("modules.alias", self.aliases().as_str().into())?;
        put("modules.softdep", self.soft_dependencies().as_str().into())?;
        Ok(tree)
    }

    /// `modules.dep`: a module, then all that it needs, the last to be loaded first (modules.dep(5)).
    fn dependencies(&self) -> String {
        let paths: BTreeMap<&str, &str> = self
            .modules
            .iter()
            .map(|m| (m.name.as_str(), m.path.as_str()))
            .collect();
        let line = |module: &Module| {
            let needed = module.dependencies.iter().rev();
            let needed: String = needed.map(|name| format!(" {}", paths[name.as_str()])).collect();
            format!("{}:{needed}\n", module.path)
        };
        self.by_path().map(line).collect()
    }

    fn aliases(&self) -> String {
        let line = |(module, alias): (&Module, &String)| format!("alias {alias} {}\n", module.name);
        self.by_path()
            .flat_map(|module| module.info.aliases.iter().map(move |alias| (module, alias)))
            .map(line)
            .collect()
    }

    fn soft_dependencies(&self) -> String {
        let line = |(module, text): (&Module, &String)| format!("softdep {} {text}\n", module.name);
        self.by_path()
            .flat_map(|module| module.info.softdeps.iter().map(move |text| (module, text)))
            .map(line)
            .collect()
    }

    /// The lines of the kernel's `modules.order` for the modules that are here.
    fn order(&self) -> String {
        let order = String::from_utf8_lossy(&self.lists["modules.order"]);
        let here: BTreeSet<&str> = self.modules.iter().map(|module| module.name.as_str()).collect();
        let lines = order.lines();
        let kept = lines.filter(|line| lists::module_name(line).is_some_and(|name| here.contains(name.as_str())));
        kept.map(|line| format!("{line}\n")).collect()
    }

    fn by_path(&self) -> impl Iterator<Item = &Module> {
        let sorted: BTreeMap<&str, &Module> = self.modules.iter().map(|m| (m.path.as_str(), m)).collect();
        sorted.into_values()
    }
}
