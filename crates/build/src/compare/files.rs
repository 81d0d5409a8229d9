//! The files of two images.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use mos_tree::{Inode, Kind};
use serde::Serialize;

use super::records::ItemChange;
use crate::contents::{Contents, FileRecord};
use crate::inside::Inside;

/// A file, link, device or directory that came, went or changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileChange {
    /// Without a leading `/`.
    pub path: String,
    /// What it was; none when it is new.
    pub before: Option<FileState>,
    /// What it is; none when it is gone.
    pub after: Option<FileState>,
    /// In what it differs: `kind`, `content`, `target`, `device`, `mode`, `owner`, `time`, `attributes`; empty for what is
    /// new or gone.
    pub differs: Vec<&'static str>,
    /// What is behind it.
    pub why: String,
}

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileState {
    /// `directory`, `file`, `link`, `device`.
    pub kind: &'static str,
    /// Bytes of a file; 0 for everything else.
    pub bytes: u64,
}

/// Stands for the kernel's version in paths, so that a module of another version is the same file.
const VERSION: &str = "VERSION";
/// Files that hold the build id, and therefore differ whenever anything does.
const OF_THE_BUILD: [&str; 2] = ["etc/mos-build", "etc/os-release"];

impl FileChange {
    /// `+`, `-` or `~`.
    pub fn sign(&self) -> &'static str {
        match (&self.before, &self.after) {
            (None, _) => "+",
            (_, None) => "-",
            _ => "~",
        }
    }

    /// By how many bytes it became larger.
    pub fn grown(&self) -> i64 {
        let bytes = |state: &Option<FileState>| {
            let bytes = state.as_ref().map_or(0, |state| state.bytes);
            i64::try_from(bytes).unwrap_or(i64::MAX)
        };
        bytes(&self.after).saturating_sub(bytes(&self.before))
    }
}

/// The files that differ, by path.
pub(super) fn compare(before: &Inside, after: &Inside, packages: &[ItemChange]) -> io::Result<Vec<FileChange>> {
    let (old, new) = (Side::of(before), Side::of(after));
    let keys: BTreeSet<&String> = old.files.keys().chain(new.files.keys()).collect();
    let mut changes = Vec::new();
    for key in keys {
        let (left, right) = (old.files.get(key), new.files.get(key));
        let differs = match (left, right) {
            (Some((_, left)), Some((_, right))) => differences(left, right)?,
            _ => Vec::new(),
        };
        if left.is_some() && right.is_some() && differs.is_empty() {
            continue;
        }
        let Some((path, _)) = right.or(left) else {
            continue;
        };
        changes.push(FileChange {
            path: path.clone(),
            before: left.map(|(_, inode)| state(inode)),
            after: right.map(|(_, inode)| state(inode)),
            why: why(&old, &new, key, packages),
            differs,
        });
    }
    Ok(without_obvious(changes))
}

/// Leaves out directories that came or went with what is in them.
fn without_obvious(changes: Vec<FileChange>) -> Vec<FileChange> {
    let paths: Vec<String> = changes.iter().map(|change| change.path.clone()).collect();
    let is_obvious = |change: &FileChange| {
        let state = change.before.as_ref().xor(change.after.as_ref());
        let below = format!("{}/", change.path);
        state.is_some_and(|state| state.kind == "directory") && paths.iter().any(|path| path.starts_with(&below))
    };
    changes.into_iter().filter(|change| !is_obvious(change)).collect()
}

/// An image's files by their paths without the kernel's version, and its records.
struct Side<'i> {
    files: BTreeMap<String, (String, &'i Inode)>,
    records: BTreeMap<String, &'i FileRecord>,
    contents: Option<&'i Contents>,
}

impl<'i> Side<'i> {
    fn of(image: &'i Inside) -> Self {
        let kernel = image.kernel();
        let folder = kernel.as_ref().map(|kernel| format!("lib/modules/{kernel}"));
        let key = |path: &str| match folder.as_deref().and_then(|folder| path.strip_prefix(folder)) {
            Some(rest) if rest.is_empty() || rest.starts_with('/') => format!("lib/modules/{VERSION}{rest}"),
            _ => path.to_owned(),
        };
        let entries = image.root.walk().filter(|entry| !entry.path.is_empty());
        let contents = image.contents.as_ref();
        let records = contents.iter().flat_map(|contents| &contents.files);
        Self {
            files: entries
                .map(|entry| {
                    let path = String::from_utf8_lossy(&entry.path).into_owned();
                    (key(&path), (path, entry.inode))
                })
                .collect(),
            records: records.map(|record| (key(&record.path), record)).collect(),
            contents,
        }
    }

