//! Packages into a tree, as apk would leave it, without running anything.

mod accounts;
mod database;
mod files;
mod scripts;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use mos_tree::{Inode, InodeId, Kind, Tree};

use crate::apk::ScriptKind;
use crate::keys::Keys;
use crate::{AlpineError, Apk, Dependency, solver};
use accounts::Accounts;
use files::Placer;
use scripts::Action;

pub use database::{Database, InstalledPackage};
pub use scripts::ScriptNotRun;

/// What goes into `/etc/apk`, and what is allowed.
#[derive(Debug, Clone, Default)]
pub struct Settings<'s> {
    /// What is wanted.
    pub world: &'s [Dependency],
    /// `x86_64`.
    pub architecture: &'s str,
    /// Lines of `/etc/apk/repositories`.
    pub repositories: &'s [String],
    /// What `apk` on the node may install from.
    pub keys: Option<&'s Keys>,
    /// Takes device nodes from packages. No package of Alpine has any.
    pub devices: bool,
}

/// A tree with packages.
#[derive(Debug, Clone)]
pub struct Installed {
    /// All files.
    pub tree: Tree,
    /// What is in it.
    pub database: Database,
    /// Scripts whose work is not done, sorted.
    pub scripts_not_run: Vec<ScriptNotRun>,
}

/// Installs packages into a tree, which may have some already: one of another version is replaced.
///
/// # Errors
/// [`AlpineError::Package`], [`AlpineError::FileConflict`], [`AlpineError::Database`], [`AlpineError::Tree`].
pub fn install(base: Tree, packages: &[Apk], settings: &Settings<'_>) -> Result<Installed, AlpineError> {
    let database = Database::read(&base)?;
    let known: BTreeSet<String> = database.packages.iter().map(|one| one.package.name.clone()).collect();
    let first_new = |database: &Database| database.packages.len();
    let mut placer = Placer::new(base, database, settings.devices);
    let plain: Vec<_> = packages.iter().map(|apk| apk.package.clone()).collect();
    for one in &plain {
        placer.remove(&one.name);
    }
    let first = first_new(&placer.database);
    for place in solver::install_order(plain, settings.world) {
        placer.add(&packages[place])?;
    }
    let mut accounts = Accounts::read(&placer.tree)?;
    let scripts_not_run = run(&mut placer, &mut accounts, first, &known)?;
    accounts.write(&mut placer.tree)?;
    placer.name_owners(&accounts);
    placer.settle_directories();
    let (mut tree, database) = (placer.tree, placer.database);
    write(&mut tree, &database, settings)?;
    Ok(Installed {
        tree,
        database,
        scripts_not_run,
    })
}

impl Apk {
    /// Its files by themselves, without a database of what is installed.
    ///
    /// # Errors
    /// [`AlpineError::Package`].
    pub fn tree(&self) -> Result<Tree, AlpineError> {
        let mut placer = Placer::new(Tree::default(), Database::default(), false);
        placer.add(self)?;
        Ok(placer.tree)
    }
}

impl Installed {
    /// The tree in parts that make it up when each is laid over the one before: the name of each package with its files,
    /// and what is left: what a miniroot has besides, what scripts would have done, and apk's own files.
    ///
    /// # Errors
    /// [`AlpineError::Tree`], which a tree that is one does not cause.
    pub fn parts(&self) -> Result<(Vec<(String, Tree)>, Tree), AlpineError> {
        let mut owner: HashMap<Vec<u8>, usize> = HashMap::new();
        for (place, one) in self.database.packages.iter().enumerate() {
            for path in one.paths() {
                let path = self.tree.resolve_parent(&path).unwrap_or_else(|_| path.into_bytes());
                owner.insert(path, place);
            }
        }
        let mut parts: Vec<Tree> = vec![Tree::default(); self.database.packages.len()];
        let mut rest = Tree::default();
        let mut names: HashMap<(Option<usize>, InodeId), InodeId> = HashMap::new();
        for entry in self.tree.walk().filter(|entry| !entry.path.is_empty()) {
            let place = owner.get(&entry.path).copied();
            let part = place.map_or(&mut rest, |place| &mut parts[place]);
            add_parents(&self.tree, part, &entry.path)?;
            if let Some(first) = names.get(&(place, entry.id)) {
                part.link(&entry.path, *first)?;
                continue;
            }
            let mut inode = entry.inode.clone();
            if let Kind::Directory(entries) = &mut inode.kind {
                entries.clear();
            }
            names.insert((place, entry.id), part.insert(&entry.path, inode)?);
        }
        let named = self.database.packages.iter().map(|one| one.package.name.clone());
        Ok((named.zip(parts).collect(), rest))
    }
}

