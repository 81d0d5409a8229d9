//! `mos.toml`: what belongs to the project as a whole.

use mos_toml::{Document, Item, Problems, Table};
use serde::Serialize;

use crate::base::{AlpineSettings, Base, read_base};
use crate::image::SizeSettings;
use crate::names::check_name;

/// How the initramfs is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// Not at all.
    None,
    /// With zstd: the kernel unpacks it four times as fast as xz, at 7 % more bytes.
    Zstd,
    /// With xz, at its highest level: the smallest, and the slowest to start.
    Xz,
}

/// The project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Project {
    /// Its name.
    pub name: Item<String>,
    /// URL of the store that releases are published to, when no other is asked for.
    pub default_store: Option<Item<String>>,
    /// The package of the kernel: of Alpine when that is the base, else of Debian; or with `debian:` or `alpine:` before it.
    pub kernel_package: Option<Item<String>>,
    /// What root file systems begin with.
    pub base: Item<Base>,
    /// Where Alpine's packages come from.
    pub alpine: AlpineSettings,
    /// How the initramfs is compressed.
    pub compression: Compression,
    /// Level of compression; by the kind of environment when absent.
    pub compression_level: Option<i32>,
    /// What is left out of images, and how large they may become.
    pub size: SizeSettings,
}

impl Project {
    /// Reads `mos.toml`; whatever is wrong goes to `problems`.
    pub(crate) fn read(document: &Document, problems: &Problems) -> Option<Self> {
        let root = document.root(problems);
        let name = root.table("project").map(|project| read_name(project, problems));
        if name.is_none() && !root.has("project") {
            root.complain("", "missing [project] with the project's `name`");
        }
        let default_store = root.table("stores").and_then(read_stores);
        let kernel_package = root.table("kernel").and_then(read_kernel);
        let image = root
            .table("image")
            .map(|table| read_image(table, problems))
            .unwrap_or_default();
        let alpine = root.table("alpine").map(|table| AlpineSettings::read(table, problems));
        let base = image.base.unwrap_or_else(|| Item {
            value: Base::default(),
            position: root.position(),
        });
        root.finish();
        Some(Self {
            name: name??,
            default_store,
            kernel_package,
            base,
            alpine: alpine.unwrap_or_default(),
            compression: image.compression.unwrap_or(Compression::Zstd),
            compression_level: image.level,
            size: image.size,
        })
    }
}

fn read_name(project: Table<'_>, problems: &Problems) -> Option<Item<String>> {
    let name = project.required_string("name");
    if let Some(name) = &name {
        check_name(problems, "a project", &name.value, Some(name.position.clone()));
    }
    project.finish();
    name
}

fn read_stores(stores: Table<'_>) -> Option<Item<String>> {
    let default = stores.string_item("default");
    if default.as_ref().is_some_and(|url| !url.value.contains("://")) {
        stores.complain("default", "`default` is not a store's URL, such as dir:///srv/channel");
    }
    stores.finish();
    default
}

fn read_kernel(kernel: Table<'_>) -> Option<Item<String>> {
    let package = kernel.string_item("package");
    kernel.finish();
    package
}

/// `[image]`.
#[derive(Default)]
struct Image {
    base: Option<Item<Base>>,
    compression: Option<Compression>,
    level: Option<i32>,
    size: SizeSettings,
}

fn read_image(image: Table<'_>, problems: &Problems) -> Image {
    let choices = [
        ("none", Compression::None),
        ("zstd", Compression::Zstd),
        ("xz", Compression::Xz),
    ];
    let base = read_base(&image);
    let compression = image.choice("compression", &choices);
    // 1 to 22 are the levels that zstd itself documents.
    let level = image
        .integer("level", 1..=22)
        .and_then(|level| i32::try_from(level).ok());
    let size = SizeSettings::read(&image, problems);
    image.finish();
    Image {
        base,
        compression,
        level,
        size,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_lines_are_enough() {
        let document = Document::parse("mos.toml", "[project]\nname = \"lab\"\n").unwrap();
        let problems = Problems::default();
        let project = Project::read(&document, &problems).unwrap();
        assert!(problems.is_empty(), "{problems}");
        assert_eq!((project.kernel_package, project.base.value), (None, Base::Debian));
        assert_eq!(project.compression, Compression::Zstd);
        assert_eq!(project.compression_level, None);
    }

    #[test]
    fn an_empty_file_says_what_is_missing() {
        let document = Document::parse("mos.toml", "").unwrap();
        let problems = Problems::default();
        assert_eq!(Project::read(&document, &problems), None);
        assert_eq!(
            problems.to_string(),
            "error: mos.toml:1:1: missing [project] with the project's `name`"
        );
    }
}
