//! All modules of a kernel as one directory, with every index made already, so that a node that mounts it reads the few
//! modules that it loads and no others: `depmod` there would read them all.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use mos_packages::compression::Compression;
use mos_tree::{Content, Kind, Tree, TreeError};

use crate::index::Index;
use crate::kernel::{KernelError, MODULE_ROOTS, Source, damaged, file, find_modules};
use crate::modinfo::ModuleInfo;
use crate::select::SelectError;
use crate::{elf, lists, parallel};

/// What the kernel's build leaves beside the modules and is kept as it is.
const KEPT: [&str; 3] = ["modules.order", "modules.builtin", "modules.builtin.modinfo"];
/// How the symbol of an exported symbol `X` begins (`include/linux/export.h`).
const EXPORT: &str = "__ksymtab_";

/// All modules of one kernel, read.
#[derive(Debug)]
pub struct Library {
    version: String,
    /// In the order of `modules.order`, by which `modprobe` decides between modules with the same alias.
    modules: Vec<Member>,
    /// By name, all that must be loaded before, in a working order.
    closures: BTreeMap<String, Vec<String>>,
    lists: BTreeMap<&'static str, Vec<u8>>,
}

#[derive(Debug)]
struct Member {
    name: String,
    /// Below the directory of the version, uncompressed.
    path: String,
    info: ModuleInfo,
    exports: BTreeSet<String>,
    content: Content,
}

impl Library {
    /// Reads `lib/modules/VERSION` of a tree, or a tree that is such a directory itself. The version is the one that
    /// the modules say they were built for; with `version` it must be this one, and a tree with several has to have it.
    /// Compressed modules are decompressed into files in `spool`, which must stay as long as the trees made of this.
    ///
    /// # Errors
    /// See [`SelectError`].
    pub fn read(tree: &Tree, version: Option<&str>, spool: &Path) -> Result<Self, SelectError> {
        let directory = find_directory(tree, version)?;
        let sources = find_modules(tree, &directory);
        let mut lists = BTreeMap::new();
        for name in KEPT {
            let path = join(&directory, name);
            let content = file(tree, &path).map_or(Ok(Vec::new()), Content::read);
            lists.insert(name, content.map_err(damaged(&path))?);
        }
        let order = lists::in_order(&sources, &lists["modules.order"]);
        let modules = read_all(&order, spool)?;
        let version = common_version(&modules, version)?;
        let mut library = Self {
            version,
            modules,
            closures: BTreeMap::new(),
            lists,
        };
        library.closures = library.close()?;
        Ok(library)
    }

    /// What `uname -r` says on a node with this kernel.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// How many modules there are.
    pub fn count(&self) -> usize {
        self.modules.len()
    }

    /// What belongs at `/lib/modules/VERSION`: the modules, uncompressed, and every list and index that `modprobe`
    /// (kmod or busybox) and my_init read.
    ///
    /// # Errors
    /// When a path of the package has no place in a tree.
    pub fn tree(&self) -> Result<Tree, TreeError> {
        let mut tree = Tree::default();
        for module in &self.modules {
            tree.insert_file(&module.path, 0o644, module.content.clone())?;
        }
        for (name, bytes) in &self.lists {
            tree.insert_file(name, 0o644, bytes.clone())?;
        }
        for (name, text) in [
            ("modules.dep", self.dependencies()),
            ("modules.alias", self.aliases()),
            ("modules.symbols", self.symbols()),
            ("modules.softdep", self.soft_dependencies()),
        ] {
            tree.insert_file(name, 0o644, text.into_bytes())?;
        }
        for (name, index) in [
            ("modules.dep.bin", self.dependency_index()),
            ("modules.alias.bin", self.alias_index()),
            ("modules.symbols.bin", self.symbol_index()),
            ("modules.builtin.bin", self.builtin_index()),
            ("modules.builtin.alias.bin", self.builtin_alias_index()),
        ] {
            // Without its index, modprobe would not find a thing; more than 256 MiB of names are no kernel's.
            let bytes = index
                .to_bytes()
                .ok_or_else(|| TreeError::BadPath(format!("{name}, which would be too large")))?;
            tree.insert_file(name, 0o644, bytes)?;
        }
        Ok(tree)
    }

