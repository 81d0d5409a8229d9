//! Which firmware an image needs: what its modules name, found in packages or folders. Decides, and reads what it keeps.
//!
//! Every file is kept decompressed and under each name that it is asked for by: an initramfs is compressed as a whole, and
//! a kernel that cannot decompress firmware finds it all the same.

use std::collections::{BTreeMap, BTreeSet};

use mos_packages::compression::Compression;
use mos_tree::{Content, Kind, Tree, TreeError};

use crate::kernel::{KernelError, damaged, file};
use crate::selection::Selection;
use crate::whence::Whence;
use crate::{glob, parallel};

/// Where firmware stands in a package, before and after the merge of `/lib` into `/usr/lib`.
const ROOTS: [&str; 2] = ["lib/firmware", "usr/lib/firmware"];
/// The list of linux-firmware.
const WHENCE: &str = "WHENCE";
/// No firmware of any vendor comes near this many bytes.
const FIRMWARE_MAX: u64 = 256 << 20;
/// As many links after each other as the kernel follows (`MAXSYMLINKS`).
const LINKS_MAX: usize = 40;
/// Where the kernel looks.
const PLACE: &str = "lib/firmware";

/// What a package or folder has of firmware.
#[derive(Debug)]
pub struct FirmwareSource {
    name: String,
    entries: BTreeMap<String, Entry>,
    /// Files that its `WHENCE` lists.
    listed: BTreeSet<String>,
}

/// A name below `lib/firmware`, without the ending of a compression.
#[derive(Debug, Clone)]
enum Entry {
    File(Content, Compression),
    /// To this name.
    Link(String),
}

/// A file or link that goes into the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirmwareFile {
    /// Below `lib/firmware`.
    pub path: String,
    /// The package or folder that it comes from.
    pub source: String,
    /// The modules that name it, and the patterns that cover it.
    pub wanted_by: BTreeSet<String>,
    /// What there is: the bytes, or the name of another file.
    pub kind: FirmwareKind,
}

/// A file or a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FirmwareKind {
    /// Decompressed.
    File(Content),
    /// To this path below `lib/firmware`.
    Link(String),
}

/// Firmware that modules name and no source has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingFirmware {
    /// As the module names it.
    pub name: String,
    /// The modules.
    pub wanted_by: BTreeSet<String>,
    /// The source whose `WHENCE` lists it all the same: its folder is not complete.
    pub listed_in: Option<String>,
}

/// The firmware of an image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Firmware {
    /// By path.
    pub files: Vec<FirmwareFile>,
    /// By name.
    pub missing: Vec<MissingFirmware>,
}

/// Why firmware could not be collected.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FirmwareError {
    /// Patterns that cover no file of any source; all of them at once.
    #[error("{}", unmatched(.patterns, *.files, *.sources))]
    Unmatched {
        /// The patterns, each with the name that is most like it.
        patterns: Vec<(String, Option<String>)>,
        /// How many files there are.
        files: usize,
        /// In how many sources.
        sources: usize,
    },
    /// A file could not be read.
    #[error(transparent)]
    Damaged(#[from] KernelError),
}

/// A line for each, which begins with what it is about.
fn unmatched(patterns: &[(String, Option<String>)], files: usize, sources: usize) -> String {
    let one = |(pattern, nearest): &(String, Option<String>)| {
        let near = nearest.as_ref().map(|nearest| format!("; did you mean `{nearest}`?"));
        let near = near.unwrap_or_default();
        format!("firmware `{pattern}`: none of the {files} files in {sources} sources has this name{near}")
    };
    patterns.iter().map(one).collect::<Vec<_>>().join("\n")
}

