//! The kernel and modules that a package's tree holds.

use std::collections::BTreeMap;
use std::sync::{Mutex, OnceLock};

use mos_packages::compression::Compression;
use mos_tree::{Content, Kind, Tree};

use crate::lists;
use crate::modinfo::ModuleInfo;

/// No module of any distribution comes near this many bytes.
const MODULE_MAX: u64 = 256 << 20;

/// Where modules stand, before and after the merge of `/lib` into `/usr/lib`.
pub(crate) const MODULE_ROOTS: [&str; 2] = ["lib/modules", "usr/lib/modules"];

/// Where Debian puts the kernel, and where others do.
const IMAGE_NAMES: [&str; 2] = ["boot/vmlinuz-", "boot/kernel-"];

/// Why a tree holds no kernel that we can use.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KernelError {
    /// No `lib/modules/VERSION`.
    #[error(
        "the kernel package has no directory lib/modules/VERSION; name a package that holds a kernel, not one that only depends on it"
    )]
    NoModules,
    /// More than one `lib/modules/VERSION`.
    #[error("the kernel package has modules for several versions: {}", .0.join(", "))]
    SeveralVersions(Vec<String>),
    /// No kernel image for the modules.
    #[error("the kernel package has no boot/vmlinuz-{0}")]
    NoImage(String),
    /// Modules that were built for another kernel.
    #[error("{path}: was built for kernel {built}, not for {wanted}")]
    OtherVersion {
        /// Below the directory of the version.
        path: String,
        /// What the module says.
        built: String,
        /// What was asked for, or another module says.
        wanted: String,
    },
    /// No module at all.
    #[error("there are no kernel modules here: neither lib/modules/VERSION nor files *.ko")]
    Empty,
    /// A module or list that could not be read.
    #[error("{path}: {problem}")]
    Damaged {
        /// Its path in the package.
        path: String,
        /// What is wrong.
        problem: String,
    },
}

/// A kernel with its modules, borrowed from the tree of its package.
#[derive(Debug)]
pub struct Kernel<'t> {
    version: String,
    image: &'t Content,
    modules: BTreeMap<String, Source<'t>>,
    builtin: BTreeMap<String, String>,
    /// Module and alias.
    builtin_aliases: Vec<(String, String)>,
    lists: BTreeMap<&'static str, Vec<u8>>,
    /// Modules that were read already.
    read: Mutex<BTreeMap<String, Loaded>>,
    /// Of every module: found only when an alias must be looked up, since all modules are read for it.
    aliases: OnceLock<Vec<(String, String)>>,
}

/// A module in the package.
#[derive(Debug)]
pub(crate) struct Source<'t> {
    /// Below the version's directory, without the ending of a compression: `kernel/fs/ext4/ext4.ko`.
    pub(crate) path: String,
    pub(crate) content: &'t Content,
    pub(crate) compression: Compression,
}

/// A module that was read.
#[derive(Debug, Clone)]
pub(crate) struct Loaded {
    pub(crate) path: String,
    pub(crate) info: ModuleInfo,
    pub(crate) content: Content,
}

impl<'t> Kernel<'t> {
    /// The lists that go into an image with the modules.
    const LISTS: [&'static str; 3] = ["modules.builtin", "modules.builtin.modinfo", "modules.order"];

    /// Finds the kernel in a package's tree.
    ///
    /// # Errors
    /// See [`KernelError`].
    pub fn open(tree: &'t Tree) -> Result<Self, KernelError> {
        let (root, version) = find_version(tree)?;
        let image = IMAGE_NAMES
            .iter()
            .find_map(|name| file(tree, &format!("{name}{version}")))
            .ok_or_else(|| KernelError::NoImage(version.clone()))?;
        let directory = format!("{root}/{version}");
        let mut lists = BTreeMap::new();
        for name in Self::LISTS {
            let path = format!("{directory}/{name}");
            let content = file(tree, &path).map_or(Ok(Vec::new()), Content::read);
            lists.insert(name, content.map_err(damaged(&path))?);
        }
        let builtin_text = String::from_utf8_lossy(&lists["modules.builtin"]).into_owned();
        let builtin = builtin_text
            .lines()
            .filter_map(|line| Some((lists::module_name(line)?, line.to_owned())))
            .collect();
        Ok(Self {
            builtin_aliases: lists::builtin_aliases(&lists["modules.builtin.modinfo"]),
            modules: find_modules(tree, &directory),
            version,
            image,
            builtin,
            lists,
            read: Mutex::default(),
            aliases: OnceLock::new(),
        })
    }

    /// What `uname -r` will say.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The kernel image, a PE file for the firmware and a bzImage for boot loaders.
    pub fn image(&self) -> &'t Content {
        self.image
    }

    /// The names of all modules that are not built in, sorted, with `_` for `-`.
    pub fn module_names(&self) -> impl Iterator<Item = &str> {
        self.modules.keys().map(String::as_str)
    }

    /// True when the kernel has this module within it (`-` and `_` are the same).
    pub fn is_builtin(&self, name: &str) -> bool {
        self.builtin.contains_key(&lists::normal(name))
    }

    pub(crate) fn builtin_names(&self) -> impl Iterator<Item = &str> {
        self.builtin.keys().map(String::as_str)
    }

