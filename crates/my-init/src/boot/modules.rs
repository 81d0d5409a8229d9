//! Kernel modules: names and devices to files by the kernel's own indices, and loading them.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::glob;
use super::modprobe::Settings;

/// The largest `modules.dep`, in bytes: a distribution's whole set takes half a megabyte.
const INDEX_MAX: u64 = 16 * 1024 * 1024;
/// `MODULE_INIT_COMPRESSED_FILE` (linux/module.h): the kernel unpacks the file, if it can.
const COMPRESSED: i32 = 4;

/// `modules.dep` and `modules.builtin` of one kernel.
#[derive(Debug, Default)]
pub struct Index {
    /// Name to file, and the files that it needs, in the file's own order (those that are needed first come last).
    modules: HashMap<String, Vec<String>>,
    builtin: HashSet<String>,
}

/// The kernel treats `-` and `_` in module names alike.
pub(super) fn canonical(name: &str) -> String {
    name.replace('-', "_")
}

/// `kernel/fs/ext4/ext4.ko` is `ext4`; also of compressed files, so that they can be named.
fn name_of(path: &str) -> Option<String> {
    let file = path.rsplit('/').next()?;
    let (name, _) = file.split_once(".ko")?;
    Some(canonical(name))
}

impl Index {
    /// Reads the two texts (modules.dep(5)).
    pub fn parse(dependencies: &str, builtin: &str) -> Self {
        let modules = dependencies.lines().filter_map(|line| {
            let (file, needs) = line.split_once(':')?;
            let files = std::iter::once(file.trim()).chain(needs.split_ascii_whitespace());
            Some((name_of(file.trim())?, files.map(str::to_owned).collect()))
        });
        Self {
            modules: modules.collect(),
            builtin: builtin.lines().filter_map(|line| name_of(line.trim())).collect(),
        }
    }

    /// The files to load for a module, in order, relative to the index; none for one that is built in.
    ///
    /// # Errors
    /// When neither index knows it.
    pub fn files(&self, name: &str) -> Result<Vec<&str>, String> {
        let name = canonical(name);
        match self.modules.get(&name) {
            Some(files) => Ok(files.iter().rev().map(String::as_str).collect()),
            None if self.builtin.contains(&name) => Ok(Vec::new()),
            None => Err("neither modules.dep nor modules.builtin names it".to_owned()),
        }
    }
}

/// What is known of the modules of the running kernel.
#[derive(Debug)]
pub struct Library {
    directory: PathBuf,
    index: Index,
    settings: Settings,
    /// The names of modules and of what they want loaded before and after (modules.softdep).
    soft: HashMap<String, Vec<String>>,
    /// Files that are loaded.
    loaded: Mutex<HashSet<String>>,
}

impl Library {
    /// Reads the indices of `directory` (`/lib/modules/<version>`), and the settings below `root`.
    ///
    /// # Errors
    /// A sentence when there is no `modules.dep`. What else is missing is as if it were empty.
    pub fn read(directory: &Path, root: &Path, command_line: &str) -> Result<Self, String> {
        let path = directory.join("modules.dep");
        let dependencies =
            read(&path).map_err(|error| format!("no modules are loaded: {}: {error}", path.display()))?;
        let builtin = read(&directory.join("modules.builtin")).unwrap_or_default();
        let soft = read(&directory.join("modules.softdep")).unwrap_or_default();
        Ok(Self {
            directory: directory.to_path_buf(),
            index: Index::parse(&dependencies, &builtin),
            settings: Settings::read(root, command_line),
            soft: soft.lines().filter_map(soft_dependencies).collect(),
            loaded: Mutex::new(HashSet::new()),
        })
    }

    /// The modules for devices with these identities, by the kernel's list of aliases; none that is built in or kept out.
    pub fn for_devices(&self, devices: &BTreeSet<String>) -> BTreeSet<String> {
        let text = read(&self.directory.join("modules.alias")).unwrap_or_default();
        let aliases = text
            .lines()
            .filter_map(|line| line.strip_prefix("alias ")?.split_once(' '));
        let mut found = BTreeSet::new();
        for (pattern, name) in aliases {
            let name = canonical(name.trim());
            if self.index.modules.contains_key(&name)
                && !self.settings.is_kept_out(&name)
                && devices.iter().any(|device| glob::matches(pattern, device))
            {
                found.insert(name);
            }
        }
        found
    }

    /// Loads a module by its name or an alias, what it needs, and what it wants beside it.
    ///
    /// # Errors
    /// A sentence that names the module's file.
    pub fn load(&self, name: &str) -> Result<(), String> {
        for beside in self.soft.get(&canonical(name)).into_iter().flatten() {
            let _ = self.load_plainly(beside);
        }
        self.load_plainly(name)
    }

    /// Of several modules with one alias (a processor's own and a general one) any is enough.
    fn load_plainly(&self, name: &str) -> Result<(), String> {
        let mut result = Ok(());
        let mut any = false;
        for files in self.resolve(name)? {
            match files.iter().try_for_each(|file| self.load_file(file)) {
                Ok(()) => any = true,
                Err(error) => result = Err(error),
            }
        }
        if any { Ok(()) } else { result }
    }

