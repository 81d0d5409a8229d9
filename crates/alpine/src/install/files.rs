//! The files of packages into a tree, and who owns them.

use std::collections::{BTreeMap, HashMap, HashSet};

use mos_tree::{Inode, Kind, Metadata, Tree};
use tar::EntryType;

use super::accounts::Accounts;
use super::database::{Access, Database, InstalledPackage, OwnedDirectory, OwnedFile};
use crate::archive::Entry;
use crate::{AlpineError, Apk, Checksum, Dependency, Package};

/// Files that only keep a directory in a package.
const KEEP: &str = ".keep_";

/// Puts packages into a tree.
pub(super) struct Placer {
    pub(super) tree: Tree,
    pub(super) database: Database,
    /// By path in the tree, links followed: the package, its directory, its file.
    owners: HashMap<Vec<u8>, Owner>,
    /// Whose owners have names rather than numbers.
    named: Vec<(Owner, Vec<u8>, (String, String))>,
    /// Directories that new packages brought, by path in the tree.
    touched: BTreeMap<Vec<u8>, ()>,
    devices: bool,
}

/// The place of a file in the database; without a file, of a directory.
#[derive(Debug, Clone, Copy)]
struct Owner {
    package: usize,
    directory: usize,
    file: Option<usize>,
}

/// The work on one package.
struct Work {
    package: usize,
    /// Paths that it made symbolic links: nothing of it goes through them.
    links: HashSet<Vec<u8>>,
    /// Directories of its own, by their path in the package.
    directories: HashMap<String, usize>,
    /// Whether a file took part in an exchange of owners, so that the database has holes to close.
    placed: HashMap<Vec<u8>, Vec<u8>>,
}

impl Placer {
    pub(super) fn new(tree: Tree, database: Database, devices: bool) -> Self {
        let mut placer = Self {
            tree,
            database,
            owners: HashMap::new(),
            named: Vec::new(),
            touched: BTreeMap::new(),
            devices,
        };
        placer.index();
        placer
    }

    fn index(&mut self) {
        self.owners.clear();
        for (package, one) in self.database.packages.iter().enumerate() {
            for (directory, owned) in one.directories.iter().enumerate() {
                for (file, name) in owned.files.iter().enumerate() {
                    let path = join(&owned.path, &name.name);
                    let path = self.tree.resolve_parent(&path).unwrap_or(path);
                    let owner = Owner {
                        package,
                        directory,
                        file: Some(file),
                    };
                    self.owners.insert(path, owner);
                }
            }
        }
    }

    /// Takes the files of a package out that is about to be replaced by another version.
    pub(super) fn remove(&mut self, name: &str) {
        let Some(place) = self.database.packages.iter().position(|one| one.package.name == name) else {
            return;
        };
        let old = self.database.packages.remove(place);
        for directory in &old.directories {
            for file in &directory.files {
                let path = join(&directory.path, &file.name);
                // Somebody may have removed it already.
                let _ = self.tree.resolve_parent(&path).map(|path| self.tree.remove(path));
            }
        }
        self.index();
    }

    /// Puts the files of a package into the tree.
    pub(super) fn add(&mut self, apk: &Apk) -> Result<(), AlpineError> {
        let name = apk.package.full_name();
        let package = self.database.packages.len();
        self.database.packages.push(InstalledPackage {
            package: apk.package.clone(),
            triggers: apk.triggers.clone(),
            scripts: apk.scripts.clone(),
            ..InstalledPackage::default()
        });
        let mut work = Work {
            package,
            links: HashSet::new(),
            directories: HashMap::new(),
            placed: HashMap::new(),
        };
        let mut conflict = None;
        let done = apk.each_file(|entry| match self.entry(&mut work, entry) {
            Err(Refusal::Conflict(error)) => {
                conflict = Some(*error);
                Err(String::new())
            }
            Err(Refusal::Problem(problem)) => Err(problem),
            Ok(()) => Ok(()),
        });
        match (conflict, done) {
            (Some(error), _) => Err(error),
            (None, Err(problem)) => Err(AlpineError::Package { name, problem }),
            (None, Ok(())) => Ok(()),
        }
    }