/// Makes the directories above a path, as they are in the whole.
fn add_parents(whole: &Tree, part: &mut Tree, path: &[u8]) -> Result<(), AlpineError> {
    let ends = path
        .iter()
        .enumerate()
        .filter(|(_, byte)| **byte == b'/')
        .map(|(end, _)| end);
    for parent in ends.map(|end| &path[..end]) {
        if let (None, Some(inode)) = (part.find(parent), whole.get(parent)) {
            let metadata = inode.metadata.clone();
            let kind = Kind::Directory(BTreeMap::new());
            part.insert(parent, Inode { metadata, kind })?;
        }
    }
    Ok(())
}

/// Does what the scripts of the new packages would; accounts first, since links and owners may need them.
fn run(
    placer: &mut Placer,
    accounts: &mut Accounts,
    first: usize,
    known: &BTreeSet<String>,
) -> Result<Vec<ScriptNotRun>, AlpineError> {
    let (mut todo, mut not_run) = (Vec::new(), Vec::new());
    let new = &placer.database.packages[first..];
    for one in &placer.database.packages {
        let is_new = new.iter().any(|new| new.package.checksum == one.package.checksum);
        let upgraded = known.contains(&one.package.name);
        for (kind, script) in &one.scripts {
            let applies = match kind {
                ScriptKind::PreInstall | ScriptKind::PostInstall => is_new && !upgraded,
                ScriptKind::PreUpgrade | ScriptKind::PostUpgrade => is_new && upgraded,
                ScriptKind::Trigger => scripts::is_triggered(&one.triggers, new),
                ScriptKind::PreDeinstall | ScriptKind::PostDeinstall => false,
            };
            match scripts::actions(&one.package, *kind, script) {
                _ if !applies => {}
                Some(actions) => todo.extend(actions),
                None => not_run.push(ScriptNotRun {
                    package: one.package.full_name(),
                    kind: *kind,
                }),
            }
        }
    }
    todo.sort_by_key(|action| !matches!(action, Action::Account(_)));
    for action in &todo {
        scripts::apply(&mut placer.tree, accounts, action)?;
    }
    not_run.sort();
    Ok(not_run)
}

/// Writes `/lib/apk/db` and `/etc/apk`.
fn write(tree: &mut Tree, database: &Database, settings: &Settings<'_>) -> Result<(), AlpineError> {
    let mut world: Vec<String> = settings.world.iter().map(Dependency::to_string).collect();
    world.sort();
    world.dedup();
    let lines = |lines: &[String]| lines.iter().map(|line| format!("{line}\n")).collect::<String>();
    put(tree, "etc/apk/world", 0o644, lines(&world).into_bytes())?;
    put(
        tree,
        "etc/apk/arch",
        0o644,
        format!("{}\n", settings.architecture).into_bytes(),
    )?;
    if !settings.repositories.is_empty() {
        put(
            tree,
            "etc/apk/repositories",
            0o644,
            lines(settings.repositories).into_bytes(),
        )?;
    }
    for (name, pem) in settings.keys.into_iter().flat_map(Keys::iter) {
        put(tree, &format!("etc/apk/keys/{name}"), 0o644, pem.to_vec())?;
    }
    put(tree, database::INSTALLED, 0o644, database.installed().into_bytes())?;
    put(tree, database::SCRIPTS, 0o644, database.scripts())?;
    put(tree, database::TRIGGERS, 0o644, database.triggers().into_bytes())?;
    put(tree, "lib/apk/db/lock", 0o600, Vec::new())
}

fn put(tree: &mut Tree, path: &str, mode: u32, bytes: Vec<u8>) -> Result<(), AlpineError> {
    let path = tree.resolve(path)?;
    // What stands there may be a hard link: the other name keeps its content.
    if tree.find(&path).is_some() {
        tree.remove(&path)?;
    }
    tree.insert_file(&path, mode, bytes)?;
    Ok(())
}
