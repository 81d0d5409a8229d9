//! What is in a boot image and why, kept beside it as `contents.json`: every file with the part that brought it, every
//! module with its reason, firmware with who wants it, what is missing, and what was removed by which rule.

use std::collections::BTreeMap;

use mos_kernel::{Firmware, FirmwareKind, Selection};
use mos_sbom::Licence;
use mos_tree::{Kind, Tree};
use serde::{Deserialize, Serialize};

use crate::package::Package;

/// The record of one image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contents {
    /// As in the image's report.
    pub build_id: String,
    /// The whole hash of the inputs, of which the build id is the beginning.
    #[serde(default)]
    pub inputs: String,
    /// The kernel's version.
    pub kernel: String,
    /// The packages that something was taken from.
    #[serde(default)]
    pub packages: Vec<PackageRecord>,
    /// Everything but directories, by path.
    pub files: Vec<FileRecord>,
    /// In the order in which to load them.
    pub modules: Vec<ModuleRecord>,
    /// Names that were asked for and are built into the kernel.
    pub builtin: Vec<String>,
    /// Soft dependencies of modules that the kernel has in no form.
    pub missing_soft: Vec<String>,
    /// By path below `lib/firmware`.
    pub firmware: Vec<FirmwareRecord>,
    /// Firmware that modules name and no source has.
    pub missing_firmware: Vec<MissingRecord>,
    /// What packages brought and rules took away.
    pub removed: Vec<RemovedRecord>,
}

/// A package, exactly.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackageRecord {
    /// As its distribution names it.
    pub name: String,
    /// As in `mos.lock`.
    pub version: String,
    /// `amd64`, `all`.
    pub architecture: String,
    /// Of the package's file.
    pub sha256: String,
    /// What for: `base`, `kernel`, `stub`, `firmware`, `authorities`.
    pub role: String,
    /// Whose it is: `debian`, `alpine`.
    pub distribution: String,
    /// As the package declares it in a form that machines read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub licence: Option<Licence>,
}

/// A file, link or device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRecord {
    /// Without a leading `/`.
    pub path: String,
    /// `file`, `link`, `hard link`, `device`.
    pub kind: String,
    /// Before compression; 0 for what is no file, and for a second name of one.
    pub bytes: u64,
    /// Where a link leads; the first name of a hard link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// What brought it: `package busybox-static`, `component my_init`, `kernel modules`, `image/files`, …
    pub part: String,
    /// Parts that had brought another file of this path before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replaces: Vec<String>,
}

/// A kernel module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModuleRecord {
    /// With `_` for `-`.
    pub name: String,
    /// From the root.
    pub path: String,
    /// Before compression.
    pub bytes: u64,
    /// Why it is here, for people.
    pub reason: String,
    /// The module that is the reason, unless it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub because_of: Option<String>,
}

/// Firmware.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirmwareRecord {
    /// Below `lib/firmware`.
    pub path: String,
    /// 0 for a link.
    pub bytes: u64,
    /// The name that a link stands for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
    /// The package or folder.
    pub source: String,
    /// Modules that name it, and patterns that cover it.
    pub wanted_by: Vec<String>,
}

/// Firmware that is not to be had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MissingRecord {
    /// As modules name it.
    pub name: String,
    /// The modules.
    pub wanted_by: Vec<String>,
    /// The source that lists it in `WHENCE` and does not have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listed_in: Option<String>,
}

/// What a rule took away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemovedRecord {
    /// Without a leading `/`.
    pub path: String,
    /// Before compression.
    pub bytes: u64,
    /// What had brought it.
    pub part: String,
    /// The rule.
    pub rule: String,
}

impl Contents {
    /// Takes note of a part that is laid over what is there.
    pub(crate) fn note_laid(&mut self, part: &str, tree: &Tree) {
        for entry in tree.walk() {
            let path = String::from_utf8_lossy(&entry.path).into_owned();
            let Some(mut file) = record(path, &entry.inode.kind, part) else {
                continue;
            };
            match self.files.binary_search_by(|known| known.path.cmp(&file.path)) {
                Ok(at) => {
                    let old = &self.files[at];
                    file.replaces = [&old.replaces[..], std::slice::from_ref(&old.part)].concat();
                    self.files[at] = file;
                }
                Err(at) => self.files.insert(at, file),
            }
        }
    }