    fn entry(&mut self, work: &mut Work, entry: Entry) -> Result<(), Refusal> {
        if entry.kind == EntryType::XGlobalHeader {
            return Ok(());
        }
        let path = check_path(&entry.path)?;
        if path.starts_with('.') {
            // What stands at the top with a dot describes the package.
            return Ok(());
        }
        let at = |problem: &str| Refusal::Problem(format!("{path}: {problem}"));
        let is_device = matches!(entry.kind, EntryType::Char | EntryType::Block);
        if is_device && !self.devices {
            return Err(at("a device node: no package needs to bring one"));
        }
        if let Some(link) = work.links.iter().find(|link| is_below(path.as_bytes(), link)) {
            let link = String::from_utf8_lossy(link).into_owned();
            return Err(at(&format!(
                "it would go through `{link}`, a link that the package itself makes"
            )));
        }
        match entry.kind {
            EntryType::Directory => self.directory(work, path.clone(), entry),
            _ => self.file(work, path.clone(), entry),
        }
    }

    fn directory(&mut self, work: &mut Work, path: String, entry: Entry) -> Result<(), Refusal> {
        let real = self
            .tree
            .resolve(&path)
            .map_err(|error| Refusal::Problem(error.to_string()))?;
        match self.tree.get(&real).map(|inode| &inode.kind) {
            Some(Kind::Directory(_)) => {}
            Some(_) => {
                return Err(self.taken(&real, &path, work.package));
            }
            None => {
                let inode = Inode {
                    metadata: entry.metadata.clone(),
                    kind: Kind::Directory(BTreeMap::new()),
                };
                let inserted = self.tree.insert(&real, inode);
                inserted.map_err(|error| Refusal::Problem(error.to_string()))?;
            }
        }
        let directory = self.own_directory(work, &path, Access::of(&entry.metadata));
        let owner = Owner {
            package: work.package,
            directory,
            file: None,
        };
        self.touched.insert(real.clone(), ());
        self.note_names(owner, real, entry.owners);
        Ok(())
    }

    fn own_directory(&mut self, work: &mut Work, path: &str, access: Access) -> usize {
        let directories = &mut self.database.packages[work.package].directories;
        let place = *work.directories.entry(path.to_owned()).or_insert(directories.len());
        if place == directories.len() {
            directories.push(OwnedDirectory {
                path: path.to_owned(),
                access,
                files: Vec::new(),
            });
        }
        directories[place].access = access;
        place
    }

    fn file(&mut self, work: &mut Work, path: String, mut entry: Entry) -> Result<(), Refusal> {
        let problem = |error: mos_tree::TreeError| Refusal::Problem(error.to_string());
        let at = |text: &str| Refusal::Problem(format!("{path}: {text}"));
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", &path));
        if name.starts_with(KEEP) {
            return Ok(());
        }
        let directory = match work.directories.get(parent) {
            Some(place) => *place,
            None if parent.is_empty() => self.own_directory(work, "", Access::DIRECTORY),
            None => return Err(at("the package does not have the directory")),
        };
        let real = self.tree.resolve_parent(&path).map_err(problem)?;
        if let Some(Kind::Directory(_)) = self.tree.get(&real).map(|inode| &inode.kind) {
            return Err(self.taken(&real, &path, work.package));
        }
        if !self.may_take(&real, &path, work.package)? {
            return Ok(());
        }
        let owners = std::mem::take(&mut entry.owners);
        let access = Access::of(&entry.metadata);
        let checksum = self.place(work, &path, &real, entry)?;
        self.disown(&real);
        let files = &mut self.database.packages[work.package].directories[directory].files;
        files.push(OwnedFile {
            name: name.to_owned(),
            access,
            checksum,
        });
        let owner = Owner {
            package: work.package,
            directory,
            file: Some(files.len() - 1),
        };
        self.owners.insert(real.clone(), owner);
        work.placed.insert(path.clone().into_bytes(), real.clone());
        self.note_names(owner, real, owners);
        Ok(())
    }