    pub(crate) fn has_builtin_alias(&self, name: &str) -> bool {
        self.builtin_aliases
            .iter()
            .any(|(_, pattern)| lists::matches(pattern, name))
    }

    pub(crate) fn has_module(&self, name: &str) -> bool {
        self.modules.contains_key(name)
    }

    pub(crate) fn list(&self, name: &str) -> &[u8] {
        self.lists.get(name).map_or(&[], Vec::as_slice)
    }

    /// Reads a module that [`Kernel::has_module`] knows.
    pub(crate) fn load(&self, name: &str) -> Result<Loaded, KernelError> {
        let missing = || KernelError::Damaged {
            path: name.to_owned(),
            problem: "no such module".to_owned(),
        };
        let mut read = self.read.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(loaded) = read.get(name) {
            return Ok(loaded.clone());
        }
        let loaded = self.modules.get(name).ok_or_else(missing)?.load()?;
        read.insert(name.to_owned(), loaded.clone());
        Ok(loaded)
    }

    /// The modules that have an alias that matches, in the order of `modules.order`, as `modprobe` would load them.
    pub(crate) fn aliased(&self, name: &str) -> Result<Vec<String>, KernelError> {
        let aliases = match self.aliases.get() {
            Some(aliases) => aliases,
            None => {
                let found = self.all_aliases()?;
                self.aliases.get_or_init(|| found)
            }
        };
        let matching = aliases.iter().filter(|(pattern, _)| lists::matches(pattern, name));
        let mut modules: Vec<String> = Vec::new();
        for (_, module) in matching {
            if !modules.contains(module) {
                modules.push(module.clone());
            }
        }
        Ok(modules)
    }

    fn all_aliases(&self) -> Result<Vec<(String, String)>, KernelError> {
        let mut found = Vec::new();
        for name in self.in_order() {
            let info = self.modules[&name].load()?.info;
            found.extend(info.aliases.into_iter().map(|alias| (alias, name.clone())));
        }
        Ok(found)
    }

    /// All modules, those of `modules.order` first and in its order.
    fn in_order(&self) -> Vec<String> {
        let order = String::from_utf8_lossy(self.list("modules.order")).into_owned();
        let mut seen = std::collections::BTreeSet::new();
        let names = lists::names(&order).filter(|name| self.has_module(name));
        let rest = self.modules.keys().cloned();
        names.chain(rest).filter(|name| seen.insert(name.clone())).collect()
    }
}

impl Source<'_> {
    fn load(&self) -> Result<Loaded, KernelError> {
        let bytes = self.plain()?;
        Ok(Loaded {
            path: self.path.clone(),
            info: self.info(&bytes)?,
            content: bytes.into(),
        })
    }

    /// The module, decompressed.
    pub(crate) fn plain(&self) -> Result<Vec<u8>, KernelError> {
        let reader = self.content.open();
        reader
            .and_then(|reader| self.compression.decompress(reader, MODULE_MAX))
            .map_err(damaged(&self.path))
    }

    /// What the plain module says of itself.
    pub(crate) fn info(&self, bytes: &[u8]) -> Result<ModuleInfo, KernelError> {
        ModuleInfo::parse(bytes).map_err(|problem| KernelError::Damaged {
            path: self.path.clone(),
            problem: problem.to_owned(),
        })
    }
}

fn find_version(tree: &Tree) -> Result<(&'static str, String), KernelError> {
    let mut found = Vec::new();
    for root in MODULE_ROOTS {
        if let Some(Kind::Directory(entries)) = tree.get(root).map(|inode| &inode.kind) {
            found.extend(entries.keys().map(|name| (root, name.to_string())));
        }
    }
    match found.pop() {
        None => Err(KernelError::NoModules),
        Some(one) if found.is_empty() => Ok(one),
        Some(last) => {
            found.push(last);
            Err(KernelError::SeveralVersions(
                found.into_iter().map(|(_, version)| version).collect(),
            ))
        }
    }
}

/// The modules below a directory, by name; `""` is the whole tree.
pub(crate) fn find_modules<'t>(tree: &'t Tree, directory: &str) -> BTreeMap<String, Source<'t>> {
    let prefix = match directory {
        "" => String::new(),
        directory => format!("{directory}/"),
    };
    let mut modules = BTreeMap::new();
    for entry in tree.walk() {
        let Kind::File(content) = &entry.inode.kind else {
            continue;
        };
        let Some(path) = entry.path.strip_prefix(prefix.as_bytes()) else {
            continue;
        };
        let (plain, compression) = Compression::split_name(path);
        let Ok(path) = std::str::from_utf8(plain) else { continue };
        if let Some(name) = lists::module_name(path) {
            let source = Source {
                path: path.to_owned(),
                content,
                compression,
            };
            modules.insert(name, source);
        }
    }
    modules
}

pub(crate) fn file<'t>(tree: &'t Tree, path: &str) -> Option<&'t Content> {
    match &tree.get(path)?.kind {
        Kind::File(content) => Some(content),
        _ => None,
    }
}

pub(crate) fn damaged(path: &str) -> impl FnOnce(std::io::Error) -> KernelError {
    let path = path.to_owned();
    move |error| KernelError::Damaged {
        path,
        problem: error.to_string(),
    }
}