    /// Ends the record with the root as it is: what is not in it any more goes, and of several names of one file only the
    /// first counts bytes.
    pub(crate) fn finish(&mut self, root: &Tree) {
        let mut first: BTreeMap<mos_tree::InodeId, String> = BTreeMap::new();
        let mut known: BTreeMap<String, FileRecord> =
            self.files.drain(..).map(|file| (file.path.clone(), file)).collect();
        for entry in root.walk() {
            let path = String::from_utf8_lossy(&entry.path).into_owned();
            let Some(mut file) = known.remove(&path) else {
                continue;
            };
            if let (Kind::File(_), Some(name)) = (&entry.inode.kind, first.get(&entry.id)) {
                (file.kind, file.bytes, file.target) = ("hard link".to_owned(), 0, Some(name.clone()));
            }
            first.entry(entry.id).or_insert(path);
            self.files.push(file);
        }
        self.files.sort_by(|left, right| left.path.cmp(&right.path));
    }

    /// Takes note of what was added to the root or changed in it.
    pub(crate) fn note(&mut self, part: &str, root: &Tree) {
        let mut known: BTreeMap<String, FileRecord> = std::mem::take(&mut self.files)
            .into_iter()
            .map(|file| (file.path.clone(), file))
            .collect();
        for entry in root.walk() {
            let path = String::from_utf8_lossy(&entry.path).into_owned();
            let Some(mut file) = record(path, &entry.inode.kind, part) else {
                continue;
            };
            match known.get(&file.path) {
                Some(old) if (&old.kind, old.bytes, &old.target) == (&file.kind, file.bytes, &file.target) => {}
                old => {
                    if let Some(old) = old {
                        file.replaces = [&old.replaces[..], std::slice::from_ref(&old.part)].concat();
                    }
                    known.insert(file.path.clone(), file);
                }
            }
        }
        self.files = known.into_values().collect();
    }

    /// Takes note of a file that a rule takes away.
    pub(crate) fn note_removed(&mut self, path: &str, kind: &Kind, part: &str, rule: &str) {
        if let Some(file) = record(path.to_owned(), kind, part) {
            self.removed.push(RemovedRecord {
                path: file.path,
                bytes: file.bytes,
                part: file.part,
                rule: rule.to_owned(),
            });
        }
    }

    pub(crate) fn note_package(&mut self, role: &str, package: &Package, licence: Option<Licence>) {
        self.packages.push(PackageRecord {
            name: package.name().to_owned(),
            version: package.version().to_owned(),
            architecture: package.architecture().to_owned(),
            sha256: package.sha256().to_owned(),
            role: role.to_owned(),
            distribution: package.distribution().to_owned(),
            licence,
        });
    }

    pub(crate) fn note_modules(&mut self, modules: &Selection) {
        self.kernel.clone_from(&modules.version);
        self.modules = modules
            .modules
            .iter()
            .map(|module| ModuleRecord {
                name: module.name.clone(),
                path: format!("lib/modules/{}/{}", modules.version, module.path),
                bytes: module.content.len(),
                reason: module.reason.to_string(),
                because_of: module.reason.because_of().map(str::to_owned),
            })
            .collect();
        self.builtin = modules.builtin.iter().cloned().collect();
        self.missing_soft = modules.missing_soft.iter().cloned().collect();
    }

    pub(crate) fn note_firmware(&mut self, firmware: &Firmware) {
        let kept = firmware.files.iter().map(|file| FirmwareRecord {
            path: file.path.clone(),
            bytes: match &file.kind {
                FirmwareKind::File(content) => content.len(),
                FirmwareKind::Link(_) => 0,
            },
            link: match &file.kind {
                FirmwareKind::File(_) => None,
                FirmwareKind::Link(target) => Some(target.clone()),
            },
            source: file.source.clone(),
            wanted_by: file.wanted_by.iter().cloned().collect(),
        });
        self.firmware = kept.collect();
        let missing = firmware.missing.iter().map(|missing| MissingRecord {
            name: missing.name.clone(),
            wanted_by: missing.wanted_by.iter().cloned().collect(),
            listed_in: missing.listed_in.clone(),
        });
        self.missing_firmware = missing.collect();
    }

