//! What differs between two boot images, and why.
//!
//! Files, sections, command line and kernel are compared as they are in the images; the records beside them
//! ([`Contents`](crate::Contents)) say which package, rule or setting is behind a difference. Nothing is left unexplained
//! silently: what no record speaks of is said to be so.

mod files;
mod records;
mod sections;

pub use files::{FileChange, FileState};
pub use records::{ItemChange, OptionChange};
pub use sections::SectionChange;

use serde::Serialize;

use crate::inside::Inside;

/// Something that was one thing and is another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Pair {
    /// In the first image; none when it has no such thing.
    pub before: Option<String>,
    /// In the second.
    pub after: Option<String>,
}

/// Everything in which two images differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ImageDiff {
    /// The files are the same, byte by byte.
    pub identical: bool,
    /// Bytes of the first and the second file.
    pub bytes: (u64, u64),
    /// Whether there was a record of the first and of the second image.
    pub records: (bool, bool),
    /// What the images say of their inputs.
    pub build_id: Option<Pair>,
    /// The command line.
    pub command_line: Option<Pair>,
    /// The kernel's version.
    pub kernel: Option<Pair>,
    /// Who signed.
    pub signers: Option<Pair>,
    /// Packages, by name.
    pub packages: Vec<ItemChange>,
    /// Kernel modules, by name.
    pub modules: Vec<ItemChange>,
    /// Firmware, by path below `lib/firmware`.
    pub firmware: Vec<ItemChange>,
    /// Options that the kernel was built with.
    pub options: Vec<OptionChange>,
    /// Files of the initramfs, by path.
    pub files: Vec<FileChange>,
    /// Sections of the EFI file.
    pub sections: Vec<SectionChange>,
    /// What else differs in the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rest: Option<String>,
}

impl ImageDiff {
    /// Compares two images.
    ///
    /// # Errors
    /// When content of a file cannot be read.
    pub fn of(before: &Inside, after: &Inside) -> std::io::Result<Self> {
        let packages = records::packages(before, after);
        let mut diff = Self {
            identical: before.digest == after.digest,
            bytes: (before.bytes, after.bytes),
            records: (before.contents.is_some(), after.contents.is_some()),
            build_id: pair(before.build_id(), after.build_id()),
            command_line: pair(before.command_line(), after.command_line()),
            kernel: pair(before.kernel(), after.kernel()),
            signers: pair(signers(before), signers(after)),
            modules: records::modules(before, after),
            firmware: records::firmware(before, after),
            options: records::options(before, after),
            files: files::compare(before, after, &packages)?,
            packages,
            sections: Vec::new(),
            rest: None,
        };
        diff.sections = sections::compare(before, after, &diff);
        diff.rest = sections::rest(before, after, &diff);
        Ok(diff)
    }
}

fn signers(image: &Inside) -> Option<String> {
    (!image.signers.is_empty()).then(|| image.signers.join(", "))
}

