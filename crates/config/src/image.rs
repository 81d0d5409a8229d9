//! `image/packages.list` and `image/modules.conf`: one name per line, `#` begins a comment. What an image is shipped as.

use std::collections::BTreeMap;

use mos_toml::{Item, Position, Problem, Problems};

use serde::Serialize;

use crate::names::{is_module, is_package};

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

/// The lists that every boot image of the project begins with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageLists {
    /// Debian packages.
    pub packages: Vec<Item<String>>,
    /// Kernel modules.
    pub modules: Vec<Item<String>>,
}

impl ImageLists {
    /// Where the packages are listed.
    pub const PACKAGES: &str = "image/packages.list";
    /// Where the modules are listed.
    pub const MODULES: &str = "image/modules.conf";

    /// Reads both lists from the texts of a repository; a missing list is empty.
    pub(crate) fn read(texts: &BTreeMap<String, String>, problems: &Problems) -> Self {
        let list = |file: &str| texts.get(file).map(|text| read_list(file, text)).unwrap_or_default();
        let lists = Self {
            packages: list(Self::PACKAGES),
            modules: list(Self::MODULES),
        };
        check_entries(&lists.packages, is_package, "the name of a Debian package", problems);
        check_entries(&lists.modules, is_module, "the name of a kernel module", problems);
        lists
    }
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
    fn bad_and_doubled_entries_are_named() {
        let texts = [(
            ImageLists::PACKAGES.to_owned(),
            "busybox-static\nBash\nbusybox-static\n".to_owned(),
        )];
        let problems = Problems::default();
        ImageLists::read(&texts.into(), &problems);
        assert_eq!(
            problems.to_string(),
            "error: image/packages.list:2:1: `Bash` is not the name of a Debian package\n\
             warning: image/packages.list:3:1: `busybox-static` stands already at image/packages.list:1:1"
        );
    }
}