    fn close(&self) -> Result<BTreeMap<String, Vec<String>>, SelectError> {
        let builtin: BTreeSet<String> = lists::names(&self.text("modules.builtin")).collect();
        let here: BTreeSet<&str> = self.modules.iter().map(|module| module.name.as_str()).collect();
        let needs: BTreeMap<&str, Vec<&str>> = self
            .modules
            .iter()
            .map(|module| Ok((module.name.as_str(), needs(module, &here, &builtin)?)))
            .collect::<Result<_, SelectError>>()?;
        let closure = |module: &Member| {
            let mut order = Vec::new();
            descend(&needs, &module.name, &mut Vec::new(), &mut order)?;
            order.pop();
            Ok((module.name.clone(), order))
        };
        self.modules.iter().map(closure).collect()
    }

    fn text(&self, list: &str) -> String {
        String::from_utf8_lossy(&self.lists[list]).into_owned()
    }

    /// The line of a module in `modules.dep`, without its end: what it needs stands behind it, the last to be loaded
    /// first (modules.dep(5)).
    fn line(&self, module: &Member, paths: &BTreeMap<&str, &str>) -> String {
        let needed = self.closures[&module.name].iter().rev();
        let needed: String = needed.map(|name| format!(" {}", paths[name.as_str()])).collect();
        format!("{}:{needed}", module.path)
    }

    fn paths(&self) -> BTreeMap<&str, &str> {
        self.modules
            .iter()
            .map(|module| (module.name.as_str(), module.path.as_str()))
            .collect()
    }

    /// Each module with its place in the order, which is its priority in an index.
    fn ranked(&self) -> impl Iterator<Item = (u32, &Member)> {
        (0..).zip(&self.modules)
    }

    fn dependencies(&self) -> String {
        let paths = self.paths();
        let line = |module| self.line(module, &paths) + "\n";
        self.modules.iter().map(line).collect()
    }

    fn dependency_index(&self) -> Index {
        let paths = self.paths();
        let mut index = Index::default();
        for (rank, module) in self.ranked() {
            index.add(&module.name, &self.line(module, &paths), rank);
        }
        index
    }

    fn aliases(&self) -> String {
        let line = |(module, alias): (&Member, &String)| format!("alias {alias} {}\n", module.name);
        self.modules
            .iter()
            .flat_map(|module| module.info.aliases.iter().map(move |alias| (module, alias)))
            .map(line)
            .collect()
    }

    fn alias_index(&self) -> Index {
        let mut index = Index::default();
        for (rank, module) in self.ranked() {
            for alias in &module.info.aliases {
                index.add(&lists::normal_pattern(alias), &module.name, rank);
            }
        }
        index
    }

    fn symbols(&self) -> String {
        let line = |(module, symbol): (&Member, &String)| format!("alias symbol:{symbol} {}\n", module.name);
        self.modules
            .iter()
            .flat_map(|module| module.exports.iter().map(move |symbol| (module, symbol)))
            .map(line)
            .collect()
    }

    fn symbol_index(&self) -> Index {
        let mut index = Index::default();
        for (rank, module) in self.ranked() {
            for symbol in &module.exports {
                index.add(&format!("symbol:{symbol}"), &module.name, rank);
            }
        }
        index
    }

    fn builtin_index(&self) -> Index {
        let mut index = Index::default();
        lists::names(&self.text("modules.builtin")).for_each(|name| index.add(&name, "", 0));
        index
    }

    fn builtin_alias_index(&self) -> Index {
        let mut index = Index::default();
        for (name, alias) in lists::builtin_aliases(&self.lists["modules.builtin.modinfo"]) {
            index.add(&lists::normal_pattern(&alias), &name, 0);
        }
        index
    }

    fn soft_dependencies(&self) -> String {
        let line = |(module, text): (&Member, &String)| format!("softdep {} {text}\n", module.name);
        self.modules
            .iter()
            .flat_map(|module| module.info.softdeps.iter().map(move |text| (module, text)))
            .map(line)
            .collect()
    }
}

