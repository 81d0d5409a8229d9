//! What is set for modules: `modprobe.d` (modprobe.d(5)) as far as it is `blacklist` and `options`, and the kernel command
//! line (`modprobe.blacklist=A,B`, `MODULE.PARAMETER=VALUE`).

use std::collections::{HashMap, HashSet};
use std::path::Path;

use super::command_line::words;
use super::fragments;
use super::modules::canonical;

/// Settings by module.
#[derive(Debug, Default)]
pub struct Settings {
    kept_out: HashSet<String>,
    options: HashMap<String, String>,
}

impl Settings {
    /// Those of the files below `root`, then those of the command line.
    pub fn read(root: &Path, command_line: &str) -> Self {
        let mut settings = Self::default();
        let (files, _) = fragments::read(root, "modprobe.d");
        for (_, line) in files.iter().flat_map(fragments::Fragment::lines) {
            settings.take(line);
        }
        for word in words(command_line) {
            let Some((key, value)) = word.split_once('=') else {
                continue;
            };
            match key.split_once('.') {
                Some(("modprobe", "blacklist")) => settings.kept_out.extend(value.split(',').map(canonical)),
                Some((module, parameter)) => settings.add(module, &format!("{parameter}={value}")),
                None => {}
            }
        }
        settings
    }

    fn take(&mut self, line: &str) {
        let mut words = line.splitn(3, [' ', '\t']);
        match (words.next(), words.next(), words.next()) {
            (Some("blacklist"), Some(module), None) => drop(self.kept_out.insert(canonical(module))),
            (Some("options"), Some(module), Some(options)) => self.add(module, options.trim()),
            _ => {}
        }
    }

    fn add(&mut self, module: &str, options: &str) {
        let all = self.options.entry(canonical(module)).or_default();
        if !all.is_empty() {
            all.push(' ');
        }
        all.push_str(options);
    }

    /// It is not to be loaded because a device is there; by its name it can be.
    pub fn is_kept_out(&self, module: &str) -> bool {
        self.kept_out.contains(&canonical(module))
    }

    /// The module's parameters.
    pub fn options(&self, module: &str) -> String {
        self.options.get(&canonical(module)).cloned().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_the_command_line_are_read() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("etc/modprobe.d")).unwrap();
        let text = "blacklist pcspkr\noptions kvm-intel nested=1\ninstall x /bin/true\nalias a b\n";
        std::fs::write(root.path().join("etc/modprobe.d/a.conf"), text).unwrap();
        let line = "quiet modprobe.blacklist=nouveau,snd-x kvm_intel.ept=0 usbcore.a=\"b c\" x=y.z";
        let settings = Settings::read(root.path(), line);
        let kept_out = ["pcspkr", "nouveau", "snd_x", "kvm_intel"].map(|module| settings.is_kept_out(module));
        assert_eq!(kept_out, [true, true, true, false]);
        assert_eq!(
            (&*settings.options("kvm-intel"), &*settings.options("usbcore")),
            ("nested=1 ept=0", "a=b c")
        );
        assert_eq!(settings.options("x"), "");
    }
}