impl FirmwareSource {
    /// What a package's tree has below `lib/firmware`, or a folder as it is; with the links of its `WHENCE`.
    ///
    /// # Errors
    /// When `WHENCE` cannot be read.
    pub fn read(name: &str, tree: &Tree) -> Result<Self, KernelError> {
        let present = ROOTS.iter().find(|root| tree.get(root).is_some());
        let prefix = present.map(|root| format!("{root}/")).unwrap_or_default();
        let mut entries = BTreeMap::new();
        for entry in tree.walk() {
            let path = entry.path.strip_prefix(prefix.as_bytes());
            if let Some((name, entry)) = path.and_then(|path| named(path, &entry.inode.kind)) {
                entries.insert(name, entry);
            }
        }
        let path = format!("{prefix}{WHENCE}");
        let text = file(tree, &path).map_or(Ok(Vec::new()), Content::read);
        let whence = Whence::parse(&String::from_utf8_lossy(&text.map_err(damaged(&path))?));
        entries.remove(WHENCE);
        for (link, target) in whence.links {
            if let (Some(link), Some(target)) = (inside("", &link), inside(folder(&link), &target)) {
                entries.entry(link).or_insert(Entry::Link(target));
            }
        }
        Ok(Self {
            name: name.to_owned(),
            entries,
            listed: whence.files.into_iter().collect(),
        })
    }
}

fn named(path: &[u8], kind: &Kind) -> Option<(String, Entry)> {
    let (plain, compression) = Compression::split_name(path);
    let text = |bytes: &[u8]| std::str::from_utf8(bytes).ok().map(str::to_owned);
    match kind {
        Kind::File(content) => Some((text(plain)?, Entry::File(content.clone(), compression))),
        Kind::Symlink(target) => {
            // Where files are compressed, so are the names of links and what they stand for.
            let (target, _) = Compression::split_name(target);
            let target = inside(
                folder(std::str::from_utf8(plain).ok()?),
                std::str::from_utf8(target).ok()?,
            )?;
            Some((text(plain)?, Entry::Link(target)))
        }
        _ => None,
    }
}

fn folder(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// A path as seen from a folder; `None` when it leads out of the firmware.
fn inside(folder: &str, path: &str) -> Option<String> {
    let (from, path) = match path.strip_prefix('/') {
        None => (folder, path),
        Some(absolute) => {
            let below = |root: &str| absolute.strip_prefix(root)?.strip_prefix('/');
            ("", ROOTS.iter().find_map(|root| below(root))?)
        }
    };
    let mut parts: Vec<&str> = from.split('/').filter(|part| !part.is_empty()).collect();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    (!parts.is_empty()).then(|| parts.join("/"))
}

/// All sources as one; the first that has a name counts.
struct Shelf<'s> {
    entries: BTreeMap<&'s str, (&'s str, &'s Entry)>,
}

impl<'s> Shelf<'s> {
    fn new(sources: &'s [FirmwareSource]) -> Self {
        let mut entries = BTreeMap::new();
        for source in sources.iter().rev() {
            let own = source.entries.iter();
            entries.extend(own.map(|(name, entry)| (name.as_str(), (source.name.as_str(), entry))));
        }
        Self { entries }
    }

