//! Kernel modules: names to files by the kernel's own indices, and loading them. Files are plain `.ko`.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io;
use std::path::Path;

/// The largest `modules.dep`, in bytes: a distribution's whole set takes half a megabyte.
const INDEX_MAX: u64 = 16 * 1024 * 1024;

/// `modules.dep` and `modules.builtin` of one kernel.
#[derive(Debug, Default)]
pub struct Index {
    /// Name to file, and the files that it needs, in the file's own order (those that are needed first come last).
    modules: HashMap<String, Vec<String>>,
    builtin: HashSet<String>,
}

/// The kernel treats `-` and `_` in module names alike.
fn canonical(name: &str) -> String {
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

/// The names in a file of `modules-load.d`: one per line, `#` and `;` begin comments.
pub fn names(text: &str) -> impl Iterator<Item = &str> {
    let lines = text.lines().map(str::trim);
    lines.filter(|line| !line.is_empty() && !line.starts_with(['#', ';']))
}

/// Loads what the files of `configuration` name, with the modules of `library` (`/lib/modules/<version>`). Returns what
/// went wrong, by module; nothing of that stops the rest.
pub fn load_all(configuration: &Path, library: &Path) -> Vec<String> {
    let texts = configuration_texts(configuration);
    let wanted: Vec<&str> = texts.iter().flat_map(|text| names(text)).collect();
    if wanted.is_empty() {
        return Vec::new();
    }
    let index = match read_index(library) {
        Ok(index) => index,
        Err(error) => return vec![error],
    };
    let mut loaded = HashSet::new();
    let load = |name: &&str| {
        load(name, &index, library, &mut loaded)
            .err()
            .map(|error| format!("module {name}: {error}"))
    };
    wanted.iter().filter_map(load).collect()
}

fn configuration_texts(directory: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Vec::new();
    };
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "conf"));
    paths.sort();
    paths.iter().filter_map(|path| read(path).ok()).collect()
}

fn read(path: &Path) -> io::Result<String> {
    if fs::metadata(path)?.len() > INDEX_MAX {
        return Err(io::Error::other("it is too large"));
    }
    fs::read_to_string(path)
}

fn read_index(library: &Path) -> Result<Index, String> {
    let path = library.join("modules.dep");
    let dependencies = read(&path).map_err(|error| format!("no modules are loaded: {}: {error}", path.display()))?;
    // A kernel without built-in modules, or an image that left the list out: then only names would be missed.
    let builtin = read(&library.join("modules.builtin")).unwrap_or_default();
    Ok(Index::parse(&dependencies, &builtin))
}

fn load(name: &str, index: &Index, library: &Path, loaded: &mut HashSet<String>) -> Result<(), String> {
    for file in index.files(name)? {
        if !loaded.insert(file.to_owned()) {
            continue;
        }
        let path = library.join(file);
        let module = File::open(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        match rustix::system::finit_module(&module, c"", 0) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(format!("{}: {}", path.display(), io::Error::from(error))),
        }
    }
    Ok(())
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

    #[test]
    fn lists_may_have_comments() {
        assert_eq!(
            names("# net\nvirtio_net\n\n ; x\n ext4 \n").collect::<Vec<_>>(),
            ["virtio_net", "ext4"]
        );
    }

    #[test]
    fn what_is_missing_is_named_and_nothing_else_stops() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("mos.conf"), "nvme\nvirtio-pci\ncrc16\n").unwrap();
        fs::write(root.path().join("modules.dep"), DEP).unwrap();
        fs::write(
            root.path().join("modules.builtin"),
            "kernel/drivers/virtio/virtio_pci.ko\n",
        )
        .unwrap();
        let problems = load_all(root.path(), root.path());
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert_eq!(
            problems[0],
            "module nvme: neither modules.dep nor modules.builtin names it"
        );
        assert!(problems[1].starts_with("module crc16: ") && problems[1].contains("kernel/lib/crc16.ko: No such file"));
        fs::remove_file(root.path().join("modules.dep")).unwrap();
        assert!(load_all(root.path(), root.path())[0].contains("modules.dep: No such file"));
    }
}
