//! What is installed, as apk itself keeps it (apk-tools 2, `/lib/apk/db`).
//!
//! ```text
//! installed    blocks of lines: the package's, then F: directory, M: its mode, R: file, a: its mode, Z: checksum
//! scripts.tar  NAME-VERSION.CHECKSUM.KIND
//! triggers     CHECKSUM PATH...
//! ```
//!
//! Modes are left out where they are the usual ones: 0755 of root for directories, 0644 of root for files.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use mos_tree::{Kind, Metadata, Tree};

use crate::apk::ScriptKind;
use crate::archive::{self, Limits};
use crate::package::split_line;
use crate::{AlpineError, Checksum, Package};

pub(crate) const INSTALLED: &str = "lib/apk/db/installed";
pub(crate) const SCRIPTS: &str = "lib/apk/db/scripts.tar";
pub(crate) const TRIGGERS: &str = "lib/apk/db/triggers";
/// Largest file of the database in bytes.
const FILE_MAX: u64 = 256 << 20;
/// Bytes of a block of a tar archive (POSIX ustar).
const BLOCK: usize = 512;

/// Owner and mode, as lines `M:` and `a:` have them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Access {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mode: u32,
    /// Of all extended attributes.
    pub(crate) xattrs: Option<Checksum>,
}

/// A file of a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OwnedFile {
    pub(crate) name: String,
    pub(crate) access: Access,
    pub(crate) checksum: Option<Checksum>,
}

/// A directory of a package, with its files in the order of the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OwnedDirectory {
    pub(crate) path: String,
    pub(crate) access: Access,
    pub(crate) files: Vec<OwnedFile>,
}

/// An installed package.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct InstalledPackage {
    /// What it is.
    pub package: Package,
    /// Lines `s:` and `f:`, which are kept as they are.
    pub(crate) marks: Vec<String>,
    pub(crate) directories: Vec<OwnedDirectory>,
    pub(crate) triggers: Vec<String>,
    pub(crate) scripts: BTreeMap<ScriptKind, Vec<u8>>,
}

/// All that is installed, in the order in which it was.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Database {
    /// By and by.
    pub packages: Vec<InstalledPackage>,
}

impl InstalledPackage {
    /// Paths of its files and of its directories, without a leading slash.
    pub(crate) fn paths(&self) -> impl Iterator<Item = String> {
        let of = |owned: &OwnedDirectory| {
            let prefix = if owned.path.is_empty() {
                String::new()
            } else {
                format!("{}/", owned.path)
            };
            let files = owned.files.iter().map(|file| format!("{prefix}{}", file.name));
            files
                .chain((!owned.path.is_empty()).then(|| owned.path.clone()))
                .collect::<Vec<_>>()
        };
        self.directories.iter().flat_map(of)
    }
}

impl Access {
    pub(crate) const DIRECTORY: Self = Self::root(0o755);
    pub(crate) const FILE: Self = Self::root(0o644);

    const fn root(mode: u32) -> Self {
        Self {
            uid: 0,
            gid: 0,
            mode,
            xattrs: None,
        }
    }

    pub(crate) fn of(metadata: &Metadata) -> Self {
        Self {
            uid: metadata.uid,
            gid: metadata.gid,
            mode: metadata.mode,
            xattrs: xattrs_checksum(&metadata.xattrs),
        }
    }

    /// `0:42:640`, with `:Q1…` when there are attributes.
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(4, ':');
        Some(Self {
            uid: parts.next()?.parse().ok()?,
            gid: parts.next()?.parse().ok()?,
            mode: u32::from_str_radix(parts.next()?, 8).ok()?,
            xattrs: parts.next().map(str::parse).transpose().ok()?,
        })
    }

    fn line(&self, field: char) -> String {
        let xattrs = self.xattrs.map(|checksum| format!(":{checksum}")).unwrap_or_default();
        format!("{field}:{}:{}:{:o}{xattrs}\n", self.uid, self.gid, self.mode)
    }
}

/// SHA-1 over names and values in the order of the names, each after its length in four bytes, highest first.
fn xattrs_checksum(xattrs: &BTreeMap<Vec<u8>, Vec<u8>>) -> Option<Checksum> {
    let mut bytes = Vec::new();
    for part in xattrs.iter().flat_map(|(name, value)| [name, value]) {
        let length = u32::try_from(part.len()).unwrap_or(u32::MAX);
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(part);
    }
    (!xattrs.is_empty()).then(|| Checksum::sha1(&bytes))
}