    /// The links on the way of a name and the file at its end; `None` when there is no such file.
    fn follow(&self, name: &str) -> Option<Vec<&'s str>> {
        let mut way = Vec::new();
        let mut path = name.to_owned();
        for _ in 0..LINKS_MAX {
            let (place, rest) = self.longest(&path)?;
            way.push(place);
            match self.entries[place].1 {
                Entry::File(..) if rest.is_empty() => return Some(way),
                Entry::File(..) => return None,
                Entry::Link(target) => path = format!("{target}{rest}"),
            }
        }
        None
    }

    /// The entry at a path or at a folder above it, and what remains: a link may be to a folder.
    fn longest<'p>(&self, path: &'p str) -> Option<(&'s str, &'p str)> {
        let mut ends = std::iter::once(path.len()).chain(path.rmatch_indices('/').map(|(at, _)| at));
        ends.find_map(|end| {
            let (name, _) = self.entries.get_key_value(&path[..end])?;
            Some((*name, &path[end..]))
        })
    }

    /// The files, and the links on the way to them, that answer to what a module names: itself, those of a pattern, or an
    /// older one.
    fn answers(&self, wanted: &str) -> Vec<&'s str> {
        if glob::is_pattern(wanted) {
            let matching = self.entries.keys().filter(|name| glob::matches(wanted, name));
            return matching.filter_map(|name| self.follow(name)).flatten().collect();
        }
        let way = self.follow(wanted).or_else(|| self.follow(self.older(wanted)?));
        way.unwrap_or_default()
    }

    /// Drivers such as iwlwifi name the newest interface that they know and ask downwards from there: the newest that there
    /// is of `NAME-83.ucode` with a lower number.
    fn older(&self, wanted: &str) -> Option<&'s str> {
        let (stem, number, suffix) = numbered(wanted)?;
        let candidates = self.entries.keys().filter_map(|name| {
            let (own_stem, own, own_suffix) = numbered(name)?;
            (own_stem == stem && own_suffix == suffix && own < number).then_some((own, *name))
        });
        candidates.max().map(|(_, name)| name)
    }
}

/// `iwlwifi-cc-a0-`, 83, `.ucode`.
fn numbered(name: &str) -> Option<(&str, u32, &str)> {
    let dot = name.rfind('.')?;
    let dash = name[..dot].rfind('-')? + 1;
    Some((&name[..dash], name[dash..dot].parse().ok()?, &name[dot..]))
}

impl Firmware {
    /// Collects what the modules of a selection name, and what patterns cover besides. Links are kept with what they
    /// stand for.
    ///
    /// # Errors
    /// [`FirmwareError`].
    pub fn collect(
        selection: &Selection,
        patterns: &[impl AsRef<str>],
        sources: &[FirmwareSource],
    ) -> Result<Self, FirmwareError> {
        let shelf = Shelf::new(sources);
        let mut kept: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
        let mut missing = Vec::new();
        for (name, wanted_by) in wanted(selection) {
            let answers = shelf.answers(name);
            if answers.is_empty() {
                let listed = sources.iter().find(|source| source.listed.contains(name));
                let (name, listed_in) = (name.to_owned(), listed.map(|source| source.name.clone()));
                missing.push(MissingFirmware {
                    name,
                    wanted_by,
                    listed_in,
                });
                continue;
            }
            for part in answers {
                kept.entry(part).or_default().extend(wanted_by.iter().cloned());
            }
        }
        let patterns: Vec<&str> = patterns.iter().map(AsRef::as_ref).collect();
        shelf.cover(&patterns, sources.len(), &mut kept)?;
        let kept: Vec<_> = kept.into_iter().collect();
        let files = parallel::map(&kept, |_, (path, wanted_by)| shelf.take(path, wanted_by))?;
        Ok(Self { files, missing })
    }

    /// `lib/firmware/` with the files and links.
    ///
    /// # Errors
    /// When a path has no place in a tree.
    pub fn tree(&self) -> Result<Tree, TreeError> {
        let mut tree = Tree::default();
        for file in &self.files {
            let path = format!("{PLACE}/{}", file.path);
            match &file.kind {
                FirmwareKind::File(content) => tree.insert_file(path, 0o644, content.clone())?,
                FirmwareKind::Link(target) => tree.insert_symlink(path, relative(&file.path, target))?,
            };
        }
        Ok(tree)
    }
}

/// What the modules name, with the modules.
fn wanted(selection: &Selection) -> BTreeMap<&str, BTreeSet<String>> {
    let mut wanted: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for module in &selection.modules {
        for name in &module.info.firmware {
            wanted.entry(name).or_default().insert(module.name.clone());
        }
    }
    wanted
}

