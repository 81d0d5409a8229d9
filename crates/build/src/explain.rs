//! Why something is in a boot image, or is not: looked up in its record.

use serde::Serialize;

use crate::contents::{Contents, FileRecord, FirmwareRecord, MissingRecord, ModuleRecord, RemovedRecord};

/// What the record says about something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "what", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Explanation {
    /// A module.
    Module {
        /// Itself, then the module that is its reason, and so on up to one that was asked for.
        chain: Vec<ModuleRecord>,
        /// Modules that are here because of it.
        brings: Vec<String>,
        /// The firmware that is here for it.
        firmware: Vec<String>,
        /// The firmware that it names and that is missing.
        missing_firmware: Vec<String>,
    },
    /// A module that was asked for and is within the kernel.
    BuiltIn {
        /// Its name.
        name: String,
    },
    /// Firmware.
    Firmware(FirmwareRecord),
    /// Firmware that is not there.
    MissingFirmware(MissingRecord),
    /// A file, link or device.
    File(FileRecord),
    /// A directory.
    Directory {
        /// Without a leading `/`.
        path: String,
        /// How many files, links and devices are below it.
        files: usize,
        /// Before compression.
        bytes: u64,
        /// The bytes of each part, the largest first.
        parts: Vec<(String, u64)>,
    },
    /// What a rule took away.
    Removed {
        /// Each file.
        files: Vec<RemovedRecord>,
    },
    /// The file name stands in several places.
    Several {
        /// Their paths.
        paths: Vec<String>,
    },
}

/// How the file name of a module ends.
const MODULE_ENDING: &str = ".ko";
/// Where firmware is.
const FIRMWARE: &str = "lib/firmware/";

impl Contents {
    /// What there is to say about a module's name, a path, or a file name; `None` when it is not in the image and never was.
    pub fn explain(&self, asked: &str) -> Option<Explanation> {
        let path = asked.trim_start_matches('/').trim_end_matches('/');
        self.module(path)
            .or_else(|| self.of_firmware(path.strip_prefix(FIRMWARE).unwrap_or(path)))
            .or_else(|| self.file(path).map(Explanation::File))
            .or_else(|| self.directory(path))
            .or_else(|| self.by_file_name(path))
            .or_else(|| self.taken_away(path))
    }

    /// What in the image has a name most like this.
    pub fn nearest(&self, asked: &str) -> Option<&str> {
        let modules = self.modules.iter().map(|module| module.name.as_str());
        let paths = self.files.iter().map(|file| file.path.as_str());
        let names = paths.clone().map(|path| path.rsplit('/').next().unwrap_or(path));
        mos_toml::nearest(asked.trim_start_matches('/'), modules.chain(names).chain(paths))
    }

    fn module(&self, path: &str) -> Option<Explanation> {
        let by_path = self.modules.iter().find(|module| module.path == path);
        let name = path.strip_suffix(MODULE_ENDING).unwrap_or(path).replace('-', "_");
        let by_name = || self.modules.iter().find(|module| module.name == name);
        let Some(module) = by_path.or_else(by_name) else {
            let builtin = self.builtin.contains(&name);
            return builtin.then_some(Explanation::BuiltIn { name });
        };
        let own = |wanted_by: &[String]| wanted_by.contains(&module.name);
        let brings = self
            .modules
            .iter()
            .filter(|other| other.because_of.as_ref() == Some(&module.name));
        let firmware = self.firmware.iter().filter(|it| own(&it.wanted_by));
        let missing = self.missing_firmware.iter().filter(|it| own(&it.wanted_by));
        Some(Explanation::Module {
            chain: self.chain(module),
            brings: brings.map(|other| other.name.clone()).collect(),
            firmware: firmware.map(|it| it.path.clone()).collect(),
            missing_firmware: missing.map(|it| it.name.clone()).collect(),
        })
    }

    fn chain(&self, module: &ModuleRecord) -> Vec<ModuleRecord> {
        let mut chain = vec![module.clone()];
        while let Some(next) = chain.last().and_then(|last| last.because_of.clone()) {
            let known = chain.iter().any(|module| module.name == next);
            match self.modules.iter().find(|module| module.name == next && !known) {
                Some(module) => chain.push(module.clone()),
                None => break,
            }
        }
        chain
    }

    fn of_firmware(&self, name: &str) -> Option<Explanation> {
        let kept = self.firmware.iter().find(|it| it.path == name);
        let missing = || self.missing_firmware.iter().find(|it| it.name == name);
        kept.map(|it| Explanation::Firmware(it.clone()))
            .or_else(|| missing().map(|it| Explanation::MissingFirmware(it.clone())))
    }

    fn file(&self, path: &str) -> Option<FileRecord> {
        self.files.iter().find(|file| file.path == path).cloned()
    }

    fn directory(&self, path: &str) -> Option<Explanation> {
        let prefix = if path.is_empty() {
            String::new()
        } else {
            format!("{path}/")
        };
        let below: Vec<&FileRecord> = self
            .files
            .iter()
            .filter(|file| file.path.starts_with(&prefix))
            .collect();
        if below.is_empty() {
            return None;
        }
        let mut parts: Vec<(String, u64)> = Vec::new();
        for file in &below {
            match parts.iter_mut().find(|(part, _)| *part == file.part) {
                Some((_, bytes)) => *bytes += file.bytes,
                None => parts.push((file.part.clone(), file.bytes)),
            }
        }
        parts.sort_by(|left, right| right.1.cmp(&left.1).then_with(|| left.0.cmp(&right.0)));
        Some(Explanation::Directory {
            path: path.to_owned(),
            files: below.len(),
            bytes: below.iter().map(|file| file.bytes).sum(),
            parts,
        })
    }