/// None when both are the same.
fn pair(before: Option<String>, after: Option<String>) -> Option<Pair> {
    (before != after).then_some(Pair { before, after })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contents::{ModuleRecord, PackageRecord, RemovedRecord};
    use crate::inside::tests::image;

    fn package(version: &str) -> PackageRecord {
        PackageRecord {
            name: "tool".to_owned(),
            version: version.to_owned(),
            architecture: "amd64".to_owned(),
            sha256: String::new(),
            role: "base".to_owned(),
            distribution: "debian".to_owned(),
            licence: None,
        }
    }

    fn module(name: &str, reason: &str) -> ModuleRecord {
        ModuleRecord {
            name: name.to_owned(),
            path: format!("lib/modules/6.12.2/kernel/{name}.ko"),
            bytes: 6,
            reason: reason.to_owned(),
            because_of: None,
        }
    }

    fn read(id: &str, files: &[(&str, &str, &str)]) -> Inside {
        let folder = tempfile::tempdir().unwrap();
        Inside::read(&image(folder.path(), id, files)).unwrap()
    }

    const FILES: [(&str, &str, &str); 4] = [
        ("bin/tool", "tool 1", "package tool"),
        ("etc/motd", "hello", "image/files"),
        ("lib/modules/6.12.1/kernel/fat.ko", "module", "kernel modules"),
        ("usr/share/doc/tool", "text", "package tool"),
    ];

    #[test]
    fn equal_images_have_no_difference() {
        let diff = ImageDiff::of(&read("0123456789ab", &FILES), &read("0123456789ab", &FILES)).unwrap();
        assert!(diff.identical && diff.files.is_empty() && diff.rest.is_none() && diff.build_id.is_none());
    }

    #[test]
    fn every_difference_has_its_reason() {
        let mut before = read("0123456789ab", &FILES);
        let files = [
            ("bin/tool", "tool 2, larger", "package tool"),
            ("etc/motd", "hallo", "image/files"),
            ("lib/modules/6.12.2/kernel/fat.ko", "module", "kernel modules"),
            ("lib/modules/6.12.2/kernel/vfat.ko", "module", "kernel modules"),
            ("odd", "x", "package other"),
        ];
        let mut after = read("ba9876543210", &files);
        let mut records = (before.contents.take().unwrap(), after.contents.take().unwrap());
        records.0.packages = vec![package("1.0")];
        records.1.packages = vec![package("2.0")];
        records.0.modules = vec![module("fat", "asked for")];
        records.1.modules = vec![module("fat", "needed by vfat"), module("vfat", "asked for")];
        records.1.kernel = "6.12.2".to_owned();
        records.1.removed = vec![RemovedRecord {
            path: "usr/share/doc/tool".to_owned(),
            bytes: 4,
            part: "package tool".to_owned(),
            rule: "documentation".to_owned(),
        }];
        (before.contents, after.contents) = (Some(records.0), Some(records.1));
        before.config = Some("CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_C=\"x\"\n".to_owned());
        after.config = Some("CONFIG_A=m\n# CONFIG_B is not set\n".to_owned());
        let diff = ImageDiff::of(&before, &after).unwrap();
        let shown: Vec<(&str, &str, &str)> = diff
            .files
            .iter()
            .map(|file| (file.path.as_str(), file.sign(), file.why.as_str()))
            .collect();
        let expected = [
            ("bin/tool", "~", "package tool 1.0 -> 2.0"),
            ("etc/motd", "~", "other content of image/files"),
            ("etc/os-release", "~", "the build id, which stands for all inputs"),
            ("lib/modules/6.12.2/kernel/vfat.ko", "+", "vfat: asked for"),
            ("odd", "+", "package other"),
            (
                "usr/share/doc/tool",
                "-",
                "package tool 1.0 -> 2.0; removed by the rule documentation",
            ),
        ];
        assert_eq!(shown, expected);
        assert_eq!(diff.files[0].grown(), 8);
        assert_eq!(diff.packages[0].after.as_deref(), Some("2.0"));
        let modules: Vec<&str> = diff.modules.iter().map(|module| module.name.as_str()).collect();
        assert_eq!(modules, ["vfat"], "why a module is there may change without the image");
        let options: Vec<(&str, &str, &str)> = diff
            .options
            .iter()
            .map(|option| (option.name.as_str(), option.before.as_str(), option.after.as_str()))
            .collect();
        assert_eq!(options, [("CONFIG_A", "y", "m"), ("CONFIG_C", "\"x\"", "absent")]);
        assert_eq!(diff.kernel.unwrap().after.as_deref(), Some("6.12.2"));
        assert_eq!(diff.rest.as_deref(), Some("the initramfs: its files"));
    }

    #[test]
    fn the_same_files_compressed_otherwise_are_told_from_others() {
        let folder = tempfile::tempdir().unwrap();
        let path = image(folder.path(), "0123456789ab", &FILES);
        let before = Inside::read(&path).unwrap();
        let plain = mos_boot::initramfs(&before.root, mos_boot::Compression::None).unwrap();
        std::fs::write(&path, plain).unwrap();
        let diff = ImageDiff::of(&before, &Inside::read(&path).unwrap()).unwrap();
        assert!(!diff.identical && diff.files.is_empty());
        assert_eq!(
            diff.rest.as_deref(),
            Some("the initramfs: the same files, compressed or put in order in another way")
        );
    }
}
