//! `mos.toml`: what belongs to the project as a whole.

use mos_architecture::Architecture;
use mos_toml::{Document, Item, Problem, Problems, Table};
use serde::Serialize;

use crate::base::{AlpineSettings, Base, read_architecture, read_base};
use crate::image::SizeSettings;
use crate::kernel::KernelChoice;
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

/// Where the initramfs of an image is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum InitramfsPlace {
    /// Beside the kernel in a unified kernel image.
    Uki,
    /// In the kernel itself, with the command line (`CONFIG_INITRAMFS_SOURCE`, `CONFIG_CMDLINE`).
    Embedded,
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
    /// The kernel to be compiled in place of that of a package.
    pub kernel_source: Option<KernelChoice>,
    /// What nodes are, and everything in their images is for.
    pub architecture: Option<Item<Architecture>>,
    /// What root file systems begin with.
    pub base: Item<Base>,
    /// Where Alpine's packages come from.
    pub alpine: AlpineSettings,
    /// Where the initramfs is.
    pub initramfs: InitramfsPlace,
    /// How the initramfs is compressed; by its place when absent.
    pub compression: Option<Compression>,
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
        let (kernel_package, kernel_source) = root.table("kernel").map_or((None, None), read_kernel);
        let image = root
            .table("image")
            .map(|table| read_image(table, problems))
            .unwrap_or_default();
        let alpine = root.table("alpine").map(|table| AlpineSettings::read(table, problems));
        let base = image.base.unwrap_or_else(|| Item {
            value: Base::default(),
            position: root.position(),
        });
        check_place(image.place.as_ref(), kernel_source.as_ref(), problems);
        root.finish();
        Some(Self {
            name: name??,
            default_store,
            kernel_package,
            kernel_source,
            architecture: image.architecture,
            base,
            alpine: alpine.unwrap_or_default(),
            initramfs: image.place.map_or(InitramfsPlace::Uki, |place| place.value),
            compression: image.compression,
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

fn read_kernel(kernel: Table<'_>) -> (Option<Item<String>>, Option<KernelChoice>) {
    let package = kernel.string_item("package");
    let source = KernelChoice::read(&kernel);
    kernel.finish();
    (package, source)
}

/// `[image]`.
#[derive(Default)]
struct Image {
    architecture: Option<Item<Architecture>>,
    base: Option<Item<Base>>,
    place: Option<Item<InitramfsPlace>>,
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
    let architecture = read_architecture(&image);
    let base = read_base(&image);
    let places = [("uki", InitramfsPlace::Uki), ("embedded", InitramfsPlace::Embedded)];
    let place = image.choice("initramfs", &places);
    let position = image.position_of("initramfs");
    let compression = image.choice("compression", &choices);
    // 1 to 22 are the levels that zstd itself documents.
    let level = image
        .integer("level", 1..=22)
        .and_then(|level| i32::try_from(level).ok());
    let size = SizeSettings::read(&image, problems);
    image.finish();
    Image {
        architecture,
        base,
        place: place.map(|value| Item { value, position }),
        compression,
        level,
        size,
    }
}

/// A kernel that is there already cannot get an initramfs into it.
fn check_place(place: Option<&Item<InitramfsPlace>>, kernel: Option<&KernelChoice>, problems: &Problems) {
    let embedded = place.filter(|place| place.value == InitramfsPlace::Embedded);
    if let (Some(place), None) = (embedded, kernel) {
        let message = "the kernel is that of a package: an initramfs is embedded when a kernel is compiled";
        let problem = Problem::error(Some(place.position.clone()), message);
        problems.push(problem.with_hint("name a `source` in [kernel], or use initramfs = \"uki\""));
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
        assert_eq!((project.compression, project.initramfs), (None, InitramfsPlace::Uki));
        assert_eq!(project.kernel_source, None);
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

    #[test]
    fn only_a_kernel_from_source_can_have_the_initramfs_in_it() {
        let read = |kernel: &str| {
            let text = format!("[project]\nname = \"lab\"\n[kernel]\n{kernel}\n[image]\ninitramfs = \"embedded\"\n");
            let document = Document::parse("mos.toml", text).unwrap();
            let problems = Problems::default();
            let project = Project::read(&document, &problems);
            (project.unwrap().initramfs, problems.to_string())
        };
        let (place, problems) = read("source = \"linux-source-6.12\"");
        assert_eq!((place, problems.as_str()), (InitramfsPlace::Embedded, ""));
        assert!(read("").1.contains("mos.toml:6:13: the kernel is that of a package"));
    }
}
