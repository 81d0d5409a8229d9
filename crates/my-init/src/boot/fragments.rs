//! Directories of configuration fragments (`sysctl.d` and the like): a file in `/etc` takes the place of one of the same
//! name in `/run`, and that of one in `/usr/lib`; all are read in the order of their names. An empty file, or a link to
//! `/dev/null`, is how one is switched off.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The most important first.
const ABOVE: [&str; 3] = ["etc", "run", "usr/lib"];
/// The largest fragment, in bytes, and the most of one kind.
const FILE_MAX: u64 = 1024 * 1024;
const FILES_MAX: usize = 1_000;

/// A fragment.
#[derive(Debug, PartialEq, Eq)]
pub struct Fragment {
    /// Where it is, as people should see it.
    pub path: PathBuf,
    /// What it says.
    pub text: String,
}

impl Fragment {
    /// Its lines that say something, with `path:line` before a message.
    pub fn lines(&self) -> impl Iterator<Item = (String, &str)> {
        let lines = self.text.lines().enumerate();
        let place = |number: usize| format!("{}:{}", self.path.display(), number + 1);
        lines
            .map(|(number, line)| (number, line.trim()))
            .filter(|(_, line)| !line.is_empty() && !line.starts_with(['#', ';']))
            .map(move |(number, line)| (place(number), line))
    }
}

/// The fragments of a kind (`sysctl.d`) below `root`, in order, and what could not be read.
pub fn read(root: &Path, kind: &str) -> (Vec<Fragment>, Vec<String>) {
    let (mut fragments, mut problems) = (Vec::new(), Vec::new());
    for path in find(root, kind).into_values().take(FILES_MAX) {
        match read_one(&path) {
            Ok(text) => fragments.push(Fragment { path, text }),
            Err(error) => problems.push(format!("{}: {error}", path.display())),
        }
    }
    (fragments, problems)
}

fn find(root: &Path, kind: &str) -> BTreeMap<String, PathBuf> {
    let mut found = BTreeMap::new();
    for above in ABOVE {
        let Ok(entries) = fs::read_dir(root.join(above).join(kind)) else {
            continue;
        };
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.ends_with(".conf") {
                found.entry(name).or_insert_with(|| entry.path());
            }
        }
    }
    found
}

fn read_one(path: &Path) -> std::io::Result<String> {
    let kind = fs::metadata(path)?;
    if kind.len() > FILE_MAX {
        return Err(std::io::Error::other("it is too large"));
    }
    if !kind.is_file() {
        return Ok(String::new());
    }
    Ok(String::from_utf8_lossy(&fs::read(path)?).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn etc_hides_run_and_that_hides_usr_and_names_give_the_order() {
        let root = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("usr/lib/sysctl.d/50-a.conf", "usr"),
            ("usr/lib/sysctl.d/10-b.conf", "# no\n\n  b = 1 \n"),
            ("usr/lib/sysctl.d/99-off.conf", "off"),
            ("run/sysctl.d/50-a.conf", "run"),
            ("etc/sysctl.d/50-a.conf", "etc"),
            ("etc/sysctl.d/README", "no"),
        ] {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        std::os::unix::fs::symlink("/dev/null", root.path().join("etc/sysctl.d/99-off.conf")).unwrap();
        let (fragments, problems) = read(root.path(), "sysctl.d");
        let texts: Vec<&str> = fragments.iter().map(|fragment| &*fragment.text).collect();
        assert_eq!((texts, problems), (vec!["# no\n\n  b = 1 \n", "etc", ""], Vec::new()));
        let place = format!("{}:3", root.path().join("usr/lib/sysctl.d/10-b.conf").display());
        assert_eq!(fragments[0].lines().collect::<Vec<_>>(), [(place, "b = 1")]);
        fs::write(root.path().join("etc/sysctl.d/50-a.conf"), vec![b'x'; 1024 * 1024 + 1]).unwrap();
        assert!(read(root.path(), "sysctl.d").1[0].ends_with("50-a.conf: it is too large"));
    }
}