    /// Puts the inode into the tree; gives its checksum.
    fn place(&mut self, work: &mut Work, path: &str, real: &[u8], entry: Entry) -> Result<Option<Checksum>, Refusal> {
        let at = |text: String| Refusal::Problem(format!("{path}: {text}"));
        let problem = |error: mos_tree::TreeError| Refusal::Problem(error.to_string());
        let Entry {
            kind,
            metadata,
            link,
            content,
            checksum,
            device: (major, minor),
            ..
        } = entry;
        let (kind, checksum) = match kind {
            EntryType::Regular | EntryType::Continuous => {
                let checksum = checksum.unwrap_or_else(|| Checksum::sha1(&content));
                (Kind::File(content.into()), Some(checksum))
            }
            EntryType::Symlink => {
                work.links.insert(path.as_bytes().to_vec());
                let checksum = checksum.unwrap_or_else(|| Checksum::sha1(&link));
                (Kind::Symlink(link), Some(checksum))
            }
            EntryType::Link => return self.hard_link(work, path, real, &link).map(Some),
            EntryType::Fifo => (Kind::Fifo, None),
            EntryType::Char => (Kind::CharacterDevice { major, minor }, None),
            EntryType::Block => (Kind::BlockDevice { major, minor }, None),
            other => {
                return Err(at(format!(
                    "an entry of the unknown type `{}`",
                    char::from(other.as_byte())
                )));
            }
        };
        self.tree.insert(real, Inode { metadata, kind }).map_err(problem)?;
        Ok(checksum)
    }

    fn hard_link(&mut self, work: &Work, path: &str, real: &[u8], target: &[u8]) -> Result<Checksum, Refusal> {
        let shown = String::from_utf8_lossy(target).escape_debug().to_string();
        let lost = || {
            Refusal::Problem(format!(
                "{path}: a hard link to {shown}, which is no file of the package before it"
            ))
        };
        let placed = work.placed.get(target).ok_or_else(lost)?;
        let owner = self
            .owners
            .get(placed)
            .filter(|owner| owner.package == work.package)
            .ok_or_else(lost)?;
        let checksum = self
            .owned_file(*owner)
            .and_then(|file| file.checksum)
            .ok_or_else(lost)?;
        let id = self.tree.find(placed).ok_or_else(lost)?;
        self.tree
            .link(real, id)
            .map_err(|error| Refusal::Problem(error.to_string()))?;
        Ok(checksum)
    }

    fn owned_file(&self, owner: Owner) -> Option<&OwnedFile> {
        let directory = &self.database.packages[owner.package].directories[owner.directory];
        directory.files.get(owner.file?)
    }

    /// True when a package may put its file here, false when the file of the other one stays.
    fn may_take(&self, real: &[u8], path: &str, package: usize) -> Result<bool, Refusal> {
        let Some(owner) = self.owners.get(real) else {
            return Ok(true);
        };
        if owner.package == package {
            return Err(Refusal::Problem(format!("{path}: the package has it twice")));
        }
        let (old, new) = (
            &self.database.packages[owner.package].package,
            &self.database.packages[package].package,
        );
        if !new.origin.is_empty() && old.origin == new.origin {
            return Ok(true);
        }
        match (replaces(old, new), replaces(new, old)) {
            (Some(theirs), Some(ours)) => Ok(ours >= theirs),
            (None, Some(_)) => Ok(true),
            (Some(_), None) => Ok(false),
            (None, None) => Err(self.taken(real, path, package)),
        }
    }

    fn taken(&self, real: &[u8], path: &str, package: usize) -> Refusal {
        let name = |place: usize| self.database.packages[place].package.full_name();
        let of_directory = |one: &InstalledPackage| one.directories.iter().any(|owned| owned.path == path);
        let owner = self.owners.get(real).map(|owner| owner.package);
        let owner = owner.or_else(|| self.database.packages.iter().position(of_directory));
        let first = owner
            .filter(|owner| *owner != package)
            .map_or_else(|| "the tree".to_owned(), name);
        Refusal::Conflict(Box::new(AlpineError::FileConflict {
            path: path.to_owned(),
            first,
            second: name(package),
        }))
    }

