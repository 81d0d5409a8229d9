//! What every module of a kernel says of itself, in one value that can be kept: reading it from 4,230 compressed modules
//! takes most of a second, and it does not change as long as the package is the same.

use std::collections::BTreeMap;

use crate::kernel::{Kernel, KernelError};
use crate::lists;
use crate::modinfo::ModuleInfo;
use crate::parallel;

/// What the bytes of [`Facts::to_bytes`] begin with; the digit is the version of the format.
const MAGIC: &[u8] = b"mos kernel facts 1\n";

/// What every module of one kernel says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// By name, with `_` for `-`.
    modules: BTreeMap<String, Fact>,
    aliases: Aliases,
}

/// One module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fact {
    /// Below the directory of the version, uncompressed.
    pub(crate) path: String,
    pub(crate) info: ModuleInfo,
    /// Its place in `modules.order`.
    rank: usize,
}

/// Which modules have which alias, so that looking one up does not compare it with all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Aliases {
    /// Without wildcards, as the kernel compares them.
    exact: BTreeMap<String, Vec<String>>,
    /// Patterns and modules, by what is before the first `:`, or `""`.
    patterns: BTreeMap<String, Vec<(String, String)>>,
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
        let modules: BTreeMap<String, Fact> = modules
            .into_iter()
            .enumerate()
            .map(|(rank, (name, path, info))| (name, Fact { path, info, rank }))
            .collect();
        Self {
            aliases: Aliases::new(&modules),
            modules,
        }
    }

    /// To be kept with the digest of the package as the key.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        let mut ordered: Vec<&Fact> = self.modules.values().collect();
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
        self.modules.get(name).map(|fact| &fact.info)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Fact)> {
        self.modules.iter().map(|(name, fact)| (name.as_str(), fact))
    }

    /// A module with its name as it is kept here.
    pub(crate) fn get(&self, name: &str) -> Option<(&str, &Fact)> {
        let (name, fact) = self.modules.get_key_value(name)?;
        Some((name, fact))
    }

    pub(crate) fn contains(&self, name: &str) -> bool {
        self.modules.contains_key(name)
    }

    /// The modules that have an alias that matches, in the order of `modules.order`, as `modprobe` would load them.
    pub fn aliased(&self, alias: &str) -> Vec<&str> {
        self.ordered(self.aliases.matching(alias))
    }

    /// The modules that have an alias of a class, such as `mdio` of `mdio:0000…`, in the order of `modules.order`.
    pub(crate) fn of_class(&self, class: &str) -> Vec<&str> {
        let listed = self.aliases.patterns.get(class).into_iter().flatten();
        self.ordered(listed.map(|(_, module)| module.as_str()).collect())
    }

    /// True when a word is the name of a module, or with a `:` at its end the class of one of its aliases.
    pub(crate) fn answers_to(&self, module: &str, word: &str) -> bool {
        match word.strip_suffix(':') {
            Some(class) => self.of_class(class).contains(&module),
            None => lists::normal(word) == module,
        }
    }

    fn ordered<'f>(&'f self, mut modules: Vec<&'f str>) -> Vec<&'f str> {
        modules.sort_by_key(|module| self.modules.get(*module).map(|fact| fact.rank));
        modules.dedup();
        modules
    }

    /// The same with what was found when these modules were read as a whole.
    pub(crate) fn corrected(&self, corrections: &[(String, ModuleInfo)]) -> Self {
        let mut modules = self.modules.clone();
        for (name, info) in corrections {
            if let Some(fact) = modules.get_mut(name) {
                fact.info = info.clone();
            }
        }
        Self {
            aliases: Aliases::new(&modules),
            modules,
        }
    }
}

impl Aliases {
    fn new(modules: &BTreeMap<String, Fact>) -> Self {
        let aliases = modules.iter().flat_map(|(name, fact)| {
            fact.info
                .aliases
                .iter()
                .map(move |alias| (name.as_str(), alias.as_str()))
        });
        aliases.collect()
    }

    /// The modules with an alias that matches, some of them perhaps several times.
    pub(crate) fn matching(&self, alias: &str) -> Vec<&str> {
        let name = lists::normal(alias);
        let class = name.split_once(':').map_or("", |(class, _)| class);
        let of_class = self.patterns.get(class).into_iter().flatten();
        let of_any = self
            .patterns
            .get("")
            .filter(|_| !class.is_empty())
            .into_iter()
            .flatten();
        let matching = of_class
            .chain(of_any)
            .filter(|(pattern, _)| lists::matches(pattern, &name));
        let exact = self.exact.get(&name).into_iter().flatten();
        exact
            .chain(matching.map(|(_, module)| module))
            .map(String::as_str)
            .collect()
    }

    fn add(&mut self, alias: &str, module: &str) {
        let pattern = lists::normal_pattern(alias);
        if pattern.contains(['*', '?', '[']) {
            let class = pattern.split_once(':').map_or("", |(class, _)| class);
            // A wildcard within the class may stand for any.
            let class = if class.contains(['*', '?', '[']) { "" } else { class };
            let patterns = self.patterns.entry(class.to_owned()).or_default();
            patterns.push((pattern.clone(), module.to_owned()));
        } else {
            self.exact.entry(pattern).or_default().push(module.to_owned());
        }
    }
}

/// From names of modules and their aliases.
impl<'a> FromIterator<(&'a str, &'a str)> for Aliases {
    fn from_iter<I: IntoIterator<Item = (&'a str, &'a str)>>(aliases: I) -> Self {
        let mut found = Self::default();
        for (module, alias) in aliases {
            found.add(alias, module);
        }
        found
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