    fn taken_away(&self, path: &str) -> Option<Explanation> {
        let (prefix, ending) = (format!("{path}/"), format!("/{path}"));
        let asked = |it: &&RemovedRecord| it.path == path || it.path.starts_with(&prefix) || it.path.ends_with(&ending);
        let removed = self.removed.iter().filter(asked);
        let files: Vec<RemovedRecord> = removed.cloned().collect();
        (!files.is_empty()).then_some(Explanation::Removed { files })
    }

    fn by_file_name(&self, name: &str) -> Option<Explanation> {
        let ending = format!("/{name}");
        let named: Vec<&FileRecord> = self.files.iter().filter(|file| file.path.ends_with(&ending)).collect();
        match named[..] {
            [] => None,
            [one] => self.explain(&one.path),
            _ => Some(Explanation::Several {
                paths: named.iter().map(|file| file.path.clone()).collect(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(name: &str, because_of: Option<&str>) -> ModuleRecord {
        ModuleRecord {
            name: name.into(),
            path: format!("lib/modules/1/kernel/{name}.ko"),
            bytes: 1,
            reason: because_of.map_or("asked for".into(), |by| format!("needed by {by}")),
            because_of: because_of.map(str::to_owned),
        }
    }

    fn file(path: &str, bytes: u64, part: &str) -> FileRecord {
        FileRecord {
            path: path.into(),
            kind: "file".into(),
            bytes,
            target: None,
            part: part.into(),
            replaces: Vec::new(),
        }
    }

    fn sample() -> Contents {
        Contents {
            modules: vec![module("a", Some("b_x")), module("b_x", Some("c")), module("c", None)],
            builtin: vec!["unix".into()],
            files: vec![
                file("bin/busybox", 10, "package busybox"),
                file("bin/x", 20, "image/files"),
                file("etc/x", 1, "MOS"),
                file("lib/firmware/c.bin", 3, "firmware"),
                file("lib/modules/1/kernel/a.ko", 1, "kernel modules"),
            ],
            firmware: vec![FirmwareRecord {
                path: "c.bin".into(),
                bytes: 3,
                link: None,
                source: "folder fw".into(),
                wanted_by: vec!["c".into()],
            }],
            missing_firmware: vec![MissingRecord {
                name: "d.bin".into(),
                wanted_by: vec!["c".into()],
                listed_in: None,
            }],
            removed: vec![RemovedRecord {
                path: "usr/share/doc/a".into(),
                bytes: 5,
                part: "package a".into(),
                rule: "usr/share/doc".into(),
            }],
            ..Contents::default()
        }
    }

    #[test]
    fn modules_have_chains_and_firmware() {
        let contents = sample();
        let chain = |asked: &str| match contents.explain(asked) {
            Some(Explanation::Module { chain, .. }) => chain.into_iter().map(|module| module.name).collect(),
            other => panic!("{other:?}"),
        };
        for asked in ["a", "a.ko", "/lib/modules/1/kernel/a.ko"] {
            let names: Vec<String> = chain(asked);
            assert_eq!(names, ["a", "b_x", "c"]);
        }
        let Some(Explanation::Module {
            brings,
            firmware,
            missing_firmware,
            ..
        }) = contents.explain("c")
        else {
            panic!()
        };
        assert_eq!(
            (brings, firmware, missing_firmware),
            (vec!["b_x".into()], vec!["c.bin".into()], vec!["d.bin".into()])
        );
        assert!(matches!(contents.explain("b-x"), Some(Explanation::Module { .. })));
        assert_eq!(
            contents.explain("unix"),
            Some(Explanation::BuiltIn { name: "unix".into() })
        );
    }

    #[test]
    fn files_directories_firmware_and_what_is_gone() {
        let contents = sample();
        assert_eq!(
            contents.explain("/bin/busybox"),
            Some(Explanation::File(contents.files[0].clone()))
        );
        assert_eq!(contents.explain("busybox"), contents.explain("bin/busybox"));
        assert!(matches!(contents.explain("x"), Some(Explanation::Several { paths }) if paths == ["bin/x", "etc/x"]));
        let Some(Explanation::Directory { bytes, parts, .. }) = contents.explain("/bin/") else {
            panic!()
        };
        assert_eq!((bytes, parts[0].0.as_str()), (30, "image/files"));
        assert!(matches!(
            contents.explain("/"),
            Some(Explanation::Directory { files: 5, .. })
        ));
        assert!(matches!(
            contents.explain("lib/firmware/c.bin"),
            Some(Explanation::Firmware(_))
        ));
        assert!(matches!(
            contents.explain("d.bin"),
            Some(Explanation::MissingFirmware(_))
        ));
        assert!(matches!(contents.explain("usr/share/doc"), Some(Explanation::Removed { files }) if files.len() == 1));
        assert_eq!(contents.explain("busybix"), None);
        assert_eq!(contents.nearest("busybix"), Some("busybox"));
    }
}