    /// A line about firmware that is missing; nothing when none is.
    pub fn missing_firmware_line(&self) -> Option<String> {
        let names: Vec<&str> = self
            .missing_firmware
            .iter()
            .map(|missing| missing.name.as_str())
            .collect();
        let (count, files) = match names.len() {
            0 => return None,
            1 => (String::from("a firmware file"), "is"),
            count => (format!("{count} firmware files"), "are"),
        };
        let few = names.iter().take(MISSING_SHOWN).copied().collect::<Vec<_>>().join(", ");
        let more = if names.len() > MISSING_SHOWN { ", …" } else { "" };
        Some(format!(
            "warning: {count} that modules of the image may ask for {files} not in it: {few}{more}"
        ))
    }
}

/// How many missing files are named in the line about them; all are in the record.
const MISSING_SHOWN: usize = 5;

/// None for a directory.
fn record(path: String, kind: &Kind, part: &str) -> Option<FileRecord> {
    let (name, bytes, target) = match kind {
        Kind::Directory(_) => return None,
        Kind::File(content) => ("file", content.len(), None),
        Kind::Symlink(target) => ("link", 0, Some(String::from_utf8_lossy(target).into_owned())),
        _ => ("device", 0, None),
    };
    Some(FileRecord {
        path,
        kind: name.to_owned(),
        bytes,
        target,
        part: part.to_owned(),
        replaces: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_has_the_part_that_brought_it_last() {
        let mut contents = Contents::default();
        let mut root = Tree::default();
        root.insert_file("etc/motd", 0o644, "hello").unwrap();
        root.insert_file("bin/busybox", 0o755, "b").unwrap();
        contents.note("package a", &root);
        root.insert_symlink("bin/sh", "busybox").unwrap();
        root.remove("etc/motd").unwrap();
        root.insert_file("etc/motd", 0o644, "hello, world").unwrap();
        contents.note("image/files", &root);
        let parts: Vec<_> = contents
            .files
            .iter()
            .map(|file| (file.path.as_str(), file.part.as_str()))
            .collect();
        let expected = [
            ("bin/busybox", "package a"),
            ("bin/sh", "image/files"),
            ("etc/motd", "image/files"),
        ];
        assert_eq!(parts, expected);
        assert_eq!(contents.files[2].replaces, ["package a"]);
        assert_eq!(contents.files[1].target.as_deref(), Some("busybox"));
    }

    #[test]
    fn parts_are_laid_one_over_the_other_and_hard_links_count_once() {
        let mut contents = Contents::default();
        let mut lower = Tree::default();
        lower.insert_file("etc/motd", 0o644, "hello").unwrap();
        let id = lower.insert_file("bin/gzip", 0o755, "program").unwrap();
        lower.link("bin/gunzip", id).unwrap();
        contents.note_laid("package a", &lower);
        let mut upper = Tree::default();
        upper.insert_file("etc/motd", 0o644, "hello").unwrap();
        contents.note_laid("image/files", &upper);
        let mut root = lower;
        root.overlay(&upper).unwrap();
        root.insert_file("gone", 0o644, "").unwrap();
        contents.note("skeleton", &root);
        root.remove("gone").unwrap();
        contents.finish(&root);
        let shown: Vec<_> = contents
            .files
            .iter()
            .map(|file| (file.path.as_str(), file.kind.as_str(), file.bytes, file.part.as_str()))
            .collect();
        let expected = [
            ("bin/gunzip", "file", 7, "package a"),
            ("bin/gzip", "hard link", 0, "package a"),
            ("etc/motd", "file", 5, "image/files"),
        ];
        assert_eq!(shown, expected);
        assert_eq!(contents.files[1].target.as_deref(), Some("bin/gunzip"));
        assert_eq!(
            contents.files[2].replaces,
            ["package a"],
            "the same bytes, but another part's"
        );
    }
}