    fn resolve(&self, name: &str) -> Result<Vec<Vec<&str>>, String> {
        let files = self.index.files(name);
        if let Ok(files) = files {
            return Ok(vec![files]);
        }
        let meant = self.for_devices(&BTreeSet::from([name.to_owned()]));
        match meant.is_empty() {
            true => files.map(|files| vec![files]),
            false => Ok(meant
                .iter()
                .filter_map(|module| self.index.files(module).ok())
                .collect()),
        }
    }

    fn load_file(&self, file: &str) -> Result<(), String> {
        let loaded = || self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if loaded().contains(file) {
            return Ok(());
        }
        let path = self.directory.join(file);
        let module = File::open(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let options = self.settings.options(&name_of(file).unwrap_or_default());
        let flags = if file.ends_with(".ko") { 0 } else { COMPRESSED };
        // Whoever else loads it is waited for by the kernel.
        match rustix::system::finit_module(&module, &crate::services::c_string(&options), flags) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {
                loaded().insert(file.to_owned());
                Ok(())
            }
            Err(error) => Err(format!("{}: {}", path.display(), io::Error::from(error))),
        }
    }
}

/// `softdep NAME pre: A B post: C`.
fn soft_dependencies(line: &str) -> Option<(String, Vec<String>)> {
    let mut words = line.strip_prefix("softdep ")?.split_ascii_whitespace();
    let name = canonical(words.next()?);
    let beside = words.filter(|word| !word.ends_with(':')).map(str::to_owned);
    Some((name, beside.collect()))
}

fn read(path: &Path) -> io::Result<String> {
    if fs::metadata(path)?.len() > INDEX_MAX {
        return Err(io::Error::other("it is too large"));
    }
    fs::read_to_string(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEP: &str = "kernel/fs/ext4/ext4.ko: kernel/fs/mbcache.ko kernel/fs/jbd2/jbd2.ko kernel/lib/crc16.ko\n\
                       kernel/drivers/net/virtio_net.ko: kernel/net/core/failover-x.ko\nkernel/lib/crc16.ko:\n";

    #[test]
    fn dependencies_come_first_and_dashes_do_not_matter() {
        let index = Index::parse(DEP, "kernel/drivers/virtio/virtio-pci.ko\n");
        let files = [
            "kernel/lib/crc16.ko",
            "kernel/fs/jbd2/jbd2.ko",
            "kernel/fs/mbcache.ko",
            "kernel/fs/ext4/ext4.ko",
        ];
        assert_eq!(index.files("ext4"), Ok(files.to_vec()));
        assert_eq!(index.files("virtio-net").map(|files| files.len()), Ok(2));
        assert_eq!(index.files("virtio_pci"), Ok(Vec::new()));
        assert!(index.files("nvme").is_err());
    }

    fn library(files: &[(&str, &str)]) -> (tempfile::TempDir, Library) {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("modules.dep"), DEP).unwrap();
        for (name, text) in files {
            fs::write(root.path().join(name), text).unwrap();
        }
        let library = Library::read(root.path(), root.path(), "modprobe.blacklist=off").unwrap();
        (root, library)
    }

    #[test]
    fn devices_find_their_modules() {
        let aliases = "# x\nalias pci:v00001AF4d00001000sv* virtio_net\nalias pci:v*bc02* virtio-net\n\
                       alias pci:v00001AF4* not_there\nalias fs-ext4 ext4\n";
        let (_root, library) = library(&[("modules.alias", aliases)]);
        let devices = BTreeSet::from(["pci:v00001AF4d00001000sv1bc02".to_owned()]);
        assert_eq!(library.for_devices(&devices), BTreeSet::from(["virtio_net".to_owned()]));
        assert_eq!(library.for_devices(&BTreeSet::new()), BTreeSet::new());
        assert_eq!(library.resolve("fs-ext4").map(|found| found[0].len()), Ok(4));
        assert!(library.resolve("fs-xfs").is_err());
    }

    #[test]
    fn what_is_missing_is_named() {
        let (_root, library) = library(&[("modules.builtin", "kernel/drivers/virtio/virtio_pci.ko\n")]);
        assert_eq!(library.load("virtio-pci"), Ok(()));
        assert_eq!(
            library.load("nvme"),
            Err("neither modules.dep nor modules.builtin names it".to_owned())
        );
        assert!(
            library
                .load("crc16")
                .is_err_and(|error| error.contains("kernel/lib/crc16.ko: No such file"))
        );
        let missing = Library::read(Path::new("/no/such"), Path::new("/"), "");
        assert!(missing.is_err_and(|error| error.contains("modules.dep: No such file")));
    }

    #[test]
    fn soft_dependencies_come_along() {
        let line = "softdep ext4 pre: crc32c-intel post: b c";
        let beside = ["crc32c-intel", "b", "c"].map(str::to_owned).to_vec();
        assert_eq!(soft_dependencies(line), Some(("ext4".to_owned(), beside)));
        assert_eq!(soft_dependencies("# softdep"), None);
    }
}
