//! What a module says of itself: the `key=value` strings of its `.modinfo` section.

use crate::elf;
use crate::lists::normal;

/// The parts of a module's `.modinfo` that decide what else is needed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ModuleInfo {
    /// Modules that must be loaded before, by name.
    pub depends: Vec<String>,
    /// Names or aliases that should be loaded before.
    pub before: Vec<String>,
    /// Names or aliases that should be loaded after.
    pub after: Vec<String>,
    /// Patterns under which the kernel asks for the module.
    pub aliases: Vec<String>,
    /// Soft dependencies as written, for `modules.softdep`.
    pub softdeps: Vec<String>,
    /// Firmware files that it may ask for, below `lib/firmware`.
    pub firmware: Vec<String>,
    /// The version of the kernel that it was built for, as `uname -r` says it.
    pub kernel: Option<String>,
}

impl ModuleInfo {
    /// Reads a plain `.ko`.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn parse(bytes: &[u8]) -> Result<Self, &'static str> {
        let section = elf::section(bytes, b".modinfo")?.ok_or("no section .modinfo: not a kernel module")?;
        Ok(Self::of_section(section))
    }

    /// The strings of the section, each with its NUL.
    pub(crate) fn of_section(section: &[u8]) -> Self {
        let mut info = Self::default();
        for text in section.split(|byte| *byte == 0) {
            info.entry(&String::from_utf8_lossy(text));
        }
        info
    }

    pub(crate) fn of_entries<'e>(entries: impl Iterator<Item = &'e str>) -> Self {
        let mut info = Self::default();
        entries.for_each(|entry| info.entry(entry));
        info
    }

    /// What of the section is kept here, as strings of its form.
    pub(crate) fn entries(&self) -> impl Iterator<Item = String> {
        let depends = (!self.depends.is_empty()).then(|| format!("depends={}", self.depends.join(",")));
        let list = |key, values: &[String]| {
            values
                .iter()
                .map(move |value| format!("{key}={value}"))
                .collect::<Vec<_>>()
        };
        depends
            .into_iter()
            .chain(list("softdep", &self.softdeps))
            .chain(list("alias", &self.aliases))
            .chain(list("firmware", &self.firmware))
            .chain(self.kernel.iter().map(|kernel| format!("vermagic={kernel}")))
    }

    fn entry(&mut self, text: &str) {
        if let Some((key, value)) = text.split_once('=') {
            self.take(key, value);
        }
    }

    fn take(&mut self, key: &str, value: &str) {
        match key {
            "depends" => {
                let names = value.split(',').filter(|name| !name.is_empty());
                self.depends.extend(names.map(normal));
            }
            "softdep" => self.soft(value),
            "alias" => self.aliases.push(value.to_owned()),
            // The version, then what else must agree: `6.12.0 SMP preempt mod_unload`.
            "vermagic" => self.kernel = value.split_whitespace().next().map(str::to_owned),
            "firmware" => self.firmware.push(value.to_owned()),
            _ => {}
        }
    }

    /// `pre: a b post: c`, as in modprobe.d(5).
    fn soft(&mut self, value: &str) {
        self.softdeps.push(value.to_owned());
        let mut list = None;
        for word in value.split_whitespace() {
            match word {
                "pre:" => list = Some(&mut self.before),
                "post:" => list = Some(&mut self.after),
                name => {
                    if let Some(list) = &mut list {
                        list.push(name.to_owned());
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elf::tests::object;

    #[test]
    fn reads_what_decides() {
        let bytes = object(&[
            "license=GPL",
            "depends=virtio-ring,virtio",
            "softdep=pre: crc32c xx post: yy",
            "softdep=pre: zz",
            "alias=pci:v*",
            "firmware=a/b.bin",
            "name=x",
            "vermagic=6.12.1-x SMP mod_unload ",
        ]);
        let info = ModuleInfo::parse(&bytes).unwrap();
        assert_eq!(info.depends, ["virtio_ring", "virtio"]);
        assert_eq!(info.before, ["crc32c", "xx", "zz"]);
        assert_eq!(info.after, ["yy"]);
        assert_eq!(info.aliases, ["pci:v*"]);
        assert_eq!(info.firmware, ["a/b.bin"]);
        assert_eq!(info.kernel.as_deref(), Some("6.12.1-x"));
        let entries: Vec<String> = info.entries().collect();
        assert_eq!(ModuleInfo::of_entries(entries.iter().map(String::as_str)), info);
        assert!(ModuleInfo::parse(b"\x7fELF\x02\x01").is_err());
    }
}