    fn part(&self, key: &str) -> Option<&'i str> {
        self.records.get(key).map(|record| record.part.as_str())
    }

    /// The rule that removed what would be at this path.
    fn rule(&self, key: &str) -> Option<&'i str> {
        let removed = self.contents?.removed.iter().find(|removed| removed.path == key);
        removed.map(|removed| removed.rule.as_str())
    }

    /// Why a module is there.
    fn module(&self, key: &str) -> Option<String> {
        let path = &self.records.get(key)?.path;
        let module = self.contents?.modules.iter().find(|module| module.path == *path)?;
        Some(format!("{}: {}", module.name, module.reason))
    }

    fn is_directory(&self, key: &str) -> bool {
        matches!(self.files.get(key), Some((_, inode)) if matches!(inode.kind, Kind::Directory(_)))
    }
}

fn state(inode: &Inode) -> FileState {
    let (kind, bytes) = match &inode.kind {
        Kind::Directory(_) => ("directory", 0),
        Kind::File(content) => ("file", content.len()),
        Kind::Symlink(_) => ("link", 0),
        _ => ("device", 0),
    };
    FileState { kind, bytes }
}

fn differences(left: &Inode, right: &Inode) -> io::Result<Vec<&'static str>> {
    let mut found = Vec::new();
    match (&left.kind, &right.kind) {
        (Kind::Directory(_), Kind::Directory(_)) => {}
        (Kind::File(left), Kind::File(right)) => {
            if left.len() != right.len() || left.read()? != right.read()? {
                found.push("content");
            }
        }
        (Kind::Symlink(left), Kind::Symlink(right)) if left == right => {}
        (Kind::Symlink(_), Kind::Symlink(_)) => found.push("target"),
        (left, right) if left == right => {}
        (left, right) if std::mem::discriminant(left) == std::mem::discriminant(right) => found.push("device"),
        _ => found.push("kind"),
    }
    let (left, right) = (&left.metadata, &right.metadata);
    let checks = [
        ("mode", left.mode != right.mode),
        ("owner", (left.uid, left.gid) != (right.uid, right.gid)),
        ("time", left.mtime != right.mtime),
        ("attributes", left.xattrs != right.xattrs),
    ];
    found.extend(checks.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name));
    Ok(found)
}

/// What is behind the difference at a path.
fn why(old: &Side<'_>, new: &Side<'_>, key: &str, packages: &[ItemChange]) -> String {
    if OF_THE_BUILD.contains(&key) {
        return "the build id, which stands for all inputs".to_owned();
    }
    if old.is_directory(key) || new.is_directory(key) {
        return "a directory".to_owned();
    }
    let (before, after) = (old.part(key), new.part(key));
    let mut reasons = Vec::new();
    match (before, after) {
        (Some(before), Some(after)) if before != after => reasons.push(format!("{after} instead of {before}")),
        (Some(_), Some(part)) => reasons.push(package(part, packages).unwrap_or(format!("other content of {part}"))),
        (None, Some(part)) => {
            let module = new.module(key);
            reasons.push(module.or_else(|| package(part, packages)).unwrap_or(part.to_owned()));
        }
        (Some(part), None) => {
            let module = old.module(key);
            reasons.push(module.or_else(|| package(part, packages)).unwrap_or(part.to_owned()));
        }
        (None, None) => reasons.push("not in the records".to_owned()),
    }
    let rules = [(new.rule(key), "removed"), (old.rule(key), "no longer removed")];
    let rules = rules
        .into_iter()
        .filter_map(|(rule, what)| Some(format!("{what} by the rule {}", rule?)));
    reasons.extend(rules);
    reasons.join("; ")
}

/// `package NAME OLD -> NEW`, for a part that is a package of which that changed.
fn package(part: &str, packages: &[ItemChange]) -> Option<String> {
    let name = part.strip_prefix("package ")?;
    let change = packages.iter().find(|change| change.name == name)?;
    Some(match (&change.before, &change.after) {
        (Some(before), Some(after)) => format!("{part} {before} -> {after}"),
        (None, Some(after)) => format!("{part} {after} is new"),
        (Some(before), None) => format!("{part} {before} is gone"),
        (None, None) => part.to_owned(),
    })
}