    /// The file of another package was overwritten: its record goes.
    fn disown(&mut self, real: &[u8]) {
        let Some(owner) = self.owners.remove(real) else { return };
        let Some(file) = owner.file else { return };
        self.database.packages[owner.package].directories[owner.directory]
            .files
            .remove(file);
        let same = |one: &Owner| one.package == owner.package && one.directory == owner.directory;
        for other in self.owners.values_mut().filter(|one| same(one)) {
            other.file = other.file.map(|place| place - usize::from(place > file));
        }
        self.named.retain(|(one, path, _)| !(same(one) && path == real));
        for (other, ..) in self.named.iter_mut().filter(|(one, ..)| same(one)) {
            other.file = other.file.map(|place| place - usize::from(place > file));
        }
    }

    fn note_names(&mut self, owner: Owner, real: Vec<u8>, names: (String, String)) {
        let is_root = |name: &str| matches!(name, "" | "root");
        if !is_root(&names.0) || !is_root(&names.1) {
            self.named.push((owner, real, names));
        }
    }

    /// Owners have the numbers that their names have in the tree; a name that is not known leaves the number of the
    /// archive.
    pub(super) fn name_owners(&mut self, accounts: &Accounts) {
        for (owner, real, (user, group)) in std::mem::take(&mut self.named) {
            let directory = &mut self.database.packages[owner.package].directories[owner.directory];
            let access = match owner.file {
                Some(file) => &mut directory.files[file].access,
                None => &mut directory.access,
            };
            access.uid = accounts.uid(&user).unwrap_or(access.uid);
            access.gid = accounts.gid(&group).unwrap_or(access.gid);
            if let Some(id) = self.tree.find(&real).filter(|_| owner.file.is_some()) {
                let metadata: &mut Metadata = &mut self.tree.inode_mut(id).metadata;
                (metadata.uid, metadata.gid) = (access.uid, access.gid);
            }
        }
    }

    /// A directory that several packages have belongs to the lowest user, then group; where these are the same, it
    /// grants what all of them grant.
    pub(super) fn settle_directories(&mut self) {
        let mut settled: BTreeMap<Vec<u8>, Access> = BTreeMap::new();
        for directory in self.database.packages.iter().flat_map(|one| &one.directories) {
            let real = match self.tree.resolve(&directory.path) {
                Ok(real) if self.touched.contains_key(&real) => real,
                _ => continue,
            };
            let access = directory.access;
            settled
                .entry(real)
                .and_modify(|old| settle(old, access))
                .or_insert(access);
        }
        for (path, access) in settled {
            if let Some(id) = self.tree.find(&path) {
                let metadata = &mut self.tree.inode_mut(id).metadata;
                (metadata.uid, metadata.gid, metadata.mode) = (access.uid, access.gid, access.mode);
            }
        }
    }
}

fn settle(old: &mut Access, new: Access) {
    if (new.uid, new.gid) < (old.uid, old.gid) {
        *old = new;
    } else if (new.uid, new.gid) == (old.uid, old.gid) {
        old.mode &= new.mode;
    }
}

/// Why an entry was not taken.
enum Refusal {
    Problem(String),
    Conflict(Box<AlpineError>),
}

/// The priority with which a package replaces another, if it does.
fn replaces(package: &Package, other: &Package) -> Option<u64> {
    let names = |one: &&Dependency| one.name == other.name && one.meets(other);
    package.replaces.iter().find(names).map(|_| package.replaces_priority)
}

fn check_path(path: &[u8]) -> Result<String, Refusal> {
    let shown = String::from_utf8_lossy(path).escape_debug().to_string();
    let refuse = |problem: &str| Err(Refusal::Problem(format!("{shown}: {problem}")));
    let Ok(text) = std::str::from_utf8(path) else {
        return refuse("the path is not UTF-8");
    };
    if text.is_empty() || text.starts_with('/') || text.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return refuse("the path does not stay inside the tree");
    }
    if text.bytes().any(|byte| byte < 0x20 || byte == 0x7f) {
        return refuse("the path has control characters");
    }
    Ok(text.to_owned())
}

fn is_below(path: &[u8], directory: &[u8]) -> bool {
    path.strip_prefix(directory).is_some_and(|rest| rest.starts_with(b"/"))
}

fn join(directory: &str, name: &str) -> Vec<u8> {
    match directory {
        "" => name.as_bytes().to_vec(),
        directory => format!("{directory}/{name}").into_bytes(),
    }
}