/// `lib/modules/VERSION`, or nothing when the tree itself is that directory.
fn find_directory(tree: &Tree, version: Option<&str>) -> Result<String, KernelError> {
    let mut found = BTreeMap::new();
    for root in MODULE_ROOTS {
        if let Some(Kind::Directory(entries)) = tree.get(root).map(|inode| &inode.kind) {
            let directories = entries
                .iter()
                .filter(|(_, id)| matches!(tree.inode(**id).kind, Kind::Directory(_)));
            found.extend(directories.map(|(name, _)| (name.to_string(), format!("{root}/{name}"))));
        }
    }
    match version {
        Some(version) if found.contains_key(version) => return Ok(found[version].clone()),
        _ => {}
    }
    let mut all = found.into_iter();
    match (all.next(), all.next()) {
        (None, _) => Ok(String::new()),
        (Some((_, directory)), None) => Ok(directory),
        (Some((first, _)), Some((second, _))) => {
            let rest = all.map(|(version, _)| version);
            Err(KernelError::SeveralVersions(
                [first, second].into_iter().chain(rest).collect(),
            ))
        }
    }
}

fn join(directory: &str, name: &str) -> String {
    match directory {
        "" => name.to_owned(),
        directory => format!("{directory}/{name}"),
    }
}

fn read_all(sources: &[(&str, &Source<'_>)], spool: &Path) -> Result<Vec<Member>, KernelError> {
    parallel::map(sources, |number, (name, source)| {
        read_one(name, source, &spool.join(format!("{number}.ko")))
    })
}

fn read_one(name: &str, source: &Source<'_>, spool: &Path) -> Result<Member, KernelError> {
    let bytes = source.plain()?;
    let info = source.info(&bytes)?;
    let exports = elf::symbols(&bytes).filter_map(|symbol| symbol.strip_prefix(EXPORT));
    let exports = exports.map(str::to_owned).collect();
    let content = match source.compression {
        Compression::None => source.content.clone(),
        _ => spooled(&bytes, spool).map_err(damaged(&spool.display().to_string()))?,
    };
    Ok(Member {
        name: name.to_owned(),
        path: source.path.clone(),
        info,
        exports,
        content,
    })
}

fn spooled(bytes: &[u8], spool: &Path) -> std::io::Result<Content> {
    std::fs::write(spool, bytes)?;
    Content::file(spool)
}

/// The version that all modules were built for.
fn common_version(modules: &[Member], wanted: Option<&str>) -> Result<String, KernelError> {
    let first = modules.iter().find_map(|module| module.info.kernel.as_deref());
    let Some(version) = wanted.or(first) else {
        return Err(KernelError::Empty);
    };
    let other = modules
        .iter()
        .find_map(|module| Some((module, module.info.kernel.as_deref()?)).filter(|(_, built)| *built != version));
    match other {
        None if modules.is_empty() => Err(KernelError::Empty),
        None => Ok(version.to_owned()),
        Some((module, built)) => Err(KernelError::OtherVersion {
            path: module.path.clone(),
            built: built.to_owned(),
            wanted: version.to_owned(),
        }),
    }
}

/// What a module names as its dependencies, without what is built in.
fn needs<'m>(
    module: &'m Member,
    here: &BTreeSet<&str>,
    builtin: &BTreeSet<String>,
) -> Result<Vec<&'m str>, SelectError> {
    let mut found = Vec::new();
    for dependency in &module.info.depends {
        if here.contains(dependency.as_str()) {
            found.push(dependency.as_str());
        } else if !builtin.contains(dependency) {
            return Err(SelectError::Broken(vec![(module.name.clone(), dependency.clone())]));
        }
    }
    Ok(found)
}

