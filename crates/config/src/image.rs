//! `image/packages.list`, `image/modules.conf` and `image/firmware.conf`: one name per line, `#` begins a comment. What an
//! image is shipped as.

use std::collections::BTreeMap;

use mos_toml::{Item, Position, Problem, Problems, Table};

use serde::Serialize;

use crate::names::is_module;

/// What a boot image is shipped as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ImageOutput {
    /// `vmlinuz.efi`, which firmware starts.
    Efi,
    /// The same under a name that tells its kernel and its inputs: `vmlinuz-{VERSION}-{HASH}.efi`.
    Versioned,
    /// The initramfs by itself: `initramfs.cpio.zst`, `.xz`.
    Initramfs,
    /// A disk, byte for byte: `disk.raw`.
    Raw,
    /// The same disk in QEMU's format: `disk.qcow2`.
    Qcow2,
    /// A disc that starts from a USB stick as well: `boot.iso`.
    Iso,
    /// The files for network boot: `pxe/`.
    Pxe,
}

impl ImageOutput {
    /// Every kind with its name.
    pub const ALL: [(&'static str, Self); 7] = [
        ("efi", Self::Efi),
        ("versioned", Self::Versioned),
        ("initramfs", Self::Initramfs),
        ("raw", Self::Raw),
        ("qcow2", Self::Qcow2),
        ("iso", Self::Iso),
        ("pxe", Self::Pxe),
    ];
    /// Those that are made when nothing is said.
    pub const DEFAULT: [Self; 2] = [Self::Efi, Self::Initramfs];

    /// The kind with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        let known = Self::ALL.into_iter().find(|(known, _)| *known == name);
        known.map(|(_, kind)| kind)
    }
}

/// `[image]` in `mos.toml` and in environments: what is left out of images, and how large they may become.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SizeSettings {
    /// Patterns for paths that no rule of the clean-up removes.
    pub keep: Vec<Item<String>>,
    /// Patterns for paths of packages that are removed beside what the rules say.
    pub remove: Vec<Item<String>>,
    /// The most bytes that the EFI file may have.
    pub budget: Option<u64>,
}

impl SizeSettings {
    pub(crate) fn read(image: &Table<'_>, problems: &Problems) -> Self {
        let patterns = |key| {
            let mut list = image.string_list(key);
            for pattern in &mut list {
                // `/usr/share/doc` is what people see on a node.
                pattern.value = pattern.value.trim_start_matches('/').to_owned();
            }
            check_entries(&list, is_below, "a path or pattern below the root", problems);
            list
        };
        Self {
            keep: patterns("keep"),
            remove: patterns("remove"),
            budget: image.bytes("budget"),
        }
    }
}

/// The lists that every boot image of the project begins with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageLists {
    /// Packages of the base.
    pub packages: Vec<Item<String>>,
    /// Kernel modules.
    pub modules: Vec<Item<String>>,
    /// Firmware.
    pub firmware: FirmwareList,
}

/// `image/firmware.conf`: where firmware is taken from, and what of it goes into images beside what their modules name.
///
/// ```text
/// package firmware-linux-free   # a package with files in lib/firmware: of Alpine when that is the base, else of Debian
/// folder  firmware              # a folder of the config repository, such as a copy of linux-firmware
/// rtl_nic/*.fw                  # names or patterns below lib/firmware; `**` stands for any folders
/// ```
///
/// The first source that has a file counts, packages before folders.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FirmwareList {
    /// Packages, some with `debian:` or `alpine:` before them.
    pub packages: Vec<Item<String>>,
    /// Folders of the config repository.
    pub folders: Vec<Item<String>>,
    /// Names and patterns.
    pub patterns: Vec<Item<String>>,
}

impl ImageLists {
    /// Where the packages are listed.
    pub const PACKAGES: &str = "image/packages.list";
    /// Where the modules are listed.
    pub const MODULES: &str = "image/modules.conf";
    /// Where firmware is listed.
    pub const FIRMWARE: &str = "image/firmware.conf";

    /// Reads the lists from the texts of a repository; a missing list is empty.
    pub(crate) fn read(texts: &BTreeMap<String, String>, problems: &Problems) -> Self {
        let list = |file: &str| texts.get(file).map(|text| read_list(file, text)).unwrap_or_default();
        let lists = Self {
            packages: list(Self::PACKAGES),
            modules: list(Self::MODULES),
            firmware: FirmwareList::of(list(Self::FIRMWARE)),
        };
        check_entries(&lists.modules, is_module, "the name of a kernel module", problems);
        lists.firmware.check(problems);
        lists
    }
}

