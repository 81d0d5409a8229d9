//! What every module of a kernel says of itself, in one value that can be kept: reading it from 4,230 compressed modules
//! takes most of a second, and it does not change as long as the package is the same.

use std::sync::OnceLock;

use crate::aliases::{Aliases, Place};
use crate::kernel::{Kernel, KernelError};
use crate::lists;
use crate::modinfo::ModuleInfo;
use crate::parallel;

/// What the bytes of [`Facts::to_bytes`] begin with; the digit is the version of the format.
const MAGIC: &[u8] = b"mos kernel facts 1\n";

/// What every module of one kernel says of itself.
#[derive(Debug, Clone)]
pub struct Facts {
    /// Sorted by name, with `_` for `-`.
    modules: Vec<(String, Fact)>,
    /// By the numbers of module and alias; made when the first is looked up.
    aliases: OnceLock<Aliases>,
}

impl PartialEq for Facts {
    fn eq(&self, other: &Self) -> bool {
        self.modules == other.modules
    }
}

impl Eq for Facts {}

/// One module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fact {
    /// Below the directory of the version, uncompressed.
    pub(crate) path: String,
    pub(crate) info: ModuleInfo,
    /// Its place in `modules.order`.
    rank: usize,
}

impl Facts {
    /// Reads them from all modules, by as many threads as there are processors.
    ///
    /// # Errors
    /// [`KernelError::Damaged`].
    pub(crate) fn read(kernel: &Kernel<'_>) -> Result<Self, KernelError> {
        let sources = kernel.in_order();
        let infos = parallel::map(&sources, |_, (_, source)| source.quick_info())?;
        let facts = sources.iter().zip(infos);
        Ok(Self::new(facts.map(|((name, source), info)| {
            ((*name).to_owned(), source.path.clone(), info)
        })))
    }

    fn new(modules: impl IntoIterator<Item = (String, String, ModuleInfo)>) -> Self {
        let ranked = modules.into_iter().enumerate();
        let mut modules: Vec<(String, Fact)> = ranked
            .map(|(rank, (name, path, info))| (name, Fact { path, info, rank }))
            .collect();
        modules.sort_by(|(left, _), (right, _)| left.cmp(right));
        modules.dedup_by(|(left, _), (right, _)| left == right);
        Self {
            modules,
            aliases: OnceLock::new(),
        }
    }