/// Appends what `name` needs, then itself. As deep as the longest chain of dependencies without repetition.
fn descend(
    needs: &BTreeMap<&str, Vec<&str>>,
    name: &str,
    chain: &mut Vec<String>,
    order: &mut Vec<String>,
) -> Result<(), SelectError> {
    if order.iter().any(|known| known == name) {
        return Ok(());
    }
    let circle = chain.iter().any(|above| above == name);
    chain.push(name.to_owned());
    if circle {
        return Err(SelectError::Cycle(chain.clone()));
    }
    for dependency in needs.get(name).into_iter().flatten() {
        descend(needs, dependency, chain, order)?;
    }
    chain.pop();
    order.push(name.to_owned());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elf::tests::object;

    fn module(depends: &str, kernel: &str) -> Vec<u8> {
        object(&[
            &format!("depends={depends}"),
            &format!("vermagic={kernel} SMP"),
            "alias=x-y*[a-b]",
        ])
    }

    /// A tree that is a directory of modules, under `prefix`.
    fn tree(prefix: &str, modules: &[(&str, Vec<u8>)]) -> Tree {
        let mut tree = Tree::default();
        for (path, bytes) in modules {
            tree.insert_file(format!("{prefix}{path}"), 0o644, bytes.clone())
                .unwrap();
        }
        tree.insert_file(format!("{prefix}modules.order"), 0o644, "kernel/b.ko\nkernel/a-x.ko\n")
            .unwrap();
        tree
    }

    fn text(tree: &Tree, name: &str) -> String {
        match &tree.get(name).unwrap().kind {
            Kind::File(content) => String::from_utf8(content.read().unwrap()).unwrap(),
            other => panic!("{name}: {other:?}"),
        }
    }

    fn read(tree: &Tree, version: Option<&str>) -> Result<Library, SelectError> {
        Library::read(tree, version, Path::new("/nothing is compressed here"))
    }

    #[test]
    fn a_directory_by_itself_and_one_in_a_root() {
        for prefix in ["", "lib/modules/1.2-x/", "usr/lib/modules/1.2-x/"] {
            let given = tree(
                prefix,
                &[
                    ("kernel/a-x.ko", module("", "1.2-x")),
                    ("kernel/b.ko", module("a-x", "1.2-x")),
                ],
            );
            let library = read(&given, None).unwrap();
            assert_eq!((library.version(), library.count()), ("1.2-x", 2));
            let made = library.tree().unwrap();
            assert_eq!(
                text(&made, "modules.dep"),
                "kernel/b.ko: kernel/a-x.ko\nkernel/a-x.ko:\n"
            );
            assert_eq!(text(&made, "modules.alias"), "alias x-y*[a-b] b\nalias x-y*[a-b] a_x\n");
            let index = made.get("modules.alias.bin").map(|inode| inode.kind.clone());
            let Some(Kind::File(index)) = index else { panic!() };
            let index = index.read().unwrap();
            assert!(index.windows(8).any(|bytes| bytes == b"_y*[a-b]"));
        }
    }

    #[test]
    fn the_version_is_that_of_the_modules() {
        let one = [("kernel/a.ko", module("", "1.2"))];
        assert!(read(&tree("", &one), Some("1.2")).is_ok());
        let error = read(&tree("lib/modules/1.2/", &one), Some("1.3"))
            .unwrap_err()
            .to_string();
        assert_eq!(error, "kernel/a.ko: was built for kernel 1.2, not for 1.3");
        let mixed = [("kernel/a.ko", module("", "1.2")), ("kernel/b.ko", module("", "1.3"))];
        assert!(read(&tree("", &mixed), None).unwrap_err().to_string().contains("1.3"));
        assert!(
            read(&tree("", &[]), None)
                .unwrap_err()
                .to_string()
                .contains("no kernel modules")
        );
        let mut two = tree("lib/modules/1.2/", &one);
        two.overlay(&tree("lib/modules/1.3/", &[("kernel/a.ko", module("", "1.3"))]))
            .unwrap();
        assert_eq!(read(&two, Some("1.3")).unwrap().version(), "1.3");
        assert!(read(&two, None).unwrap_err().to_string().contains("1.2, 1.3"));
    }

    #[test]
    fn what_is_missing_or_goes_round_is_named() {
        let error = read(&tree("", &[("a.ko", module("b", "1"))]), None)
            .unwrap_err()
            .to_string();
        assert!(error.contains("module a needs b"), "{error}");
        let round = [("a.ko", module("b", "1")), ("b.ko", module("a", "1"))];
        let error = read(&tree("", &round), None).unwrap_err().to_string();
        assert!(
            error.contains("a -> b -> a") || error.contains("b -> a -> b"),
            "{error}"
        );
    }
}
