//! The kernel and modules that a package's tree holds.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use mos_packages::compression::Compression;
use mos_tree::{Content, Kind, Tree};

use crate::aliases::Aliases;
use crate::companions::Wants;
use crate::facts::{Fact, Facts};
use crate::lists;
use crate::modinfo::ModuleInfo;
use crate::scan::{Scanned, scan};

/// No module of any distribution comes near this many bytes.
const MODULE_MAX: u64 = 256 << 20;

/// Where modules stand, before and after the merge of `/lib` into `/usr/lib`.
pub(crate) const MODULE_ROOTS: [&str; 2] = ["lib/modules", "usr/lib/modules"];

/// What stands before the version in the name of the kernel's file: Debian's, and that of others. Alpine has the flavour
/// there, the end of the version: `vmlinuz-virt` is of `6.12.50-0-virt`.
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
    /// Aliases of what is built in, and where they are.
    builtin_aliases: (Vec<String>, Aliases),
    lists: BTreeMap<&'static str, Vec<u8>>,
    /// What `boot/config-VERSION` says, when the package has it.
    settings: String,
    facts: OnceLock<Facts>,
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
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) path: String,
    pub(crate) info: ModuleInfo,
    pub(crate) content: Content,
    pub(crate) wants: Wants,
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
        let image = find_image(tree, &version).ok_or_else(|| KernelError::NoImage(version.clone()))?;
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
        let path = format!("boot/config-{version}");
        let settings = file(tree, &path).map_or(Ok(Vec::new()), Content::read);
        let settings = String::from_utf8_lossy(&settings.map_err(damaged(&path))?).into_owned();
        Ok(Self {
            builtin_aliases: indexed(lists::builtin_aliases(&lists["modules.builtin.modinfo"])),
            modules: find_modules(tree, &directory),
            version,
            image,
            builtin,
            lists,
            settings,
            facts: OnceLock::new(),
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

    /// True when something within the kernel answers to this alias.
    pub(crate) fn has_builtin_alias(&self, name: &str) -> bool {
        let (aliases, index) = &self.builtin_aliases;
        index
            .matching(name, |(place, _)| &aliases[place as usize])
            .next()
            .is_some()
    }

    pub(crate) fn list(&self, name: &str) -> &[u8] {
        self.lists.get(name).map_or(&[], Vec::as_slice)
    }

    /// Reads the whole of a module of these facts.
    pub(crate) fn load(&self, name: &str) -> Result<Loaded, KernelError> {
        let missing = || KernelError::Damaged {
            path: name.to_owned(),
            problem: "no such module".to_owned(),
        };
        self.modules.get(name).ok_or_else(missing)?.load()
    }

    /// What every module says of itself. The first time, all are read.
    ///
    /// # Errors
    /// [`KernelError::Damaged`].
    pub fn facts(&self) -> Result<&Facts, KernelError> {
        match self.facts.get() {
            Some(facts) => Ok(facts),
            None => {
                let facts = Facts::read(self)?;
                Ok(self.facts.get_or_init(|| facts))
            }
        }
    }

    /// Takes what was kept of [`Kernel::facts`], so that the modules need not be read. False when these are not the facts
    /// of this kernel, or it has some already.
    pub fn remember(&self, facts: Facts) -> bool {
        let same = |((name, fact), (own, source)): ((&str, &Fact), (&String, &Source<'_>))| {
            name == own && fact.path == source.path
        };
        facts.count() == self.modules.len()
            && facts.iter().zip(&self.modules).all(same)
            && self.facts.set(facts).is_ok()
    }

    /// The settings of the kernel's build, such as `CONFIG_FAT_DEFAULT_IOCHARSET` and `ascii`.
    pub(crate) fn settings(&self) -> impl Iterator<Item = (&str, &str)> {
        let lines = self.settings.lines().filter(|line| !line.starts_with('#'));
        let pairs = lines.filter_map(|line| line.split_once('='));
        pairs.map(|(key, value)| (key, value.trim_matches('"')))
    }

    /// All modules, those of `modules.order` first and in its order.
    pub(crate) fn in_order(&self) -> Vec<(&str, &Source<'t>)> {
        lists::in_order(&self.modules, self.list("modules.order"))
    }
}

impl Source<'_> {
    fn load(&self) -> Result<Loaded, KernelError> {
        let bytes = self.plain()?;
        Ok(Loaded {
            path: self.path.clone(),
            info: self.info(&bytes)?,
            wants: Wants::of(&bytes),
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

    /// What the module says of itself, read from as little of it as it takes.
    pub(crate) fn quick_info(&self) -> Result<ModuleInfo, KernelError> {
        let reader = self.content.open();
        let scanned = reader.and_then(|reader| scan(reader, self.compression, MODULE_MAX));
        match scanned.map_err(damaged(&self.path))? {
            Scanned::Section(section) => Ok(ModuleInfo::of_section(&section)),
            Scanned::Whole(bytes) => self.info(&bytes),
        }
    }

    /// What the plain module says of itself.
    pub(crate) fn info(&self, bytes: &[u8]) -> Result<ModuleInfo, KernelError> {
        ModuleInfo::parse(bytes).map_err(|problem| KernelError::Damaged {
            path: self.path.clone(),
            problem: problem.to_owned(),
        })
    }
}

fn find_image<'t>(tree: &'t Tree, version: &str) -> Option<&'t Content> {
    let flavour = version.rsplit_once('-').map(|(_, flavour)| flavour);
    let endings = std::iter::once(version).chain(flavour);
    let mut places = endings.flat_map(|ending| IMAGE_NAMES.iter().map(move |name| format!("{name}{ending}")));
    places.find_map(|place| file(tree, &place))
}

fn indexed(aliases: Vec<(String, String)>) -> (Vec<String>, Aliases) {
    let aliases: Vec<String> = aliases.into_iter().map(|(_, alias)| alias).collect();
    let places = (0..).map(|place| (place, 0));
    let index = Aliases::new(places.zip(aliases.iter().map(String::as_str)));
    (aliases, index)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alpine_names_the_kernel_by_its_flavour() {
        let mut tree = Tree::default();
        tree.insert_directory("lib/modules/6.12.50-0-virt/kernel", 0o755)
            .unwrap();
        let missing = Kernel::open(&tree).unwrap_err().to_string();
        assert!(missing.contains("no boot/vmlinuz-6.12.50-0-virt"), "{missing}");
        tree.insert_file("boot/vmlinuz-lts", 0o644, "another").unwrap();
        assert!(Kernel::open(&tree).is_err());
        tree.insert_file("boot/vmlinuz-virt", 0o644, "kernel").unwrap();
        let kernel = Kernel::open(&tree).unwrap();
        assert_eq!(kernel.image().read().unwrap(), b"kernel");
        assert_eq!(kernel.version(), "6.12.50-0-virt");
    }
}