impl<'s> Shelf<'s> {
    /// Keeps what patterns cover.
    fn cover(
        &self,
        patterns: &[&str],
        sources: usize,
        kept: &mut BTreeMap<&'s str, BTreeSet<String>>,
    ) -> Result<(), FirmwareError> {
        let mut unmatched = Vec::new();
        for pattern in patterns {
            let covered = self.entries.keys().filter(|name| glob::covers(pattern, name));
            let ways: Vec<&str> = covered.filter_map(|name| self.follow(name)).flatten().collect();
            if ways.is_empty() {
                let nearest = mos_toml::nearest(pattern, self.entries.keys().copied());
                unmatched.push(((*pattern).to_owned(), nearest.map(str::to_owned)));
            }
            for part in ways {
                kept.entry(part).or_default().insert((*pattern).to_owned());
            }
        }
        match unmatched.is_empty() {
            true => Ok(()),
            false => Err(FirmwareError::Unmatched {
                patterns: unmatched,
                files: self.entries.len(),
                sources,
            }),
        }
    }

    fn take(&self, path: &str, wanted_by: &BTreeSet<String>) -> Result<FirmwareFile, KernelError> {
        let (source, entry) = self.entries[path];
        let kind = match entry {
            Entry::Link(target) => FirmwareKind::Link(target.clone()),
            Entry::File(content, Compression::None) => FirmwareKind::File(content.clone()),
            Entry::File(content, compression) => {
                let bytes = content
                    .open()
                    .and_then(|reader| compression.decompress(reader, FIRMWARE_MAX));
                FirmwareKind::File(bytes.map_err(damaged(path))?.into())
            }
        };
        Ok(FirmwareFile {
            path: path.to_owned(),
            source: source.to_owned(),
            wanted_by: wanted_by.clone(),
            kind,
        })
    }
}