impl Database {
    /// Reads the database of a tree; one without has nothing installed.
    ///
    /// # Errors
    /// [`AlpineError::Database`] with the line.
    pub fn read(tree: &Tree) -> Result<Self, AlpineError> {
        let wrong = |path: &str| {
            let path = path.to_owned();
            move |problem| AlpineError::Database { path, problem }
        };
        let Some(installed) = file(tree, INSTALLED)? else {
            return Ok(Self::default());
        };
        let mut database = Self::parse(&installed).map_err(wrong(INSTALLED))?;
        if let Some(scripts) = file(tree, SCRIPTS)? {
            database.add_scripts(&scripts).map_err(wrong(SCRIPTS))?;
        }
        if let Some(triggers) = file(tree, TRIGGERS)? {
            database.add_triggers(&String::from_utf8_lossy(&triggers));
        }
        Ok(database)
    }

    /// Parses `lib/apk/db/installed`.
    fn parse(bytes: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())?;
        let mut packages = Vec::new();
        let mut current: Option<InstalledPackage> = None;
        for (number, line) in text.lines().enumerate() {
            let at = |problem: String| format!("line {}: {problem}", number + 1);
            if line.is_empty() {
                packages.extend(current.take());
                continue;
            }
            let (field, value) = split_line(line).map_err(at)?;
            let package = current.get_or_insert_default();
            if !package.package.take(field, value).map_err(at)? {
                package.take(field, value).map_err(at)?;
            }
        }
        packages.extend(current);
        Ok(Self { packages })
    }

    fn add_scripts(&mut self, bytes: &[u8]) -> Result<(), String> {
        archive::each(bytes, Limits::content(FILE_MAX), |entry| {
            let name = String::from_utf8_lossy(&entry.path).into_owned();
            let mut parts = name.rsplitn(3, '.');
            let kind = parts.next().and_then(ScriptKind::of_name);
            let checksum = parts.next().and_then(|text| text.parse::<Checksum>().ok());
            if let (Some(kind), Some(package)) = (kind, checksum.and_then(|checksum| self.find(&checksum))) {
                package.scripts.insert(kind, entry.content);
            }
            Ok(())
        })
    }

    fn add_triggers(&mut self, text: &str) {
        for line in text.lines() {
            let mut words = line.split(' ');
            let checksum = words.next().and_then(|word| word.parse::<Checksum>().ok());
            if let Some(package) = checksum.and_then(|checksum| self.find(&checksum)) {
                package.triggers = words.map(str::to_owned).collect();
            }
        }
    }

    fn find(&mut self, checksum: &Checksum) -> Option<&mut InstalledPackage> {
        self.packages.iter_mut().find(|one| one.package.checksum == *checksum)
    }

    /// `lib/apk/db/installed`, sorted by name as apk has it.
    pub(crate) fn installed(&self) -> String {
        let mut sorted: Vec<&InstalledPackage> = self.packages.iter().collect();
        sorted.sort_by(|a, b| a.package.name.cmp(&b.package.name));
        sorted.into_iter().map(InstalledPackage::block).collect()
    }

    /// `lib/apk/db/scripts.tar`.
    pub(crate) fn scripts(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for one in &self.packages {
            let package = &one.package;
            for (kind, script) in &one.scripts {
                let name = format!("{}.{}.{kind}", package.full_name(), package.checksum);
                bytes.extend(script_header(&name, script.len(), package.build_time));
                bytes.extend_from_slice(script);
                bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
            }
        }
        bytes.resize(bytes.len() + 2 * BLOCK, 0);
        bytes
    }

    /// `lib/apk/db/triggers`.
    pub(crate) fn triggers(&self) -> String {
        let with = self.packages.iter().filter(|one| !one.triggers.is_empty());
        with.map(|one| format!("{} {}\n", one.package.checksum, one.triggers.join(" ")))
            .collect()
    }
}

impl InstalledPackage {
    fn take(&mut self, field: char, value: &str) -> Result<(), String> {
        let access = || Access::parse(value).ok_or_else(|| format!("`{field}:{value}` is no owner and mode"));
        let lost = || format!("`{field}:` stands where it belongs to nothing");
        match field {
            'F' => self.directories.push(OwnedDirectory {
                path: value.to_owned(),
                access: Access::DIRECTORY,
                files: Vec::new(),
            }),
            'M' => self.directories.last_mut().ok_or_else(lost)?.access = access()?,
            'R' => self.directories.last_mut().ok_or_else(lost)?.files.push(OwnedFile {
                name: value.to_owned(),
                access: Access::FILE,
                checksum: None,
            }),
            'a' => self.last_file().ok_or_else(lost)?.access = access()?,
            'Z' => self.last_file().ok_or_else(lost)?.checksum = Some(value.parse()?),
            's' | 'f' => self.marks.push(format!("{field}:{value}\n")),
            _ => {}
        }
        Ok(())
    }