    /// To be kept with the digest of the package as the key.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        let mut ordered: Vec<&Fact> = self.modules.iter().map(|(_, fact)| fact).collect();
        ordered.sort_by_key(|fact| fact.rank);
        for fact in ordered {
            bytes.extend_from_slice(fact.path.as_bytes());
            for entry in fact.info.entries() {
                bytes.push(0);
                bytes.extend_from_slice(entry.as_bytes());
            }
            // No string is empty, so two NULs are the end of a module.
            bytes.extend_from_slice(b"\0\0");
        }
        bytes
    }

    /// What [`Facts::to_bytes`] made; `None` when it was something else, or another version of this program.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut rest = std::str::from_utf8(bytes.strip_prefix(MAGIC)?).ok()?;
        let mut modules = Vec::new();
        while !rest.is_empty() {
            let (module, after) = rest.split_once("\0\0")?;
            rest = after;
            let mut strings = module.split('\0');
            let path = strings.next()?;
            let name = lists::module_name(path)?;
            modules.push((name, path.to_owned(), ModuleInfo::of_entries(strings)));
        }
        Some(Self::new(modules))
    }

    /// How many modules there are.
    pub fn count(&self) -> usize {
        self.modules.len()
    }

    /// What a module says, by its name with `_` for `-`.
    pub fn info(&self, name: &str) -> Option<&ModuleInfo> {
        self.get(name).map(|(_, fact)| &fact.info)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Fact)> {
        self.modules.iter().map(|(name, fact)| (name.as_str(), fact))
    }

    /// A module with its name as it is kept here.
    pub(crate) fn get(&self, name: &str) -> Option<(&str, &Fact)> {
        let found = self.modules.binary_search_by(|(own, _)| own.as_str().cmp(name));
        let (name, fact) = &self.modules[found.ok()?];
        Some((name, fact))
    }

    pub(crate) fn contains(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// The modules that have an alias that matches, in the order of `modules.order`, as `modprobe` would load them.
    pub fn aliased(&self, alias: &str) -> Vec<&str> {
        self.ordered(self.aliases().matching(alias, |place| self.alias(place)))
    }

    /// The modules that have an alias with wildcards of a class, such as `mdio` of `mdio:0000…`, in the order of
    /// `modules.order`.
    pub(crate) fn of_class(&self, class: &str) -> Vec<&str> {
        self.ordered(self.aliases().of_class(class, |place| self.alias(place)))
    }

    fn aliases(&self) -> &Aliases {
        self.aliases.get_or_init(|| {
            let modules = (0..).zip(&self.modules);
            Aliases::new(modules.flat_map(|(number, (_, fact))| {
                let aliases = (0..).zip(&fact.info.aliases);
                aliases.map(move |(nth, alias)| ((number, nth), alias.as_str()))
            }))
        })
    }

    fn alias(&self, (module, alias): Place) -> &str {
        &self.modules[module as usize].1.info.aliases[alias as usize]
    }

    /// True when a word is the name of a module, or with a `:` at its end the class of one of its aliases.
    pub(crate) fn answers_to(&self, module: &str, word: &str) -> bool {
        match word.strip_suffix(':') {
            Some(class) => self.of_class(class).contains(&module),
            None => lists::normal(word) == module,
        }
    }

    fn ordered(&self, places: impl Iterator<Item = Place>) -> Vec<&str> {
        let mut modules: Vec<_> = places.map(|(module, _)| &self.modules[module as usize]).collect();
        modules.sort_by_key(|(_, fact)| fact.rank);
        modules.dedup_by_key(|(_, fact)| fact.rank);
        modules.into_iter().map(|(name, _)| name.as_str()).collect()
    }

    /// The same with what was found when these modules were read as a whole.
    pub(crate) fn corrected(&self, corrections: &[(String, ModuleInfo)]) -> Self {
        let mut modules = self.modules.clone();
        for (name, fact) in &mut modules {
            if let Some((_, info)) = corrections.iter().find(|(wrong, _)| wrong == name) {
                fact.info = info.clone();
            }
        }
        Self {
            modules,
            aliases: OnceLock::new(),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Of modules with these paths and strings.
    pub(crate) fn facts(modules: &[(&str, &[&str])]) -> Facts {
        Facts::new(modules.iter().map(|(path, entries)| {
            let name = lists::module_name(path).unwrap();
            (
                name,
                (*path).to_owned(),
                ModuleInfo::of_entries(entries.iter().copied()),
            )
        }))
    }

    fn sample() -> Facts {
        facts(&[
            (
                "kernel/z.ko",
                &["alias=crypto-crc32c", "alias=pci:v00008086d*", "depends=a"],
            ),
            (
                "kernel/a.ko",
                &["alias=crypto-crc32c", "softdep=pre: x post: y", "firmware=a/b.bin"],
            ),
            (
                "kernel/m.ko",
                &["alias=*-any", "alias=mdio:0001????", "vermagic=6.12 SMP"],
            ),
        ])
    }

    #[test]
    fn aliases_are_found_in_the_order_of_the_kernel() {
        let facts = sample();
        assert_eq!(facts.aliased("crypto_crc32c"), ["z", "a"]);
        assert_eq!(facts.aliased("pci:v00008086d00001234"), ["z"]);
        assert_eq!(facts.aliased("fs-any"), ["m"]);
        assert_eq!(facts.aliased("usb:x-any"), ["m"]);
        assert!(facts.aliased("pci:v0000").is_empty());
        assert_eq!(facts.of_class("mdio"), ["m"]);
    }

    #[test]
    fn what_was_kept_is_what_was_read_and_anything_else_is_refused() {
        let facts = sample();
        let bytes = facts.to_bytes();
        assert_eq!(Facts::from_bytes(&bytes).unwrap(), facts);
        assert!(Facts::from_bytes(&bytes[1..]).is_none());
        assert!(Facts::from_bytes(&bytes[..bytes.len() - 1]).is_none());
        assert!(Facts::from_bytes(b"").is_none());
    }
}