/// A path below `lib/firmware` as seen from the folder of another.
fn relative(from: &str, to: &str) -> String {
    let (from, to): (Vec<&str>, Vec<&str>) = (folder(from).split('/').collect(), to.split('/').collect());
    let from: Vec<&str> = from.into_iter().filter(|part| !part.is_empty()).collect();
    let shared = from.iter().zip(&to).take_while(|(left, right)| left == right).count();
    let up = std::iter::repeat_n("..", from.len() - shared);
    up.chain(to[shared..].iter().copied()).collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modinfo::ModuleInfo;
    use crate::selection::{Module, Reason};

    fn selection(firmware: &[&str]) -> Selection {
        let module = Module {
            name: "nic".into(),
            path: "kernel/nic.ko".into(),
            reason: Reason::Asked,
            dependencies: Vec::new(),
            info: ModuleInfo {
                firmware: firmware.iter().map(ToString::to_string).collect(),
                ..ModuleInfo::default()
            },
            content: "".into(),
        };
        Selection::of("1.2", vec![module])
    }

    fn folder_source() -> FirmwareSource {
        let mut tree = Tree::default();
        for (path, text) in [
            (
                "WHENCE",
                "File: nic/a.bin\nFile: nic/gone.bin\nLink: nic/b.bin -> a.bin\nLink: old -> nic\nLink: out.bin -> ../../etc/shadow\nLink: round.bin -> round.bin\n",
            ),
            ("nic/a.bin", "AAAA"),
            ("nic/fw-12.ucode", "12"),
            ("nic/fw-9.ucode", "9"),
            ("other/c d.bin", "C"),
        ] {
            tree.insert_file(path, 0o644, text).unwrap();
        }
        FirmwareSource::read("folder", &tree).unwrap()
    }

    fn package_source() -> FirmwareSource {
        let mut tree = Tree::default();
        let gzip = [
            0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 0x4b, 4, 0, 0x43, 0xbe, 0xb7, 0xe8, 1, 0, 0, 0,
        ];
        tree.insert_file("usr/lib/firmware/z.bin.gz", 0o644, gzip.to_vec())
            .unwrap();
        tree.insert_symlink("usr/lib/firmware/deep/y.bin.gz", "../z.bin.gz")
            .unwrap();
        tree.insert_symlink("usr/lib/firmware/abs.bin", "/lib/firmware/z.bin")
            .unwrap();
        tree.insert_file("usr/lib/firmware/nic/a.bin", 0o644, "other").unwrap();
        tree.insert_file("usr/share/doc/x", 0o644, "x").unwrap();
        FirmwareSource::read("package", &tree).unwrap()
    }

    fn collect(firmware: &[&str], patterns: &[&str]) -> Result<Firmware, FirmwareError> {
        Firmware::collect(&selection(firmware), patterns, &[folder_source(), package_source()])
    }

    fn paths(firmware: &Firmware) -> Vec<String> {
        let text = |file: &FirmwareFile| match &file.kind {
            FirmwareKind::File(content) => {
                format!("{} {}", file.path, String::from_utf8(content.read().unwrap()).unwrap())
            }
            FirmwareKind::Link(target) => format!("{} -> {target}", file.path),
        };
        firmware.files.iter().map(text).collect()
    }

    #[test]
    fn links_come_with_what_they_stand_for_and_the_first_source_counts() {
        let found = collect(&["nic/b.bin", "deep/y.bin", "abs.bin"], &[]).unwrap();
        let expected = [
            "abs.bin -> z.bin",
            "deep/y.bin -> z.bin",
            "nic/a.bin AAAA",
            "nic/b.bin -> nic/a.bin",
            "z.bin a",
        ];
        assert_eq!(paths(&found), expected);
        assert!(found.missing.is_empty());
        assert_eq!(
            (found.files[2].source.as_str(), found.files[4].source.as_str()),
            ("folder", "package")
        );
        let tree = found.tree().unwrap();
        let target = |path: &str| match &tree.get(format!("lib/firmware/{path}")).unwrap().kind {
            Kind::Symlink(target) => String::from_utf8(target.clone()).unwrap(),
            other => panic!("{other:?}"),
        };
        assert_eq!(
            (target("deep/y.bin").as_str(), target("nic/b.bin").as_str()),
            ("../z.bin", "a.bin")
        );
    }

    #[test]
    fn what_is_missing_is_named_with_who_wants_it() {
        let found = collect(&["nic/gone.bin", "out.bin", "round.bin", "none*.bin", "z.bin/x"], &[]).unwrap();
        assert!(found.files.is_empty());
        let missing: Vec<_> = found
            .missing
            .iter()
            .map(|it| (it.name.as_str(), it.listed_in.as_deref()))
            .collect();
        let expected = [
            ("nic/gone.bin", Some("folder")),
            ("none*.bin", None),
            ("out.bin", None),
            ("round.bin", None),
            ("z.bin/x", None),
        ];
        assert_eq!(missing, expected);
        assert!(found.missing[0].wanted_by.contains("nic"));
    }

    #[test]
    fn links_to_folders_patterns_and_older_interfaces() {
        let found = collect(&["old/a.bin", "nic/fw-99.ucode", "nic/*.bin"], &[]).unwrap();
        let expected = [
            "nic/a.bin AAAA",
            "nic/b.bin -> nic/a.bin",
            "nic/fw-12.ucode 12",
            "old -> nic",
        ];
        assert_eq!(paths(&found), expected);
        assert!(collect(&["nic/fw-8.ucode"], &[]).unwrap().files.is_empty());
    }

    #[test]
    fn patterns_add_files_and_those_without_any_are_named_at_once() {
        let found = collect(&[], &["other", "**/fw-9.ucode"]).unwrap();
        assert_eq!(paths(&found), ["nic/fw-9.ucode 9", "other/c d.bin C"]);
        let error = collect(&[], &["nic/a.bim", "x/*", "other"]).unwrap_err().to_string();
        let lines: Vec<&str> = error.lines().collect();
        assert!(
            lines.len() == 2 && lines[0].contains("`nic/a.bim`") && lines[0].ends_with("did you mean `nic/a.bin`?"),
            "{error}"
        );
        assert!(lines[1].starts_with("firmware `x/*`: "), "{error}");
    }
}