    fn last_file(&mut self) -> Option<&mut OwnedFile> {
        self.directories.last_mut()?.files.last_mut()
    }

    fn block(&self) -> String {
        let mut text = self.package.installed_lines();
        text.extend(self.marks.iter().map(String::as_str));
        for directory in &self.directories {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "F:{}", directory.path);
            if directory.access != Access::DIRECTORY {
                text.push_str(&directory.access.line('M'));
            }
            for file in &directory.files {
                let _ = writeln!(text, "R:{}", file.name);
                if file.access != Access::FILE {
                    text.push_str(&file.access.line('a'));
                }
                if let Some(checksum) = file.checksum {
                    let _ = writeln!(text, "Z:{checksum}");
                }
            }
        }
        text.push('\n');
        text
    }
}

/// The header of a script, byte by byte as apk writes it: numbers fill their fields, and names do not go on elsewhere.
fn script_header(name: &str, length: usize, time: u64) -> [u8; BLOCK] {
    let mut header = [0; BLOCK];
    let mut put = |at: usize, text: &[u8]| header[at..at + text.len()].copy_from_slice(text);
    // The field has 100 bytes, the last of which is a NUL.
    put(0, &name.as_bytes()[..name.len().min(99)]);
    put(100, b"0000755\x000000000\x000000000\0");
    put(124, format!("{length:012o}{time:012o}").as_bytes());
    put(148, b"        0");
    put(257, b"ustar  \0root");
    put(297, b"root");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    header
}

/// The bytes of a file of a tree.
pub(crate) fn file(tree: &Tree, path: &str) -> Result<Option<Vec<u8>>, AlpineError> {
    let wrong = |problem: String| AlpineError::Database {
        path: path.to_owned(),
        problem,
    };
    match tree.follow(path).map(|id| &tree.inode(id).kind) {
        Some(Kind::File(content)) if content.len() > FILE_MAX => Err(wrong(format!("more than {FILE_MAX} bytes"))),
        Some(Kind::File(content)) => content.read().map(Some).map_err(|error| wrong(error.to_string())),
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TEXT: &str = "C:Q1qKcZ+j23xssAXmgQhkOO8dHnbWw=
P:a
V:1-r0
A:x86_64
S:5
I:7
T:
U:
L:
r:b<2
q:1000
s:edge
F:etc
R:x
Z:Q12jmj7l5rSw0yVb/vlWAYkK/YBwk=
R:shadow
a:0:42:640
F:tmp
M:0:0:1777:Q12jmj7l5rSw0yVb/vlWAYkK/YBwk=

";

    #[test]
    fn written_as_read() {
        let mut database = Database::parse(TEXT.as_bytes()).unwrap();
        assert_eq!(database.installed(), TEXT);
        let triggers = "Q1qKcZ+j23xssAXmgQhkOO8dHnbWw= /bin /usr/*\n";
        database.add_triggers(triggers);
        assert_eq!(database.triggers(), triggers);
        database.packages[0]
            .scripts
            .insert(ScriptKind::PostInstall, b"#!/bin/sh\n".to_vec());
        let scripts = database.scripts();
        let mut other = Database::parse(TEXT.as_bytes()).unwrap();
        other.add_triggers(triggers);
        other.add_scripts(&scripts).unwrap();
        assert_eq!(other, database);
    }

    #[test]
    fn damage_is_named_by_its_line() {
        for (text, said) in [
            ("P:a\nR:x\n", "line 2: `R:` stands where it belongs to nothing"),
            (
                "P:a\nF:x\na:0:0:644\n",
                "line 3: `a:` stands where it belongs to nothing",
            ),
            ("P:a\nF:x\nM:0:0:9\n", "line 3: `M:0:0:9` is no owner and mode"),
            ("x\n", "line 1: `x`: `X:value` was expected"),
        ] {
            assert_eq!(Database::parse(text.as_bytes()).unwrap_err(), said);
        }
    }

    proptest! {
        #[test]
        fn damage_never_panics(position in 0..TEXT.len(), value: u8) {
            let mut bytes = TEXT.as_bytes().to_vec();
            bytes[position] = value;
            let _ = Database::parse(&bytes);
        }
    }
}
