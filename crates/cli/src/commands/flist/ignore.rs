//! What of a source is left out: patterns of `--exclude`, and of the files `.mosignore` in a folder that is packed.
//!
//! Both have the grammar of `.gitignore` (gitignore(5)). A `.mosignore` speaks of what lies below its folder; a deeper one is
//! stronger, and `--exclude` stronger than all. These files themselves are left out as well.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};
use mos_tree::directory::Filter;

/// The name of a file with patterns.
const NAME: &str = ".mosignore";
/// Bytes of such a file that are read; a longer one is something else.
const LIMIT: u64 = 1 << 20;

/// Patterns, the weakest first.
#[derive(Debug)]
pub(super) struct Rules {
    /// Of the folders that are being read, each with its path in the tree.
    folders: Vec<(Vec<u8>, Gitignore)>,
    exclude: Gitignore,
    /// Paths in the tree that whoever packs writes to.
    own: Vec<Vec<u8>>,
    /// Whether what is mounted in a folder is left out.
    pub(super) one_file_system: bool,
}

impl Rules {
    /// Those of the command line.
    pub(super) fn new(exclude: &[String]) -> Result<Self, String> {
        Ok(Self {
            folders: Vec::new(),
            exclude: compile(exclude.iter().map(String::as_str)).map_err(|(_, why)| why)?,
            own: Vec::new(),
            one_file_system: false,
        })
    }

    /// Leaves out these paths in the tree, whatever the patterns say.
    pub(super) fn without(self, own: Vec<Vec<u8>>) -> Self {
        Self { own, ..self }
    }

    /// Whether a path is to be left out.
    pub(super) fn excludes(&self, path: &[u8], is_directory: bool) -> bool {
        let mut found = is_excluded(&self.exclude, path, is_directory);
        for (folder, rules) in self.folders.iter().rev() {
            found = found.or_else(|| is_excluded(rules, below(folder, path)?, is_directory));
        }
        found.unwrap_or(false)
    }
}

impl Filter for Rules {
    fn enter(&mut self, host: &Path, path: &[u8]) -> io::Result<()> {
        // Folders are read depth first: those that this one does not lie in are done.
        self.folders.retain(|(folder, _)| below(folder, path).is_some());
        if let Some(rules) = read(&host.join(NAME))? {
            self.folders.push((path.to_owned(), rules));
        }
        Ok(())
    }

    fn crosses(&self) -> bool {
        !self.one_file_system
    }

    fn leaves_out(&self, path: &[u8], is_directory: bool) -> bool {
        if self.own.iter().any(|own| own == path) {
            return true;
        }
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or(path);
        (!is_directory && name == NAME.as_bytes()) || self.excludes(path, is_directory)
    }
}

/// The path from a folder on; none when it does not lie in it.
fn below<'p>(folder: &[u8], path: &'p [u8]) -> Option<&'p [u8]> {
    if folder.is_empty() {
        return Some(path);
    }
    path.strip_prefix(folder)?.strip_prefix(b"/")
}

/// What the last pattern that matches says; none when none does.
fn is_excluded(rules: &Gitignore, path: &[u8], is_directory: bool) -> Option<bool> {
    match rules.matched(OsStr::from_bytes(path), is_directory) {
        Match::None => None,
        Match::Ignore(_) => Some(true),
        Match::Whitelist(_) => Some(false),
    }
}

/// The patterns in a file, if it is there.
fn read(path: &Path) -> io::Result<Option<Gitignore>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let wrong = |line: usize, why: String| {
        let text = format!("{}:{line}: {why}", path.display());
        io::Error::new(io::ErrorKind::InvalidData, text)
    };
    let mut text = String::new();
    file.take(LIMIT + 1).read_to_string(&mut text)?;
    if text.len() as u64 > LIMIT {
        return Err(wrong(1, "more than a MiB of patterns".to_owned()));
    }
    compile(text.lines()).map(Some).map_err(|(line, why)| wrong(line, why))
}

/// Patterns, or the number of the first line that is none, and why.
fn compile<'l>(lines: impl Iterator<Item = &'l str>) -> Result<Gitignore, (usize, String)> {
    let mut builder = GitignoreBuilder::new("");
    for (number, line) in (1..).zip(lines) {
        builder
            .add_line(None, line)
            .map_err(|error| (number, error.to_string()))?;
    }
    builder.build().map_err(|error| (1, error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use mos_tree::directory;

    fn excludes(glob: &str, path: &str) -> bool {
        Rules::new(&[glob.to_owned()]).unwrap().excludes(path.as_bytes(), false)
    }

    #[test]
    fn globs() {
        for (glob, path, expected) in [
            ("*.o", "src/a.o", true),
            ("*.o", "src/a.obj", false),
            ("src/*.o", "src/a.o", true),
            ("src/*.o", "src/deep/a.o", false),
            ("src/**/*.o", "src/deep/a.o", true),
            ("/etc", "etc", true),
            ("/etc", "usr/etc", false),
            ("etc", "usr/etc", true),
            ("etc/", "usr/etc", false),
            ("?", "a", true),
            ("?", "ab", false),
            ("**", "any/thing", true),
            ("", "a", false),
        ] {
            assert_eq!(excludes(glob, path), expected, "{glob} {path}");
        }
        assert!(Rules::new(&["{a".to_owned()]).is_err());
        let both = Rules::new(&["*.o".to_owned(), "!keep.o".to_owned()]).unwrap();
        assert!(both.excludes(b"a/b.o", false) && !both.excludes(b"a/keep.o", false));
    }

    fn packed(root: &Path, exclude: &[&str]) -> io::Result<Vec<String>> {
        let exclude: Vec<String> = exclude.iter().map(ToString::to_string).collect();
        let mut rules = Rules::new(&exclude).map_err(io::Error::other)?;
        let tree = directory::read_filtered(root, directory::Options::default(), &mut rules);
        let tree = tree.map_err(|error| io::Error::other(error.to_string()))?;
        let paths = tree.walk().map(|entry| String::from_utf8(entry.path).unwrap());
        Ok(paths.filter(|path| !path.is_empty()).collect())
    }

    #[test]
    fn files_say_what_is_left_out_below_them_and_the_command_line_is_stronger() {
        let room = tempfile::tempdir().unwrap();
        for path in [
            "a.log",
            "sub/a.log",
            "sub/keep.log",
            "sub/cache/x",
            "other/keep.log",
            "other/cache",
        ] {
            let path = room.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x").unwrap();
        }
        std::fs::write(room.path().join(NAME), "# logs\n*.log\ncache/\n").unwrap();
        std::fs::write(room.path().join("sub").join(NAME), "!keep.log\n").unwrap();
        let left = packed(room.path(), &[]).unwrap();
        assert_eq!(left, ["other", "other/cache", "sub", "sub/keep.log"]);
        assert_eq!(
            packed(room.path(), &["keep.log", "!a.log"]).unwrap(),
            ["a.log", "other", "other/cache", "sub", "sub/a.log"]
        );
    }

    #[test]
    fn a_pattern_that_is_none_is_told_with_its_place() {
        let room = tempfile::tempdir().unwrap();
        std::fs::write(room.path().join(NAME), "ok\n{a\n").unwrap();
        let error = packed(room.path(), &[]).unwrap_err().to_string();
        assert!(error.contains(".mosignore:2: "), "{error}");
    }
}