impl FirmwareList {
    fn of(lines: Vec<Item<String>>) -> Self {
        let mut found = Self::default();
        for mut line in lines {
            let list = match line.value.split_once(char::is_whitespace) {
                Some(("package", name)) => {
                    line.value = name.trim().to_owned();
                    &mut found.packages
                }
                Some(("folder", path)) => {
                    line.value = path.trim().trim_end_matches('/').to_owned();
                    &mut found.folders
                }
                _ => &mut found.patterns,
            };
            list.push(line);
        }
        found
    }

    fn check(&self, problems: &Problems) {
        check_entries(
            &self.folders,
            is_below,
            "the path of a folder in the config repository",
            problems,
        );
        check_entries(&self.patterns, is_below, "a path below lib/firmware", problems);
        let words = self.patterns.iter();
        for word in words.filter(|word| matches!(word.value.as_str(), "package" | "folder")) {
            let problem = Problem::error(Some(word.position.clone()), format!("`{}` names none", word.value));
            problems.push(problem.with_hint("write `package NAME` or `folder PATH` in one line"));
        }
        if let (Some(pattern), true) = (
            self.patterns.first(),
            self.packages.is_empty() && self.folders.is_empty(),
        ) {
            let message = "there is nowhere to take firmware from".to_owned();
            let problem = Problem::error(Some(pattern.position.clone()), message);
            problems.push(problem.with_hint("name a source: `package NAME` or `folder PATH`"));
        }
    }
}

/// True for a relative path that stays below where it begins.
fn is_below(path: &str) -> bool {
    !path.is_empty() && path.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

/// Complains about what is not a name of its kind, and about names that stand twice.
pub(crate) fn check_entries(entries: &[Item<String>], good: fn(&str) -> bool, what: &str, problems: &Problems) {
    let mut seen: BTreeMap<&str, &Position> = BTreeMap::new();
    for entry in entries {
        let position = Some(entry.position.clone());
        if !good(&entry.value) {
            problems.push(Problem::error(position, format!("`{}` is not {what}", entry.value)));
        } else if let Some(first) = seen.insert(&entry.value, &entry.position) {
            let message = format!("`{}` stands already at {first}", entry.value);
            problems.push(Problem::warning(position, message));
        }
    }
}

fn read_list(file: &str, text: &str) -> Vec<Item<String>> {
    let entries = text.lines().enumerate().filter_map(|(index, line)| {
        let content = line.split('#').next().unwrap_or_default();
        let name = content.trim();
        let indent = content.chars().take_while(|c| c.is_whitespace()).count();
        (!name.is_empty()).then(|| Item {
            value: name.to_owned(),
            position: Position {
                file: file.to_owned(),
                line: index + 1,
                column: indent + 1,
            },
        })
    });
    entries.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_blank_lines_keep_positions_right() {
        let list = read_list("image/modules.conf", "# network\n\n  virtio_net # fast\next4\r\n");
        let shown: Vec<String> = list
            .iter()
            .map(|item| format!("{} {}", item.position, item.value))
            .collect();
        assert_eq!(
            shown,
            ["image/modules.conf:3:3 virtio_net", "image/modules.conf:4:1 ext4"]
        );
    }

    #[test]
    fn firmware_has_sources_and_patterns() {
        let read = |text: &str| {
            let problems = Problems::default();
            let texts = [(ImageLists::FIRMWARE.to_owned(), text.to_owned())];
            let list = ImageLists::read(&texts.into(), &problems).firmware;
            (list, problems.to_string())
        };
        let (list, problems) =
            read("package firmware-linux-free\nfolder  fw/linux/ # a copy\nrtl_nic/*.fw\nbrcm/a b.txt\n");
        let values = |items: &[Item<String>]| items.iter().map(|item| item.value.clone()).collect::<Vec<_>>();
        assert_eq!(problems, "");
        assert_eq!(values(&list.packages), ["firmware-linux-free"]);
        assert_eq!(values(&list.folders), ["fw/linux"]);
        assert_eq!(values(&list.patterns), ["rtl_nic/*.fw", "brcm/a b.txt"]);
        let (_, problems) = read("/lib/firmware/x\nfolder ../outside\npackage x\n");
        assert!(
            problems.contains("firmware.conf:1:1: `/lib/firmware/x` is not a path below lib/firmware"),
            "{problems}"
        );
        assert!(problems.contains("`../outside` is not the path"), "{problems}");
        assert!(read("a.bin\n").1.contains("nowhere to take firmware from"));
        let (_, problems) = read("package x\nfolder\n");
        assert!(
            problems.contains("firmware.conf:2:1: `folder` names none"),
            "{problems}"
        );
    }
}
